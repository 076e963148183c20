package vfs

import (
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
	"runsc-lite/mm/memfile"
)

// oLargefile is O_LARGEFILE as fcntl(F_GETFL) shows it on x86-64.
const oLargefile = 0o100000

// settableFlags are what fcntl(F_SETFL) can change.
const settableFlags = unix.O_APPEND | unix.O_NONBLOCK | unix.O_ASYNC | unix.O_DIRECT | unix.O_NOATIME

// File is an open file description (Linux's struct file). It is reference
// counted: descriptors, mappings and calls in progress each hold a reference.
// All methods are safe from any goroutine.
type File struct {
	refs  atomic.Int64
	flags atomic.Uint32
	path  Path // pinned
	inode Inode
	ops   FileOps // nil for O_PATH
	fifo  *fifoRef
	hold  Holder
	// counted is f's part in the inode's WriteCount. Set before f is shared.
	counted int32
	told    bool // those who watch were told of the open(2)

	posMu sync.Mutex // f_pos_lock
	pos   atomic.Int64

	owner   atomic.Pointer[Owner]
	watches atomic.Pointer[watches]
	async   atomic.Pointer[waiter.Entry] // O_ASYNC
	flocked atomic.Bool                  // may hold flock or OFD locks
}

// Owner is who gets SIGIO for a file (fcntl(F_SETOWN)).
type Owner struct {
	Type   int32 // F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP
	ID     int32 // in the root pid namespace
	Signal int32 // F_SETSIG; 0: SIGIO
}

// Holder is an inode that keeps what it needs while a descriptor refers to it
// without having it open (O_PATH), even after its last name is gone.
type Holder interface {
	Hold()
	Unhold()
}

// Stater is a FileOps that answers fstat(2) itself.
type Stater interface {
	Stat() (Stat, error)
}

// Flusher is a FileOps that wants to know when one of its descriptors is closed
// (flush in struct file_operations). owner is the descriptor table that it was in.
type Flusher interface {
	Flush(owner any)
}

// NewFile makes a File that no path leads to: a pipe's end, a socket, an
// eventfd. name is what /proc/PID/fd shows: "pipe:[123]",
// "anon_inode:[eventfd]". inode answers fstat(2), and Open if the file is to be
// opened anew through /proc/PID/fd. The caller gets the one reference.
func NewFile(ops FileOps, inode Inode, flags uint32, name string) *File {
	return NewFileAt(NewAnon(inode, name), ops, flags)
}

// NewAnon makes a place in no file tree, for files such as the two ends of a
// pipe that share one.
func NewAnon(inode Inode, name string) Path {
	d := &Dentry{inode: inode}
	d.name.Store(&name)
	if st, err := inode.Stat(); err == nil {
		d.kind = st.Mode & unix.S_IFMT
	}
	return Path{nil, d}
}

// NewFileAt makes a File with the given operations at an anonymous place.
func NewFileAt(at Path, ops FileOps, flags uint32) *File {
	f := &File{path: at, inode: at.Inode(), ops: ops}
	at.Dentry.pin()
	f.refs.Store(1)
	f.flags.Store(flags &^ unix.O_CLOEXEC)
	return f
}

// AnonInode is the inode of files that have none of their own (epoll, eventfd,
// …): what fs/anon_inodes.c shares between them.
type AnonInode struct {
	Ino  uint64
	Mode uint32 // with the type; 0 for anon inodes: S_IRUSR|S_IWUSR and no type
}

// Stat implements Inode.
func (a *AnonInode) Stat() (Stat, error) {
	mode := a.Mode
	if mode == 0 {
		mode = 0o600
	}
	return Stat{Dev: unix.Mkdev(0, 14), Ino: a.Ino, Mode: mode, Nlink: 1, Blksize: 4096}, nil
}

// Open implements Inode: what has no name cannot be opened anew.
func (a *AnonInode) Open(uint32) (FileOps, error) { return nil, unix.ENXIO }

// NoPosition is the Seeker of files that have no position, and let everybody
// move it (noop_llseek).
type NoPosition struct{}

// Lseek implements Seeker.
func (NoPosition) Lseek(cur, off int64, whence int32) (int64, error) {
	if whence < unix.SEEK_SET || whence > unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	return cur, nil
}

// IncRef adds a reference; the caller holds one already.
func (f *File) IncRef() { f.refs.Add(1) }

