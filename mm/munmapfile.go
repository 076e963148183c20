package mm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// MunmapFile removes the mapping of a file that was made at addr, or what is left
// of it: the first one from addr on whose file is accepts, and all others of the
// same file that lie where they would in that one (shmdt(2)). EINVAL: there is none.
func (s *Space) MunmapFile(addr hostarch.Addr, is func(MappedFile) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var file MappedFile
	var found []hostarch.AddrRange
	first := s.next(addr)
	if addr&pageMask != 0 || first == nil {
		return unix.EINVAL
	}
	s.areas.from(first.start, s.cfg.Max, func(a *area) bool {
		if a.file != nil && a.start >= addr && uint64(a.start-addr) == a.off && (file == nil && is(a.file) || a.file == file) {
			file = a.file
			found = append(found, hostarch.AddrRange{Start: a.start, End: a.end})
		}
		return true
	})
	if file == nil {
		return unix.EINVAL
	}
	for _, r := range found {
		s.unmap(r.Start, r.End)
	}
	return nil
}
