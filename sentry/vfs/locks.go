package vfs

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
	"runsc-lite/sentry/vfs/lock"
)

// Flock places, converts or removes f's flock(2) lock. EAGAIN: wait on
// LockWaitable and try again, unless LOCK_NB was given. pid is for /proc/locks.
func (f *File) Flock(kind lock.Kind, pid int32) error {
	if f.ops == nil {
		return unix.EBADF
	}
	f.flocked.Store(true)
	return f.path.Dentry.lockTable(true).Flock(f.inode, f, kind, pid)
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

// WaitLock is SetLock for a caller that will wait: w is the wait, which EndWait
// ends. EDEADLK: it would be for ever.
func (f *File) WaitLock(r lock.Range, w *lock.Waiter) error {
	if r.Owner == any(f) {
		f.flocked.Store(true)
	}
	return f.path.Dentry.lockTable(true).SetWait(f.inode, r, w)
}

// EndWait ends a wait that WaitLock began, if it did.
func (f *File) EndWait(w *lock.Waiter) {
	if t := f.path.Dentry.lockTable(false); t != nil {
		t.EndWait(w)
	}
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
		l.Flush(owner)
	}
}

// LockInfo is a line of /proc/locks.
type LockInfo struct {
	lock.Held
	Dev, Ino uint64
}

// maxLocks bounds what Locks returns.
const maxLocks = 10000

// Locks lists the locks of files in the namespace's file systems.
func (ns *Namespace) Locks() []LockInfo {
	held := ns.locks.List(maxLocks)
	list := make([]LockInfo, 0, len(held))
	for _, h := range held {
		st, err := h.Key.(Inode).Stat()
		if err != nil {
			continue
		}
		list = append(list, LockInfo{h, st.Dev, st.Ino})
	}
	return list
}
