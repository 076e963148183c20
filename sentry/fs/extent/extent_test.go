package extent

import (
	"math"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"runsc-lite/mm/memfile"
)

const page = 4096

// TestMap fills, cuts and looks at random, and compares with an array.
func TestMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const pages = 64
		var m Map
		var want [pages]uint64 // where each page is; 0: a hole
		next := uint64(page)   // in the memory file
		span := func() (uint64, uint64) {
			start := rapid.Uint64Range(0, pages-1).Draw(t, "start")
			return start, start + rapid.Uint64Range(1, pages-start).Draw(t, "length")
		}
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				start, end := span()
				for i := start; i < end; i++ {
					if want[i] != 0 {
						end = i
					}
				}
				if end <= start {
					return
				}
				// Sometimes next to what is before it or behind it.
				at := next
				n := (end - start) * page
				switch rapid.IntRange(0, 3).Draw(t, "place") {
				case 0:
					if start > 0 && want[start-1] != 0 {
						at = want[start-1] + page
					}
				case 1:
					if end < pages && want[end] > n {
						at = want[end] - n
					}
				}
				next += n + 10*pages*page
				m.Insert(start*page, memfile.Range{Start: at, End: at + n})
				for i := start; i < end; i++ {
					want[i] = at + (i-start)*page
				}
			},
			"cut": func(t *rapid.T) {
				start, end := span()
				limit := end * page
				if end == pages {
					limit = math.MaxUint64 &^ (page - 1)
				}
				var got []uint64
				prefix := []memfile.Range{{Start: 1, End: 2}}
				out := m.Cut(start*page, limit, prefix)
				if out[0] != prefix[0] {
					t.Fatal("Cut does not append")
				}
				for _, r := range out[1:] {
					for p := r.Start; p < r.End; p += page {
						got = append(got, p)
					}
				}
				var there []uint64
				for i := start; i < end; i++ {
					if want[i] != 0 {
						there = append(there, want[i])
					}
					want[i] = 0
				}
				if !slices.Equal(got, there) {
					t.Fatalf("cut %v, want %v", got, there)
				}
			},
			"": func(t *rapid.T) { checkMap(t, &m, want[:]) },
		})
	})
}

func checkMap(t *rapid.T, m *Map, want []uint64) {
	pages := uint64(len(want))
	if empty := !slices.ContainsFunc(want, func(p uint64) bool { return p != 0 }); m.Empty() != empty {
		t.Fatalf("empty: %v", m.Empty())
	}
	for i, s := range m.segs {
		if s.r.Length() == 0 || i > 0 && m.segs[i-1].end() > s.off {
			t.Fatalf("segments %+v", m.segs)
		}
		if i > 0 && m.segs[i-1].end() == s.off && m.segs[i-1].r.End == s.r.Start {
			t.Fatalf("segments that should be one: %+v", m.segs)
		}
	}
	for off := range pages {
		most := uint64(1+off%7) * page
		r, hole, data := m.At(off*page, most)
		if data != (want[off] != 0) {
			t.Fatalf("page %d: data %v", off, data)
		}
		end := off
		for end < pages && (want[end] != 0) == data && (!data || end == off || want[end] == want[end-1]+page) {
			end++
		}
		length := (end - off) * page
		switch {
		case data && (r.Start != want[off] || r.Length() != min(length, most)):
			t.Fatalf("page %d: %v, want %#x, %d bytes", off, r, want[off], min(length, most))
		case !data && end == pages && hole != most, !data && end < pages && hole != min(length, most):
			t.Fatalf("page %d: a hole of %d bytes", off, hole)
		}
		// One byte into the page: what is looked for begins there.
		for _, in := range []uint64{0, 1} {
			nextData, nextHole := off, off
			for nextData < pages && want[nextData] == 0 {
				nextData++
			}
			for nextHole < pages && want[nextHole] != 0 {
				nextHole++
			}
			d, ok := m.NextData(off*page + in)
			if wantD := max(nextData*page, off*page+in); ok != (nextData < pages) || ok && d != wantD {
				t.Fatalf("data from page %d on: %d, %v", off, d, ok)
			}
			if h, wantH := m.NextHole(off*page+in), max(nextHole*page, off*page+in); h != wantH {
				t.Fatalf("a hole from page %d on: %d, want %d", off, h, wantH)
			}
		}
	}
}

// mapper is an address space that writes down what is taken back.
type mapper struct {
	log  []uint64 // offsets, lengths
	call func()   // when it is called
}

func (m *mapper) Invalidate(p memfile.Pager, off, length uint64, private bool) {
	m.log = append(m.log, off, length)
	if private {
		m.log = append(m.log, 1)
	}
	if m.call != nil {
		m.call()
	}
}

func TestMappings(t *testing.T) {
	var l Mappings
	var a, b mapper
	l.Invalidate(nil, 0, page, true)
	l.Add(&a, 8*page, true)
	l.Add(&a, 2*page, false)
	l.Add(&b, page, false)
	if !l.Writable() {
		t.Error("it is mapped writable")
	}
	l.Invalidate(nil, page, 3*page, true)
	for name, m := range map[string]*mapper{"a": &a, "b": &b} {
		if !slices.Equal(m.log, []uint64{page, 2 * page, 1}) {
			t.Errorf("%s: %v", name, m.log)
		}
		m.log = nil
	}
	// In pieces, as they come.
	l.Remove(&a, 3*page, true)
	l.Remove(&a, 2*page, false)
	if !l.Writable() {
		t.Error("a part of it is mapped writable")
	}
	l.Remove(&a, 5*page, true)
	if l.Writable() {
		t.Error("it is mapped writable no more")
	}
	l.Invalidate(nil, 0, math.MaxUint64&^(page-1), false)
	if a.log != nil || !slices.Equal(b.log, []uint64{0, math.MaxUint64 &^ (page - 1)}) {
		t.Errorf("%v, %v", a.log, b.log)
	}
	l.Remove(&b, page, false)
	if len(l.mapped) != 0 || l.writable != 0 {
		t.Errorf("%+v", &l)
	}
}

// TestMappingsFork has a space that forks while its pages are taken back: the
// child is told too, and everybody once.
func TestMappingsFork(t *testing.T) {
	var l Mappings
	var parent, child, grandchild mapper
	parent.call = func() { l.Add(&child, page, true) }
	child.call = func() {
		l.Add(&grandchild, page, true)
		l.Remove(&parent, page, true)
	}
	l.Add(&parent, page, true)
	l.Invalidate(nil, 0, page, true)
	for name, m := range map[string]*mapper{"parent": &parent, "child": &child, "grandchild": &grandchild} {
		if len(m.log) != 3 {
			t.Errorf("the %s: %v", name, m.log)
		}
	}
}

func TestMappingsConcurrent(t *testing.T) {
	var l Mappings
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var m mapper
			for range 500 {
				l.Add(&m, page, true)
				l.Writable()
				l.Remove(&m, page, true)
			}
		})
	}
	wg.Wait()
	if len(l.mapped) != 0 || l.Writable() {
		t.Errorf("%+v", &l)
	}
}

func BenchmarkAt(b *testing.B) {
	for _, n := range []uint64{10, 100, 1000, 10_000} {
		b.Run("", func(b *testing.B) {
			var m Map
			for i := range n {
				m.Insert(2*i*page, memfile.Range{Start: 3 * i * page, End: (3*i + 1) * page})
			}
			for b.Loop() {
				m.At(n*page, page)
			}
		})
	}
}
