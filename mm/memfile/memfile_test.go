package memfile

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func newFile(tb testing.TB, c Config) *File {
	tb.Helper()
	f, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(f.Close)
	return f
}

func mustAllocate(tb testing.TB, f *File, length uint64, o Options) Range {
	tb.Helper()
	r, err := f.Allocate(length, o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func usage(tb testing.TB, f *File) uint64 {
	tb.Helper()
	n, err := f.Usage()
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// TestCounts allocates and references at random and compares the counts with a
// map.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 512
		f, err := New(Config{Size: size * pageSize})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		refs := map[uint64]int{} // by page
		// some draws a range of allocated pages, "" if there is none.
		some := func() (Range, bool) {
			var all []uint64
			for p := range refs {
				all = append(all, p)
			}
			if len(all) == 0 {
				return Range{}, false
			}
			slices.Sort(all)
			p := rapid.SampledFrom(all).Draw(t, "page")
			q := p
			for n := rapid.IntRange(1, 40).Draw(t, "length"); n > 0 && refs[q] > 0; n-- {
				q++
			}
			return Range{p * pageSize, q * pageSize}, true
		}
		t.Repeat(map[string]func(*rapid.T){
			"allocate": func(t *rapid.T) {
				n := rapid.SampledFrom([]uint64{1, 1, 2, 3, 4, 7, 16, 17, 60}).Draw(t, "length")
				over := rapid.Bool().Draw(t, "overwrite")
				r, err := f.Allocate(n*pageSize, Options{Overwrite: over})
				if err != nil {
					if !errors.Is(err, unix.ENOMEM) {
						t.Fatal(err)
					}
					return
				}
				if r.Length() != n*pageSize {
					t.Fatalf("got %v for %d pages", r, n)
				}
				b := f.Bytes(r)
				if !over && bytes.Count(b, []byte{0}) != len(b) {
					t.Fatalf("%v is not zero", r)
				}
				for i := range b {
					b[i] = byte(r.Start / pageSize)
				}
				for p := r.Start / pageSize; p < r.End/pageSize; p++ {
					if refs[p] != 0 {
						t.Fatalf("page %d is given out twice", p)
					}
					refs[p] = 1
				}
			},
			"more": func(t *rapid.T) {
				if r, ok := some(); ok {
					f.IncRef(r)
					for p := r.Start / pageSize; p < r.End/pageSize; p++ {
						refs[p]++
					}
				}
			},
			"less": func(t *rapid.T) {
				if r, ok := some(); ok {
					f.DecRef(r)
					for p := r.Start / pageSize; p < r.End/pageSize; p++ {
						if refs[p]--; refs[p] == 0 {
							delete(refs, p)
						}
					}
				}
			},
			"trim": func(t *rapid.T) { f.Trim() },
			"": func(t *rapid.T) {
				if got := f.Allocated(); got != uint64(len(refs))*pageSize {
					t.Fatalf("%d bytes are allocated, want %d pages", got, len(refs))
				}
				check(t, f, size, refs)
			},
		})
		for p, n := range refs {
			for range n {
				f.DecRef(Range{p * pageSize, (p + 1) * pageSize})
			}
		}
		f.Trim()
		if n := f.Allocated(); n != 0 {
			t.Fatalf("%d bytes are left", n)
		}
		// All is one hole again.
		if r, err := f.Allocate(size*pageSize, Options{}); err != nil || r != (Range{0, size * pageSize}) {
			t.Fatalf("%v, %v", r, err)
		}
		if n, err := f.Usage(); n != 0 || err != nil {
			t.Fatalf("%d bytes are with the host, %v", n, err)
		}
	})
}

// check compares Refs and Shared with the counts by page, and looks for runs that
// were not joined.
func check(t *rapid.T, f *File, size uint64, refs map[uint64]int) {
	t.Helper()
	for p := uint64(0); p < size; {
		q := p
		for q < size && refs[q] == refs[p] {
			q++
		}
		n, got := f.Refs(Range{p * pageSize, size * pageSize})
		if refs[p] == 0 {
			if n != 0 {
				t.Fatalf("page %d is allocated", p)
			}
			p = q
			continue
		}
		if got != refs[p] || n != (q-p)*pageSize {
			t.Fatalf("pages %d-%d: %d references for %d bytes, want %d", p, q, got, n, refs[p])
		}
		end := q
		for end < size && refs[end] > 0 && (refs[end] > 1) == (refs[p] > 1) {
			end++
		}
		n, shared := f.Shared(Range{p * pageSize, size * pageSize})
		if shared != (refs[p] > 1) || n != (end-p)*pageSize {
			t.Fatalf("pages %d-%d: shared %v for %d bytes", p, end, shared, n)
		}
		p = q
	}
	if n, shared := f.Shared(Range{pageSize, pageSize}); n != 0 || shared {
		t.Fatalf("nothing is shared: %d, %v", n, shared)
	}
}

