package mm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// lockMode says whether an area is locked in memory (VM_LOCKED, VM_LOCKONFAULT).
// The sentry never swaps guest memory, so that a lock counts against
// RLIMIT_MEMLOCK, and makes pages present.
type lockMode uint8

const (
	notLocked lockMode = iota
	lockNow
	lockOnFault
)

// mayLock checks RLIMIT_MEMLOCK for bytes more (mlock_future_ok): EAGAIN.
func (s *Space) mayLock(more uint64) error {
	if s.locked+more > s.limit(unix.RLIMIT_MEMLOCK) {
		return unix.EAGAIN
	}
	return nil
}

// lockSpan is the range of a call: EINVAL if it wraps, ENOMEM beyond what may be
// mapped.
func (s *Space) lockSpan(addr hostarch.Addr, length uint64) (start, end hostarch.Addr, err error) {
	start, length = addr&^pageMask, pageUp(length+uint64(addr&pageMask))
	if start+hostarch.Addr(length) < start {
		return 0, 0, unix.EINVAL
	}
	if end, err = s.span(start, length); err != nil {
		err = unix.ENOMEM
	}
	return start, end, err
}

// Mlock locks a range in memory (mlock2(2)); onFault is MLOCK_ONFAULT. EPERM: the
// limit is 0. ENOMEM: a hole, the limit, or pages that cannot be had. What
// precedes a hole is locked.
func (s *Space) Mlock(addr hostarch.Addr, length uint64, onFault bool) error {
	if s.limit(unix.RLIMIT_MEMLOCK) == 0 {
		return unix.EPERM
	}
	start, end, err := s.lockSpan(addr, length)
	if err != nil || start == end {
		return err
	}
	mode := lockNow
	if onFault {
		mode = lockOnFault
	}
	if err := s.setLocked(start, end, mode); err != nil || onFault {
		return err
	}
	if s.populateLocked(start, end) != nil {
		return unix.ENOMEM
	}
	return nil
}

// Munlock ends a lock (munlock(2)): EINVAL, ENOMEM.
func (s *Space) Munlock(addr hostarch.Addr, length uint64) error {
	start, end, err := s.lockSpan(addr, length)
	if err != nil || start == end {
		return err
	}
	return s.setLocked(start, end, notLocked)
}

func (s *Space) setLocked(start, end hostarch.Addr, mode lockMode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mode != notLocked {
		more := uint64(end - start)
		s.eachArea(start, end, func(a *area) bool {
			if a.locked != notLocked {
				more -= uint64(min(a.end, end) - max(a.start, start))
			}
			return true
		})
		if s.mayLock(more) != nil {
			return unix.ENOMEM
		}
	}
	at := start
	defer func() { s.mergeAreas(start, at) }()
	for at < end {
		a := s.find(at)
		if a == nil {
			return unix.ENOMEM
		}
		stop := min(a.end, end)
		if a.locked != mode {
			if err := s.cut(at, stop); err != nil {
				return err
			}
			s.lockArea(s.find(at), mode)
		}
		at = stop
	}
	return nil
}

func (s *Space) lockArea(a *area, mode lockMode) {
	s.account(a, -a.length())
	a.locked = mode
	s.account(a, a.length())
}

// populateLocked makes the pages of a range present, as mlock(2) does: private
// writable ones become the Space's own.
func (s *Space) populateLocked(start, end hostarch.Addr) error {
	for at := start; at < end; {
		lo, hi, write, ok := s.accessOf(at, end)
		if !ok {
			return nil
		}
		if err := s.populate(lo, uint64(hi-lo), write); err != nil {
			return err
		}
		at = hi
	}
	return nil
}

// populateAll is populateLocked for everything. Where it fails, nobody is told.
func (s *Space) populateAll() {
	for at := s.cfg.Min; ; {
		lo, hi, write, ok := s.accessOf(at, s.cfg.Max)
		if !ok {
			return
		}
		_ = s.populate(lo, uint64(hi-lo), write)
		at = hi
	}
}

// accessOf returns what of [start, end) lies in the first area that touches it,
// and whether private pages are written to there.
func (s *Space) accessOf(start, end hostarch.Addr) (lo, hi hostarch.Addr, write, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.next(start)
	if a == nil || a.start >= end {
		return 0, 0, false, false
	}
	return max(a.start, start), min(a.end, end), a.prot.Write && !a.shared, true
}

// Mlockall locks everything there is or will be (mlockall(2)). EPERM: the limit
// is 0. ENOMEM: the limit.
func (s *Space) Mlockall(flags int) error {
	const known = unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT
	if flags == 0 || flags&^known != 0 || flags == unix.MCL_ONFAULT {
		return unix.EINVAL
	}
	limit := s.limit(unix.RLIMIT_MEMLOCK)
	if limit == 0 {
		return unix.EPERM
	}
	mode := lockNow
	if flags&unix.MCL_ONFAULT != 0 {
		mode = lockOnFault
	}
	s.mu.Lock()
	if flags&unix.MCL_CURRENT != 0 && s.virtual > limit {
		s.mu.Unlock()
		return unix.ENOMEM
	}
	s.lockAll = notLocked
	if flags&unix.MCL_FUTURE != 0 {
		s.lockAll = mode
	}
	if flags&unix.MCL_CURRENT != 0 {
		s.lockAreas(mode)
	}
	s.mu.Unlock()
	if flags&unix.MCL_CURRENT != 0 && mode == lockNow {
		s.populateAll()
	}
	return nil
}

// Munlockall ends all locks (munlockall(2)).
func (s *Space) Munlockall() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lockAll = notLocked
	s.lockAreas(notLocked)
	return nil
}

// lockAreas locks or unlocks all areas.
func (s *Space) lockAreas(mode lockMode) {
	s.areas.all(func(a *area) bool { s.lockArea(a, mode); return true })
	s.mergeAreas(s.cfg.Min, s.cfg.Max)
}
