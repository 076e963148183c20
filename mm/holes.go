package mm

import (
	"gvisor.dev/gvisor/pkg/hostarch"
)

const (
	// minStackRoom is the least that is left free above the mmap base for the
	// stack to grow (MIN_GAP), and stackSpread how far down from the top of the
	// address space the loader may put it.
	minStackRoom = 128 << 20
	stackSpread  = 16<<30 + 32<<20
	// baseRandom is how many pages the base is moved at random (mmap_rnd_bits).
	baseRandom = 1 << 28
)

// mmapBase says where mappings go, from there down: below all that the stack may
// come to take (mmap_base). stackLimit is RLIMIT_STACK.
func mmapBase(top hostarch.Addr, stackLimit, random uint64) hostarch.Addr {
	most := uint64(top) / 6 * 5
	room := min(max(min(stackLimit, most)+stackGuard, minStackRoom)+stackSpread, most)
	room += random % baseRandom * pageSize % (uint64(top) / 8)
	return (top - hostarch.Addr(room)) &^ pageMask
}

// holes remembers where room was found last, so that a search need not begin at
// the base each time: every hole between top and base is at most largest bytes
// long.
type holes struct {
	base    hostarch.Addr
	top     hostarch.Addr
	largest uint64
}

func (h *holes) setBase(base hostarch.Addr) { *h = holes{base: base, top: base} }

// opened says that there is a hole now.
func (h *holes) opened(lo, hi hostarch.Addr) {
	switch {
	case lo >= h.base:
	case lo < h.top:
		h.top = min(max(h.top, hi), h.base)
	case hi > lo:
		h.largest = max(h.largest, uint64(hi-lo))
	}
}

// vacant finds the highest place for length bytes below the base, or else below
// the end of the address space.
func (s *Space) vacant(length uint64) (hostarch.Addr, bool) {
	h := &s.holes
	if length <= h.largest {
		h.top, h.largest = h.base, 0
	}
	addr, skipped, ok := s.below(h.top, length)
	if ok {
		h.top, h.largest = addr+hostarch.Addr(length), max(h.largest, skipped)
		return addr, true
	}
	addr, _, ok = s.below(s.cfg.Max, length)
	return addr, ok
}

// MAP_32BIT is for what lies between these addresses.
const lowStart, lowEnd hostarch.Addr = 1 << 30, 1 << 31

// vacantLow finds the lowest place for length bytes there.
func (s *Space) vacantLow(length uint64) (hostarch.Addr, bool) {
	end := min(lowEnd, s.cfg.Max)
	for at := max(lowStart, s.cfg.Min); at < end && length <= uint64(end-at); {
		a := s.next(at)
		if a == nil || at+hostarch.Addr(length) <= guarded(a) {
			return at, true
		}
		at = a.end
	}
	return 0, false
}

// below finds the highest hole of a length that ends at or below top. skipped is
// the largest one that was too small.
func (s *Space) below(top hostarch.Addr, length uint64) (found hostarch.Addr, skipped uint64, ok bool) {
	hi := top
	if a := s.next(top - 1); a != nil {
		hi = min(hi, guarded(a))
	}
	s.areas.down(top-1, func(a *area) bool {
		if a.end <= hi {
			if uint64(hi-a.end) >= length {
				return false
			}
			skipped = max(skipped, uint64(hi-a.end))
		}
		hi = guarded(a)
		return true
	})
	if uint64(hi) < uint64(s.cfg.Min)+length {
		return 0, skipped, false
	}
	return hi - hostarch.Addr(length), skipped, true
}

// guarded is where the room that an area claims begins.
func guarded(a *area) hostarch.Addr {
	if a.growsDown && a.start > stackGuard {
		return a.start - stackGuard
	}
	return a.start
}

// free reports whether nothing is mapped in [start, end), and nothing will be
// by a stack that grows.
func (s *Space) free(start, end hostarch.Addr) bool {
	a := s.next(start)
	return a == nil || end <= guarded(a)
}

// holeAt tells holes of the hole around addr, where nothing is mapped.
func (s *Space) holeAt(addr hostarch.Addr) {
	lo, hi := s.cfg.Min, s.cfg.Max
	if a := s.areas.floor(addr); a != nil {
		lo = a.end
	}
	if a := s.areas.ceil(addr); a != nil {
		hi = guarded(a)
	}
	s.holes.opened(lo, hi)
}
