// Package hostfd is files that the sandbox inherited from its host: the user's
// standard input, output and error.
//
// The host shares them with other processes, so their O_NONBLOCK is left as it
// is. Reads and writes do not wait all the same: with RWF_NOWAIT, or, where a file
// does not know that, by asking poll(2) first; terminals are opened a second time
// for it. A caller that has to wait is told of readiness by the Notifier, which
// watches a descriptor only while somebody waits for it.
//
// The host's file position is used, not one of the sandbox: what several
// processes write to one log must not overlap.
//
// Lock order:
//
//	host.mu
//	  the queue's and the Notifier's locks
package hostfd

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/vfs"
)

// Options are how an inherited file appears in the sandbox.
type Options struct {
	// Notifier tells of readiness. It must be set.
	Notifier *hostcall.Notifier
	// Name is what /proc/PID/fd shows. Empty: after the file's type.
	Name string
	// Keep leaves the descriptor open when the file is released.
	Keep bool
	// Private says that nobody else has the open file: it is made O_NONBLOCK.
	Private bool
}

// host is a descriptor of the host, and what all files on it share.
type host struct {
	o        Options
	fd       int
	kind     uint32 // S_IF*
	terminal bool
	flags    uint32 // F_GETFL at the beginning

	// The descriptor to close at the end besides fd; -1: none.
	reopened int
	nonblock bool        // fd is O_NONBLOCK, and nobody else's
	noWait   atomic.Bool // RWF_NOWAIT may work

	refs  atomic.Int32
	queue waiter.Queue
	mu    sync.Mutex
	watch bool
}

// New makes the file of an inherited descriptor, which belongs to it from then on
// (Options.Keep). EBADF: there is none.
func New(fd int, o Options) (*vfs.File, error) {
	st, err := hostcall.Fstat(fd)
	if err != nil {
		return nil, err
	}
	flags, err := hostcall.FileFlags(fd)
	if err != nil {
		return nil, err
	}
	if flags&unix.O_PATH != 0 {
		return nil, unix.EBADF
	}
	h := &host{o: o, fd: fd, kind: st.Mode & unix.S_IFMT, flags: flags, reopened: -1}
	h.noWait.Store(true)
	if o.Private {
		if err := hostcall.SetNonblock(fd); err != nil {
			return nil, err
		}
		h.nonblock = true
	}
	if h.kind == unix.S_IFCHR {
		var termios [termiosSize]byte
		_, err := hostcall.Ioctl(fd, unix.TCGETS, termios[:])
		h.terminal = err == nil
		if major := unix.Major(st.Rdev); h.terminal && !h.nonblock && (major == 4 || major >= 136 && major <= 143) {
			if again, err := hostcall.ReopenTerminal(fd, int(flags&unix.O_ACCMODE)); err == nil {
				h.reopened, h.fd, h.nonblock = fd, again, true
			}
		}
	}
	if h.o.Name == "" {
		h.o.Name = name(h, &st)
	}
	const shown = unix.O_ACCMODE | unix.O_APPEND | unix.O_NONBLOCK | 0o100000
	ops, err := h.open(flags)
	if err != nil {
		return nil, err
	}
	return vfs.NewFile(ops, inode{h}, flags&shown, h.o.Name), nil
}

// open makes the operations of one more file.
func (h *host) open(flags uint32) (vfs.FileOps, error) {
	have, want := h.flags&unix.O_ACCMODE, flags&unix.O_ACCMODE
	if have != unix.O_RDWR && want != have {
		return nil, unix.EACCES
	}
	h.refs.Add(1)
	f := &stream{host: h}
	f.append.Store(flags&unix.O_APPEND != 0)
	switch {
	case h.kind == unix.S_IFREG, h.kind == unix.S_IFBLK, h.kind == unix.S_IFCHR && !h.terminal:
		return &seekable{stream: f}, nil
	}
	return f, nil
}

// Release implements vfs.FileOps.
func (h *host) Release() {
	if h.refs.Add(-1) != 0 {
		return
	}
	h.mu.Lock()
	if h.watch {
		h.watch = false
		h.o.Notifier.Unwatch(h.fd)
	}
	h.mu.Unlock()
	inherited := h.fd
	if h.reopened >= 0 {
		hostcall.CloseFD(h.fd)
		inherited = h.reopened
	}
	if !h.o.Keep {
		hostcall.CloseFD(inherited)
	}
}

// IsTerminal reports whether f is an inherited terminal.
func IsTerminal(f *vfs.File) bool {
	s, ok := f.Ops().(*stream)
	return ok && s.terminal
}

// never reports whether operations on h never wait, as for regular files.
func (h *host) never() bool { return h.kind == unix.S_IFREG || h.kind == unix.S_IFBLK }

// Readiness implements waiter.Waitable.
func (h *host) Readiness(mask waiter.EventMask) waiter.EventMask {
	if h.never() {
		return mask & (waiter.ReadableEvents | waiter.WritableEvents)
	}
	got, err := hostcall.Poll(h.fd, int16(mask&waiter.AllEvents))
	if err != nil {
		return waiter.EventErr
	}
	return waiter.EventMaskFromLinux(uint32(uint16(got)))
}

// Pollable reports whether the host knows when h is ready: epoll refuses other
// files (EPERM).
func (h *host) Pollable() bool {
	if h.never() {
		return false
	}
	if h.kind != unix.S_IFCHR || h.terminal {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watch {
		return true
	}
	if h.o.Notifier.Watch(h.fd, 0, func(uint32) {}) == unix.EPERM {
		return false
	}
	h.o.Notifier.Unwatch(h.fd)
	return true
}

// Nudge wakes those who wait for mask, whatever the host says.
func (h *host) Nudge(mask waiter.EventMask) { h.queue.Notify(mask) }

// EventRegister implements waiter.Waitable.
func (h *host) EventRegister(e *waiter.Entry) error {
	h.queue.EventRegister(e)
	if h.never() {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watch {
		return nil
	}
	const all = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLPRI | unix.EPOLLRDHUP
	err := h.o.Notifier.Watch(h.fd, all, func(events uint32) {
		m := waiter.EventMaskFromLinux(events)
		// Linux's drivers notify of both names of readiness.
		if m&waiter.EventIn != 0 {
			m |= waiter.ReadableEvents
		}
		if m&waiter.EventOut != 0 {
			m |= waiter.WritableEvents
		}
		h.queue.Notify(m)
	})
	switch err {
	case nil:
		h.watch = true
	case unix.EPERM: // always ready
	default:
		h.queue.EventUnregister(e)
		return err
	}
	return nil
}

// EventUnregister implements waiter.Waitable.
func (h *host) EventUnregister(e *waiter.Entry) {
	h.queue.EventUnregister(e)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watch && h.queue.IsEmpty() {
		h.watch = false
		h.o.Notifier.Unwatch(h.fd)
	}
}
