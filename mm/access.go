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
func (s *Space) view(addr hostarch.Addr, n uint64, how access) ([]byte, memfile.Range) {
	e := s.last.Load()
	if e == nil || addr < e.start || addr >= e.end {
		if e = s.extentAt(addr); e == nil {
			return nil, memfile.Range{}
		}
		s.last.Store(e)
	}
	if how.write && !e.given.Write || !how.write && !how.force && !e.given.Any() {
		return nil, memfile.Range{}
	}
	return s.bytes(e, addr, n)
}

// bytes returns e's memory from addr on, at most n bytes.
func (s *Space) bytes(e *extent, addr hostarch.Addr, n uint64) ([]byte, memfile.Range) {
	end := e.end
	if uint64(end-addr) > n {
		end = addr + hostarch.Addr(n)
	}
	r := e.rangeOf(addr, end)
	return s.cfg.File.Bytes(r), r
}

// touch makes view answer for addr, or fails with EFAULT. The caller holds s.mu
// for writing.
func (s *Space) touch(addr hostarch.Addr, n uint64, how access) ([]byte, memfile.Range, error) {
	if b, r := s.view(addr, n, how); b != nil {
		return b, r, nil
	}
	a := s.find(addr)
	if a == nil {
		if a = s.grow(addr); a == nil {
			return nil, memfile.Range{}, unix.EFAULT
		}
	}
	at := hostarch.Read
	if how.write {
		at = hostarch.Write
	}
	if how.force {
		if how.write && a.shared && !a.prot.Write {
			return nil, memfile.Range{}, unix.EFAULT
		}
	} else if !a.prot.Any() || how.write && !a.prot.Write {
		return nil, memfile.Range{}, unix.EFAULT
	}
	e, err := s.resolve(a, addr, at)
	if err != nil {
		return nil, memfile.Range{}, unix.EFAULT
	}
	b, r := s.bytes(e, addr, n)
	return b, r, nil
}

// walk goes over a range of guest memory:
//
//	w := s.walk(addr, n, how)
//	for w.next() {
//		… w.b …
//	}
//	done, err := w.end()
//
// The pieces are good until the following next or end, which must be called. The
// Space is locked between them, for reading where all is there. err is EFAULT,
// and done how many bytes came before.
type walk struct {
	s     *Space
	addr  hostarch.Addr
	left  uint64
	done  uint64
	how   access
	held  lockKind
	b     []byte
	place memfile.Range // of b
	err   error
}

type lockKind uint8

const (
	unlocked lockKind = iota
	lockedForReading
	lockedForWriting
)

func (s *Space) walk(addr hostarch.Addr, n uint64, how access) walk {
	return walk{s: s, addr: addr, left: n, how: how}
}

func (w *walk) next() bool {
	if w.left == 0 {
		return false
	}
	s := w.s
	if w.held == lockedForWriting {
		w.unlock()
	}
	if w.held == unlocked {
		s.mu.RLock()
		w.held = lockedForReading
	}
	if w.b, w.place = s.view(w.addr, w.left, w.how); w.b == nil {
		w.unlock()
		s.mu.Lock()
		w.held = lockedForWriting
		if w.b, w.place, w.err = s.touch(w.addr, w.left, w.how); w.err != nil {
			return false
		}
	}
	n := uint64(len(w.b))
	w.addr += hostarch.Addr(n)
	w.left -= n
	w.done += n
	return true
}

func (w *walk) unlock() {
	switch w.held {
	case lockedForReading:
		w.s.mu.RUnlock()
	case lockedForWriting:
		w.s.mu.Unlock()
	}
	w.held = unlocked
}

func (w *walk) end() (done uint64, err error) {
	w.unlock()
	return w.done, w.err
}

// CopyIn reads guest memory (copy_from_user): EFAULT, with how much was read
// before.
func (s *Space) CopyIn(addr hostarch.Addr, dst []byte) (int, error) {
	return s.copyIn(addr, dst, access{})
}

func (s *Space) copyIn(addr hostarch.Addr, dst []byte, how access) (int, error) {
	w := s.walk(addr, uint64(len(dst)), how)
	for w.next() {
		dst = dst[copy(dst, w.b):]
	}
	n, err := w.end()
	return int(n), err
}

// CopyOut writes guest memory (copy_to_user): EFAULT, with how much was written
// before.
func (s *Space) CopyOut(addr hostarch.Addr, src []byte) (int, error) {
	return s.copyOut(addr, src, access{write: true})
}

func (s *Space) copyOut(addr hostarch.Addr, src []byte, how access) (int, error) {
	w := s.walk(addr, uint64(len(src)), how)
	for w.next() {
		src = src[copy(w.b, src):]
	}
	n, err := w.end()
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
	w := s.walk(addr, n, access{write: true})
	for w.next() {
		clear(w.b)
	}
	return w.end()
}

// CopyInString reads a string that ends with a NUL byte, which is not returned:
// ENAMETOOLONG if there is none in the first max bytes, EFAULT.
func (s *Space) CopyInString(addr hostarch.Addr, max int) (string, error) {
	var small [256]byte
	out := small[:0]
	w := s.walk(addr, uint64(max), access{})
	for w.next() {
		for b := w.b; len(b) > 0; {
			// The guest may change it meanwhile: the copy is what is looked at.
			n, at := min(len(b), len(small)), len(out)
			out = append(out, b[:n]...)
			if i := bytes.IndexByte(out[at:], 0); i >= 0 {
				w.end()
				return string(out[:at+i]), nil
			}
			b = b[n:]
		}
	}
	if _, err := w.end(); err != nil {
		return "", err
	}
	return "", unix.ENAMETOOLONG
}
