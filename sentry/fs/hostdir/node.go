package hostdir

import (
	"runtime"
	"weak"

	"golang.org/x/sys/unix"
	"runsc-lite/hostcall"
	"runsc-lite/sentry/fs/hosttree"
	"runsc-lite/sentry/vfs"
)

// node is a name of the host's tree.
type node struct {
	fs     *FS
	parent *node // nil for the root
	name   string
	stat   vfs.Stat
	self   vfs.Inode // the inode that the node is part of
}

func (n *node) identity() identity { return identity{n.stat.Dev, n.stat.Ino} }

// Stat implements vfs.Inode.
func (n *node) Stat() (vfs.Stat, error) { return n.stat, nil }

// Owner implements vfs.Owned.
func (n *node) Owner() (mode, uid, gid uint32) { return n.stat.Mode, n.stat.UID, n.stat.GID }

// Open implements vfs.Inode for what vfs opens itself or not at all.
func (n *node) Open(uint32) (vfs.FileOps, error) { return nil, unix.ENXIO }

// open opens the node on the host and checks that it is still the same file:
// ESTALE if not.
func (n *node) open(flags int) (int, error) {
	if n.parent == nil {
		h, err := n.fs.handles.get(n)
		if err != nil {
			return -1, err
		}
		defer n.fs.handles.put(h)
		if n.stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			return hostcall.DupFD(h.fd)
		}
		return hostcall.OpenAt(h.fd, ".", flags)
	}
	h, err := n.fs.handles.get(n.parent)
	if err != nil {
		return -1, err
	}
	defer n.fs.handles.put(h)
	fd, err := hostcall.OpenAt(h.fd, n.name, flags)
	if err != nil {
		if err == unix.ENOENT || err == unix.ELOOP || err == unix.ENOTDIR {
			err = unix.ESTALE
		}
		return -1, err
	}
	st, err := hostcall.StatAt(fd, "")
	if err == nil && identityOf(&st) != n.identity() {
		err = unix.ESTALE
	}
	if err != nil {
		hostcall.CloseFD(fd)
		return -1, err
	}
	return fd, nil
}

// link is a symbolic link. Its text is walked inside the sandbox.
type link struct{ node }

// Readlink implements vfs.Symlinker.
func (l *link) Readlink() (string, error) {
	h, err := l.fs.handles.get(l.parent)
	if err != nil {
		return "", err
	}
	defer l.fs.handles.put(h)
	return hostcall.ReadlinkAt(h.fd, l.name)
}

// dirNode is a directory.
type dirNode struct {
	node
	empty bool // a window into the host's kernel
}

// Lookup implements vfs.Dir.
func (d *dirNode) Lookup(name string) (vfs.Inode, error) {
	if d.empty {
		return nil, unix.ENOENT
	}
	h, err := d.fs.handles.get(&d.node)
	if err != nil {
		return nil, err
	}
	defer d.fs.handles.put(h)
	st, err := hostcall.StatAt(h.fd, name)
	if err != nil {
		return nil, err
	}
	return d.child(h.fd, name, &st), nil
}

// child makes the inode of name, which is in the directory dirfd.
func (d *dirNode) child(dirfd int, name string, st *unix.Stat_t) vfs.Inode {
	base := node{fs: d.fs, parent: &d.node, name: name, stat: statOf(st)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		c := &dirNode{node: base}
		c.self = c
		if st.Dev != d.stat.Dev {
			fd, err := hostcall.OpenAt(dirfd, name, unix.O_PATH|unix.O_DIRECTORY)
			c.empty = err != nil || hosttree.IsWindow(fd)
			if err == nil {
				hostcall.CloseFD(fd)
			}
		}
		return c
	case unix.S_IFLNK:
		c := &link{base}
		c.self = c
		return c
	}
	if st.Nlink > 1 {
		return d.fs.sharedNode(base)
	}
	return newLeaf(base)
}

func newLeaf(base node) vfs.Inode {
	if base.stat.Mode&unix.S_IFMT == unix.S_IFREG {
		f := &fileNode{node: base}
		f.self = f
		return f
	}
	n := &base
	n.self = n
	return n
}

// sharedNode returns the one inode of a file with several names.
func (fs *FS) sharedNode(base node) vfs.Inode {
	fs.linkedMu.Lock()
	defer fs.linkedMu.Unlock()
	id := base.identity()
	if n := fs.linked[id].Value(); n != nil {
		return n.self
	}
	i := newLeaf(base)
	var n *node
	switch i := i.(type) {
	case *fileNode:
		n = &i.node
	case *node:
		n = i
	}
	fs.linked[id] = weak.Make(n)
	runtime.AddCleanup(n, fs.forget, id)
	return i
}

func (fs *FS) forget(id identity) {
	fs.linkedMu.Lock()
	defer fs.linkedMu.Unlock()
	if p, ok := fs.linked[id]; ok && p.Value() == nil {
		delete(fs.linked, id)
	}
}

// Open implements vfs.Inode.
func (d *dirNode) Open(uint32) (vfs.FileOps, error) {
	if d.empty {
		return &openDir{hosttree.Listing{FD: -1}}, nil
	}
	fd, err := d.open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &openDir{hosttree.Listing{FD: fd}}, nil
}
