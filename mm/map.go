package mm

import (
	"math"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// MmapOptions are mmap(2)'s.
type MmapOptions struct {
	Addr           hostarch.Addr // a hint, or with Fixed the place
	Length         uint64        // bytes, rounded up to pages
	Prot           hostarch.AccessType
	MaxProt        hostarch.AccessType // what mprotect may ever allow
	Fixed          bool
	FixedNoReplace bool // with Fixed: EEXIST instead of replacing
	Low            bool // without Fixed: below 2 GiB (MAP_32BIT)
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

// area returns what o describes, without a place.
func (o *MmapOptions) area() *area {
	return &area{
		pager: o.Pager, off: o.Offset, file: o.File,
		traits: traits{
			prot: o.Prot, maxProt: o.MaxProt, shared: o.Shared, growsDown: o.GrowsDown,
			noReserve: o.NoReserve, name: o.Name,
		},
	}
}

// Mmap maps, and returns where (mmap(2)). Errors:
//
//	EINVAL     no length; a Fixed address that is no page; GrowsDown of what is
//	           shared or a file's
//	ENOMEM     no room, RLIMIT_AS, RLIMIT_DATA, too many areas
//	EOVERFLOW  the end is beyond what offsets can say
//	EPERM      Fixed below what may be mapped; Locked without RLIMIT_MEMLOCK
//	EAGAIN     RLIMIT_MEMLOCK
//	EEXIST     FixedNoReplace
//
// and those of Pager.AddMapping.
func (s *Space) Mmap(o MmapOptions) (hostarch.Addr, error) {
	if o.Length == 0 || o.GrowsDown && (o.Shared || o.Pager != nil) {
		return 0, unix.EINVAL
	}
	length := pageUp(o.Length)
	if length == 0 || length > uint64(s.cfg.Max) {
		return 0, unix.ENOMEM
	}
	if o.Pager != nil && (o.Offset > math.MaxInt64 || o.Offset+length > math.MaxInt64) {
		return 0, unix.EOVERFLOW
	}
	if o.Shared && o.Pager == nil {
		// Shared anonymous memory is a file without a name.
		p, err := newAnonPager(s.cfg.File, length)
		if err != nil {
			return 0, err
		}
		defer p.release()
		o.Pager, o.Offset = p, 0
		if o.Name == "" {
			o.Name = "/dev/zero (deleted)"
		}
	}
	s.mu.Lock()
	addr, mode, err := s.mmap(&o, length)
	s.mu.Unlock()
	if err == nil && (o.Populate || mode == lockNow) {
		s.populate(addr, length, o.Prot.Write && !o.Shared)
	}
	return addr, err
}

func pageUp(n uint64) uint64 { return (n + pageMask) &^ pageMask }

func (s *Space) mmap(o *MmapOptions, length uint64) (hostarch.Addr, lockMode, error) {
	if s.released {
		return 0, notLocked, unix.ENOMEM
	}
	addr, err := s.place(o, length)
	if err != nil {
		return 0, notLocked, err
	}
	end := addr + hostarch.Addr(length)
	replaced := uint64(0)
	if o.Fixed {
		replaced = s.overlap(addr, end)
		if o.FixedNoReplace && replaced > 0 {
			return 0, notLocked, unix.EEXIST
		}
	}
	if s.areas.len() >= maxAreas {
		return 0, notLocked, unix.ENOMEM
	}
	mode := s.lockAll
	if o.Locked {
		mode = lockNow
		if s.limit(unix.RLIMIT_MEMLOCK) == 0 {
			return 0, notLocked, unix.EPERM
		}
	}
	if mode != notLocked {
		if err := s.mayLock(length); err != nil {
			return 0, notLocked, err
		}
	}
	a := o.area()
	a.start, a.end, a.locked = addr, end, mode
	if err := s.mayGrow(a, length, replaced); err != nil {
		return 0, notLocked, err
	}
	return addr, mode, s.insert(a)
}

// mayGrow checks the limits for bytes more of an area like a, with others less
// in its place (may_expand_vm, security_vm_enough_memory): ENOMEM.
func (s *Space) mayGrow(a *area, more, less uint64) error {
	if s.virtual-less+more > s.limit(unix.RLIMIT_AS) {
		return unix.ENOMEM
	}
	return s.mayPromise(a, more)
}

// mayPromise is mayGrow but for the address space.
func (s *Space) mayPromise(a *area, more uint64) error {
	if a.isData() && s.data+more > s.limit(unix.RLIMIT_DATA) ||
		s.cfg.MaxReserve != 0 && more > s.cfg.MaxReserve && a.reserves() {
		return unix.ENOMEM
	}
	return nil
}

func (s *Space) limit(resource int) uint64 {
	if s.cfg.Limits == nil {
		return unix.RLIM_INFINITY
	}
	return s.cfg.Limits.Soft(resource)
}

// insert makes a an area, in place of what is there.
func (s *Space) insert(a *area) error {
	if a.pager != nil {
		if err := a.pager.AddMapping(s, a.length(), a.shared && a.maxProt.Write); err != nil {
			return err
		}
	}
	if a.file != nil {
		a.file.IncRef()
	}
	s.unmap(a.start, a.end)
	s.areas.put(a.start, a)
	s.account(a, a.length())
	if b := s.areas.ceil(a.end); b != nil && guarded(b) < a.start && s.find(a.start-1) == nil {
		s.holeAt(a.start - 1) // which b claimed until now
	}
	s.mergeAreas(a.start, a.end)
	return nil
}

// account adds bytes of an area like a to the sums; ^bytes+1 takes them away.
func (s *Space) account(a *area, bytes uint64) {
	s.virtual += bytes
	if a.isData() {
		s.data += bytes
	}
	if a.locked != notLocked {
		s.locked += bytes
	}
}

// place finds where a mapping goes.
func (s *Space) place(o *MmapOptions, length uint64) (hostarch.Addr, error) {
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
	limit, find := s.cfg.Max, s.vacant
	if o.Low {
		limit, find = min(limit, lowEnd), s.vacantLow
	}
	if length > uint64(limit) {
		return 0, unix.ENOMEM
	}
	if hint := o.Addr &^ pageMask; hint != 0 {
		hint = max(hint, s.cfg.Min)
		if uint64(hint) <= uint64(limit)-length && s.free(hint, hint+hostarch.Addr(length)) {
			return hint, nil
		}
	}
	if addr, ok := find(length); ok {
		return addr, nil
	}
	return 0, unix.ENOMEM
}

// Munmap removes mappings (munmap(2)): EINVAL, ENOMEM for too many areas.
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
	if a := s.find(addr); a != nil && a.start < addr && end < a.end && s.areas.len() >= maxAreas {
		return unix.ENOMEM
	}
	s.unmap(addr, end)
	return nil
}

// span checks a range of whole pages: EINVAL.
func (s *Space) span(addr hostarch.Addr, length uint64) (hostarch.Addr, error) {
	n := pageUp(length)
	if addr&pageMask != 0 || n < length || uint64(addr) > uint64(s.cfg.Max) || n > uint64(s.cfg.Max)-uint64(addr) {
		return 0, unix.EINVAL
	}
	return addr + hostarch.Addr(n), nil
}

// cut splits areas at both ends of a range, so that those inside can be changed:
// ENOMEM if there are too many then.
func (s *Space) cut(start, end hostarch.Addr) error {
	more := 0
	for _, at := range [...]hostarch.Addr{start, end} {
		if a := s.find(at); a != nil && a.start < at {
			more++
		}
	}
	if more > 0 && s.areas.len()+more > maxAreas {
		return unix.ENOMEM
	}
	s.splitArea(start)
	s.splitArea(end)
	return nil
}

func (s *Space) unmap(start, end hostarch.Addr) {
	if start >= end {
		return
	}
	s.splitArea(start)
	s.splitArea(end)
	var buf [8]*area
	areas := s.within(start, end, buf[:0])
	if len(areas) == 0 {
		return
	}
	s.peak = max(s.peak, s.virtual)
	s.discard(start, end)
	for _, a := range areas {
		s.areas.remove(a.start)
		s.account(a, -a.length())
		s.unref(a)
	}
	s.holeAt(start)
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
	end, grown := s.brk(addr)
	s.mu.Unlock()
	if grown > 0 {
		s.populate(end.MustRoundUp()-hostarch.Addr(grown), grown, true)
	}
	return end
}

// brk is Brk; grown is how many bytes are to be populated.
func (s *Space) brk(addr hostarch.Addr) (end hostarch.Addr, grown uint64) {
	if addr < s.brkStart || addr >= s.cfg.Max || uint64(addr-s.brkStart) > s.limit(unix.RLIMIT_DATA) {
		return s.brkEnd, 0
	}
	oldEnd, newEnd := s.brkEnd.MustRoundUp(), addr.MustRoundUp()
	if newEnd < oldEnd {
		s.unmap(newEnd, oldEnd)
	}
	if newEnd > oldEnd {
		if newEnd >= s.cfg.Max || !s.free(oldEnd, newEnd+pageSize) {
			return s.brkEnd, 0
		}
		o := MmapOptions{Addr: oldEnd, Fixed: true, Prot: hostarch.ReadWrite, MaxProt: hostarch.AnyAccess, Name: "[heap]"}
		_, mode, err := s.mmap(&o, uint64(newEnd-oldEnd))
		if err != nil {
			return s.brkEnd, 0
		}
		if mode == lockNow {
			grown = uint64(newEnd - oldEnd)
		} else {
			// A heap grows to be used. Unused, it costs nothing.
			s.prefault(oldEnd, min(newEnd, oldEnd+anonChunk), true)
		}
	}
	s.brkEnd = addr
	return addr, grown
}
