package overlay

import (
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs"
)

// node is a file or directory of the overlay.
type node struct {
	fs    *FS
	lower vfs.Inode // nil: only in the upper, or opaque
	up    atomic.Pointer[vfs.Inode]
	kind  uint32 // unix.S_IFMT part of the mode
	ino   uint64
	self  vfs.Inode   // the inode that the node is part of
	gone  atomic.Bool // removed; changed under FS.mu

	// Under FS.mu:
	parent *dirNode // nil for the root
	name   string
	holds  int
}

// newNode makes the node for what is in the given layers; one may be nil.
func (fs *FS) newNode(parent *dirNode, name string, lower, upper vfs.Inode) (*node, error) {
	n := &node{fs: fs, lower: lower, parent: parent, name: name}
	real := upper
	if real == nil {
		real = lower
	}
	st, err := real.Stat()
	if err != nil {
		return nil, err
	}
	n.kind = st.Mode & unix.S_IFMT
	if upper != nil {
		n.up.Store(&upper)
	}
	if lower != nil {
		if upper != nil {
			if st, err = lower.Stat(); err != nil {
				return nil, err
			}
		}
		n.ino = fs.lowerIno(st.Dev, st.Ino)
	} else {
		n.ino = inoOf(upper, &st)
	}
	switch n.kind {
	case unix.S_IFDIR:
		d := &dirNode{node: n}
		n.self = d
	case unix.S_IFLNK:
		n.self = &linkNode{n}
	case unix.S_IFREG:
		n.self = &fileNode{node: n}
	default:
		n.self = n
	}
	return n, nil
}

// nodeOf returns the node behind an inode of the overlay; nil for others.
func nodeOf(i vfs.Inode) *node {
	switch i := i.(type) {
	case *dirNode:
		return i.node
	case *linkNode:
		return i.node
	case *fileNode:
		return i.node
	case *node:
		return i
	}
	return nil
}

// upper returns the inode in the upper file system, nil if there is none yet.
func (n *node) upper() vfs.Inode {
	if p := n.up.Load(); p != nil {
		return *p
	}
	return nil
}

// real returns the inode that counts.
func (n *node) real() vfs.Inode {
	if p := n.up.Load(); p != nil {
		return *p
	}
	return n.lower
}

// Stat implements vfs.Inode.
func (n *node) Stat() (vfs.Stat, error) {
	st, err := n.real().Stat()
	st.Dev, st.Ino = n.fs.dev, n.ino
	if n.gone.Load() && n.upper() == nil {
		st.Nlink = 0
	}
	if n.kind == unix.S_IFDIR && n.lower != nil && n.upper() != nil {
		st.Nlink = 1 // "merged directories have no count of their sub-directories"
	}
	return st, err
}

// Owner implements vfs.Owned.
func (n *node) Owner() (mode, uid, gid uint32) {
	real := n.real()
	if o, ok := real.(vfs.Owned); ok {
		return o.Owner()
	}
	st, err := real.Stat()
	if err != nil {
		return n.kind, 0, 0
	}
	return st.Mode, st.UID, st.GID
}

// SetStat implements vfs.StatSetter.
func (n *node) SetStat(s vfs.SetStat) error {
	up, err := n.copyUp()
	if err != nil {
		return err
	}
	if setter, ok := up.(vfs.StatSetter); ok {
		return setter.SetStat(s)
	}
	return unix.EPERM
}

// Open implements vfs.Inode for what vfs opens itself.
func (n *node) Open(uint32) (vfs.FileOps, error) { return nil, unix.ENXIO }

// Getxattr implements vfs.Xattrer.
func (n *node) Getxattr(name string) ([]byte, error) {
	x, ok := n.real().(vfs.Xattrer)
	if !ok || hidden(name) {
		return nil, unix.ENODATA
	}
	return x.Getxattr(name)
}

// Listxattr implements vfs.Xattrer.
func (n *node) Listxattr() ([]string, error) {
	x, ok := n.real().(vfs.Xattrer)
	if !ok {
		return nil, nil
	}
	names, err := x.Listxattr()
	return slices.DeleteFunc(names, hidden), err
}

// Setxattr implements vfs.Xattrer.
func (n *node) Setxattr(name string, value []byte, flags uint32) error {
	if hidden(name) {
		return unix.EPERM
	}
	if _, err := n.Getxattr(name); err == nil && flags&unix.XATTR_CREATE != 0 {
		return unix.EEXIST
	} else if err == unix.ENODATA && flags&unix.XATTR_REPLACE != 0 {
		return unix.ENODATA
	}
	x, err := n.upperXattrer()
	if err != nil {
		return err
	}
	return x.Setxattr(name, value, 0)
}

// Removexattr implements vfs.Xattrer.
func (n *node) Removexattr(name string) error {
	if hidden(name) {
		return unix.EPERM
	}
	if _, err := n.Getxattr(name); err != nil {
		return err
	}
	x, err := n.upperXattrer()
	if err != nil {
		return err
	}
	return x.Removexattr(name)
}

func (n *node) upperXattrer() (vfs.Xattrer, error) {
	up, err := n.copyUp()
	if err != nil {
		return nil, err
	}
	x, ok := up.(vfs.Xattrer)
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	return x, nil
}

// linkNode is a symbolic link.
type linkNode struct{ *node }

// Readlink implements vfs.Symlinker.
func (l *linkNode) Readlink() (string, error) { return l.real().(vfs.Symlinker).Readlink() }

// fileNode is a regular file.
type fileNode struct {
	*node
	vfs.WriteCount
}

// Open implements vfs.Inode: for writing, the file is copied up first.
func (f *fileNode) Open(flags uint32) (vfs.FileOps, error) {
	real := f.real()
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		up, err := f.copyUp()
		if err != nil {
			return nil, err
		}
		real = up
	}
	return real.Open(flags)
}

// Fallocate implements vfs.Fallocater.
func (f *fileNode) Fallocate(mode uint32, off, length int64) error {
	up, err := f.copyUp()
	if err != nil {
		return err
	}
	if a, ok := up.(vfs.Fallocater); ok {
		return a.Fallocate(mode, off, length)
	}
	return unix.EOPNOTSUPP
}

// Hold implements vfs.Holder.
func (f *fileNode) Hold() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.holds++
	if h, ok := f.upper().(vfs.Holder); ok {
		h.Hold()
	}
}

// Unhold implements vfs.Holder.
func (f *fileNode) Unhold() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.holds--
	if h, ok := f.upper().(vfs.Holder); ok {
		h.Unhold()
	}
}
