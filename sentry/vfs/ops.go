package vfs

import (
	"time"

	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"
	"runsc-lite/mm/memfile"
)

// FileOps is what an open file description (File) can do. Only Release is
// common to all; the rest are the optional interfaces below. A missing one
// answers as Linux does for such files (EINVAL, ESPIPE, ENOTTY, ENODEV …).
//
// Operations never block: what would have to wait returns unix.EAGAIN, and
// the system call layer registers with the file's Waitable, waits and tries
// again. Buffers are slices of guest memory itself, pinned for the length of
// the call; the guest may change them at any moment, so parse nothing in
// place.
type FileOps interface {
	// Release is called once, when the last reference to the File is gone.
	Release()
}

// ReaderAt reads from a position (regular files, and devices that seek).
type ReaderAt interface {
	// ReadAt fills dst in order, from byte off of the file. 0 without an
	// error is the end of the file.
	ReadAt(dst [][]byte, off int64) (int64, error)
}

// WriterAt writes at a position.
type WriterAt interface {
	// WriteAt stores src in order from byte off on. If appending is set, off
	// is ignored, the data go to the end, atomically; newOff is the offset
	// after the last byte written.
	WriteAt(src [][]byte, off int64, appending bool) (n, newOff int64, err error)
}

// Reader reads a stream (pipe, terminal, socket, eventfd).
type Reader interface {
	Read(dst [][]byte) (int64, error)
}

// Admitter is asked before each read and write whether task, a Caller.Task, may
// make it now: a terminal's job control. procmgr.ErrInterrupted: the call is to
// begin anew once the signal that was sent is dealt with.
type Admitter interface {
	Admit(task any, write bool) error
}

// Collector is a Reader that says itself when a read is over that waited: a
// terminal, by VMIN and VTIME.
type Collector interface {
	Reader
	// Deadline returns, after Read answered EAGAIN, until when a read that
	// began at begin may go on to wait; the zero Time is for ever.
	Deadline(begin time.Time) time.Time
	// ReadRest reads what there is, when that is past or the wait was
	// interrupted: EAGAIN if there is nothing.
	ReadRest(dst [][]byte) (int64, error)
}

// Writer writes a stream. unix.EPIPE: the system call layer sends SIGPIPE.
type Writer interface {
	Write(src [][]byte) (int64, error)
}

// Discarder is a file that does not look at what is written to it (/dev/null): n
// bytes, wherever they are.
type Discarder interface {
	Discard(n int64) (int64, error)
}

// Seeker is an open file with an lseek of its own (directories, proc). Files
// with ReaderAt or WriterAt seek without it.
type Seeker interface {
	Lseek(cur, off int64, whence int32) (int64, error)
}

// DirReader lists a directory.
type DirReader interface {
	// ReadDir calls emit for the entries from position off on, until emit
	// returns false or there are no more. Entry.Next is the position after
	// it. "." and ".." are vfs's business.
	ReadDir(off int64, emit func(Entry) bool) error
}

// Entry is a directory entry.
type Entry struct {
	Name string
	Ino  uint64
	Type uint8 // DT_*
	Next int64
}

// Ioctler has ioctls. Memory is how arguments are read and written.
type Ioctler interface {
	// Ioctl returns unix.ENOTTY for a request it does not know.
	Ioctl(mem Memory, request uint32, arg uint64) (uint64, error)
}

// Memory is the calling guest's memory, as ioctl handlers need it.
type Memory interface {
	CopyIn(addr hostarch.Addr, dst []byte) (int, error)
	CopyOut(addr hostarch.Addr, src []byte) (int, error)
}

// Mappable can be mapped into memory (mmap).
type Mappable interface {
	Pager() memfile.Pager
}

// Zeroes is a file a mapping of which is anonymous memory (/dev/zero).
type Zeroes interface {
	MapsZeroes()
}

// Syncer has fsync and fdatasync.
type Syncer interface {
	Sync(dataOnly bool) error
}

// FlagSetter wants to know of fcntl(F_SETFL).
type FlagSetter interface {
	SetFlags(flags uint32) error
}

// Waitable has readiness (poll, select, epoll, blocking reads and writes). It
// is gVisor's waiter.Waitable, so that its network stack plugs in. Files
// without it are always ready.
type Waitable = waiter.Waitable
