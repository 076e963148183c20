package mm

import (
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"pgregory.net/rapid"

	"runsc-lite/mm/memfile"
)

// TestPinAges pins, takes memory away and unpins at random: memory is free when,
// and only when, no pin is left that was there before it was taken away; or some
// time later, but not for longer than the pins that were there then.
func TestPinAges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pinner
		now := 0
		type pin struct {
			x     *Pinned
			since int
		}
		var pins []pin
		taken := map[memfile.Range]int{} // when
		t.Repeat(map[string]func(*rapid.T){
			"pin": func(t *rapid.T) {
				now++
				pins = append(pins, pin{p.begin(nil, false), now})
			},
			"take": func(t *rapid.T) {
				now++
				r := memfile.Range{Start: uint64(now), End: uint64(now) + 1}
				if p.holdsBack(r) != (len(pins) > 0) {
					t.Fatalf("with %d pins", len(pins))
				}
				if len(pins) > 0 {
					taken[r] = now
				}
			},
			"unpin": func(t *rapid.T) {
				if len(pins) == 0 {
					return
				}
				i := rapid.IntRange(0, len(pins)-1).Draw(t, "pin")
				free := p.end(pins[i].x)
				pins = append(pins[:i], pins[i+1:]...)
				for _, r := range free {
					at, ok := taken[r]
					if !ok {
						t.Fatalf("%v is free twice", r)
					}
					delete(taken, r)
					for _, x := range pins {
						if x.since < at {
							t.Fatalf("memory is free that a pin may look at")
						}
					}
				}
				if len(pins) == 0 && len(taken) > 0 {
					t.Fatalf("%d ranges are held back by nobody", len(taken))
				}
			},
			"": func(t *rapid.T) {
				if len(p.active) != len(pins) || p.count[0]+p.count[1] != len(pins) {
					t.Fatalf("%d pins, %v", len(pins), p.count)
				}
				for i, x := range p.active {
					if x.slot != i {
						t.Fatalf("pin %d is in slot %d", i, x.slot)
					}
				}
			},
		})
	})
}

// TestPinsOverlap checks that memory is given back although there is a pin at any
// time.
func TestPinsOverlap(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 1, MmapOptions{})
	last, err := s.Pin(testAddr, 8, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		mapAt(t, s, testAddr+pageSize, 4, MmapOptions{})
		mustStore(t, g, s, testAddr+pageSize, uint64(i))
		next, err := s.Pin(testAddr, 8, false)
		if err != nil {
			t.Fatal(err)
		}
		last.Unpin()
		last = next
	}
	if n := mem.Allocated(); n > 20*pageSize {
		t.Errorf("%d bytes are held back", n)
	}
	last.Unpin()
	if n := mem.Allocated(); n != 5*pageSize {
		t.Errorf("%d bytes are held back by nobody", n)
	}
}

func TestPin(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 4, MmapOptions{})
	mapAt(t, s, testAddr+4*pageSize, 1, MmapOptions{Prot: hostarch.Read})
	p, err := s.PinVec([]Iovec{{testAddr + 10, 20}, {testAddr, 0}, {1, 0}, {testAddr + pageSize - 4, 8}, {testAddr + 3*pageSize, 2 * pageSize}, {testAddr, 1}}, true)
	if err != nil {
		t.Fatal(err)
	}
	// It ends at the page that may not be written to.
	if p.Length() != 20+8+pageSize {
		t.Errorf("%d bytes", p.Length())
	}
	i := byte(0)
	for _, b := range p.Blocks {
		for j := range b {
			i++
			b[j] = i
		}
	}
	p.Unpin()
	var b [20]byte
	if _, err := s.CopyIn(testAddr+10, b[:]); err != nil || b[0] != 1 || b[19] != 20 {
		t.Errorf("%v, %v", b, err)
	}
	if _, err := s.CopyIn(testAddr+pageSize-4, b[:8]); err != nil || b[0] != 21 || b[7] != 28 {
		t.Errorf("%v, %v", b, err)
	}
	for _, vec := range [][]Iovec{nil, {{1, 0}}, {{testAddr, 0}, {noAddr, 0}}} {
		p, err := s.PinVec(vec, false)
		if err != nil || len(p.Blocks) != 0 {
			t.Errorf("%v: %v", vec, err)
			continue
		}
		p.Unpin()
	}
	for _, vec := range [][]Iovec{{{1, 1}}, {{testAddr, 0}, {testAddr - 1, 2}}, {{testAddr + 4*pageSize, 1}}} {
		if _, err := s.PinVec(vec, true); err != unix.EFAULT {
			t.Errorf("%v: %v", vec, err)
		}
	}
	if p, err = s.Pin(testAddr+4*pageSize, 100, false); err != nil || p.Length() != 100 {
		t.Errorf("%v", err)
	}
	p.Unpin()
	if len(s.pins.active) != 0 {
		t.Errorf("%d pins are left", len(s.pins.active))
	}
	g.check(t, s)
}

// TestPinFork is a read(2) that is under way while another thread forks: what it
// brings is the parent's, wherever the parent writes meanwhile.
func TestPinFork(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 8, MmapOptions{})
	mapAt(t, s, testAddr+8*pageSize, 2, MmapOptions{Shared: true})
	for i := range hostarch.Addr(10) {
		mustStore(t, g, s, testAddr+i*pageSize, uint64(i))
	}
	p, err := s.Pin(testAddr+2*pageSize, 8*pageSize, true)
	if err != nil {
		t.Fatal(err)
	}
	child, c := fork(t, s, g, ForkOptions{})
	mustStore(t, g, s, testAddr+2*pageSize+8, 55) // the same page, the same block
	mustStore(t, g, s, testAddr, 66)
	for _, b := range p.Blocks {
		for i := 0; i < len(b); i += pageSize {
			b[i] = 99
		}
	}
	p.Unpin()
	for i := range hostarch.Addr(10) {
		want, parent := uint64(i), uint64(99)
		switch {
		case i == 0:
			parent = 66
		case i == 1:
			parent = 1
		case i >= 8:
			want = 99
		}
		mustLoad(t, g, s, testAddr+i*pageSize, parent)
		mustLoad(t, c, child, testAddr+i*pageSize, want)
	}
	mustLoad(t, g, s, testAddr+2*pageSize+8, 55)
	g.check(t, s)
	c.check(t, child)
}

// TestPinUnmapped writes to pinned memory that the guest has unmapped.
func TestPinUnmapped(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 4, MmapOptions{})
	p, err := s.Pin(testAddr, 4*pageSize, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Munmap(testAddr, 4*pageSize)
	g.flush()
	mapAt(t, s, testAddr, 4, MmapOptions{})
	mustLoad(t, g, s, testAddr, 0)
	p.Blocks[0][0] = 1
	mustLoad(t, g, s, testAddr, 0)
	p.Unpin()
	if n := mem.Allocated(); n != 4*pageSize {
		t.Errorf("%d bytes are allocated", n)
	}
}