func TestArguments(t *testing.T) {
	f := newFile(t, Config{Size: 1 << 20, Limit: 64 << 10})
	for _, n := range []uint64{0, 1, pageSize - 1, pageSize + 1} {
		if _, err := f.Allocate(n, Options{}); err != unix.EINVAL {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, n := range []uint64{68 << 10, 1 << 20, 2 << 20, 1 << 47, ^uint64(0) &^ (pageSize - 1)} {
		if _, err := f.Allocate(n, Options{}); err != unix.ENOMEM {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	f.DecRef(mustAllocate(t, f, 256<<10, Options{Sparse: true}))
	r := mustAllocate(t, f, 64<<10, Options{})
	// What is not touched does not count.
	f.DecRef(mustAllocate(t, f, 32<<10, Options{}))
	f.Bytes(r)[0] = 1
	if _, err := f.Allocate(64<<10, Options{}); err != unix.ENOMEM {
		t.Errorf("more than is left: %v", err)
	}
	f.Populate(r)
	for _, o := range []Options{{}, {Sparse: true}, {Overwrite: true}} {
		if _, err := f.Allocate(pageSize, o); err != unix.ENOMEM {
			t.Errorf("over the limit, %+v: %v", o, err)
		}
	}
	f.DecRef(r)
	// What is kept for reuse does not either.
	for range 4 {
		r := mustAllocate(t, f, 64<<10, Options{})
		f.Populate(r)
		f.DecRef(r)
	}
	f.IncRef(Range{}) // nothing
	for name, fn := range map[string]func(){
		"free page": func() { f.DecRef(r) },
		"too long":  func() { a := mustAllocate(t, f, pageSize, Options{}); f.IncRef(Range{a.Start, a.End + pageSize}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn()
		}()
		f.mu.TryLock() // what panicked had it
		f.mu.Unlock()
	}
}

// TestHost checks what the host holds: nothing that is not touched, and little
// that is free.
func TestHost(t *testing.T) {
	f := newFile(t, Config{})
	big := mustAllocate(t, f, 64<<20, Options{})
	if big.Start%hugeSize != 0 {
		t.Errorf("a large range at %#x", big.Start)
	}
	if n := usage(t, f); n != 0 {
		t.Errorf("untouched memory takes %d bytes", n)
	}
	b := f.Bytes(big)
	for i := 0; i < len(b); i += pageSize {
		b[i] = 1
	}
	if n := usage(t, f); n != 64<<20 {
		t.Errorf("touched memory takes %d bytes", n)
	}
	mid := Range{big.Start + 8<<20, big.Start + 16<<20}
	f.IncRef(mid)
	f.DecRef(big)
	if n := usage(t, f); n != 8<<20 {
		t.Errorf("%d bytes are with the host, want 8 MiB", n)
	}
	if b := f.Bytes(mid); b[0] != 1 || b[len(b)-pageSize] != 1 {
		t.Error("what is referenced still has changed")
	}
	f.DecRef(mid)

	// Small ranges are kept for reuse, but not too much of them.
	var small []Range
	for range 3 * maxDirty / (16 << 10) {
		r := mustAllocate(t, f, 16<<10, Options{})
		for i := 0; i < 16<<10; i += pageSize {
			f.Bytes(r)[i] = 1
		}
		small = append(small, r)
	}
	rand.Shuffle(len(small), func(i, j int) { small[i], small[j] = small[j], small[i] })
	for _, r := range small {
		f.DecRef(r)
	}
	if n := usage(t, f); n == 0 || n > maxDirty {
		t.Errorf("%d bytes are with the host, want some, at most %d", n, maxDirty)
	}
	f.Trim()
	if n := usage(t, f); n != 0 {
		t.Errorf("%d bytes are with the host after Trim", n)
	}
}

// TestReuse checks that no process sees what another left behind.
func TestReuse(t *testing.T) {
	f := newFile(t, Config{})
	for range 200 {
		n := (1 + rand.Uint64N(smallSize/pageSize)) * pageSize
		r := mustAllocate(t, f, n, Options{})
		for i, x := range f.Bytes(r) {
			if x != 0 {
				t.Fatalf("byte %d of %v is %d", i, r, x)
			}
			f.Bytes(r)[i] = 0xAA
		}
		f.DecRef(r)
	}
	if f.dirtyLen == 0 {
		t.Error("nothing was kept for reuse")
	}
	// When there is no room, what is kept is used for large ranges too.
	f = newFile(t, Config{Size: 1 << 20})
	var all []Range
	for range 16 {
		all = append(all, mustAllocate(t, f, 64<<10, Options{}))
	}
	for _, r := range all {
		f.Bytes(r)[0] = 1
		f.DecRef(r)
	}
	if r := mustAllocate(t, f, 1<<20, Options{}); bytes.Count(f.Bytes(r), []byte{0}) != 1<<20 {
		t.Error("kept memory is not zero")
	}
}

func TestZeroAndResident(t *testing.T) {
	f := newFile(t, Config{})
	r := mustAllocate(t, f, 600*pageSize, Options{})
	for i := 0; i < 600; i += 2 {
		f.Bytes(r)[i*pageSize] = 7
	}
	out := make([]byte, 600)
	if n := f.Resident(r, out); n != 300*pageSize {
		t.Errorf("%d bytes are resident", n)
	}
	for i, x := range out {
		if x != byte(1-i%2) {
			t.Fatalf("page %d: %d", i, x)
		}
	}
	f.Zero(Range{r.Start, r.Start + 300*pageSize})
	if n := f.Resident(r, nil); n != 150*pageSize {
		t.Errorf("%d bytes are resident after Zero", n)
	}
	if b := f.Bytes(r); b[0] != 0 || b[300*pageSize] != 7 {
		t.Error("Zero took the wrong half")
	}
	f.Populate(r)
	if n := f.Resident(r, nil); n != 600*pageSize {
		t.Errorf("%d bytes are resident after Populate", n)
	}
	if b := f.Bytes(r); b[300*pageSize] != 7 {
		t.Error("Populate changed something")
	}
}

// TestConcurrent has goroutines that give ranges to each other.
func TestConcurrent(t *testing.T) {
	f := newFile(t, Config{Size: 1 << 30})
	ch := make(chan Range, 64)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 1000 {
				r, err := f.Allocate(uint64(1+i)*4*pageSize, Options{})
				if err != nil {
					t.Error(err)
					return
				}
				if b := f.Bytes(r); b[0] != 0 || b[len(b)-1] != 0 {
					t.Error("memory is not zero")
				}
				f.Bytes(r)[0] = 1
				half := Range{r.Start, r.Start + r.Length()/2}
				f.IncRef(half)
				select {
				case ch <- half:
				default:
					f.DecRef(half)
				}
				f.DecRef(r)
				select {
				case h := <-ch:
					if f.Bytes(h)[0] != 1 {
						t.Error("memory changed while it was referenced")
					}
					f.DecRef(h)
				default:
				}
			}
		})
	}
	wg.Wait()
	close(ch)
	for h := range ch {
		f.DecRef(h)
	}
	if n := f.Allocated(); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestAllocations counts Go allocations of what every fault does.
func TestAllocations(t *testing.T) {
	f := newFile(t, Config{})
	r := mustAllocate(t, f, 2<<20, Options{})
	mid := Range{r.Start + 64<<10, r.Start + 128<<10}
	for name, fn := range map[string]func(){
		"IncRef and DecRef": func() { f.IncRef(mid); f.DecRef(mid) },
		"Shared":            func() { f.Shared(r) },
		"Refs":              func() { f.Refs(r) },
		"Allocate and DecRef": func() {
			r, _ := f.Allocate(16<<10, Options{Overwrite: true})
			f.DecRef(r)
		},
		"Resident": func() { f.Resident(mid, nil) },
	} {
		if n := testing.AllocsPerRun(200, fn); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkAllocate(b *testing.B) {
	for _, n := range []uint64{pageSize, 16 << 10, 2 << 20} {
		b.Run(strconv.FormatUint(n>>10, 10)+"K", func(b *testing.B) {
			f := newFile(b, Config{})
			for b.Loop() {
				r, _ := f.Allocate(n, Options{Overwrite: true})
				f.DecRef(r)
			}
		})
	}
}

// BenchmarkIncRef counts up and down in the middle of many ranges.
func BenchmarkIncRef(b *testing.B) {
	for _, runs := range []int{10, 1000, 100_000} {
		b.Run(strconv.Itoa(runs), func(b *testing.B) {
			f := newFile(b, Config{})
			r := mustAllocate(b, f, uint64(2*runs)*pageSize, Options{})
			for i := range uint64(runs) {
				f.IncRef(Range{r.Start + 2*i*pageSize, r.Start + (2*i+1)*pageSize})
			}
			mid := Range{r.Start + uint64(runs)*pageSize, r.Start + uint64(runs+4)*pageSize}
			for b.Loop() {
				f.IncRef(mid)
				f.DecRef(mid)
			}
		})
	}
}
