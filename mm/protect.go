package mm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Mprotect changes protection (mprotect(2)). What precedes a failure is changed.
// growsDown is PROT_GROWSDOWN: from the beginning of the growing area on. Errors:
//
//	EINVAL  addr is no page; growsDown elsewhere
//	ENOMEM  a hole, RLIMIT_DATA, too many areas
//	EACCES  more than the file's mode allows
func (s *Space) Mprotect(addr hostarch.Addr, length uint64, prot hostarch.AccessType, growsDown bool) error {
	if addr&pageMask != 0 {
		return unix.EINVAL
	}
	if length == 0 {
		return nil
	}
	end, err := s.span(addr, length)
	if err != nil {
		return unix.ENOMEM
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if growsDown {
		a := s.next(addr)
		if a == nil || a.start >= end {
			return unix.ENOMEM
		}
		if !a.growsDown {
			return unix.EINVAL
		}
		addr = a.start
	}
	if s.find(addr) == nil {
		return unix.ENOMEM
	}
	at := addr
	defer func() { s.mergeAreas(addr, at) }()
	for at < end {
		a := s.find(at)
		if a == nil {
			return unix.ENOMEM
		}
		if prot.Write && !a.maxProt.Write || prot.Execute && !a.maxProt.Execute || prot.Read && !a.maxProt.Read {
			return unix.EACCES
		}
		stop := min(a.end, end)
		if a.prot != prot {
			changed := *a
			changed.prot = prot
			if changed.isData() && !a.isData() {
				if err := s.mayPromise(&changed, uint64(stop-at)); err != nil {
					return err
				}
			}
			if err := s.cut(at, stop); err != nil {
				return err
			}
			s.protect(s.find(at), prot)
		}
		at = stop
	}
	return nil
}

// protect changes one area. Access is taken away at once; what is gained comes
// with the next fault, except where pages can be had as they are.
func (s *Space) protect(a *area, prot hostarch.AccessType) {
	s.account(a, -a.length())
	a.prot = prot
	s.account(a, a.length())
	s.extents.from(a.start, a.end, func(e *extent) bool {
		if !e.given.Any() && !prot.Any() {
			return true
		}
		at := guestAccess(prot)
		if at.Write && !e.given.Write {
			// To write, pages must be owned alone or shared on purpose.
			switch {
			case a.shared:
				at.Write = false // the pager must be asked
			case !e.owned:
				at.Write = false
			default:
				n, shared := s.cfg.File.Shared(e.all())
				at.Write = !shared && n == uint64(e.end-e.start)
			}
		}
		switch {
		case at == e.given:
		case e.given.Any():
			s.regive(e, at)
		default:
			s.install(e, at)
		}
		return true
	})
	s.last.Store(nil)
}
