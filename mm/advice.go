package mm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Madvise takes advice (madvise(2)). Advice about speed is accepted and has no
// effect; EINVAL for what is not known or does not fit the mapping, ENOMEM for
// holes (the rest is done).
func (s *Space) Madvise(addr hostarch.Addr, length uint64, advice int) error {
	end, err := s.span(addr, length)
	if err != nil {
		return unix.EINVAL
	}
	apply, ok := s.advice(advice)
	if !ok {
		return unix.EINVAL
	}
	if end == addr {
		return nil
	}
	if advice == unix.MADV_POPULATE_READ || advice == unix.MADV_POPULATE_WRITE {
		return s.populate(addr, uint64(end-addr), advice == unix.MADV_POPULATE_WRITE)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if apply == nil {
		if s.overlap(addr, end) != uint64(end-addr) {
			return unix.ENOMEM
		}
		return nil
	}
	defer s.mergeAreas(addr, end)
	at := addr
	hole := false
	for _, a := range s.cut(addr, end) {
		hole = hole || a.start != at
		at = a.end
		if err := apply(a); err != nil {
			return err
		}
	}
	if hole || at != end {
		return unix.ENOMEM
	}
	return nil
}

// advice returns what advice does to an area; nil: nothing.
func (s *Space) advice(advice int) (apply func(*area) error, known bool) {
	switch advice {
	case unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_WILLNEED,
		unix.MADV_COLD, unix.MADV_PAGEOUT, unix.MADV_DONTDUMP, unix.MADV_DODUMP,
		unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE, unix.MADV_POPULATE_READ, unix.MADV_POPULATE_WRITE:
		return nil, true
	case unix.MADV_DONTNEED:
		return func(a *area) error {
			if a.locked {
				return unix.EINVAL
			}
			s.discard(a.start, a.end)
			return nil
		}, true
	case unix.MADV_FREE:
		return func(a *area) error {
			if a.pager != nil || a.locked {
				return unix.EINVAL
			}
			s.discard(a.start, a.end)
			return nil
		}, true
	case unix.MADV_DONTFORK:
		return func(a *area) error { a.noFork = true; return nil }, true
	case unix.MADV_DOFORK:
		return func(a *area) error { a.noFork = false; return nil }, true
	case unix.MADV_WIPEONFORK:
		return func(a *area) error {
			if a.pager != nil || a.shared {
				return unix.EINVAL
			}
			a.wipeOnFork = true
			return nil
		}, true
	case unix.MADV_KEEPONFORK:
		return func(a *area) error { a.wipeOnFork = false; return nil }, true
	}
	return nil, false
}

// populate makes the pages of a range present, for reading or writing. ENOMEM
// for holes, EFAULT where the access is not allowed or has nothing behind it.
func (s *Space) populate(addr hostarch.Addr, length uint64, write bool) error {
	_, err := s.each(addr, length, access{write: write}, func([]byte) bool { return true })
	if err == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.overlap(addr, addr+hostarch.Addr(length)) != length {
		return unix.ENOMEM
	}
	return unix.EFAULT
}

// Msync writes a mapping back (msync(2)). Mapped files are the page cache
// itself, so that there is nothing to write; the arguments are checked.
func (s *Space) Msync(addr hostarch.Addr, length uint64, flags int) error {
	const known = unix.MS_ASYNC | unix.MS_SYNC | unix.MS_INVALIDATE
	if flags&^known != 0 || addr&pageMask != 0 || flags&unix.MS_ASYNC != 0 && flags&unix.MS_SYNC != 0 {
		return unix.EINVAL
	}
	end, err := s.span(addr, length)
	if err != nil {
		return unix.ENOMEM
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if flags&unix.MS_INVALIDATE != 0 {
		for _, a := range s.within(addr, end) {
			if a.locked {
				return unix.EBUSY
			}
		}
	}
	if s.overlap(addr, end) != uint64(end-addr) {
		return unix.ENOMEM
	}
	return nil
}

// Mincore tells for each page whether it is in memory (mincore(2)): 1 or 0.
// ENOMEM for holes.
func (s *Space) Mincore(addr hostarch.Addr, length uint64) ([]byte, error) {
	end, err := s.span(addr, length)
	if err != nil {
		return nil, unix.ENOMEM
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.overlap(addr, end) != uint64(end-addr) {
		return nil, unix.ENOMEM
	}
	out := make([]byte, uint64(end-addr)/pageSize)
	s.ascendExtents(addr, end, func(e *extent) {
		lo, hi := max(e.start, addr), min(e.end, end)
		s.cfg.File.Resident(e.rangeOf(lo, hi), out[uint64(lo-addr)/pageSize:])
	})
	return out, nil
}

// ascendExtents calls fn for the extents that touch [start, end).
func (s *Space) ascendExtents(start, end hostarch.Addr, fn func(*extent)) {
	if e := s.extentAt(start); e != nil && e.start < start {
		fn(e)
	}
	s.extents.AscendRange(&extent{start: start}, &extent{start: end}, func(e *extent) bool {
		fn(e)
		return true
	})
}

// Mlock locks a range in memory (mlock(2)); onFault is MLOCK_ONFAULT. Guest
// memory is never swapped by the sentry, so that this counts against
// RLIMIT_MEMLOCK and makes pages present. ENOMEM: a hole, or the limit.
func (s *Space) Mlock(addr hostarch.Addr, length uint64, onFault bool) error {
	addr, length = addr&^pageMask, length+uint64(addr&pageMask)
	end, err := s.span(addr, length)
	if err != nil {
		return unix.EINVAL
	}
	if end == addr {
		return nil
	}
	if err := s.setLocked(addr, end, true); err != nil {
		return err
	}
	if onFault {
		return nil
	}
	if err := s.populate(addr, uint64(end-addr), false); err == unix.ENOMEM {
		return err
	}
	return nil
}

// Munlock ends a lock (munlock(2)).
func (s *Space) Munlock(addr hostarch.Addr, length uint64) error {
	addr, length = addr&^pageMask, length+uint64(addr&pageMask)
	end, err := s.span(addr, length)
	if err != nil {
		return unix.EINVAL
	}
	return s.setLocked(addr, end, false)
}

func (s *Space) setLocked(addr, end hostarch.Addr, locked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if locked {
		more := uint64(0)
		for _, a := range s.within(addr, end) {
			if !a.locked {
				more += uint64(min(a.end, end) - max(a.start, addr))
			}
		}
		if s.locked+more > s.limit(rlimitMemlock) {
			return unix.ENOMEM
		}
	}
	defer s.mergeAreas(addr, end)
	at := addr
	for _, a := range s.cut(addr, end) {
		if a.start != at {
			return unix.ENOMEM
		}
		at = a.end
		s.lockArea(a, locked)
	}
	if at != end {
		return unix.ENOMEM
	}
	return nil
}

func (s *Space) lockArea(a *area, locked bool) {
	switch {
	case locked && !a.locked:
		s.locked += a.length()
	case !locked && a.locked:
		s.locked -= a.length()
	}
	a.locked = locked
}

// Mlockall locks everything there is or will be (mlockall(2)).
func (s *Space) Mlockall(flags int) error {
	const known = unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT
	if flags == 0 || flags&^known != 0 || flags == unix.MCL_ONFAULT {
		return unix.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if flags&unix.MCL_CURRENT != 0 {
		if s.virtual > s.limit(rlimitMemlock) {
			return unix.ENOMEM
		}
		s.areas.Ascend(func(a *area) bool { s.lockArea(a, true); return true })
	}
	s.lockAll = flags&unix.MCL_FUTURE != 0
	return nil
}

// Munlockall ends all locks (munlockall(2)).
func (s *Space) Munlockall() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lockAll = false
	s.areas.Ascend(func(a *area) bool { s.lockArea(a, false); return true })
	return nil
}
