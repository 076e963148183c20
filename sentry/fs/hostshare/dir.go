package hostshare

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/fs/hosttree"
	"runsc-lite/sentry/vfs"
)

// dir is a directory.
type dir struct {
	*inode
	once   sync.Once
	window bool // into the host's kernel: it appears empty
}

func (d *dir) isWindow() bool {
	d.once.Do(func() {
		d.window = d.with(func(fd int) error {
			if hosttree.IsWindow(fd) {
				return unix.EACCES
			}
			return nil
		}) != nil
	})
	return d.window
}

// inodeOf returns the inode behind an Inode of this package: nil for others.
func inodeOf(i vfs.Inode) *inode {
	switch i := i.(type) {
	case *inode:
		return i
	case *dir:
		return i.inode
	case *link:
		return i.inode
	case *file:
		return i.inode
	}
	return nil
}

// Lookup implements vfs.Dir.
func (d *dir) Lookup(name string) (vfs.Inode, error) {
	if d.isWindow() {
		return nil, unix.ENOENT
	}
	var i *inode
	err := d.with(func(at int) error {
		fd, err := hostcall.OpenAt(at, name, unix.O_PATH)
		if err != nil {
			return err
		}
		st, err := hostcall.StatAt(fd, "")
		if err != nil {
			hostcall.CloseFD(fd)
			return err
		}
		i = d.fs.inode(fd, &st)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return i.self, nil
}

// Revalidate implements vfs.Revalidator: the name still leads to the same file.
func (d *dir) Revalidate(name string, child vfs.Inode) bool {
	i := inodeOf(child)
	if i == nil {
		return false
	}
	return d.with(func(at int) error {
		st, err := hostcall.StatAt(at, name)
		if err == nil && (identity{st.Dev, st.Ino, st.Mode & unix.S_IFMT} != i.id || !i.take()) {
			err = unix.ESTALE
		}
		return err
	}) == nil
}

// make makes a name by fn, and gives what it stands for to its owner.
func (d *dir) make(name string, a vfs.CreateArgs, fn func(at int) error) (vfs.Inode, error) {
	if d.isWindow() {
		return nil, unix.EROFS
	}
	if err := d.with(fn); err != nil {
		return nil, err
	}
	made, err := d.Lookup(name)
	if err != nil {
		return nil, err
	}
	i := inodeOf(made)
	err = i.with(func(fd int) error {
		if a.UID != 0 || a.GID != 0 {
			if err := hostcall.Chown(fd, a.UID, a.GID); err != nil {
				return err
			}
		}
		if i.id.kind != unix.S_IFLNK && (a.UID != 0 || a.GID != 0 || i.id.kind == unix.S_IFDIR) && a.Mode&(unix.S_ISUID|unix.S_ISGID|unix.S_ISVTX) != 0 {
			return d.fs.self.Chmod(fd, a.Mode&0o7777) // mkdir(2) and chown(2) have dropped them
		}
		return nil
	})
	if err != nil {
		_ = d.with(func(at int) error { return hostcall.UnlinkAt(at, name, i.id.kind == unix.S_IFDIR) })
		return nil, err
	}
	return made, nil
}

// Create implements vfs.MutableDir.
func (d *dir) Create(name string, a vfs.CreateArgs) (vfs.Inode, error) {
	return d.make(name, a, func(at int) error { return hostcall.MakeAt(at, name, a.Mode, a.Rdev) })
}

// Symlink implements vfs.MutableDir.
func (d *dir) Symlink(name, target string, a vfs.CreateArgs) (vfs.Inode, error) {
	return d.make(name, a, func(at int) error { return hostcall.SymlinkAt(target, at, name) })
}

// Link implements vfs.MutableDir.
func (d *dir) Link(name string, target vfs.Inode) error {
	i := inodeOf(target)
	if i == nil || i.fs != d.fs {
		return unix.EXDEV
	}
	return i.with(func(fd int) error {
		return d.with(func(at int) error { return d.fs.self.Link(fd, at, name) })
	})
}

// Unlink implements vfs.MutableDir.
func (d *dir) Unlink(name string) error { return d.remove(name, false) }

// Rmdir implements vfs.MutableDir.
func (d *dir) Rmdir(name string) error { return d.remove(name, true) }

func (d *dir) remove(name string, isDir bool) error {
	victim, _ := d.Lookup(name)
	err := d.with(func(at int) error { return hostcall.UnlinkAt(at, name, isDir) })
	if err == nil && victim != nil {
		inodeOf(victim).unnamed()
	}
	return err
}

// Rename implements vfs.MutableDir.
func (d *dir) Rename(oldName string, newDir vfs.Inode, newName string, flags uint32) error {
	to, ok := newDir.(*dir)
	if !ok || to.fs != d.fs {
		return unix.EXDEV
	}
	var victim vfs.Inode
	if flags&(unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE) == 0 {
		victim, _ = to.Lookup(newName)
	}
	err := d.with(func(from int) error {
		if to == d {
			return hostcall.RenameAt(from, oldName, from, newName, flags)
		}
		return to.with(func(at int) error { return hostcall.RenameAt(from, oldName, at, newName, flags) })
	})
	if err == nil && victim != nil {
		inodeOf(victim).unnamed()
	}
	return err
}

// Tmpfile implements vfs.Tmpfiler.
func (d *dir) Tmpfile(a vfs.CreateArgs) (vfs.Inode, error) {
	var i *inode
	err := d.with(func(at int) error {
		flags := unix.O_TMPFILE | unix.O_RDWR
		if a.Nameless {
			flags |= unix.O_EXCL
		}
		fd, err := hostcall.TmpfileAt(at, flags, a.Mode&0o7777)
		if err != nil {
			return err
		}
		if a.UID != 0 || a.GID != 0 {
			if err := hostcall.Chown(fd, a.UID, a.GID); err != nil {
				hostcall.CloseFD(fd)
				return err
			}
		}
		st, err := hostcall.StatAt(fd, "")
		if err != nil {
			hostcall.CloseFD(fd)
			return err
		}
		i = d.fs.inode(fd, &st)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return i.self, nil
}

// Open implements vfs.Inode.
func (d *dir) Open(uint32) (vfs.FileOps, error) {
	if d.isWindow() {
		return &openDir{Listing: hosttree.Listing{FD: -1}}, nil
	}
	o := &openDir{d: d}
	err := d.with(func(path int) (err error) {
		o.FD, err = d.fs.self.Reopen(path, unix.O_RDONLY|unix.O_DIRECTORY)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.Hold()
	return o, nil
}

// openDir is an open directory.
type openDir struct {
	hosttree.Listing
	d *dir // nil: a window
}

// Release implements vfs.FileOps.
func (o *openDir) Release() {
	o.Close()
	if o.d != nil {
		o.d.Unhold()
	}
}

// Sync implements vfs.Syncer.
func (o *openDir) Sync(dataOnly bool) error {
	if o.d == nil {
		return nil
	}
	return hostcall.FsyncFD(o.FD, dataOnly)
}