// TryIncRef adds a reference unless the file is closed already.
func (f *File) TryIncRef() bool {
	for {
		n := f.refs.Load()
		if n <= 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// DecRef drops a reference. With the last one the file is closed. The caller
// holds no lock that a FileOps takes.
func (f *File) DecRef() {
	switch n := f.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("vfs: File: more DecRefs than references")
	}
	if l := f.watches.Load(); l != nil {
		l.closed()
	}
	if f.told {
		if f.Writable() {
			f.path.Dentry.notify(unix.IN_CLOSE_WRITE)
		} else {
			f.path.Dentry.notify(unix.IN_CLOSE_NOWRITE)
		}
	}
	if f.flocked.Load() {
		if t := f.path.Dentry.lockTable(false); t != nil {
			t.Release(f.inode, f)
		}
	}
	if e := f.async.Swap(nil); e != nil {
		f.EventUnregister(e)
	}
	if f.ops != nil {
		f.ops.Release()
	}
	if f.fifo != nil {
		f.fifo.drop()
	}
	if f.counted != 0 {
		f.inode.(writeCounted).writeCount().n.Add(-f.counted)
	}
	if f.hold != nil {
		f.hold.Unhold()
	}
	f.path.unpin()
}

// Path returns where f was opened.
func (f *File) Path() Path { return f.path }

// Inode returns the inode that f was opened on.
func (f *File) Inode() Inode { return f.inode }

// Ops returns the operations: nil for O_PATH. Packages find their own files by
// type assertion on it.
func (f *File) Ops() FileOps { return f.ops }

// Flags returns the status flags and access mode as fcntl(F_GETFL) shows them.
func (f *File) Flags() uint32 { return f.flags.Load() }

// SetFlags replaces the status flags that can change (fcntl(F_SETFL)).
func (f *File) SetFlags(flags uint32) error {
	flags &= settableFlags
	if f.ops == nil {
		return unix.EBADF
	}
	if flags&unix.O_DIRECT != 0 && f.Flags()&unix.O_DIRECT == 0 {
		if _, ok := f.ops.(FlagSetter); !ok {
			return unix.EINVAL
		}
	}
	for {
		old := f.flags.Load()
		now := old&^settableFlags | flags
		if s, ok := f.ops.(FlagSetter); ok {
			if err := s.SetFlags(now); err != nil {
				return err
			}
		}
		if f.flags.CompareAndSwap(old, now) {
			return nil
		}
	}
}

// Position returns where the next read or write is, without waiting for one in
// progress (/proc/PID/fdinfo).
func (f *File) Position() int64 { return f.pos.Load() }

// Readable reports whether f was opened for reading.
func (f *File) Readable() bool {
	fl := f.Flags()
	return fl&unix.O_PATH == 0 && (fl&unix.O_ACCMODE == unix.O_RDONLY || fl&unix.O_ACCMODE == unix.O_RDWR)
}

// Writable reports whether f was opened for writing.
func (f *File) Writable() bool {
	fl := f.Flags()
	return fl&unix.O_PATH == 0 && (fl&unix.O_ACCMODE == unix.O_WRONLY || fl&unix.O_ACCMODE == unix.O_RDWR)
}

// IsPath reports whether f is an O_PATH descriptor: most calls answer EBADF.
func (f *File) IsPath() bool { return f.ops == nil }

// IsDir reports whether f is a directory.
func (f *File) IsDir() bool { return f.path.Dentry.IsDir() }

// Owner returns who gets SIGIO; nil for nobody.
func (f *File) Owner() *Owner { return f.owner.Load() }

// SetOwner replaces the owner.
func (f *File) SetOwner(o *Owner) { f.owner.Store(o) }

// Connected completes a blocking open(2) of a FIFO: EAGAIN while the other side
// is missing. The caller waits on f and asks again, and drops f if it is
// interrupted.
func (f *File) Connected() error {
	if c, ok := f.ops.(Connecter); ok {
		return c.Connected()
	}
	return nil
}

// Stat returns the attributes (fstat(2)).
func (f *File) Stat() (Stat, error) {
	if s, ok := f.ops.(Stater); ok {
		return s.Stat()
	}
	return f.inode.Stat()
}

// Pager returns what mmap(2) maps: nil for anonymous memory (Zeroes), ENODEV if
// the file cannot be mapped, EACCES if it was not opened for reading.
func (f *File) Pager() (memfile.Pager, error) {
	if f.ops == nil {
		return nil, unix.EBADF
	}
	if !f.Readable() {
		return nil, unix.EACCES
	}
	switch m := f.ops.(type) {
	case Mappable:
		if p := m.Pager(); p != nil {
			return p, nil
		}
	case Zeroes:
		return nil, nil
	}
	return nil, unix.ENODEV
}

// NoExec reports whether the mount forbids executing f.
func (f *File) NoExec() bool { return f.path.Mount.has(unix.MS_NOEXEC) }

// DeviceInode returns the numbers that /proc/PID/maps shows.
func (f *File) DeviceInode() (dev, ino uint64) {
	st, err := f.inode.Stat()
	if err != nil {
		return 0, 0
	}
	return st.Dev, st.Ino
}

// MappedName returns the name that /proc/PID/maps shows, as seen from the root
// of the namespace.
func (f *File) MappedName() string {
	if f.path.Mount == nil {
		return f.path.Dentry.Name()
	}
	name, _, deleted := f.path.name(f.path.Mount.ns.Root())
	if deleted {
		name += " (deleted)"
	}
	return name
}

// Sync writes back what is not (fsync(2), fdatasync(2)). EINVAL: nothing that
// could be synced.
func (f *File) Sync(dataOnly bool) error {
	if f.ops == nil {
		return unix.EBADF
	}
	if s, ok := f.ops.(Syncer); ok {
		return s.Sync(dataOnly)
	}
	switch f.path.Dentry.kind {
	case unix.S_IFREG, unix.S_IFDIR:
		if f.path.Mount != nil {
			return nil // nothing is ever dirty
		}
	}
	return unix.EINVAL
}

// Ioctl passes a request on: ENOTTY if the file has none.
func (f *File) Ioctl(mem Memory, request uint32, arg uint64) (uint64, error) {
	if f.ops == nil {
		return 0, unix.EBADF
	}
	if i, ok := f.ops.(Ioctler); ok {
		return i.Ioctl(mem, request, arg)
	}
	return 0, unix.ENOTTY
}

// pollable is a Waitable whose files are not all waited for: inherited ones may be
// regular files.
type pollable interface{ Pollable() bool }

// Pollable reports whether f has readiness of its own: epoll refuses others
// (EPERM).
func (f *File) Pollable() bool {
	if p, ok := f.ops.(pollable); ok {
		return p.Pollable()
	}
	_, ok := f.ops.(Waitable)
	return ok
}

// Readiness implements waiter.Waitable. Files without readiness are always
// ready.
func (f *File) Readiness(mask waiter.EventMask) waiter.EventMask {
	if w, ok := f.ops.(Waitable); ok {
		return w.Readiness(mask)
	}
	return mask & (waiter.ReadableEvents | waiter.WritableEvents)
}

// EventRegister implements waiter.Waitable.
func (f *File) EventRegister(e *waiter.Entry) error {
	if w, ok := f.ops.(Waitable); ok {
		return w.EventRegister(e)
	}
	return nil
}

// EventUnregister implements waiter.Waitable.
func (f *File) EventUnregister(e *waiter.Entry) {
	if w, ok := f.ops.(Waitable); ok {
		w.EventUnregister(e)
	}
}

// Fallocate changes the file's allocation (fallocate(2)). Signals and sizes
// beyond RLIMIT_FSIZE are the caller's business. creds are as for Write.
func (f *File) Fallocate(creds *Creds, mode uint32, off, length int64) error {
	if f.ops == nil {
		return unix.EBADF
	}
	if off < 0 || length <= 0 {
		return unix.EINVAL
	}
	if mode&unix.FALLOC_FL_PUNCH_HOLE != 0 && mode != unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE {
		return unix.EOPNOTSUPP
	}
	if !f.Writable() {
		return unix.EBADF
	}
	switch f.path.Dentry.kind {
	case unix.S_IFREG:
	case unix.S_IFIFO:
		return unix.ESPIPE
	case unix.S_IFDIR:
		return unix.EISDIR
	default:
		return unix.ENODEV
	}
	if off > math.MaxInt64-length {
		return unix.EFBIG
	}
	if a, ok := f.inode.(Fallocater); ok {
		if err := f.dropPrivileges(creds); err != nil {
			return err
		}
		if err := a.Fallocate(mode, off, length); err != nil {
			return err
		}
		f.path.Dentry.notify(unix.IN_MODIFY)
		return nil
	}
	return unix.EOPNOTSUPP
}

// SameFileSystem reports whether two files are in one file system.
func SameFileSystem(a, b *File) bool {
	return a.path.Dentry.sb == b.path.Dentry.sb
}
