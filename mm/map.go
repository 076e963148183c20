package mm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

const (
	rlimitData    = unix.RLIMIT_DATA
	rlimitStack   = unix.RLIMIT_STACK
	rlimitAS      = unix.RLIMIT_AS
	rlimitMemlock = unix.RLIMIT_MEMLOCK
)

// MmapOptions are mmap(2)'s.
type MmapOptions struct {
	Addr           hostarch.Addr // a hint, or with Fixed the place
	Length         uint64        // bytes, rounded up to pages
	Prot           hostarch.AccessType
	MaxProt        hostarch.AccessType // what mprotect may ever allow
	Fixed          bool
	FixedNoReplace bool // with Fixed: EEXIST instead of replacing
	Shared         bool
	GrowsDown      bool
	Populate       bool
	Locked         bool
	NoReserve      bool
	Pager          memfile.Pager // nil: anonymous
	Offset         uint64        // in the pager, page-aligned
	File           MappedFile    // nil, or what /proc shows; the area takes its own reference
	Name           string        // shown when there is no file: "[stack]"
}

// Mmap maps, and returns where (mmap(2)).
func (s *Space) Mmap(o MmapOptions) (hostarch.Addr, error) {
	if o.Length == 0 {
		return 0, unix.EINVAL
	}
	length := (o.Length + pageMask) &^ pageMask
	if length == 0 || length > uint64(s.cfg.Max) {
		return 0, unix.ENOMEM
	}
	if o.Pager != nil && o.Offset+length < o.Offset {
		return 0, unix.EOVERFLOW
	}
	if o.Shared && o.Pager == nil {
		// Shared anonymous memory is a file without a name.
		p, err := newAnonPager(s.cfg.File, length)
		if err != nil {
			return 0, err
		}
		defer p.decRef()
		o.Pager, o.Offset = p, 0
		if o.Name == "" {
			o.Name = "/dev/zero (deleted)"
		}
	}
	s.mu.Lock()
	addr, err := s.mmap(o, length)
	lock := err == nil && (o.Locked || s.lockAll)
	s.mu.Unlock()
	if err == nil && (o.Populate || lock) {
		s.populate(addr, length, false)
	}
	return addr, err
}

func (s *Space) mmap(o MmapOptions, length uint64) (hostarch.Addr, error) {
	if s.released {
		return 0, unix.ENOMEM
	}
	addr, err := s.place(o, length)
	if err != nil {
		return 0, err
	}
	end := addr + hostarch.Addr(length)
	if o.Fixed {
		replaced := s.overlap(addr, end)
		if o.FixedNoReplace && replaced > 0 {
			return 0, unix.EEXIST
		}
		if s.virtual-replaced+length > s.limit(rlimitAS) {
			return 0, unix.ENOMEM
		}
	} else if s.virtual+length > s.limit(rlimitAS) {
		return 0, unix.ENOMEM
	}
	if s.areas.Len() >= maxAreas {
		return 0, unix.ENOMEM
	}
	if limit := s.limit(rlimitData); limit != unix.RLIM_INFINITY && o.Pager == nil && o.Prot.Write && !o.Shared && s.dataSize()+length > limit {
		return 0, unix.ENOMEM
	}
	lock := o.Locked || s.lockAll
	if lock && s.locked+length > s.limit(rlimitMemlock) {
		return 0, unix.EAGAIN
	}
	a := &area{
		start: addr, end: end,
		prot: o.Prot, maxProt: o.MaxProt, shared: o.Shared, growsDown: o.GrowsDown, locked: lock,
		pager: o.Pager, off: o.Offset, file: o.File, name: o.Name,
	}
	if a.pager != nil {
		if err := a.pager.AddMapping(s, addr, length, o.Offset, a.shared && a.maxProt.Write); err != nil {
			return 0, err
		}
	}
	s.unmap(addr, end)
	if a.file != nil {
		a.file.IncRef()
	}
	s.areas.ReplaceOrInsert(a)
	s.virtual += length
	if lock {
		s.locked += length
	}
	s.mergeAreas(addr, end)
	return addr, nil
}

// overlap returns how many bytes of [start, end) are mapped.
func (s *Space) overlap(start, end hostarch.Addr) (n uint64) {
	for _, a := range s.within(start, end) {
		n += uint64(min(a.end, end) - max(a.start, start))
	}
	return n
}

