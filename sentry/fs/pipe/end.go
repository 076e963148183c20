package pipe

import (
	"encoding/binary"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"
	"runsc-lite/sentry/vfs"
)

// end is an open file of a pipe: one side of it, or both (a FIFO opened
// O_RDWR).
type end struct {
	*Pipe
	reads, writes bool
	packets       atomic.Bool // O_DIRECT

	// How often the other side had been opened when this FIFO's open(2) began
	// to wait; see Connected. Constant.
	waits bool
	since uint64
	// A reader that did not wait for a writer sees no hang-up until there has
	// been one. Constant.
	noHUp      bool
	noHUpSince uint64
}

// open makes an end. anonymous pipes never wait for the other side.
func (p *Pipe) open(flags uint32, anonymous bool) (*end, error) {
	e := &end{Pipe: p}
	nonblock := flags&unix.O_NONBLOCK != 0
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		e.reads = true
	case unix.O_WRONLY:
		e.writes = true
	case unix.O_RDWR:
		e.reads, e.writes = true, true
	default:
		return nil, unix.EINVAL
	}
	e.packets.Store(flags&unix.O_DIRECT != 0)

	p.mu.Lock()
	if e.writes && !e.reads && !anonymous && nonblock && p.readers == 0 {
		p.mu.Unlock()
		return nil, unix.ENXIO
	}
	switch {
	case anonymous || e.reads && e.writes:
	case e.reads && p.writers == 0:
		if nonblock {
			e.noHUp, e.noHUpSince = true, p.wOpens
		} else {
			e.waits, e.since = true, p.wOpens
		}
	case e.writes && p.readers == 0:
		e.waits, e.since = true, p.rOpens
	}
	p.attach(btoi(e.reads), btoi(e.writes))
	p.mu.Unlock()
	p.queue.Notify(waiter.ReadableEvents | waiter.WritableEvents)
	return e, nil
}

// Connected implements vfs.Connecter.
func (e *end) Connected() error {
	if !e.waits {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reads && e.wOpens == e.since || e.writes && e.rOpens == e.since {
		return unix.EAGAIN
	}
	return nil
}

// Release implements vfs.FileOps.
func (e *end) Release() { e.drop(btoi(e.reads), btoi(e.writes)) }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Read implements vfs.Reader.
func (e *end) Read(dst [][]byte) (int64, error) { return e.read(dst) }

// Write implements vfs.Writer.
func (e *end) Write(src [][]byte) (int64, error) { return e.write(src, e.packets.Load()) }

// SetFlags implements vfs.FlagSetter: O_DIRECT turns packets on and off.
func (e *end) SetFlags(flags uint32) error {
	e.packets.Store(flags&unix.O_DIRECT != 0)
	return nil
}

// Readiness implements waiter.Waitable (pipe_poll).
func (e *end) Readiness(mask waiter.EventMask) waiter.EventMask {
	ready := waiter.EventMask(0)
	e.mu.Lock()
	if e.reads {
		if e.used > 0 && !e.lent {
			ready |= waiter.ReadableEvents
		}
		if e.writers == 0 && !e.lent && !(e.noHUp && e.noHUpSince == e.wOpens) {
			ready |= waiter.EventHUp
		}
	}
	if e.writes {
		if !e.full() {
			ready |= waiter.WritableEvents
		}
		if e.readers == 0 {
			ready |= waiter.EventErr
		}
	}
	e.mu.Unlock()
	return ready & (mask | waiter.EventHUp | waiter.EventErr)
}

// EventRegister implements waiter.Waitable.
func (e *end) EventRegister(w *waiter.Entry) error {
	e.queue.EventRegister(w)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (e *end) EventUnregister(w *waiter.Entry) { e.queue.EventUnregister(w) }

// Ioctl implements vfs.Ioctler: FIONREAD.
func (e *end) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	if request != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(e.Buffered()))
	_, err := mem.CopyOut(hostarch.Addr(arg), b[:])
	return 0, err
}

// FIFO makes the pipe behind a name that mknod made: vfs.Config.NewFIFO.
func (l *Pool) FIFO() vfs.FIFO { return fifo{l.newPipe()} }

type fifo struct{ p *Pipe }

// Open implements vfs.FIFO (fifo_open).
func (f fifo) Open(flags uint32) (vfs.FileOps, error) { return ops(f.p.open(flags, false)) }

// ops keeps a nil *end from becoming a FileOps.
func ops(e *end, err error) (vfs.FileOps, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}
