package mm

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// storm runs guest threads of one process, which all work at the same time until
// it is stopped.
type storm struct {
	t    *testing.T
	s    *Space
	g    *guest
	stop atomic.Bool
	wg   sync.WaitGroup
}

func (x *storm) run(fn func(round uint64)) {
	x.wg.Go(func() {
		for round := uint64(1); !x.stop.Load() && !x.t.Failed(); round++ {
			fn(round)
		}
	})
}

func (x *storm) wait() {
	time.Sleep(300 * time.Millisecond)
	x.stop.Store(true)
	x.wg.Wait()
}

// TestStorm has threads that count in words of their own, which lie together in
// pages, in all the ways there are to write, while the process forks, changes its
// mappings, and files are truncated. No count is ever lost, in the process or in
// what its children see.
func TestStorm(t *testing.T) {
	for _, knows := range []bool{false, true} {
		mem := newMemory(t)
		s, g := newTestSpace(t, mem)
		g.knows = knows
		x := &storm{t: t, s: s, g: g}
		const pages = 24
		mapAt(t, s, testAddr, pages, MmapOptions{})
		slot := func(thread int, round uint64) hostarch.Addr {
			return testAddr + hostarch.Addr(round%pages)*pageSize + hostarch.Addr(thread)*8
		}
		// Each way to write is given the word to be written to, and what it must
		// hold before.
		var threads []int
		counter := func(write func(st *FaultState, at hostarch.Addr, was, v uint64)) {
			thread := len(threads)
			threads = append(threads, thread)
			var st FaultState
			var counts [pages]uint64
			x.run(func(round uint64) {
				c := &counts[round%pages]
				write(&st, slot(thread, round), *c, *c+1)
				*c++
			})
		}
		guestWrite := func(st *FaultState, at hostarch.Addr, was, v uint64) {
			err := g.access(s, at, hostarch.Write, st, func(page []byte) {
				b := page[at&pageMask:]
				if got := binary.LittleEndian.Uint64(b); got != was {
					t.Errorf("the guest finds %d, want %d", got, was)
				}
				binary.LittleEndian.PutUint64(b, v)
			})
			if err != nil {
				t.Error(err)
			}
		}
		counter(guestWrite)
		counter(guestWrite)
		counter(func(_ *FaultState, at hostarch.Addr, was, v uint64) {
			var b [8]byte
			if _, err := s.CopyIn(at, b[:]); err != nil || binary.LittleEndian.Uint64(b[:]) != was {
				t.Errorf("copied in: %d, %v, want %d", binary.LittleEndian.Uint64(b[:]), err, was)
			}
			binary.LittleEndian.PutUint64(b[:], v)
			if _, err := s.CopyOut(at, b[:]); err != nil {
				t.Error(err)
			}
		})
		counter(func(_ *FaultState, at hostarch.Addr, was, v uint64) {
			p, err := s.Pin(at, 8, true)
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Unpin()
			if got := binary.LittleEndian.Uint64(p.Blocks[0]); got != was {
				t.Errorf("pinned: %d, want %d", got, was)
			}
			if v%4 == 0 {
				time.Sleep(time.Microsecond)
			}
			binary.LittleEndian.PutUint64(p.Blocks[0], v)
		})
		counter(func(_ *FaultState, at hostarch.Addr, was, v uint64) {
			if got, err := s.SwapUint32(at, uint32(v)); got != uint32(was) || err != nil {
				t.Errorf("swapped: %d, %v, want %d", got, err, was)
			}
		})
		var forks atomic.Int32
		x.run(func(round uint64) {
			c := newGuest(t, mem)
			child, err := s.Fork(ForkOptions{Mapper: c, Hint: testAddr + 5*pageSize, Flush: g.flush})
			if err != nil {
				t.Error(err)
				return
			}
			forks.Add(1)
			// Twice the same, whatever the parent does.
			var seen [pages][8]uint64
			for again := range 2 {
				for p := range pages {
					for thread := range threads {
						v, err := c.load(child, slot(thread, uint64(p)))
						if err != nil || again == 1 && v != seen[p][thread] {
							t.Errorf("the child finds %d, %v, and before %d", v, err, seen[p][thread])
						}
						seen[p][thread] = v
					}
				}
				if again == 0 {
					if err := c.store(child, slot(7, round), round); err != nil {
						t.Error(err)
					}
				}
			}
			c.checkMemory(t)
			child.DecUsers()
		})
		x.churn()
		for forks.Load() < 3 && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		x.wait()
		g.check(t, s)
		s.Munmap(testMin, testMax-testMin)
		g.flush()
	}
}

// churn maps, changes and unmaps elsewhere.
func (x *storm) churn() {
	t, s, g := x.t, x.s, x.g
	const at = testAddr + 1<<24
	f := newTestFile(t, g.mem, 16)
	t.Cleanup(func() { f.close(t) })
	x.run(func(round uint64) {
		o := MmapOptions{Shared: round%3 == 0}
		if round%2 == 0 {
			o.Pager, o.File = f, f
		}
		mapAt(t, s, at, 16, o)
		s.CopyOut(at+hostarch.Addr(round%16)*pageSize-4, make([]byte, 16))
		s.Mprotect(at+4*pageSize, 4*pageSize, hostarch.Read, false)
		s.Mremap(at, 8*pageSize, 12*pageSize, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, at+64*pageSize)
		g.flush()
		s.Munmap(at+64*pageSize, 12*pageSize)
	})
	var st FaultState
	x.run(func(round uint64) {
		// Whether it succeeds depends.
		g.access(s, at+hostarch.Addr(round%80)*pageSize, hostarch.Write, &st, func(page []byte) { page[8] = 1 })
	})
	x.run(func(round uint64) {
		f.resize(int(round % 17))
		s.Madvise(at, 80*pageSize, unix.MADV_DONTNEED)
		s.Areas()
		s.Sizes()
		s.Pages(at, at+80*pageSize)
		s.Mincore(at, make([]byte, 16))
	})
}

// TestReleaseRace accesses a space that is just being released.
func TestReleaseRace(t *testing.T) {
	mem := newMemory(t)
	for range 200 {
		g := newGuest(t, mem)
		s := NewSpace(Config{File: mem, Mapper: g, Min: testMin, Max: testMax})
		mapAt(t, s, testAddr, 8, MmapOptions{})
		mapAt(t, s, testAddr+8*pageSize, 8, MmapOptions{Shared: true})
		var wg sync.WaitGroup
		wg.Go(func() {
			p, err := s.Pin(testAddr, 16*pageSize, true)
			if err != nil {
				return
			}
			for _, b := range p.Blocks {
				b[0] = 1
			}
			p.Unpin()
		})
		wg.Go(func() {
			s.CopyOut(testAddr, make([]byte, 16*pageSize))
			s.Peek(testAddr, make([]byte, 8))
			s.Areas()
			s.Resident()
		})
		s.DecUsers()
		wg.Wait()
		if _, err := s.Mmap(MmapOptions{Length: pageSize, Prot: hostarch.ReadWrite}); err != unix.ENOMEM {
			t.Fatalf("mmap in a released space: %v", err)
		}
		if n := mem.Allocated(); n != 0 {
			t.Fatalf("%d bytes are left", n)
		}
	}
}
