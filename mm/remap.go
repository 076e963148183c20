package mm

import (
	"math"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Mremap resizes or moves a mapping (mremap(2)). Errors:
//
//	EINVAL  flags, addresses, sizes that make no sense
//	EFAULT  there is no mapping at old, or it is not all one
//	ENOMEM  no room, limits, too many areas
//	EAGAIN  RLIMIT_MEMLOCK
//	EPERM   MREMAP_FIXED below what may be mapped
func (s *Space) Mremap(old hostarch.Addr, oldLen, newLen uint64, flags int, to hostarch.Addr) (hostarch.Addr, error) {
	const known = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED | unix.MREMAP_DONTUNMAP
	m := remap{
		old: old, oldLen: pageUp(oldLen), newLen: pageUp(newLen), to: to,
		mayMove: flags&unix.MREMAP_MAYMOVE != 0, fixed: flags&unix.MREMAP_FIXED != 0, keep: flags&unix.MREMAP_DONTUNMAP != 0,
	}
	if flags&^known != 0 || old&pageMask != 0 || m.newLen == 0 || m.newLen > uint64(s.cfg.Max) ||
		(m.fixed || m.keep) && !m.mayMove || m.keep && oldLen != newLen {
		return 0, unix.EINVAL
	}
	if _, err := s.span(old, m.oldLen); err != nil {
		return 0, unix.EFAULT
	}
	if m.fixed || m.keep {
		if to&pageMask != 0 || uint64(to) > uint64(s.cfg.Max)-m.newLen ||
			old < to+hostarch.Addr(m.newLen) && to < old+hostarch.Addr(m.oldLen) {
			return 0, unix.EINVAL
		}
	}
	s.mu.Lock()
	addr, err := s.mremap(&m)
	s.mu.Unlock()
	if err == nil && m.populate > 0 {
		s.populate(addr+hostarch.Addr(m.newLen-m.populate), m.populate, false)
	}
	return addr, err
}

// remap is what Mremap is asked for.
type remap struct {
	old, to              hostarch.Addr
	oldLen, newLen       uint64
	mayMove, fixed, keep bool

	populate uint64 // bytes at the end of the new mapping
}

func (m *remap) oldEnd() hostarch.Addr { return m.old + hostarch.Addr(m.oldLen) }

func (s *Space) mremap(m *remap) (hostarch.Addr, error) {
	a := s.find(m.old)
	if a == nil {
		return 0, unix.EFAULT
	}
	if m.newLen < m.oldLen && !m.keep {
		// What is too much goes first, whatever follows.
		if m.oldEnd() < a.end && a.start < m.old+hostarch.Addr(m.newLen) && s.areas.len() >= maxAreas {
			return 0, unix.ENOMEM
		}
		s.unmap(m.old+hostarch.Addr(m.newLen), m.oldEnd())
		m.oldLen = m.newLen
		if !m.fixed {
			return m.old, nil
		}
		a = s.find(m.old)
	}
	if m.oldLen == 0 && !a.shared {
		// "If the value of old_size is zero, and old_address refers to a
		// shareable mapping", a new mapping of the same pages is made.
		return 0, unix.EINVAL
	}
	if m.oldEnd() > a.end {
		return 0, unix.EFAULT
	}
	more := m.newLen - m.oldLen
	if more > 0 {
		if a.pager != nil && a.offsetOf(m.old)+m.newLen > math.MaxInt64 {
			return 0, unix.EINVAL
		}
		if a.locked != notLocked {
			if err := s.mayLock(more); err != nil {
				return 0, err
			}
		}
	}
	if more > 0 || m.keep {
		if err := s.mayGrow(a, max(more, m.keptLen()), 0); err != nil {
			return 0, err
		}
	}
	if !m.fixed && !m.keep {
		if more == 0 {
			return m.old, nil
		}
		end := m.oldEnd() + hostarch.Addr(more)
		if m.oldLen > 0 && m.oldEnd() == a.end && end <= s.cfg.Max && more <= uint64(s.cfg.Max) && s.free(m.oldEnd(), end) {
			return m.old, s.extend(a, m, more)
		}
		if !m.mayMove {
			return 0, unix.ENOMEM
		}
	}
	return s.move(m)
}

// keptLen returns how many bytes there are more because the old ones stay.
func (m *remap) keptLen() uint64 {
	if m.keep {
		return m.oldLen
	}
	return 0
}

// extend adds bytes to an area behind which there is room.
func (s *Space) extend(a *area, m *remap, more uint64) error {
	if s.areas.len() >= maxAreas {
		return unix.ENOMEM
	}
	n := *a
	n.start, n.end, n.off = a.end, a.end+hostarch.Addr(more), a.offsetOf(a.end)
	if a.locked == lockNow {
		m.populate = more
	}
	return s.insert(&n)
}

// move takes the old range, which lies in one area, elsewhere (move_vma).
func (s *Space) move(m *remap) (hostarch.Addr, error) {
	if s.areas.len() >= maxAreas-3 {
		return 0, unix.ENOMEM
	}
	o := MmapOptions{Fixed: m.fixed}
	if m.fixed || m.keep {
		o.Addr = m.to
	}
	addr, err := s.place(&o, m.newLen)
	if err != nil {
		return 0, err
	}
	n := *s.find(m.old)
	n.off = n.offsetOf(m.old)
	n.start, n.end = addr, addr+hostarch.Addr(m.newLen)
	if n.name == "[heap]" {
		n.name = ""
	}
	if err := s.insert(&n); err != nil {
		return 0, err
	}
	if n.locked == lockNow {
		m.populate = m.newLen - m.oldLen
	}
	// The pages go along, with their references.
	var buf [8]*extent
	exts := s.extentsIn(m.old, m.oldEnd(), buf[:0])
	if len(exts) > 0 {
		s.last.Store(nil)
		s.cfg.Mapper.Unmap(exts[0].start, uint64(exts[len(exts)-1].end-exts[0].start))
	}
	for _, e := range exts {
		s.extents.remove(e.start)
		e.start += addr - m.old
		e.end += addr - m.old
		s.extents.put(e.start, e)
		if e.given.Any() {
			s.install(e, e.given)
		}
	}
	if m.keep {
		// What stays is empty, and not locked.
		s.splitArea(m.old)
		s.splitArea(m.oldEnd())
		s.lockArea(s.find(m.old), notLocked)
		s.mergeAreas(m.old, m.oldEnd())
	} else {
		s.unmap(m.old, m.oldEnd())
	}
	return addr, nil
}

// RemapFilePages shows other pages of a shared mapping's file in a part of it, as
// Linux emulates remap_file_pages(2): by a mapping of its own. page is where in
// the file, in pages. EINVAL if the range is not all of one shared mapping, and
// the errors of Mmap.
func (s *Space) RemapFilePages(addr hostarch.Addr, size, page uint64) error {
	addr, size = addr&^pageMask, size&^pageMask
	if size == 0 || page > math.MaxUint64/pageSize || page*pageSize+size < size {
		return unix.EINVAL
	}
	if _, err := s.span(addr, size); err != nil {
		return unix.EINVAL
	}
	if page*pageSize+size > math.MaxInt64 {
		return unix.EOVERFLOW
	}
	end := addr + hostarch.Addr(size)
	s.mu.Lock()
	a := s.find(addr)
	if a == nil || !a.shared {
		s.mu.Unlock()
		return unix.EINVAL
	}
	for at := a.end; at < end; {
		b := s.find(at)
		if b == nil || b.pager != a.pager || b.file != a.file || b.traits != a.traits {
			s.mu.Unlock()
			return unix.EINVAL
		}
		at = b.end
	}
	err := error(unix.ENOMEM)
	if s.areas.len() < maxAreas {
		n := *a
		n.start, n.end, n.off = addr, end, page*pageSize
		err = s.insert(&n)
	}
	s.mu.Unlock()
	if err == nil {
		s.populate(addr, size, false)
	}
	return err
}
