package mm

import (
	"bytes"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

// access says how the sentry touches guest memory.
type access struct {
	write bool
	// force ignores the area's protection, as ptrace(2) does (FOLL_FORCE):
	// private pages are copied before they are written.
	force bool
}

// view returns the guest's bytes from addr on, at most n, as they lie in the
// memory file; nil if a fault must be resolved first. The caller holds s.mu,
// and the view is good while it does.
func (s *Space) view(addr hostarch.Addr, n uint64, how access) []byte {
	e := s.last.Load()
	if e == nil || addr < e.start || addr >= e.end {
		if e = s.extentAt(addr); e == nil {
			return nil
		}
		s.last.Store(e)
	}
	if how.write && !e.given.Write || !how.write && !how.force && !e.given.Any() {
		return nil
	}
	end := e.end
	if uint64(end-addr) > n {
		end = addr + hostarch.Addr(n)
	}
	return s.cfg.File.Bytes(e.rangeOf(addr, end))
}

// touch makes view answer for addr, or fails with EFAULT. The caller holds s.mu
// for writing.
func (s *Space) touch(addr hostarch.Addr, n uint64, how access) ([]byte, error) {
	if b := s.view(addr, n, how); b != nil {
		return b, nil
	}
	a := s.find(addr)
	if a == nil {
		if a = s.grow(addr); a == nil {
			return nil, unix.EFAULT
		}
	}
	at := hostarch.Read
	if how.write {
		at = hostarch.Write
	}
	if how.force {
		if how.write && a.shared && !a.prot.Write {
			return nil, unix.EFAULT
		}
	} else if !a.prot.Any() || how.write && !a.prot.Write {
		return nil, unix.EFAULT
	}
	e, err := s.resolve(a, addr, at)
	if err != nil {
		return nil, unix.EFAULT
	}
	end := min(e.end, a.end)
	if uint64(end-addr) > n {
		end = addr + hostarch.Addr(n)
	}
	return s.cfg.File.Bytes(e.rangeOf(addr, end)), nil
}

// each calls fn for the pieces of [addr, addr+n) in order until fn says that it
// has enough. It returns how many bytes fn was given.
func (s *Space) each(addr hostarch.Addr, n uint64, how access, fn func([]byte) bool) (uint64, error) {
	done := uint64(0)
	if n == 0 {
		return 0, nil
	}
	if uint64(addr) >= uint64(s.cfg.Max) {
		return 0, unix.EFAULT
	}
	s.mu.RLock()
	for done < n {
		b := s.view(addr+hostarch.Addr(done), n-done, how)
		if b == nil {
			break
		}
		done += uint64(len(b))
		if !fn(b) {
			s.mu.RUnlock()
			return done, nil
		}
	}
	s.mu.RUnlock()
	if done == n {
		return done, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for done < n {
		if s.released || uint64(addr)+done >= uint64(s.cfg.Max) {
			return done, unix.EFAULT
		}
		b, err := s.touch(addr+hostarch.Addr(done), n-done, how)
		if err != nil {
			return done, err
		}
		done += uint64(len(b))
		if !fn(b) {
			break
		}
	}
	return done, nil
}

// CopyIn reads guest memory (copy_from_user): EFAULT, with how much was read
// before.
func (s *Space) CopyIn(addr hostarch.Addr, dst []byte) (int, error) {
	// The common case without a closure: all in one extent.
	s.mu.RLock()
	if b := s.view(addr, uint64(len(dst)), access{}); len(b) == len(dst) {
		copy(dst, b)
		s.mu.RUnlock()
		return len(dst), nil
	}
	s.mu.RUnlock()
	return s.copyIn(addr, dst, access{})
}

func (s *Space) copyIn(addr hostarch.Addr, dst []byte, how access) (int, error) {
	rest := dst
	n, err := s.each(addr, uint64(len(dst)), how, func(b []byte) bool {
		rest = rest[copy(rest, b):]
		return true
	})
	return int(n), err
}

// CopyOut writes guest memory (copy_to_user): EFAULT, with how much was written
// before.
func (s *Space) CopyOut(addr hostarch.Addr, src []byte) (int, error) {
	s.mu.RLock()
	if b := s.view(addr, uint64(len(src)), access{write: true}); len(b) == len(src) {
		copy(b, src)
		s.mu.RUnlock()
		return len(src), nil
	}
	s.mu.RUnlock()
	return s.copyOut(addr, src, access{write: true})
}

func (s *Space) copyOut(addr hostarch.Addr, src []byte, how access) (int, error) {
	rest := src
	n, err := s.each(addr, uint64(len(src)), how, func(b []byte) bool {
		rest = rest[copy(b, rest):]
		return true
	})
	return int(n), err
}

// Peek and Poke are CopyIn and CopyOut past the protection, for debuggers
// (ptrace(2), /proc/PID/mem).
func (s *Space) Peek(addr hostarch.Addr, dst []byte) (int, error) {
	return s.copyIn(addr, dst, access{force: true})
}

// Poke writes past the protection; see Peek.
func (s *Space) Poke(addr hostarch.Addr, src []byte) (int, error) {
	return s.copyOut(addr, src, access{write: true, force: true})
}

// ZeroOut clears guest memory (clear_user).
func (s *Space) ZeroOut(addr hostarch.Addr, n uint64) (uint64, error) {
	return s.each(addr, n, access{write: true}, func(b []byte) bool { clear(b); return true })
}

// CopyInString reads a string that ends with a NUL byte, which is not returned:
// ENAMETOOLONG if there is none in the first max bytes, EFAULT.
func (s *Space) CopyInString(addr hostarch.Addr, max int) (string, error) {
	var small [256]byte
	out := small[:0]
	found := false
	_, err := s.each(addr, uint64(max), access{}, func(b []byte) bool {
		if i := bytes.IndexByte(b, 0); i >= 0 {
			b, found = b[:i], true
		}
		out = append(out, b...)
		return !found
	})
	switch {
	case found:
		return string(out), nil
	case err != nil:
		return "", err
	}
	return "", unix.ENAMETOOLONG
}

// Iovec is a range of guest memory (struct iovec).
type Iovec struct {
	Addr hostarch.Addr
	Len  uint64
}

// Pinned is guest memory that is held: Blocks alias it until Unpin. A guest
// that forks meanwhile shares what is written through Blocks with its child.
type Pinned struct {
	Blocks [][]byte

	space *Space
	first [4][]byte
}

// Length returns how many bytes Blocks have.
func (p *Pinned) Length() (n uint64) {
	for _, b := range p.Blocks {
		n += uint64(len(b))
	}
	return n
}

// Unpin lets go.
func (p *Pinned) Unpin() {
	s := p.space
	if s == nil {
		return
	}
	p.space = nil
	s.pinMu.Lock()
	s.pins--
	var drop []memfile.Range
	if s.pins == 0 {
		drop, s.deferred = s.deferred, nil
	}
	s.pinMu.Unlock()
	for _, r := range drop {
		s.cfg.File.DecRef(r)
	}
}

// Pin holds [addr, addr+n) for the sentry to read from or, with write, to write
// to. It stops at the first bad page; EFAULT if that is the first of all.
func (s *Space) Pin(p *Pinned, addr hostarch.Addr, n uint64, write bool) error {
	return s.PinVec(p, []Iovec{{addr, n}}, write)
}

// PinVec is Pin for several ranges in order.
func (s *Space) PinVec(p *Pinned, vec []Iovec, write bool) error {
	p.Blocks = p.first[:0]
	p.space = s
	s.pinMu.Lock()
	s.pins++
	s.pinMu.Unlock()
	for _, v := range vec {
		_, err := s.each(v.Addr, v.Len, access{write: write}, func(b []byte) bool {
			p.Blocks = append(p.Blocks, b)
			return true
		})
		if err != nil {
			if len(p.Blocks) == 0 {
				p.Unpin()
				return err
			}
			break
		}
	}
	return nil
}
