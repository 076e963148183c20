package mm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// FaultState is what a guest thread's faults were about so far. The zero value
// is a thread's that had none. It belongs to the thread's goroutine.
type FaultState struct {
	space *Space
	// seen is Space.changes at the last fault: what was changed until then was
	// in force when the thread ran on.
	seen uint64
}

// Fault makes the access at addr possible, or says which signal it is. The
// zero AccessType means that the platform cannot tell what was tried: where
// the guest was given read access already it was a write; elsewhere a read is
// assumed, and if it was a write after all, the next fault will tell.
//
// st is the state of the faulting thread.
func (s *Space) Fault(addr hostarch.Addr, at hostarch.AccessType, st *FaultState) error {
	s.faults.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.space != s {
		*st = FaultState{space: s}
	}
	err := s.fault(addr, at, st.seen)
	st.seen = s.changes
	return err
}

func (s *Space) fault(addr hostarch.Addr, at hostarch.AccessType, seen uint64) error {
	a := s.find(addr)
	if a == nil {
		if a = s.grow(addr); a == nil {
			return errMap
		}
	}
	if can := guestAccess(a.prot); !can.Read || at.Write && !can.Write || at.Execute && !can.Execute {
		return errAcc
	}
	if e := s.extentAt(addr); e != nil && e.given.Any() {
		switch {
		case at.Write && !e.given.Write:
		case !at.Any() && a.prot.Write && !e.given.Write:
			at = hostarch.Write
		case e.change > seen:
			// The access was given already: to another thread that faulted here
			// at the same time, or by the sentry. Let the thread try again.
			return nil
		case a.prot.Write && !e.given.Write:
			// It was given before the thread ran, which failed all the same: an
			// instruction that writes to itself, and was taken for a jump there.
			at = hostarch.Write
		default:
			return errAcc
		}
	} else if !at.Any() {
		at = hostarch.Read
		if a.pager != nil && !a.shared && a.prot.Write && a.length() <= fileChunk {
			// Data of a program: what is looked at first is written soon, and
			// copying costs less than a second fault. A large file is not copied
			// for being read.
			at = hostarch.Write
		}
	}
	_, err := s.resolve(a, addr, at)
	return err
}

// resolve returns an extent that holds addr, with the access given to the guest
// side. The area allows it. A FaultError otherwise.
func (s *Space) resolve(a *area, addr hostarch.Addr, at hostarch.AccessType) (*extent, error) {
	addr &^= pageMask
	e := s.extentAt(addr)
	if e == nil {
		var err error
		if a.pager == nil {
			e, err = s.fillAnonymous(a, addr)
		} else {
			e, err = s.fillPager(a, addr, at.Write)
		}
		if err != nil || !at.Write || e.given.Write {
			return e, err
		}
	}
	switch {
	case !at.Write:
		if !e.given.Any() {
			s.install(e, withoutWrite(a.prot))
		}
		return e, nil
	case e.given.Write:
		return e, nil
	case !a.shared:
		return s.own(a, e, addr)
	}
	// The pager gave the page for reading: tell it of the write.
	r, err := a.pager.Page(a.offsetOf(addr), uint64(e.end-addr), true)
	if err != nil {
		return nil, errBus
	}
	return s.replace(a, addr, addr+hostarch.Addr(r.Length()), r, false), nil
}

func withoutWrite(at hostarch.AccessType) hostarch.AccessType {
	at = guestAccess(at) // what may be written only can be read, for the processor
	at.Write = false
	return at
}

// gap returns the hole between extents around addr, cut to the area.
func (s *Space) gap(a *area, addr hostarch.Addr) (lo, hi hostarch.Addr) {
	lo, hi = a.start, a.end
	if e := s.extents.floor(addr); e != nil {
		lo = max(lo, e.end)
	}
	if e := s.extents.ceil(addr); e != nil {
		hi = min(hi, e.start)
	}
	return lo, hi
}

// fillAnonymous puts zeros around addr.
func (s *Space) fillAnonymous(a *area, addr hostarch.Addr) (*extent, error) {
	lo, hi := s.gap(a, addr)
	if hi-lo > anonChunk {
		start := addr &^ (anonChunk - 1)
		lo = max(lo, start)
		hi = min(hi, start+anonChunk)
	}
	r, err := s.cfg.File.Allocate(uint64(hi-lo), memfile.Options{})
	if err != nil {
		if r, err = s.cfg.File.Allocate(pageSize, memfile.Options{}); err != nil {
			return nil, errBus
		}
		lo, hi = addr, addr+pageSize
	}
	e := &extent{start: lo, end: hi, off: r.Start, owned: true}
	s.extents.put(lo, e)
	s.install(e, a.prot)
	return e, nil
}

// fillPager puts pages of a file around addr.
func (s *Space) fillPager(a *area, addr hostarch.Addr, write bool) (*extent, error) {
	lo, hi := s.gap(a, addr)
	hi = min(hi, addr+fileChunk)
	// Around: from the chunk's beginning, so that code behind addr is there as
	// well.
	if start := max(lo, addr&^(fileChunk-1)); start < addr && !write {
		r, err := a.pager.Page(a.offsetOf(start), uint64(hi-start), false)
		switch {
		case err != nil:
		case start+hostarch.Addr(r.Length()) > addr:
			return s.addPages(a, start, r, false), nil
		default:
			s.cfg.File.DecRef(r)
		}
	}
	r, err := a.pager.Page(a.offsetOf(addr), uint64(hi-addr), write && a.shared)
	if err != nil {
		return nil, errBus
	}
	return s.addPages(a, addr, r, write), nil
}

