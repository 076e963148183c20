package vfs

import (
	"golang.org/x/sys/unix"
)

// BindSocket makes the file of a socket that is bound to a path (unix_bind_bsd),
// with mode before the umask. The File, an O_PATH one, keeps the inode: it is what
// ConnectSocket finds. EADDRINUSE: the name is there.
func (c *Caller) BindSocket(path string, mode uint32) (*File, error) {
	var f *File
	err := c.newName(nil, path, false, func(w *walk) error {
		child, err := c.createLocked(w.at, w.last, unix.S_IFSOCK|mode&0o7777, 0, unix.EPERM)
		if err != nil {
			return err
		}
		defer child.unpin()
		f, err = c.newFile(Path{w.at.Mount, child}, nil, unix.O_PATH)
		return err
	})
	if err == unix.EEXIST {
		err = unix.EADDRINUSE
	}
	return f, err
}

// ConnectSocket finds the inode of the socket at path, to which the caller must be
// allowed to write (unix_find_bsd). ECONNREFUSED: it is no socket.
func (c *Caller) ConnectSocket(path string) (Inode, error) {
	var found Inode
	err := c.retry(func() error {
		p, err := c.Walk(nil, path, 0)
		if err != nil {
			return err
		}
		if err := c.permission(p.Inode(), MayWrite); err != nil {
			return err
		}
		if p.Dentry.kind != unix.S_IFSOCK {
			return unix.ECONNREFUSED
		}
		found = p.Inode()
		return nil
	})
	return found, err
}

// Refs returns how many references there are, for who counts those that it holds
// itself (the garbage of sockets in flight).
func (f *File) Refs() int64 { return f.refs.Load() }
