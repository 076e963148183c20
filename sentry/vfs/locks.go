package vfs

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
	"runsc-lite/sentry/vfs/lock"
)

// Flock places, converts or removes f's flock(2) lock. EAGAIN: wait on
// LockWaitable and try again, unless LOCK_NB was given.
func (f *File) Flock(kind lock.Kind) error {
	if f.ops == nil {
		return unix.EBADF
	}
	f.flocked.Store(true)
	return f.path.Dentry.lockTable(true).Flock(f.inode, f, kind)
}

// SetLock places or removes a record lock (fcntl(F_SETLK), F_OFD_SETLK).
// r.Owner is the descriptor table, or f itself for an OFD lock. EBADF: f is not
// open for it. EAGAIN: as with Flock.
func (f *File) SetLock(r lock.Range) error {
	if f.ops == nil || r.Kind == lock.Shared && !f.Readable() || r.Kind == lock.Exclusive && !f.Writable() {
		return unix.EBADF
	}
	if r.Owner == any(f) {
		f.flocked.Store(true)
	}
	return f.path.Dentry.lockTable(true).Set(f.inode, r)
}

// GetLock returns the lock that keeps r out (fcntl(F_GETLK)).
func (f *File) GetLock(r lock.Range) (lock.Range, bool) {
	t := f.path.Dentry.lockTable(false)
	if t == nil {
		return lock.Range{}, false
	}
	return t.Get(f.inode, r)
}

// LockWaitable tells when a lock of the file goes away.
func (f *File) LockWaitable() waiter.Waitable {
	return f.path.Dentry.lockTable(true).Wait(f.inode)
}

// Closed is called for every descriptor of f that is closed. owner, the
// descriptor table, loses its record locks on the file: fcntl(2): "locks are
// released when the process closes any file descriptor referring to the file".
func (f *File) Closed(owner any) {
	if t := f.path.Dentry.lockTable(false); t != nil {
		t.Release(f.inode, owner)
	}
	if l, ok := f.ops.(Flusher); ok {
		l.Flush()
	}
}
