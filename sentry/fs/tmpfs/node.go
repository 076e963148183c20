package tmpfs

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs"
)

// member is any inode of the file system.
type member interface {
	vfs.Inode
	base() *node
	// dropped is called, without locks, when the inode has neither names nor
	// users.
	dropped()
}

// node is what all inodes have.
type node struct {
	fs  *FS
	ino uint64
	typ uint32 // unix.S_IFMT part of the mode

	mu    sync.RWMutex
	mode  uint32
	nlink uint32
	uid   uint32
	gid   uint32
	rdev  uint64
	users int  // open files and holds
	dead  bool // dropped was called
	atime unix.Timespec
	mtime unix.Timespec
	ctime unix.Timespec
	btime unix.Timespec
	xattr map[string][]byte
	xsize int // bytes in xattr
}

// maxXattrs bounds the bytes of extended attributes of one inode (ENOSPC).
const maxXattrs = 128 << 10

func (n *node) init(fs *FS, a vfs.CreateArgs, nlink uint32) {
	now := fs.now()
	n.fs, n.ino, n.typ = fs, fs.lastIno.Add(1), a.Mode&unix.S_IFMT
	n.mode, n.uid, n.gid, n.rdev, n.nlink = a.Mode, a.UID, a.GID, a.Rdev, nlink
	n.atime, n.mtime, n.ctime, n.btime = now, now, now, now
}

func (n *node) base() *node { return n }

func (n *node) kind() uint32 { return n.typ }

// Owner implements vfs.Owned.
func (n *node) Owner() (mode, uid, gid uint32) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.mode, n.uid, n.gid
}

// statLocked fills in all but size and blocks.
func (n *node) statLocked() vfs.Stat {
	return vfs.Stat{
		Dev: n.fs.dev, Ino: n.ino, Mode: n.mode, Nlink: n.nlink, UID: n.uid, GID: n.gid, Rdev: n.rdev,
		Blksize: pageSize, Atime: n.atime, Mtime: n.mtime, Ctime: n.ctime, Btime: n.btime,
	}
}

// Stat implements vfs.Inode.
func (n *node) Stat() (vfs.Stat, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.statLocked(), nil
}

// SetStat implements vfs.StatSetter for all but sizes.
func (n *node) SetStat(s vfs.SetStat) error {
	if s.Mask&vfs.SetSize != 0 {
		return unix.EINVAL
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setLocked(s)
	return nil
}

func (n *node) setLocked(s vfs.SetStat) {
	now := n.fs.now()
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
		n.atime = when(s.Atime, now)
	}
	if s.Mask&vfs.SetMtime != 0 {
		n.mtime = when(s.Mtime, now)
	}
	n.ctime = now
}

func when(t, now unix.Timespec) unix.Timespec {
	if t.Nsec == unix.UTIME_NOW {
		return now
	}
	return t
}

// link counts a name more or less, and a change of the inode with it.
func (n *node) link(by int) {
	n.mu.Lock()
	n.nlink = uint32(int(n.nlink) + by)
	n.ctime = n.fs.now()
	n.mu.Unlock()
}

// hold adds a user: ESTALE if the inode is gone already (somebody removed its
// last name between the look-up and now).
func (n *node) hold() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead {
		return unix.ESTALE
	}
	n.users++
	return nil
}

// unused reports, once, that neither names nor users are left.
func (n *node) unused(users int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.users -= users
	if n.dead || n.nlink > 0 || n.users > 0 {
		return false
	}
	n.dead = true
	return true
}

// release ends a use or a name of m.
func release(m member, users int) {
	if n := m.base(); n.unused(users) {
		n.fs.nodes.Add(-1)
		m.dropped()
	}
}

// Getxattr implements vfs.Xattrer.
func (n *node) Getxattr(name string) ([]byte, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	v, ok := n.xattr[name]
	if !ok {
		return nil, unix.ENODATA
	}
	return slices.Clone(v), nil
}

// Setxattr implements vfs.Xattrer.
func (n *node) Setxattr(name string, value []byte, flags uint32) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, ok := n.xattr[name]
	if ok && flags&unix.XATTR_CREATE != 0 {
		return unix.EEXIST
	}
	if !ok && flags&unix.XATTR_REPLACE != 0 {
		return unix.ENODATA
	}
	size := n.xsize + len(value) - len(old)
	if !ok {
		size += len(name) + 64
	}
	if size > maxXattrs {
		return unix.ENOSPC
	}
	if n.xattr == nil {
		n.xattr = make(map[string][]byte)
	}
	n.xattr[name] = slices.Clone(value)
	n.xsize = size
	n.ctime = n.fs.now()
	return nil
}

// Listxattr implements vfs.Xattrer.
func (n *node) Listxattr() ([]string, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	names := make([]string, 0, len(n.xattr))
	for name := range n.xattr {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Removexattr implements vfs.Xattrer.
func (n *node) Removexattr(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	v, ok := n.xattr[name]
	if !ok {
		return unix.ENODATA
	}
	delete(n.xattr, name)
	n.xsize -= len(v) + len(name) + 64
	n.ctime = n.fs.now()
	return nil
}

// symlink is a symbolic link.
type symlink struct {
	node
	target string
}

func (l *symlink) dropped() {}

// Readlink implements vfs.Symlinker.
func (l *symlink) Readlink() (string, error) { return l.target, nil }

// Open implements vfs.Inode; vfs never opens a link.
func (l *symlink) Open(uint32) (vfs.FileOps, error) { return nil, unix.ELOOP }

// Stat implements vfs.Inode.
func (l *symlink) Stat() (vfs.Stat, error) {
	st, err := l.node.Stat()
	st.Size = int64(len(l.target))
	return st, err
}

// special is a device, FIFO or socket: vfs knows what opening one means.
type special struct{ node }

func (s *special) dropped() {}

// Open implements vfs.Inode.
func (s *special) Open(uint32) (vfs.FileOps, error) { return nil, unix.ENXIO }
