package mm

import (
	"sync"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// Iovec is a range of guest memory (struct iovec).
type Iovec struct {
	Addr hostarch.Addr
	Len  uint64
}

// Pinned is guest memory that is held: Blocks alias it until Unpin, whatever the
// guest does meanwhile. What the guest unmapped is written to in vain.
type Pinned struct {
	Blocks [][]byte

	space  *Space
	write  bool
	age    uint8 // index into pinner.count
	slot   int   // index into pinner.active
	ranges []memfile.Range
	first  [4][]byte
	places [4]memfile.Range
}

// Length returns how many bytes Blocks have.
func (p *Pinned) Length() (n uint64) {
	for _, b := range p.Blocks {
		n += uint64(len(b))
	}
	return n
}

// pinner knows the pins of a Space, and keeps memory that was taken away until
// those are done that may look at it.
//
// Pins have one of two ages. Memory that is given back is put to the present
// age, and other pins begin with the other age from then on, if it has no pins
// any more: so the present age comes to its end, and its memory is free. Memory
// waits for the pins that were there before it, but never for those that come
// after.
type pinner struct {
	mu       sync.Mutex
	now      uint8 // the present age: 0 or 1
	count    [2]int
	deferred [2][]memfile.Range // empty where there are no pins
	active   []*Pinned          // in no order
	spare    []*Pinned          // for reuse
}

// holdsBack takes r over if there are pins; otherwise the caller gives r back.
func (p *pinner) holdsBack(r memfile.Range) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[0]+p.count[1] == 0 {
		return false
	}
	p.deferred[p.now] = append(p.deferred[p.now], r)
	if p.count[1-p.now] == 0 {
		p.now = 1 - p.now
	}
	return true
}

// settle returns the memory that no pin looks at any more.
func (p *pinner) settle() (free []memfile.Range) {
	for {
		old := 1 - p.now
		if p.count[old] != 0 {
			return free
		}
		if free == nil {
			free = p.deferred[old]
		} else {
			free = append(free, p.deferred[old]...)
		}
		p.deferred[old] = nil
		if len(p.deferred[p.now]) == 0 {
			return free
		}
		p.now = old
	}
}

// begin starts a pin.
func (p *pinner) begin(s *Space, write bool) *Pinned {
	p.mu.Lock()
	defer p.mu.Unlock()
	var x *Pinned
	if n := len(p.spare); n > 0 {
		x, p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		x = new(Pinned)
		x.Blocks, x.ranges = x.first[:0], x.places[:0]
	}
	x.space, x.write, x.age, x.slot = s, write, p.now, len(p.active)
	p.count[p.now]++
	p.active = append(p.active, x)
	return x
}

// end ends a pin, and returns memory to give back.
func (p *pinner) end(x *Pinned) (free []memfile.Range) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.active) - 1
	p.active[x.slot] = p.active[last]
	p.active[x.slot].slot = x.slot
	p.active = p.active[:last]
	p.count[x.age]--
	free = p.settle()
	clear(x.Blocks)
	x.Blocks, x.ranges, x.space = x.Blocks[:0], x.ranges[:0], nil
	if cap(x.Blocks) <= 64 && len(p.spare) < 8 {
		p.spare = append(p.spare, x)
	}
	return free
}

// written appends the memory that is pinned to be written.
func (p *pinner) written(out []memfile.Range) []memfile.Range {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.active {
		if x.write {
			out = append(out, x.ranges...)
		}
	}
	return out
}

// Pin holds [addr, addr+n) for the sentry to read from or, with write, to write
// to. It stops at the first bad page; EFAULT if that is the first of all.
func (s *Space) Pin(addr hostarch.Addr, n uint64, write bool) (*Pinned, error) {
	vec := [1]Iovec{{addr, n}}
	return s.PinVec(vec[:], write)
}

// PinVec is Pin for several ranges in order. Without any bytes in them there is
// nothing pinned and no error.
func (s *Space) PinVec(vec []Iovec, write bool) (*Pinned, error) {
	p := s.pins.begin(s, write)
	for _, v := range vec {
		w := s.walk(v.Addr, v.Len, access{write: write})
		for w.next() {
			p.Blocks = append(p.Blocks, w.b)
			if write {
				s.pins.add(p, w.place)
			}
		}
		if _, err := w.end(); err != nil {
			if len(p.Blocks) == 0 {
				p.Unpin()
				return nil, err
			}
			break
		}
	}
	return p, nil
}

// add says what p pins. The Space's lock is held, so that a fork sees it.
func (p *pinner) add(x *Pinned, r memfile.Range) {
	p.mu.Lock()
	x.ranges = append(x.ranges, r)
	p.mu.Unlock()
}

// Unpin lets go. p and its Blocks must not be used after it.
func (p *Pinned) Unpin() {
	s := p.space
	for _, r := range s.pins.end(p) {
		s.cfg.File.DecRef(r)
	}
}
