package mm

import (
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Prefault gives the guest side what it will surely use of a range, as faults would
// do it one by one: each costs a stop of the guest, and what is mapped beforehand
// goes along with the next run. With write, private memory becomes the Space's own.
// What cannot be had is left to the faults.
func (s *Space) Prefault(addr hostarch.Addr, length uint64, write bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prefault(addr, addr+hostarch.Addr(length), write)
}

func (s *Space) prefault(addr, end hostarch.Addr, write bool) {
	for addr < end {
		a := s.find(addr)
		if a == nil || !guestAccess(a.prot).Read || s.released {
			return
		}
		at := hostarch.Read
		if write && a.prot.Write && !a.shared {
			at = hostarch.Write
		}
		e, err := s.resolve(a, addr, at)
		if err != nil {
			return
		}
		addr = min(e.end, a.end)
	}
}