// place finds where a mapping goes.
func (s *Space) place(o MmapOptions, length uint64) (hostarch.Addr, error) {
	if o.Fixed {
		if o.Addr&pageMask != 0 {
			return 0, unix.EINVAL
		}
		if uint64(o.Addr) > uint64(s.cfg.Max)-length {
			return 0, unix.ENOMEM
		}
		if o.Addr < s.cfg.Min {
			return 0, unix.EPERM
		}
		return o.Addr, nil
	}
	if o.Addr != 0 {
		hint := max((o.Addr+pageMask)&^pageMask, s.cfg.Min)
		if uint64(hint) <= uint64(s.cfg.Max)-length && s.free(hint, hint+hostarch.Addr(length)) {
			return hint, nil
		}
	}
	if addr, ok := s.below(s.base, length); ok {
		return addr, nil
	}
	if addr, ok := s.below(s.cfg.Max, length); ok {
		return addr, nil
	}
	return 0, unix.ENOMEM
}

// free reports whether nothing is mapped in [start, end), and nothing will be
// by a stack that grows.
func (s *Space) free(start, end hostarch.Addr) bool {
	a := s.next(start)
	return a == nil || end <= guarded(a)
}

// guarded is where the space that an area claims begins.
func guarded(a *area) hostarch.Addr {
	if a.growsDown && a.start > stackGuard {
		return a.start - stackGuard
	}
	return a.start
}

// below finds the highest hole of a length that ends at or below top.
func (s *Space) below(top hostarch.Addr, length uint64) (found hostarch.Addr, ok bool) {
	hi := top
	if a := s.find(top - 1); a != nil {
		hi = guarded(a)
	} else if a := s.next(top); a != nil {
		hi = min(hi, guarded(a))
	}
	s.areas.DescendLessOrEqual(&area{start: top - 1}, func(a *area) bool {
		if a.end <= hi && uint64(hi-a.end) >= length {
			return false
		}
		hi = min(hi, guarded(a))
		return true
	})
	if uint64(hi) < uint64(s.cfg.Min)+length {
		return 0, false
	}
	addr := hi - hostarch.Addr(length)
	return addr, s.free(addr, hi)
}

