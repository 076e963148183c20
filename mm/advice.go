package mm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Puncher is a Pager of which pages can be freed: they are zeros afterwards
// (fallocate(2) with FALLOC_FL_PUNCH_HOLE). off and length are multiples of the
// page size.
type Puncher interface {
	Punch(off, length uint64) error
}

// dontNeedLocked is MADV_DONTNEED_LOCKED.
const dontNeedLocked = 24

// Madvise takes advice (madvise(2)). Advice about speed is accepted and has no
// effect. Errors:
//
//	EINVAL  not known, or it does not fit the mapping
//	ENOMEM  holes (the rest is done), too many areas
//	EACCES  MADV_REMOVE of what may not be written
//	EFAULT  MADV_POPULATE_*: there is nothing behind the mapping
func (s *Space) Madvise(addr hostarch.Addr, length uint64, advice int) error {
	end, err := s.span(addr, length)
	if err != nil {
		return unix.EINVAL
	}
	switch advice {
	case unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_WILLNEED,
		unix.MADV_COLD, unix.MADV_PAGEOUT, unix.MADV_DONTDUMP, unix.MADV_DODUMP,
		unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE, unix.MADV_MERGEABLE, unix.MADV_UNMERGEABLE,
		unix.MADV_DONTNEED, dontNeedLocked, unix.MADV_FREE, unix.MADV_DONTFORK, unix.MADV_DOFORK,
		unix.MADV_WIPEONFORK, unix.MADV_KEEPONFORK:
		return s.advise(addr, end, advice)
	case unix.MADV_POPULATE_READ, unix.MADV_POPULATE_WRITE:
		return s.populate(addr, uint64(end-addr), advice == unix.MADV_POPULATE_WRITE)
	case unix.MADV_REMOVE:
		return s.punch(addr, end)
	}
	return unix.EINVAL
}

// advise gives advice to each area in a range.
func (s *Space) advise(addr, end hostarch.Addr, advice int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	hole := false
	for at := addr; at < end; {
		a := s.next(at)
		if a == nil || a.start >= end {
			return unix.ENOMEM
		}
		hole = hole || a.start > at
		start, stop := max(a.start, at), min(a.end, end)
		if err := s.adviseArea(a, start, stop, advice); err != nil {
			return err
		}
		at = stop
	}
	if hole {
		return unix.ENOMEM
	}
	return nil
}

// adviseArea gives advice to a part of an area.
func (s *Space) adviseArea(a *area, start, end hostarch.Addr, advice int) error {
	n := a.traits
	switch advice {
	case unix.MADV_DONTNEED, dontNeedLocked:
		if a.locked != notLocked && advice != dontNeedLocked {
			return unix.EINVAL
		}
		s.discard(start, end)
	case unix.MADV_COLD, unix.MADV_PAGEOUT:
		if a.locked != notLocked {
			return unix.EINVAL
		}
	case unix.MADV_FREE:
		if a.pager != nil || a.locked != notLocked {
			return unix.EINVAL
		}
		s.discard(start, end)
	case unix.MADV_DONTFORK, unix.MADV_DOFORK:
		n.noFork = advice == unix.MADV_DONTFORK
	case unix.MADV_WIPEONFORK, unix.MADV_KEEPONFORK:
		n.wipeOnFork = advice == unix.MADV_WIPEONFORK
		if n.wipeOnFork && a.pager != nil {
			return unix.EINVAL
		}
	}
	if n == a.traits {
		return nil
	}
	if err := s.cut(start, end); err != nil {
		return err
	}
	s.find(start).traits = n
	s.mergeAreas(start, end)
	return nil
}

// punch frees the pages behind shared mappings (MADV_REMOVE).
func (s *Space) punch(start, end hostarch.Addr) error {
	hole := false
	for at := start; at < end; {
		// The pager calls back (Invalidate), so that the lock cannot be held. A
		// file keeps its pager alive.
		s.mu.RLock()
		a := s.next(at)
		if a == nil || a.start >= end {
			s.mu.RUnlock()
			return unix.ENOMEM
		}
		hole = hole || a.start > at
		lo, hi := max(a.start, at), min(a.end, end)
		p, isPuncher := a.pager.(Puncher)
		off := a.offsetOf(lo)
		err := error(nil)
		switch {
		case a.locked != notLocked || a.pager == nil:
			err = unix.EINVAL
		case !a.shared || !a.maxProt.Write:
			err = unix.EACCES
		case !isPuncher:
			err = unix.EOPNOTSUPP
		}
		file, anon := a.file, (*anonPager)(nil)
		if file != nil {
			file.IncRef()
		}
		if x, ok := a.pager.(*anonPager); ok {
			anon = x
			anon.hold()
		}
		s.mu.RUnlock()
		if err == nil {
			err = p.Punch(off, uint64(hi-lo))
		}
		if file != nil {
			file.DecRef()
		}
		if anon != nil {
			anon.release()
		}
		if err != nil {
			return err
		}
		at = hi
	}
	if hole {
		return unix.ENOMEM
	}
	return nil
}

// populate makes the pages of a range present, for reading or writing. ENOMEM
// for holes, EINVAL where the access is not allowed, EFAULT where there is
// nothing behind the mapping.
func (s *Space) populate(addr hostarch.Addr, length uint64, write bool) error {
	w := s.walk(addr, length, access{write: write})
	for w.next() {
	}
	done, err := w.end()
	// All extents are there: others may fault while the host finds the memory.
	w = s.walk(addr, done, access{write: write})
	for w.next() {
		s.cfg.File.Populate(w.place)
	}
	w.end()
	if err == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.find(addr + hostarch.Addr(done))
	switch {
	case a == nil:
		return unix.ENOMEM
	case !a.prot.Any() || write && !a.prot.Write:
		return unix.EINVAL
	}
	return unix.EFAULT
}

// Msync writes a mapping back (msync(2)). Mapped files are the page cache
// itself, so that there is nothing to write; the arguments are checked. Errors:
//
//	EINVAL  flags, or addr is no page
//	ENOMEM  a hole
//	EBUSY   MS_INVALIDATE of what is locked
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
	busy := false
	s.eachArea(addr, end, func(a *area) bool { busy = busy || a.locked != notLocked; return !busy })
	if busy && flags&unix.MS_INVALIDATE != 0 {
		return unix.EBUSY
	}
	if s.overlap(addr, end) != uint64(end-addr) {
		return unix.ENOMEM
	}
	return nil
}

// Mincore tells for each page from addr on whether it is in memory (mincore(2)),
// into out, which it clears first: 1 for each that is. ENOMEM for holes.
func (s *Space) Mincore(addr hostarch.Addr, out []byte) error {
	end, err := s.span(addr, uint64(len(out))*pageSize)
	if err != nil {
		return unix.ENOMEM
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.overlap(addr, end) != uint64(end-addr) {
		return unix.ENOMEM
	}
	clear(out)
	s.eachExtent(addr, end, func(e *extent) {
		lo, hi := max(e.start, addr), min(e.end, end)
		s.cfg.File.Resident(e.rangeOf(lo, hi), out[uint64(lo-addr)/pageSize:])
	})
	return nil
}
