package mqueue

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

const (
	fileSize  = 80 // FILENT_SIZE
	entrySize = 20 // DIRENT_SIZE
)

// node is what the directory and the queues have.
type node struct {
	fs    *FS
	ino   uint64
	owner uint32 // who it is charged to
	queue *queue // nil for the directory

	mu                         sync.Mutex
	mode                       uint32
	uid, gid                   uint32
	linked                     bool
	opened                     int
	atime, mtime, ctime, btime unix.Timespec
}

// touchAll sets all times.
func (n *node) touchAll() {
	now := n.fs.o.Now()
	n.atime, n.mtime, n.ctime, n.btime = now, now, now, now
}

// touch notes that something was read, or, if changed is set, that it changed.
func (n *node) touch(changed bool) {
	now := n.fs.o.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.atime, n.ctime = now, now
	if changed {
		n.mtime = now
	}
}

// Stat implements vfs.Inode.
func (n *node) Stat() (vfs.Stat, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := vfs.Stat{
		Dev: n.fs.o.Dev, Ino: n.ino, Mode: n.mode, UID: n.uid, GID: n.gid, Blksize: 4096,
		Atime: n.atime, Mtime: n.mtime, Ctime: n.ctime, Btime: n.btime,
	}
	if n.queue == nil {
		st.Nlink = 2
	} else if st.Size = fileSize; n.linked {
		st.Nlink = 1
	}
	return st, nil
}

// SetStat implements vfs.StatSetter. Opening with O_TRUNC is no error (simple_setattr
// changes no size that means anything here).
func (n *node) SetStat(s vfs.SetStat) error {
	now := n.fs.o.Now()
	when := func(t unix.Timespec) unix.Timespec {
		if t.Nsec == unix.UTIME_NOW {
			return now
		}
		return t
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.Mask&vfs.SetMode != 0 {
		n.mode = n.mode&unix.S_IFMT | s.Mode&0o7777
	}
	if s.Mask&vfs.SetUID != 0 {
		n.uid = s.UID
	}
	if s.Mask&vfs.SetGID != 0 {
		n.gid = s.GID
	}
	if s.Mask&vfs.SetAtime != 0 {
		n.atime = when(s.Atime)
	}
	if s.Mask&vfs.SetMtime != 0 {
		n.mtime = when(s.Mtime)
	}
	n.ctime = now
	return nil
}

// Open implements vfs.Inode.
func (n *node) Open(flags uint32) (vfs.FileOps, error) {
	n.mu.Lock()
	n.opened++
	n.mu.Unlock()
	return &file{n}, nil
}

// drop ends a use of the queue: of its name, or of a descriptor.
func (n *node) drop(unlink bool) {
	n.mu.Lock()
	if unlink {
		n.linked = false
	} else {
		n.opened--
	}
	gone := !n.linked && n.opened == 0
	n.mu.Unlock()
	if gone {
		n.fs.gone(n)
	}
}

// dir is the directory of all queues.
type dir struct{ node }

// Stat implements vfs.Inode.
func (d *dir) Stat() (vfs.Stat, error) {
	st, err := d.node.Stat()
	d.fs.mu.Lock()
	st.Size = entrySize * int64(len(d.fs.queues))
	d.fs.mu.Unlock()
	return st, err
}

// Lookup implements vfs.Dir.
func (d *dir) Lookup(name string) (vfs.Inode, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if n := d.fs.queues[name]; n != nil {
		return n, nil
	}
	return nil, unix.ENOENT
}

// Create implements vfs.MutableDir: queues are regular files, and nothing else is there.
func (d *dir) Create(name string, a vfs.CreateArgs) (vfs.Inode, error) {
	if a.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, unix.EPERM
	}
	n, err := d.fs.create(name, a)
	if err != nil {
		return nil, err
	}
	d.touch(true)
	return n, nil
}

// Unlink implements vfs.MutableDir.
func (d *dir) Unlink(name string) error {
	d.fs.mu.Lock()
	n := d.fs.queues[name]
	delete(d.fs.queues, name)
	d.fs.mu.Unlock()
	if n == nil {
		return unix.ENOENT
	}
	d.touch(true)
	n.drop(true)
	return nil
}

// Symlink implements vfs.MutableDir.
func (d *dir) Symlink(string, string, vfs.CreateArgs) (vfs.Inode, error) { return nil, unix.EPERM }

// Link implements vfs.MutableDir.
func (d *dir) Link(string, vfs.Inode) error { return unix.EPERM }

// Rmdir implements vfs.MutableDir.
func (d *dir) Rmdir(string) error { return unix.ENOTDIR }

// Rename implements vfs.MutableDir.
func (d *dir) Rename(string, vfs.Inode, string, uint32) error { return unix.EPERM }

// Open implements vfs.Inode.
func (d *dir) Open(uint32) (vfs.FileOps, error) { return openDir{d}, nil }

type openDir struct{ d *dir }

// Release implements vfs.FileOps.
func (openDir) Release() {}

// ReadDir implements vfs.DirReader: a position is the inode before.
func (o openDir) ReadDir(off int64, emit func(vfs.Entry) bool) error {
	for _, e := range o.d.fs.names() {
		if e.Next > off && !emit(e) {
			return nil
		}
	}
	return nil
}
