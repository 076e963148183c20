// Package tty is terminals: what they have to do with sessions and process groups
// (Control), pseudo-terminals (Pair), and the terminal that the user of the sandbox
// sits at (Host).
//
// Nothing here waits: EAGAIN says that the caller has to.
//
// Lock order:
//
//	Pair.mu
//	  nothing: signals are sent and waiters notified after it is released
package tty

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/vfs"
)

// Terminal is what /dev/tty leads to.
type Terminal interface {
	// Open opens the terminal for c (tty_open). It may become c's controlling
	// terminal unless flags have O_NOCTTY.
	Open(c *vfs.Caller, flags uint32) (vfs.FileOps, error)
}

// Control is a terminal's part in job control.
type Control struct {
	procs *procmgr.Table
	term  procmgr.Terminal
}

func (c *Control) init(procs *procmgr.Table, device Terminal, number uint64) {
	c.procs = procs
	c.term.Device, c.term.Number = device, number
}

// Controlling returns the controlling terminal of task, a vfs.Caller's: ENXIO if it
// has none.
func Controlling(procs *procmgr.Table, task any) (Terminal, error) {
	if th := threadOf(task); th != nil {
		if term := procs.TerminalOf(th.Process()); term != nil {
			return term.Device.(Terminal), nil
		}
	}
	return nil, unix.ENXIO
}

// threadOf returns who makes a call, nil if that is no guest thread.
func threadOf(task any) *procmgr.Thread {
	if t, ok := task.(interface{ Thread() *procmgr.Thread }); ok {
		return t.Thread()
	}
	return nil
}

// capable reports whether the caller has a capability.
func capable(task any, capability int) bool {
	th := threadOf(task)
	return th == nil || th.Credentials().HasCap(capability)
}

// offer makes the terminal the controlling one of who opens it, if that is due.
func (c *Control) offer(task any, flags uint32) {
	if th := threadOf(task); th != nil && flags&unix.O_NOCTTY == 0 && flags&unix.O_ACCMODE != unix.O_WRONLY {
		c.procs.OfferTerminal(th.Process(), &c.term)
	}
}

// check asks whether task may read (SIGTTIN), or write or change the terminal
// (SIGTTOU): job_control and tty_check_change in Linux.
func (c *Control) check(task any, sig unix.Signal) error {
	if th := threadOf(task); th != nil {
		return c.procs.CheckTerminal(th, &c.term, sig)
	}
	return nil
}

// signal sends a signal to the foreground group.
func (c *Control) signal(sig unix.Signal) { c.procs.SignalForeground(&c.term, sig) }

// ioctl answers the requests that are about job control (tty_jobctrl_ioctl). master
// says that it comes from the other end of a pseudo-terminal; readable, that the file
// was opened for reading. known is false for other requests.
func (c *Control) ioctl(mem vfs.Memory, request uint32, arg uint64, master, readable bool) (known bool, err error) {
	th := threadOf(mem)
	if th == nil {
		return false, nil
	}
	p, addr := th.Process(), hostarch.Addr(arg)
	mine := c.procs.TerminalOf(p) == &c.term
	switch request {
	case unix.TIOCNOTTY:
		if master {
			return true, unix.ENOTTY
		}
		return true, c.procs.LeaveTerminal(p, &c.term)
	case unix.TIOCSCTTY:
		admin := th.Credentials().HasCap(unix.CAP_SYS_ADMIN)
		if !readable && !admin {
			return true, unix.EPERM
		}
		return true, c.procs.SetTerminal(p, &c.term, arg == 1 && admin)
	case unix.TIOCGPGRP:
		if !master && !mine {
			return true, unix.ENOTTY
		}
		return true, copyOutUint32(mem, addr, uint32(p.Namespace().Foreground(&c.term)))
	case unix.TIOCGSID:
		sid := p.Namespace().TerminalSession(&c.term)
		if !master && !mine || sid == 0 {
			return true, unix.ENOTTY
		}
		return true, copyOutUint32(mem, addr, uint32(sid))
	case unix.TIOCSPGRP:
		if err := c.check(mem, unix.SIGTTOU); err == unix.EIO {
			return true, unix.ENOTTY
		} else if err != nil {
			return true, err
		}
		var b [4]byte
		if _, err := mem.CopyIn(addr, b[:]); err != nil {
			return true, err
		}
		pgid := int32(binary.LittleEndian.Uint32(b[:]))
		if pgid < 0 {
			return true, unix.EINVAL
		}
		return true, c.procs.SetForeground(p, &c.term, int(pgid))
	}
	return false, nil
}

func copyOutUint32(mem vfs.Memory, addr hostarch.Addr, v uint32) error {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	_, err := mem.CopyOut(addr, b[:])
	return err
}

func copyInUint32(mem vfs.Memory, addr hostarch.Addr) (uint32, error) {
	var b [4]byte
	_, err := mem.CopyIn(addr, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}
