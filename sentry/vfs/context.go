package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// FSContext is where a process is in the file tree: its root, its working
// directory, its umask (Linux's struct fs_struct). Threads may share one
// (CLONE_FS); it goes away with the last Release.
type FSContext struct {
	ns    *Namespace
	refs  atomic.Int32
	umask atomic.Uint32

	mu        sync.RWMutex
	root, cwd Path // pinned
}

// NewFSContext makes a context whose root and working directory are the top of
// the namespace, with umask 022.
func NewFSContext(ns *Namespace) *FSContext {
	ns.refs.Add(1)
	f := &FSContext{ns: ns, root: ns.Root()}
	f.cwd = f.root
	f.root.pin()
	f.cwd.pin()
	f.refs.Store(1)
	f.umask.Store(0o022)
	return f
}

// Share returns f with one more user.
func (f *FSContext) Share() *FSContext {
	f.refs.Add(1)
	return f
}

// Copy returns a context of its own that begins as f is.
func (f *FSContext) Copy() *FSContext {
	f.mu.RLock()
	defer f.mu.RUnlock()
	f.ns.refs.Add(1)
	n := &FSContext{ns: f.ns, root: f.root, cwd: f.cwd}
	n.root.pin()
	n.cwd.pin()
	n.refs.Store(1)
	n.umask.Store(f.umask.Load())
	return n
}

// Release ends one user's use of f.
func (f *FSContext) Release() {
	if f.refs.Add(-1) != 0 {
		return
	}
	f.mu.Lock()
	root, cwd := f.root, f.cwd
	f.root, f.cwd = Path{}, Path{}
	f.mu.Unlock()
	root.unpin()
	cwd.unpin()
	f.ns.Release()
}

// Users returns how many share f (exec and unshare(CLONE_FS) ask).
func (f *FSContext) Users() int { return int(f.refs.Load()) }

// Namespace returns the mount namespace.
func (f *FSContext) Namespace() *Namespace { return f.ns }

// Umask returns the file mode creation mask.
func (f *FSContext) Umask() uint32 { return f.umask.Load() }

// SetUmask replaces the mask and returns the old one (umask(2)).
func (f *FSContext) SetUmask(m uint32) uint32 { return f.umask.Swap(m & 0o777) }

// Root returns the root directory.
func (f *FSContext) Root() Path {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.root
}

// Cwd returns the working directory.
func (f *FSContext) Cwd() Path {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.cwd
}

func (f *FSContext) set(where *Path, p Path) error {
	if !p.pin() {
		return errStale
	}
	f.mu.Lock()
	old := *where
	*where = p
	f.mu.Unlock()
	old.unpin()
	return nil
}

// PathName spells p as /proc/PID/fd, cwd and maps show it: seen from f's root,
// with " (deleted)" behind what has no name any more.
func (f *FSContext) PathName(p Path) string {
	if p.Dentry == nil {
		return ""
	}
	name, reachable, deleted := p.name(f.Root())
	if !reachable {
		name = "(unreachable)" + name
	}
	if deleted {
		name += " (deleted)"
	}
	return name
}

// Getcwd spells the working directory (getcwd(2)): "(unreachable)" in front if
// it is not under the root. ENOENT: it was removed.
func (f *FSContext) Getcwd() (string, error) {
	f.mu.RLock()
	root, cwd := f.root, f.cwd
	f.mu.RUnlock()
	name, reachable, deleted := cwd.name(root)
	if deleted {
		return "", unix.ENOENT
	}
	if !reachable {
		name = "(unreachable)" + name
	}
	return name, nil
}

// Caller is who makes a file system call. Its methods are the calls. at is the
// directory that a relative path starts from (nil: the working directory,
// AT_FDCWD); flags are AT_*.
type Caller struct {
	*FSContext
	Creds *Creds
	// Task is the calling thread, for file systems whose links depend on it
	// (/proc/self). vfs only passes it on.
	Task any
}

// Chdir changes the working directory (chdir(2); fchdir(2) with an empty path
// and flags AT_EMPTY_PATH).
func (c *Caller) Chdir(at *File, path string, flags uint32) error {
	return c.retry(func() error {
		p, err := c.Walk(at, path, flags)
		if err != nil {
			return err
		}
		if !p.Dentry.IsDir() {
			return unix.ENOTDIR
		}
		if err := c.permission(p.Inode(), MayExec); err != nil {
			return err
		}
		return c.set(&c.FSContext.cwd, p)
	})
}

// Chroot changes the root directory (chroot(2)). EPERM without CAP_SYS_CHROOT.
func (c *Caller) Chroot(path string) error {
	return c.retry(func() error {
		p, err := c.Walk(nil, path, 0)
		if err != nil {
			return err
		}
		if !p.Dentry.IsDir() {
			return unix.ENOTDIR
		}
		if err := c.permission(p.Inode(), MayExec); err != nil {
			return err
		}
		if !c.Creds.HasIn(unix.CAP_SYS_CHROOT) {
			return unix.EPERM
		}
		return c.set(&c.FSContext.root, p)
	})
}

// retries bounds how often a walk is repeated because the cache dropped a name
// under it.
const retries = 16

// retry calls fn again while it meets names that the cache dropped. ENOENT if
// that does not end.
func (c *Caller) retry(fn func() error) error {
	for range retries {
		if err := fn(); err != errStale {
			return err
		}
	}
	return unix.ENOENT
}
