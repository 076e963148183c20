package mm

import (
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// Fault makes the access at addr possible, or says which signal it is. The
// zero AccessType means that the platform cannot tell what was tried: where
// the guest was given read access already it was a write; elsewhere a read is
// assumed, and if it was a write after all, the next fault will tell.
func (s *Space) Fault(addr hostarch.Addr, at hostarch.AccessType) error {
	s.faults.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(addr)
	if a == nil {
		if a = s.grow(addr); a == nil {
			return errMap
		}
	}
	if !a.prot.Any() || at.Write && !a.prot.Write || at.Execute && !a.prot.Execute || at.Read && !a.prot.Read && !a.prot.Write {
		return errAcc
	}
	unknown := !at.Any()
	if unknown {
		if e := s.extentAt(addr); e != nil && e.given.Any() {
			if !a.prot.Write {
				// Either a write that is not allowed, or a read that raced with
				// another thread whose change is not in force yet. The second
				// time it is the first.
				if s.cfg.Mapper.Contexts() > 1 && s.lastFault != addr {
					s.lastFault = addr
					s.install(a, e, e.given)
					return nil
				}
				return errAcc
			}
			at = hostarch.Write
		} else {
			at = hostarch.Read
		}
	}
	s.lastFault = 0
	_, err := s.resolve(a, addr, at)
	return err
}

// resolve returns an extent that holds addr, with the access given to the guest
// side. The area allows it.
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
	if !at.Write {
		if !e.given.Any() {
			s.install(a, e, s.readAccess(a, e))
		}
		return e, nil
	}
	if e.given.Write {
		return e, nil
	}
	if a.shared {
		// The pager gave the page for reading: tell it of the write.
		if a.pager != nil {
			r, err := a.pager.Page(a.offsetOf(addr), pageSize, true)
			if err != nil {
				return nil, errBus
			}
			return s.replace(a, addr, addr+pageSize, r, false), nil
		}
		s.install(a, e, a.prot)
		return e, nil
	}
	return s.own(a, e, addr)
}

// readAccess is what may be given for an extent without a write fault.
func (s *Space) readAccess(a *area, e *extent) hostarch.AccessType {
	at := a.prot
	if !a.shared || !e.given.Write {
		at.Write = false
	}
	return at
}

// install gives the guest side access to e.
func (s *Space) install(a *area, e *extent, at hostarch.AccessType) {
	e.given = at
	s.cfg.Mapper.Map(e.start, uint64(e.end-e.start), e.off, guestAccess(at))
}

// guestAccess is what the processor can express: no write or execute without
// read.
func guestAccess(at hostarch.AccessType) hostarch.AccessType {
	if at.Write || at.Execute {
		at.Read = true
	}
	return at
}

// gap returns the hole between extents around addr, cut to the area.
func (s *Space) gap(a *area, addr hostarch.Addr) (lo, hi hostarch.Addr) {
	lo, hi = a.start, a.end
	s.extents.DescendLessOrEqual(&extent{start: addr}, func(e *extent) bool {
		lo = max(lo, e.end)
		return false
	})
	s.extents.AscendGreaterOrEqual(&extent{start: addr}, func(e *extent) bool {
		hi = min(hi, e.start)
		return false
	})
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
	s.extents.ReplaceOrInsert(e)
	s.install(a, e, a.prot)
	return e, nil
}

// fillPager puts pages of a file around addr.
func (s *Space) fillPager(a *area, addr hostarch.Addr, write bool) (*extent, error) {
	_, hi := s.gap(a, addr)
	hi = min(hi, addr+fileChunk)
	lo, _ := s.gap(a, addr)
	// Around: from the chunk's beginning, so that code behind addr is there as
	// well.
	if start := max(lo, addr&^(fileChunk-1)); start < addr && !write {
		if e := s.fillFrom(a, start, addr+pageSize, hi, false); e != nil && addr < e.end {
			return e, nil
		}
	}
	lo, _ = s.gap(a, addr)
	r, err := a.pager.Page(a.offsetOf(addr), uint64(hi-addr), write && a.shared)
	if err != nil {
		return nil, errBus
	}
	return s.addPages(a, addr, r, write), nil
}

// fillFrom fills from start on, if the pager gives at least up to need.
func (s *Space) fillFrom(a *area, start, need, hi hostarch.Addr, write bool) *extent {
	r, err := a.pager.Page(a.offsetOf(start), uint64(hi-start), write)
	if err != nil {
		return nil
	}
	if start+hostarch.Addr(r.Length()) < need {
		s.cfg.File.DecRef(r)
		return nil
	}
	return s.addPages(a, start, r, write)
}

func (s *Space) addPages(a *area, start hostarch.Addr, r memfile.Range, write bool) *extent {
	e := &extent{start: start, end: start + hostarch.Addr(r.Length()), off: r.Start}
	s.extents.ReplaceOrInsert(e)
	at := a.prot
	if !a.shared || !write {
		at.Write = false
	}
	s.install(a, e, at)
	return e
}

// own makes the pages around addr this Space's own, to be written.
func (s *Space) own(a *area, e *extent, addr hostarch.Addr) (*extent, error) {
	if e.owned {
		n, shared := s.cfg.File.Shared(e.rangeOf(addr, e.end))
		if !shared {
			// Everything that is ours alone from here on.
			end := addr + hostarch.Addr(n)
			start := addr
			if back, sh := s.cfg.File.Shared(e.rangeOf(e.start, e.end)); !sh && e.start+hostarch.Addr(back) >= end {
				start, end = e.start, e.start+hostarch.Addr(back)
			}
			s.splitExtent(start)
			s.splitExtent(end)
			e = s.extentAt(addr)
			s.install(a, e, a.prot)
			return e, nil
		}
	}
	start := max(e.start, a.start, addr&^(copyBlock-1))
	end := min(e.end, a.end, addr&^(copyBlock-1)+copyBlock)
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
	for _, old := range s.extentsIn(start, end) {
		s.extents.Delete(old)
		defer s.drop(old.rangeOf(old.start, old.end))
	}
	s.last.Store(nil)
	e := &extent{start: start, end: end, off: r.Start, owned: owned}
	s.extents.ReplaceOrInsert(e)
	s.install(a, e, a.prot)
	return e
}

// grow extends the stack area above addr down to it, if there is one
// (expand_downwards).
func (s *Space) grow(addr hostarch.Addr) *area {
	page := addr &^ pageMask
	if page < s.cfg.Min {
		return nil
	}
	a := s.next(addr)
	if a == nil || !a.growsDown || a.start <= addr {
		return nil
	}
	more := uint64(a.start - page)
	if a.length()+more > s.limit(rlimitStack) || s.virtual+more > s.limit(rlimitAS) {
		return nil
	}
	if page >= stackGuard {
		if b := s.next(page - stackGuard); b != nil && b != a && b.prot.Any() && !b.growsDown {
			return nil
		}
	}
	s.areas.Delete(a)
	a.start = page
	s.areas.ReplaceOrInsert(a)
	s.virtual += more
	return a
}
