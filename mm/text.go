package mm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Text returns the mapping around addr if that is code which does not change:
// private, executable, and not writable.
func (s *Space) Text(addr hostarch.Addr) (hostarch.AddrRange, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.find(addr)
	if a == nil || a.shared || !a.prot.Execute || a.prot.Write {
		return hostarch.AddrRange{}, false
	}
	return hostarch.AddrRange{Start: a.start, End: a.end}, true
}

// MapText maps length bytes of private memory that the guest can read and
// execute in the highest hole below the mapping of near, at most reach bytes
// away from near. ENOMEM: there is none.
func (s *Space) MapText(near hostarch.Addr, length, reach uint64, name string) (hostarch.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.find(near)
	if a == nil {
		return 0, unix.EINVAL
	}
	addr, _, ok := s.below(a.start, length)
	if !ok || uint64(near-addr) > reach {
		return 0, unix.ENOMEM
	}
	o := MmapOptions{
		Addr: addr, Fixed: true, FixedNoReplace: true,
		Prot: hostarch.ReadExecute, MaxProt: hostarch.AnyAccess, Name: name,
	}
	addr, _, err := s.mmap(&o, length)
	return addr, err
}
