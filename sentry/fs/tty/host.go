package tty

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/hostcall"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/hostfd"
	"runsc-lite/sentry/fs/tty/ldisc"
	"runsc-lite/sentry/vfs"
)

// Host is a terminal of the host, as the user of the sandbox sits at it.
//
// Its line discipline is the host's: settings, window size, input and output go
// through to it. The other way would be to make it raw and to have a line discipline
// here. Then the sandbox would read ahead, and what is typed while a program runs that
// does not read would be lost with the sandbox instead of going to the user's shell; a
// sandbox in the background would have to know that it is, at each byte, and not to
// touch the terminal; and a runner that is killed would leave the terminal raw. As it
// is, the host's kernel takes care of all that: it stops a runner that reads from the
// background, as it does any job.
//
// Sessions and process groups are the sandbox's own. The host knows of one job, the
// runner, and signals it when the user types ^C, ^\ or ^Z, changes the window or
// hangs up; Signal passes that on to the foreground group inside.
type Host struct {
	Control
	file *vfs.File // of package hostfd
	fd   int

	saved     [ldisc.Termios2Size]byte // settings at the beginning
	changed   atomic.Bool              // a guest changed them
	suspended atomic.Bool              // a guest stopped the output (TCOOFF)
}

// HostOptions are how a Host is made.
type HostOptions struct {
	Procs    *procmgr.Table
	Notifier *hostcall.Notifier
	Number   uint64 // device number inside
}

// NewHost makes a terminal of an open file of the host's that nobody else uses. It
// belongs to the Host, even if there is an error: ENOTTY.
func NewHost(fd int, o HostOptions) (*Host, error) {
	h := &Host{fd: fd}
	if _, err := hostcall.Ioctl(fd, tcgets2, h.saved[:]); err != nil {
		hostcall.Close(fd)
		return nil, err
	}
	var err error
	if h.file, err = hostfd.New(fd, hostfd.Options{Notifier: o.Notifier, Private: true}); err != nil {
		hostcall.Close(fd)
		return nil, err
	}
	h.Control.init(o.Procs, h, o.Number)
	return h, nil
}

// Close gives the terminal back as it was, unless another job of the user's has it
// now.
func (h *Host) Close() {
	if !hostcall.InBackground(h.fd) {
		if h.suspended.Load() {
			_, _ = hostcall.IoctlInt(h.fd, unix.TCXONC, unix.TCOON)
		}
		if h.changed.Load() {
			_, _ = hostcall.Ioctl(h.fd, tcsets2, h.saved[:])
		}
	}
	h.file.DecRef()
}

// Signal passes on what the host's terminal signalled to the runner, to the
// foreground group: SIGINT, SIGQUIT, SIGTSTP or SIGWINCH.
func (h *Host) Signal(sig unix.Signal) { h.signal(sig) }

// HungUp reports whether the connection has ended. If so, the foreground group gets
// SIGHUP and SIGCONT, as from the user's shell, and the session has no terminal any
// more.
func (h *Host) HungUp() bool {
	got, err := hostcall.Poll(h.fd, 0)
	if err != nil || got&unix.POLLHUP == 0 {
		return false
	}
	h.signal(unix.SIGHUP)
	h.signal(unix.SIGCONT)
	h.procs.HangUp(&h.term)
	return true
}

// Attach gives the terminal to the session of leader. Processes have it that are made
// after that.
func (h *Host) Attach(leader *procmgr.Process) error {
	return h.procs.SetTerminal(leader, &h.term, false)
}

// Front puts the group of job into the foreground, as a shell does that continues it.
func (h *Host) Front(leader, job *procmgr.Process) error {
	return h.procs.SetForeground(leader, &h.term, job.GroupID())
}

// Open implements Terminal. EACCES: the host's file allows less.
func (h *Host) Open(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
	ops, err := h.file.Inode().Open(flags)
	if err != nil {
		return nil, err
	}
	s, ok := ops.(hostStream)
	if !ok {
		ops.Release()
		return nil, unix.ENXIO
	}
	e := &hostEnd{hostStream: s, Host: h, readable: flags&unix.O_ACCMODE != unix.O_WRONLY}
	e.nonblock.Store(flags&unix.O_NONBLOCK != 0)
	h.offer(c.Task, flags)
	return e, nil
}

