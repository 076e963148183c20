// Package signalfd is files from which pending signals are read, as in Linux's
// fs/signalfd.c.
//
// A signalfd is a mask and nothing more: whose signals it shows depends on who
// looks. The system call layer asks for the View of the thread that reads or
// polls; an epoll keeps that of the thread which added the file.
package signalfd

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/vfs"
)

// Name is what /proc/PID/fd shows of such a file.
const Name = "anon_inode:[signalfd]"

// recordSize is the size of struct signalfd_siginfo.
const recordSize = 128

// never are the signals that cannot be blocked, and so not be read.
var never = procmgr.SetOf(unix.SIGKILL, unix.SIGSTOP)

// FD is a signalfd: a vfs.FileOps.
type FD struct {
	vfs.NoPosition

	mask atomic.Uint64 // procmgr.SigSet
}

// New makes a signalfd for the signals in mask.
func New(mask procmgr.SigSet) *FD {
	f := &FD{}
	f.SetMask(mask)
	return f
}

// NewFile makes the file of signalfd4(2): EINVAL for flags other than SFD_*.
func NewFile(mask procmgr.SigSet, flags uint32) (*vfs.File, error) {
	if flags&^(unix.SFD_CLOEXEC|unix.SFD_NONBLOCK) != 0 {
		return nil, unix.EINVAL
	}
	return vfs.NewFile(New(mask), &vfs.AnonInode{}, unix.O_RDWR|flags&unix.SFD_NONBLOCK, Name), nil
}

// Release implements vfs.FileOps.
func (*FD) Release() {}

// Mask returns the signals that are shown.
func (f *FD) Mask() procmgr.SigSet { return procmgr.SigSet(f.mask.Load()) }

// SetMask replaces them. The caller notifies the waiting process itself.
func (f *FD) SetMask(mask procmgr.SigSet) { f.mask.Store(uint64(mask &^ never)) }

// FDInfo implements proc.FDInfoer (signalfd_show_fdinfo).
func (f *FD) FDInfo(b *bytes.Buffer) { fmt.Fprintf(b, "sigmask:\t%016x\n", f.mask.Load()) }

// For returns what f is for a thread.
func (f *FD) For(t *procmgr.Thread) View { return View{f, t} }

// View is an FD as a thread sees it: a vfs.Reader and waiter.Waitable.
type View struct {
	fd     *FD
	thread *procmgr.Thread
}

// Read implements vfs.Reader: as many struct signalfd_siginfo as there is room
// and there are signals for. EINVAL: no room for one; EAGAIN: no signal.
func (v View) Read(dst [][]byte) (int64, error) {
	room := 0
	for _, d := range dst {
		room += len(d)
	}
	if room < recordSize {
		return 0, unix.EINVAL
	}
	done := int64(0)
	var at []byte // what is left of the buffer before dst
	for ; room >= recordSize; room -= recordSize {
		info, ok := v.thread.Dequeue(v.fd.Mask())
		if !ok {
			break
		}
		var b [recordSize]byte
		info.EncodeSignalFD(b[:])
		for left := b[:]; len(left) > 0; {
			if len(at) == 0 {
				at, dst = dst[0], dst[1:]
			}
			n := copy(at, left)
			at, left = at[n:], left[n:]
		}
		done += recordSize
	}
	if done == 0 {
		return 0, unix.EAGAIN
	}
	return done, nil
}

// Readiness implements waiter.Waitable (signalfd_poll).
func (v View) Readiness(mask waiter.EventMask) waiter.EventMask {
	if v.thread.PendingSet()&v.fd.Mask() != 0 {
		return mask & waiter.EventIn
	}
	return 0
}

// EventRegister implements waiter.Waitable.
func (v View) EventRegister(e *waiter.Entry) error {
	v.thread.Process().SignalQueue().EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (v View) EventUnregister(e *waiter.Entry) {
	v.thread.Process().SignalQueue().EventUnregister(e)
}