// Munmap removes mappings (munmap(2)).
func (s *Space) Munmap(addr hostarch.Addr, length uint64) error {
	end, err := s.span(addr, length)
	if err != nil {
		return err
	}
	if end == addr {
		return unix.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Cutting a hole makes one area more.
	if a := s.find(addr); a != nil && a.start < addr && end < a.end && s.areas.Len() >= maxAreas {
		return unix.ENOMEM
	}
	s.unmap(addr, end)
	return nil
}

// span checks a range of whole pages: EINVAL.
func (s *Space) span(addr hostarch.Addr, length uint64) (hostarch.Addr, error) {
	n := (length + pageMask) &^ pageMask
	if addr&pageMask != 0 || n < length || uint64(addr) > uint64(s.cfg.Max) || n > uint64(s.cfg.Max)-uint64(addr) {
		return 0, unix.EINVAL
	}
	return addr + hostarch.Addr(n), nil
}

// cut splits areas at both ends and returns those inside.
func (s *Space) cut(start, end hostarch.Addr) []*area {
	s.splitArea(start)
	s.splitArea(end)
	return s.within(start, end)
}

func (s *Space) unmap(start, end hostarch.Addr) {
	areas := s.cut(start, end)
	if len(areas) == 0 {
		return
	}
	s.peak = max(s.peak, s.virtual)
	s.discard(start, end)
	for _, a := range areas {
		s.areas.Delete(a)
		s.virtual -= a.length()
		if a.locked {
			s.locked -= a.length()
		}
		s.unref(a)
	}
}

// dataSize is Linux's data_vm: private writable memory.
func (s *Space) dataSize() (n uint64) {
	s.areas.Ascend(func(a *area) bool {
		if !a.shared && a.prot.Write && !a.growsDown {
			n += a.length()
		}
		return true
	})
	return n
}

// Mprotect changes protection (mprotect(2)): ENOMEM for a hole, EACCES for
// more than the file's mode allows. What precedes the failure is changed.
func (s *Space) Mprotect(addr hostarch.Addr, length uint64, prot hostarch.AccessType) error {
	n := (length + pageMask) &^ pageMask
	if addr&pageMask != 0 {
		return unix.EINVAL
	}
	if n < length || uint64(addr) > uint64(s.cfg.Max) || n > uint64(s.cfg.Max)-uint64(addr) {
		return unix.ENOMEM
	}
	if n == 0 {
		return nil
	}
	end := addr + hostarch.Addr(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.areas.Len() >= maxAreas-1 {
		return unix.ENOMEM
	}
	at := addr
	defer func() { s.mergeAreas(addr, at) }()
	for _, a := range s.cut(addr, end) {
		if a.start != at {
			return unix.ENOMEM
		}
		if prot.Write && !a.maxProt.Write || prot.Execute && !a.maxProt.Execute || prot.Read && !a.maxProt.Read {
			return unix.EACCES
		}
		if prot.Write && !a.prot.Write && !a.shared && a.pager == nil && s.dataSize()+a.length() > s.limit(rlimitData) {
			return unix.ENOMEM
		}
		s.protect(a, prot)
		at = a.end
	}
	if at != end {
		return unix.ENOMEM
	}
	return nil
}

// protect changes one area. Access is taken away at once; what is gained comes
// with the next fault, except where pages can be had as they are.
func (s *Space) protect(a *area, prot hostarch.AccessType) {
	old := a.prot
	if old == prot {
		return
	}
	a.prot = prot
	for _, e := range s.extentsIn(a.start, a.end) {
		if !e.given.Any() && !prot.Any() {
			continue
		}
		at := prot
		if at.Write && !e.given.Write {
			// To write, pages must be owned alone or shared on purpose.
			switch {
			case a.shared:
				at.Write = false // the pager must be asked
			case !e.owned:
				at.Write = false
			default:
				n, shared := s.cfg.File.Shared(e.rangeOf(e.start, e.end))
				at.Write = !shared && n == uint64(e.end-e.start)
			}
		}
		if at == e.given {
			continue
		}
		s.last.Store(nil)
		if !e.given.Any() {
			s.install(a, e, at)
			continue
		}
		e.given = at
		s.cfg.Mapper.Protect(e.start, uint64(e.end-e.start), guestAccess(at))
	}
}

// SetBrkStart says where the heap begins (the loader knows).
func (s *Space) SetBrkStart(addr hostarch.Addr) {
	s.mu.Lock()
	s.brkStart, s.brkEnd = addr, addr
	s.mu.Unlock()
}

// Brk moves the end of the heap and returns it; it stays where it is if it
// cannot be moved (brk(2)).
func (s *Space) Brk(addr hostarch.Addr) hostarch.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if addr < s.brkStart || addr >= s.cfg.Max {
		return s.brkEnd
	}
	oldEnd := (s.brkEnd + pageMask) &^ pageMask
	newEnd := (addr + pageMask) &^ pageMask
	switch {
	case uint64(addr-s.brkStart) > s.limit(rlimitData):
		return s.brkEnd
	case newEnd < oldEnd:
		s.unmap(newEnd, oldEnd)
	case newEnd > oldEnd:
		if !s.free(oldEnd, newEnd+pageSize) {
			return s.brkEnd
		}
		_, err := s.mmap(MmapOptions{
			Addr: oldEnd, Fixed: true, FixedNoReplace: true, Prot: hostarch.ReadWrite, MaxProt: hostarch.AnyAccess, Name: "[heap]",
		}, uint64(newEnd-oldEnd))
		if err != nil {
			return s.brkEnd
		}
	}
	s.brkEnd = addr
	return addr
}

// Mremap resizes or moves a mapping (mremap(2)).
func (s *Space) Mremap(old hostarch.Addr, oldLen, newLen uint64, flags int, to hostarch.Addr) (hostarch.Addr, error) {
	const known = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED | unix.MREMAP_DONTUNMAP
	fixed, keep := flags&unix.MREMAP_FIXED != 0, flags&unix.MREMAP_DONTUNMAP != 0
	oldLen, newLen = (oldLen+pageMask)&^pageMask, (newLen+pageMask)&^pageMask
	if flags&^known != 0 || old&pageMask != 0 || newLen == 0 ||
		(fixed || keep) && flags&unix.MREMAP_MAYMOVE == 0 || keep && oldLen != newLen {
		return 0, unix.EINVAL
	}
	if _, err := s.span(old, oldLen); err != nil {
		return 0, unix.EFAULT
	}
	if newLen > uint64(s.cfg.Max) {
		return 0, unix.EINVAL
	}
	if fixed {
		if to&pageMask != 0 || uint64(to) > uint64(s.cfg.Max)-newLen || to < s.cfg.Min {
			return 0, unix.EINVAL
		}
		if old < to+hostarch.Addr(newLen) && to < old+hostarch.Addr(oldLen) {
			return 0, unix.EINVAL
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(old)
	if a == nil {
		return 0, unix.EFAULT
	}
	if oldLen == 0 {
		// "If the value of old_size is zero, and old_address refers to a
		// shareable mapping, a new mapping of the same pages is made."
		if !a.shared || flags&unix.MREMAP_MAYMOVE == 0 {
			return 0, unix.EINVAL
		}
		o := MmapOptions{Addr: to, Fixed: fixed, Prot: a.prot, MaxProt: a.maxProt, Shared: true,
			Pager: a.pager, Offset: a.offsetOf(old), File: a.file, Name: a.name}
		return s.mmap(o, newLen)
	}
	oldEnd := old + hostarch.Addr(oldLen)
	if oldEnd > a.end {
		return 0, unix.EFAULT
	}
	if !fixed && !keep {
		if newLen <= oldLen {
			s.unmap(old+hostarch.Addr(newLen), oldEnd)
			return old, nil
		}
		more := newLen - oldLen
		if oldEnd == a.end && s.free(oldEnd, oldEnd+hostarch.Addr(more)) && uint64(oldEnd)+more <= uint64(s.cfg.Max) {
			if err := s.mayGrow(a, more); err != nil {
				return 0, err
			}
			o := MmapOptions{Addr: oldEnd, Fixed: true, Prot: a.prot, MaxProt: a.maxProt, Shared: a.shared,
				Pager: a.pager, File: a.file, Name: a.name, GrowsDown: a.growsDown, Locked: a.locked}
			if a.pager != nil {
				o.Offset = a.offsetOf(oldEnd)
			}
			_, err := s.mmap(o, more)
			return old, err
		}
		if flags&unix.MREMAP_MAYMOVE == 0 {
			return 0, unix.ENOMEM
		}
	}
	if newLen > oldLen {
		if err := s.mayGrow(a, newLen-oldLen); err != nil {
			return 0, err
		}
	}
	if fixed && newLen < oldLen {
		s.unmap(old+hostarch.Addr(newLen), oldEnd)
		oldLen, oldEnd = newLen, old+hostarch.Addr(newLen)
	}
	return s.move(old, oldEnd, newLen, fixed, to, keep)
}

func (s *Space) mayGrow(a *area, more uint64) error {
	if s.virtual+more > s.limit(rlimitAS) {
		return unix.ENOMEM
	}
	if a.locked && s.locked+more > s.limit(rlimitMemlock) {
		return unix.EAGAIN
	}
	return nil
}

// move takes [old, oldEnd), which lies in one area, elsewhere.
func (s *Space) move(old, oldEnd hostarch.Addr, newLen uint64, fixed bool, to hostarch.Addr, keep bool) (hostarch.Addr, error) {
	if s.areas.Len() >= maxAreas-3 {
		return 0, unix.ENOMEM
	}
	a := s.cut(old, oldEnd)[0]
	o := MmapOptions{Addr: to, Fixed: fixed, Prot: a.prot, MaxProt: a.maxProt, Shared: a.shared,
		Pager: a.pager, Offset: a.off, File: a.file, Name: a.name, GrowsDown: a.growsDown, Locked: a.locked}
	if s.brkStart <= old && old < s.brkEnd {
		o.Name = ""
	}
	addr, err := s.mmap(o, newLen)
	if err != nil {
		s.mergeAreas(old, oldEnd)
		return 0, err
	}
	// The pages go along, with their references.
	exts := s.extentsIn(old, oldEnd)
	if len(exts) > 0 {
		s.last.Store(nil)
		s.cfg.Mapper.Unmap(exts[0].start, uint64(exts[len(exts)-1].end-exts[0].start))
	}
	for _, e := range exts {
		s.extents.Delete(e)
		n := *e
		n.start += addr - old
		n.end += addr - old
		s.extents.ReplaceOrInsert(&n)
		if e.given.Any() {
			s.install(nil, &n, e.given)
		}
	}
	if !keep {
		s.unmap(old, oldEnd)
	}
	return addr, nil
}
