package mm

import "gvisor.dev/gvisor/pkg/hostarch"

// Present reports whether the guest side has a page at addr that it can do
// anything with (the P bit of a page fault).
func (s *Space) Present(addr hostarch.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.extentAt(addr)
	return e != nil && e.given.Any()
}
