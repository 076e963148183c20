package tty

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/fs/tty/ldisc"
	"runsc-lite/sentry/vfs"
)

// Requests that golang.org/x/sys/unix does not name, or names with other sizes.
const (
	tcgets2  = 0x802c542a
	tcsets2  = 0x402c542b
	tcsetsw2 = 0x402c542c
	tcsetsf2 = 0x402c542d

	tiocgdev    = 0x80045432
	tiocgexcl   = 0x80045440
	tiocgptpeer = 0x5441
	tiocgpkt    = 0x80045438
	tiocgptlck  = 0x80045439
	tiocsig     = 0x40045436
	tiocvhangup = 0x5437

	nTTY = 0 // the line discipline
)

// Ioctl implements vfs.Ioctler.
func (s *slave) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	s.mu.Lock()
	hung := s.hungUp()
	s.mu.Unlock()
	if hung {
		if request == unix.TIOCSPGRP {
			return 0, unix.ENOTTY
		}
		return 0, unix.EIO
	}
	if known, err := s.ioctl(mem, request, arg, false, s.readable); known {
		return 0, err
	}
	addr := hostarch.Addr(arg)
	switch request {
	case unix.TIOCINQ:
		s.mu.Lock()
		n := s.line.Queued()
		s.mu.Unlock()
		return 0, copyOutUint32(mem, addr, uint32(n))
	case unix.TCXONC:
		return 0, s.flow(mem, arg)
	case unix.TCFLSH:
		return 0, s.flush(mem, arg)
	case unix.TIOCSTI:
		return 0, s.simulate(mem, addr)
	case unix.TIOCEXCL, unix.TIOCNXCL:
		s.mu.Lock()
		s.exclusive = request == unix.TIOCEXCL
		s.mu.Unlock()
		return 0, nil
	case tiocgexcl:
		s.mu.Lock()
		on := s.exclusive
		s.mu.Unlock()
		return 0, copyOutUint32(mem, addr, b2u(on))
	case tiocvhangup:
		if !capable(mem, unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
		s.mu.Lock()
		s.hangUp()
		return 0, nil
	}
	return 0, s.common(mem, request, addr)
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// common are the requests that both sides answer, for the slave's (tty_mode_ioctl and
// tty_ioctl with tty_pair_get_tty): ENOTTY for others.
func (p *Pair) common(mem vfs.Memory, request uint32, addr hostarch.Addr) error {
	switch request {
	case unix.TCGETS, tcgets2, unix.TCGETA:
		p.mu.Lock()
		t := p.line.Termios()
		p.mu.Unlock()
		var b [ldisc.Termios2Size]byte
		out := b[:0]
		if request == unix.TCGETA {
			out = t.AppendTermio(out)
		} else {
			out = t.Append(out, request == tcgets2)
		}
		_, err := mem.CopyOut(addr, out)
		return err
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF:
		return p.change(mem, addr, ldisc.TermiosSize, request == unix.TCSETSF, ldisc.Termios.WithTermios)
	case tcsets2, tcsetsw2, tcsetsf2:
		return p.change(mem, addr, ldisc.Termios2Size, request == tcsetsf2, ldisc.Termios.WithTermios)
	case unix.TCSETA, unix.TCSETAW, unix.TCSETAF:
		return p.change(mem, addr, ldisc.TermioSize, request == unix.TCSETAF, ldisc.Termios.WithTermio)
	case unix.TIOCGSOFTCAR:
		p.mu.Lock()
		t := p.line.Termios()
		p.mu.Unlock()
		return copyOutUint32(mem, addr, b2u(t.Cflag&unix.CLOCAL != 0))
	case unix.TIOCSSOFTCAR:
		on, err := copyInUint32(mem, addr)
		if err != nil {
			return err
		}
		p.mu.Lock()
		defer p.unlock()
		t := p.line.Termios()
		t.Cflag &^= unix.CLOCAL
		if on != 0 {
			t.Cflag |= unix.CLOCAL
		}
		p.setTermios(t)
		return nil
	case unix.TIOCGWINSZ:
		p.mu.Lock()
		w := p.winsize
		p.mu.Unlock()
		_, err := mem.CopyOut(addr, w[:])
		return err
	case unix.TIOCSWINSZ:
		var w [winsizeSize]byte
		if _, err := mem.CopyIn(addr, w[:]); err != nil {
			return err
		}
		p.setWinsize(w)
		return nil
	case unix.TIOCOUTQ:
		return copyOutUint32(mem, addr, 0) // what is written is with the master at once
	case unix.TIOCGETD:
		return copyOutUint32(mem, addr, nTTY)
	case unix.TIOCSETD:
		if err := p.check(mem, unix.SIGTTOU); err != nil {
			return err
		}
		if n, err := copyInUint32(mem, addr); err != nil || n == nTTY {
			return err
		}
		return unix.EINVAL
	case unix.TCSBRK, unix.TCSBRKP, unix.TIOCSBRK, unix.TIOCCBRK:
		return p.check(mem, unix.SIGTTOU) // there is no line to break
	case tiocgdev:
		n := SlaveNumber(p.index)
		return copyOutUint32(mem, addr, uint32(n))
	}
	return unix.ENOTTY
}

// change is the TCSET* family (set_termios): size is that of the struct.
func (p *Pair) change(mem vfs.Memory, addr hostarch.Addr, size int, flush bool,
	with func(ldisc.Termios, []byte) ldisc.Termios) error {
	if err := p.check(mem, unix.SIGTTOU); err != nil {
		return err
	}
	var b [ldisc.Termios2Size]byte
	if _, err := mem.CopyIn(addr, b[:size]); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.unlock()
	if flush {
		p.line.FlushInput()
	}
	p.setTermios(with(p.line.Termios(), b[:size]))
	return nil
}

// flow is TCXONC.
func (s *slave) flow(mem vfs.Memory, how uint64) error {
	if err := s.check(mem, unix.SIGTTOU); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.unlock()
	switch how {
	case unix.TCOOFF:
		s.line.Suspend()
	case unix.TCOON:
		s.line.Resume()
	case unix.TCIOFF:
		s.line.SendChar(unix.VSTOP)
	case unix.TCION:
		s.line.SendChar(unix.VSTART)
	default:
		return unix.EINVAL
	}
	return nil
}

// flush is TCFLSH.
func (s *slave) flush(mem vfs.Memory, how uint64) error {
	if err := s.check(mem, unix.SIGTTOU); err != nil {
		return err
	}
	if how > unix.TCIOFLUSH {
		return unix.EINVAL
	}
	s.mu.Lock()
	full := s.typed.Room() == 0
	if how != unix.TCOFLUSH {
		s.typed.Reset()
		s.line.FlushInput()
	}
	if how != unix.TCIFLUSH {
		s.line.FlushOutput()
	}
	s.unlock()
	if full && how != unix.TCOFLUSH {
		s.masters.Notify(waiter.WritableEvents)
	}
	return nil
}

// simulate is TIOCSTI, as with dev.tty.legacy_tiocsti off.
func (s *slave) simulate(mem vfs.Memory, addr hostarch.Addr) error {
	if !capable(mem, unix.CAP_SYS_ADMIN) {
		return unix.EIO
	}
	var b [1]byte
	if _, err := mem.CopyIn(addr, b[:]); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.unlock()
	s.line.Receive(b[:])
	return nil
}

// Ioctl implements vfs.Ioctler (pty_unix98_ioctl, and tty_ioctl for the master).
func (m *Master) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	if known, err := m.ioctl(mem, request, arg, true, true); known {
		return 0, err
	}
	addr := hostarch.Addr(arg)
	switch request {
	case unix.TIOCGPTN:
		return 0, copyOutUint32(mem, addr, uint32(m.index))
	case unix.TIOCSPTLCK:
		on, err := copyInUint32(mem, addr)
		if err == nil {
			m.mu.Lock()
			m.locked = on != 0
			m.mu.Unlock()
		}
		return 0, err
	case tiocgptlck:
		m.mu.Lock()
		on := m.locked
		m.mu.Unlock()
		return 0, copyOutUint32(mem, addr, b2u(on))
	case unix.TIOCPKT:
		on, err := copyInUint32(mem, addr)
		if err == nil {
			m.mu.Lock()
			if on != 0 && !m.packet {
				m.status = 0
			}
			m.packet = on != 0
			m.mu.Unlock()
		}
		return 0, err
	case tiocgpkt:
		m.mu.Lock()
		on := m.packet
		m.mu.Unlock()
		return 0, copyOutUint32(mem, addr, b2u(on))
	case tiocsig:
		switch sig := unix.Signal(arg); sig {
		case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP:
			m.signal(sig)
			return 0, nil
		}
		return 0, unix.EINVAL
	case unix.TIOCINQ:
		m.mu.Lock()
		n := m.line.Out.Len()
		m.mu.Unlock()
		return 0, copyOutUint32(mem, addr, uint32(n))
	case unix.TCXONC:
		return 0, m.flow(arg)
	case unix.TCFLSH:
		return 0, m.flush(arg)
	case unix.TIOCEXCL, unix.TIOCNXCL:
		return 0, nil // a master is opened once in any case
	case unix.TIOCCONS:
		return 0, unix.EINVAL
	}
	return 0, m.common(mem, request, addr)
}

// flow is TCXONC for the master: what it types is held back. Its own special
// characters are the usual ones.
func (m *Master) flow(how uint64) error {
	switch how {
	case unix.TCOOFF, unix.TCOON:
		m.mu.Lock()
		m.held = how == unix.TCOOFF
		m.mu.Unlock()
		if how == unix.TCOON {
			m.masters.Notify(waiter.WritableEvents)
		}
	case unix.TCIOFF:
		_, err := m.Write([][]byte{{'S' & 0x1f}})
		return err
	case unix.TCION:
		_, err := m.Write([][]byte{{'Q' & 0x1f}})
		return err
	default:
		return unix.EINVAL
	}
	return nil
}

// flush is TCFLSH for the master: its input is the slave's output.
func (m *Master) flush(how uint64) error {
	if how > unix.TCIOFLUSH {
		return unix.EINVAL
	}
	m.mu.Lock()
	if how != unix.TCOFLUSH {
		m.line.Out.Reset()
		m.line.Events.Writable = true
	}
	if how != unix.TCIFLUSH {
		m.typed.Reset()
	}
	m.unlock()
	m.masters.Notify(waiter.WritableEvents)
	return nil
}