// hostStream is what package hostfd makes of a terminal.
type hostStream interface {
	vfs.FileOps
	vfs.Reader
	vfs.Writer
	vfs.Ioctler
	vfs.FlagSetter
	vfs.Waitable
}

// hostEnd is an open file on a Host.
type hostEnd struct {
	hostStream
	*Host
	readable bool
	nonblock atomic.Bool
}

// Ioctl implements vfs.Ioctler. What stops the runner, because it is in the background
// on the host, is made again when it goes on.
func (e *hostEnd) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	if known, err := e.ioctl(mem, request, arg, false, e.readable); known {
		return 0, err
	}
	change := false
	switch request {
	case unix.TCSETSW, unix.TCSETSF, tcsetsw2, tcsetsf2, unix.TCSBRK, unix.TCSBRKP:
		if !e.drained() {
			return 0, unix.EAGAIN
		}
		change = true
	case unix.TCSETS, tcsets2, unix.TCXONC, unix.TCFLSH:
		change = true
	case unix.TIOCSTI:
		return 0, unix.EIO // "legacy_tiocsti": not for the user's shell
	}
	if change {
		if err := e.check(mem, unix.SIGTTOU); err != nil {
			return 0, err
		}
		switch request {
		case unix.TCXONC:
			e.suspended.Store(arg == unix.TCOOFF || arg != unix.TCOON && e.suspended.Load())
		case unix.TCFLSH, unix.TCSBRK, unix.TCSBRKP:
		default:
			e.changed.Store(true)
		}
	}
	return e.hostStream.Ioctl(mem, request, arg)
}

// drainPause is how often the output of a slow line is looked at.
const drainPause = 10 * time.Millisecond

// drained reports whether all output has left the host. If not, it wakes those who
// wait a little later.
func (e *hostEnd) drained() bool {
	left, err := hostcall.GetInt(e.fd, unix.TIOCOUTQ)
	if err != nil || left == 0 {
		return true
	}
	if n, ok := e.hostStream.(interface{ Nudge(waiter.EventMask) }); ok {
		time.AfterFunc(drainPause, func() { n.Nudge(waiter.WritableEvents) })
		return false
	}
	return true
}

// SetFlags implements vfs.FlagSetter.
func (e *hostEnd) SetFlags(flags uint32) error {
	if err := setFlags(&e.nonblock, flags); err != nil {
		return err
	}
	return e.hostStream.SetFlags(flags)
}

// settings are the host's at the moment.
func (h *Host) settings() (t ldisc.Termios, ok bool) {
	var b [ldisc.TermiosSize]byte
	if _, err := hostcall.Ioctl(h.fd, unix.TCGETS, b[:]); err != nil {
		return t, false
	}
	return t.WithTermios(b[:]), true
}

// Admit implements vfs.Admitter: job control.
func (e *hostEnd) Admit(task any, write bool) error {
	if !write {
		return e.check(task, unix.SIGTTIN)
	}
	if th := threadOf(task); th == nil || !e.procs.InBackground(th, &e.term) {
		return nil // without asking the host
	}
	if t, ok := e.settings(); ok && t.Lflag&unix.TOSTOP != 0 {
		return e.check(task, unix.SIGTTOU)
	}
	return nil
}

// Read implements vfs.Reader. The host is read without waiting, so that VMIN has to be
// looked after here.
func (e *hostEnd) Read(dst [][]byte) (int64, error) {
	if t, ok := e.settings(); ok && !e.nonblock.Load() && !t.Canonical() && t.CC[unix.VMIN] > 1 {
		n, err := hostcall.GetInt(e.fd, unix.TIOCINQ)
		if err == nil && int64(n) < min(int64(t.CC[unix.VMIN]), total(dst)) {
			return 0, unix.EAGAIN
		}
	}
	return e.hostStream.Read(dst)
}

// ReadRest implements vfs.Collector.
func (e *hostEnd) ReadRest(dst [][]byte) (int64, error) { return e.hostStream.Read(dst) }

// Deadline implements vfs.Collector.
func (e *hostEnd) Deadline(begin time.Time) time.Time {
	t, ok := e.settings()
	if !ok || t.CC[unix.VTIME] == 0 {
		return time.Time{}
	}
	n, _ := hostcall.GetInt(e.fd, unix.TIOCINQ)
	return deadline(&t, n, begin, time.Now())
}