func (s *Space) addPages(a *area, start hostarch.Addr, r memfile.Range, write bool) *extent {
	e := &extent{start: start, end: start + hostarch.Addr(r.Length()), off: r.Start}
	s.extents.put(start, e)
	if a.shared && write {
		s.install(e, a.prot)
	} else {
		s.install(e, withoutWrite(a.prot))
	}
	return e
}

// copying says how much a copy-on-write fault copies: a block around the address at
// first, so that one fault serves for what lies close by; less where the faults of a
// Space turn out to be far apart, and more where each begins at the end of the last.
type copying struct {
	next  hostarch.Addr // where the last copy ended
	apart int           // faults in a row that were elsewhere
	run   int           // faults in a row that were there
}

const (
	apartFaults  = 8
	maxCopyBlock = 64 << 10
)

func (c *copying) size(addr hostarch.Addr) hostarch.Addr {
	if addr == c.next {
		c.run, c.apart = c.run+1, 0
		return min(hostarch.Addr(copyBlock)<<min(c.run, 2), maxCopyBlock)
	}
	c.run = 0
	if c.apart++; c.apart > apartFaults {
		return pageSize
	}
	return copyBlock
}

// own makes the pages around addr this Space's own, to be written.
func (s *Space) own(a *area, e *extent, addr hostarch.Addr) (*extent, error) {
	if e.owned {
		n, shared := s.cfg.File.Shared(e.rangeOf(addr, e.end))
		if !shared {
			// Everything that is ours alone from here on, or all of it.
			start, end := addr, addr+hostarch.Addr(n)
			if start > e.start {
				back, sh := s.cfg.File.Shared(e.all())
				if !sh && e.start+hostarch.Addr(back) >= end {
					start = e.start
				}
			}
			s.splitExtent(start)
			s.splitExtent(end)
			e = s.extentAt(addr)
			s.install(e, a.prot)
			return e, nil
		}
	}
	block := s.cow.size(addr)
	start := max(e.start, addr&^(block-1))
	end := min(e.end, addr&^(block-1)+block)
	s.cow.next = end
	r, err := s.cfg.File.Allocate(uint64(end-start), memfile.Options{Overwrite: true})
	if err != nil {
		start, end = addr, addr+pageSize
		if r, err = s.cfg.File.Allocate(pageSize, memfile.Options{Overwrite: true}); err != nil {
			return nil, errBus
		}
	}
	copy(s.cfg.File.Bytes(r), s.cfg.File.Bytes(e.rangeOf(start, end)))
	if e.owned {
		s.heat(addr &^ (copyBlock - 1))
	}
	return s.replace(a, start, end, r, true), nil
}

// replace puts r in the place of what is at [start, end), writable.
func (s *Space) replace(a *area, start, end hostarch.Addr, r memfile.Range, owned bool) *extent {
	var buf [4]*extent
	old := s.extentsIn(start, end, buf[:0])
	for _, x := range old {
		s.extents.remove(x.start)
	}
	s.last.Store(nil)
	e := &extent{start: start, end: end, off: r.Start, owned: owned}
	s.extents.put(start, e)
	s.install(e, a.prot)
	for _, x := range old {
		s.drop(x.all())
	}
	if l := s.extents.floor(start - 1); l != nil && l.start >= a.start {
		e = s.join(l, e)
	}
	if r := s.extents.ceil(end); r != nil && r.end <= a.end {
		s.join(e, r)
	}
	return e
}

// join makes one extent of two if they are alike and lie together, here and in the
// memory file, and returns what holds r then. A fork has fewer of them to copy.
func (s *Space) join(l, r *extent) *extent {
	if l.end != r.start || l.off+uint64(l.end-l.start) != r.off || l.given != r.given || l.owned != r.owned || r.end-l.start > anonChunk {
		return r
	}
	s.extents.remove(r.start)
	l.end, l.change = r.end, max(l.change, r.change)
	return l
}

// stackStep is how much a stack grows at once, if it may.
const stackStep = 64 << 10

// grow extends the stack area above addr down to it, if there is one and the
// limits allow it (expand_downwards).
func (s *Space) grow(addr hostarch.Addr) *area {
	page := addr &^ pageMask
	a := s.areas.ceil(addr)
	if a == nil || !a.growsDown || page < s.cfg.Min {
		return nil
	}
	lowest := s.cfg.Min
	if b := s.areas.floor(addr); b != nil {
		lowest = max(lowest, b.end)
		if b.prot.Any() && !b.growsDown {
			lowest = b.end + stackGuard
		}
	}
	if page < lowest || !s.mayGrowDown(a, uint64(a.start-page)) {
		return nil
	}
	if more := max(page&^(stackStep-1), lowest); s.mayGrowDown(a, uint64(a.start-more)) {
		page = more
	}
	s.account(a, uint64(a.start-page))
	s.areas.remove(a.start)
	a.start = page
	s.areas.put(page, a)
	s.mergeAreas(page, page)
	return s.find(addr)
}

// mayGrowDown checks the limits (acct_stack_growth).
func (s *Space) mayGrowDown(a *area, more uint64) bool {
	return a.length()+more <= s.limit(unix.RLIMIT_STACK) && s.mayGrow(a, more, 0) == nil &&
		(a.locked == notLocked || s.mayLock(more) == nil)
}
