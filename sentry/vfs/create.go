package vfs

import (
	"golang.org/x/sys/unix"
)

// mayWrite is mnt_want_write: EROFS on a read-only mount.
func (c *Caller) mayWrite(m *Mount) error {
	if m.has(unix.MS_RDONLY) {
		return unix.EROFS
	}
	return nil
}

// createArgs applies umask and set-group-id inheritance (inode_init_owner and
// mode_strip_sgid).
func (c *Caller) createArgs(dir Inode, mode uint32, rdev uint64) (CreateArgs, error) {
	dmode, duid, dgid, err := ownerOf(dir)
	if err != nil {
		return CreateArgs{}, err
	}
	a := CreateArgs{Mode: mode &^ c.Umask(), UID: c.Creds.UID, GID: c.Creds.GID, Rdev: rdev, By: c}
	if dmode&unix.S_ISGID != 0 {
		a.GID = dgid
		if mode&unix.S_IFMT == unix.S_IFDIR {
			a.Mode |= unix.S_ISGID
		} else if mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP &&
			!c.Creds.mayKeepSetGID(duid, dgid) {
			a.Mode &^= unix.S_ISGID
		}
	}
	return a, nil
}

// mayCreate checks that a name may be made in dir, whose lockDir the caller
// holds.
func (c *Caller) mayCreate(dir Path) error {
	if dir.Dentry.gone.Load() {
		return unix.ENOENT
	}
	if err := c.mayWrite(dir.Mount); err != nil {
		return err
	}
	return c.permission(dir.Inode(), MayWrite|MayExec)
}

// createLocked makes name in dir, and returns it pinned. unsupported is the error of file systems in
// which nothing can be made.
func (c *Caller) createLocked(dir Path, name string, mode uint32, rdev uint64, unsupported error) (*Dentry, error) {
	return c.makeLocked(dir, name, mode, rdev, unsupported, func(m MutableDir, a CreateArgs) (Inode, error) {
		return m.Create(name, a)
	})
}

func (c *Caller) makeLocked(dir Path, name string, mode uint32, rdev uint64, unsupported error,
	make func(MutableDir, CreateArgs) (Inode, error)) (*Dentry, error) {
	d := dir.Dentry
	m, ok := d.inode.(MutableDir)
	child, err := d.lookupLocked(name)
	switch {
	case err == nil && child.kind != 0:
		return nil, unix.EEXIST
	case err != nil && (err != unix.ENOENT || !ok):
		return nil, err // as in /proc, where no name is known to be absent
	}
	if err := c.mayCreate(dir); err != nil {
		return nil, err
	}
	if !ok {
		return nil, unsupported
	}
	args, err := c.createArgs(d.inode, mode, rdev)
	if err != nil {
		return nil, err
	}
	inode, err := make(m, args)
	if err != nil {
		return nil, err
	}
	child, err = d.sb.newDentry(d, name, inode)
	if err != nil {
		return nil, err
	}
	child.pins.Store(1)
	d.insert(name, child)
	d.notifyChild(unix.IN_CREATE, 0, child, name)
	return child, nil
}

// unpinned is for calls that have no further use of what they made.
func unpinned(d *Dentry, err error) error {
	if err == nil {
		d.unpin()
	}
	return err
}

// inParent walks to path's directory, locks it, and calls fn.
func (c *Caller) inParent(at *File, path string, fn func(w *walk) error) error {
	return c.retry(func() error {
		var w walk
		if err := c.toParent(&w, at, path); err != nil {
			return err
		}
		if err := w.at.Dentry.lockDir(); err != nil {
			return err
		}
		defer w.at.Dentry.unlockDir()
		return fn(&w)
	})
}

// newName is inParent for calls that make a name (filename_create).
func (c *Caller) newName(at *File, path string, isDir bool, fn func(w *walk) error) error {
	return c.inParent(at, path, func(w *walk) error {
		if w.lastKind != lastNorm {
			return unix.EEXIST
		}
		if w.slash && !isDir {
			child, err := w.at.Dentry.lookupLocked(w.last)
			if err != nil {
				return err
			}
			if child.kind != 0 {
				return unix.EEXIST
			}
			return unix.ENOENT
		}
		return fn(w)
	})
}

// Mkdir makes a directory (mkdirat(2)).
func (c *Caller) Mkdir(at *File, path string, mode uint32) error {
	return c.newName(at, path, true, func(w *walk) error {
		return unpinned(c.createLocked(w.at, w.last, unix.S_IFDIR|mode&0o1777, 0, unix.EPERM))
	})
}

// Mknod makes a file, FIFO, socket or device (mknodat(2)). EPERM: devices need
// CAP_MKNOD.
func (c *Caller) Mknod(at *File, path string, mode uint32, rdev uint64) error {
	switch mode & unix.S_IFMT {
	case 0:
		mode |= unix.S_IFREG
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
	case unix.S_IFDIR:
		return unix.EPERM
	default:
		return unix.EINVAL
	}
	return c.newName(at, path, false, func(w *walk) error {
		kind := mode & unix.S_IFMT
		device := kind == unix.S_IFCHR || kind == unix.S_IFBLK
		if !device {
			rdev = 0
		}
		unsupported := unix.EPERM
		if kind == unix.S_IFREG {
			unsupported = unix.EACCES
		}
		if device && rdev != 0 && !c.Creds.Has(unix.CAP_MKNOD) {
			if child, err := w.at.Dentry.lookupLocked(w.last); err == nil && child.kind != 0 {
				return unix.EEXIST
			}
			return unix.EPERM
		}
		return unpinned(c.createLocked(w.at, w.last, mode&(unix.S_IFMT|0o7777), rdev, unsupported))
	})
}

// Symlink makes a symbolic link (symlinkat(2)).
func (c *Caller) Symlink(target string, at *File, path string) error {
	if target == "" {
		return unix.ENOENT
	}
	if len(target) >= unix.PathMax {
		return unix.ENAMETOOLONG
	}
	return c.newName(at, path, false, func(w *walk) error {
		return unpinned(c.makeLocked(w.at, w.last, unix.S_IFLNK|0o777, 0, unix.EPERM, func(m MutableDir, a CreateArgs) (Inode, error) {
			a.Mode = unix.S_IFLNK | 0o777 // no umask for links
			return m.Symlink(w.last, target, a)
		}))
	})
}

// Link makes another name for a file (linkat(2)). flags: AT_SYMLINK_FOLLOW,
// AT_EMPTY_PATH.
func (c *Caller) Link(oldAt *File, oldPath string, newAt *File, newPath string, flags uint32) error {
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return unix.EINVAL
	}
	if flags&unix.AT_EMPTY_PATH != 0 && oldPath == "" && !c.Creds.Has(unix.CAP_DAC_READ_SEARCH) {
		return unix.ENOENT
	}
	how := flags & unix.AT_EMPTY_PATH
	if flags&unix.AT_SYMLINK_FOLLOW == 0 {
		how |= unix.AT_SYMLINK_NOFOLLOW
	}
	old, err := c.Walk(oldAt, oldPath, how)
	if err != nil {
		return err
	}
	return c.newName(newAt, newPath, false, func(w *walk) error {
		if child, err := w.at.Dentry.lookupLocked(w.last); err == nil && child.kind != 0 {
			return unix.EEXIST
		} else if err != nil && err != unix.ENOENT {
			return err
		}
		if old.Mount == nil || old.Mount != w.at.Mount {
			return unix.EXDEV
		}
		if w.at.Dentry.gone.Load() {
			return unix.ENOENT
		}
		if err := c.mayLink(old.Inode()); err != nil {
			return err
		}
		if err := c.mayCreate(w.at); err != nil {
			return err
		}
		if old.Dentry.IsDir() {
			return unix.EPERM
		}
		m, ok := w.at.Inode().(MutableDir)
		if !ok {
			return unix.EPERM
		}
		if err := m.Link(w.last, old.Inode()); err != nil {
			return err
		}
		child, err := w.at.Dentry.sb.newDentry(w.at.Dentry, w.last, old.Inode())
		if err != nil {
			return err
		}
		w.at.Dentry.insert(w.last, child)
		old.Dentry.notifySelf(unix.IN_ATTRIB) // its link count
		w.at.Dentry.notifyChild(unix.IN_CREATE, 0, child, w.last)
		return nil
	})
}

// mayLink is may_linkat with fs.protected_hardlinks on: a name for another's
// file may be made only if the file is plain and the caller may read and write
// it.
func (c *Caller) mayLink(i Inode) error {
	mode, uid, gid, err := ownerOf(i)
	if err != nil || c.Creds.owns(uid) {
		return err
	}
	if mode&unix.S_IFMT != unix.S_IFREG || withoutSetID(mode) != mode ||
		c.Creds.permits(mode, uid, gid, MayRead|MayWrite) != nil {
		return unix.EPERM
	}
	return nil
}

// mayDelete checks that child may be taken out of dir (may_delete).
func (c *Caller) mayDelete(dir Path, child *Dentry, isDir bool) error {
	if err := c.mayWrite(dir.Mount); err != nil {
		return err
	}
	if err := c.permission(dir.Inode(), MayWrite|MayExec); err != nil {
		return err
	}
	if err := c.sticky(dir.Inode(), child.inode); err != nil {
		return err
	}
	if isDir {
		if !child.IsDir() {
			return unix.ENOTDIR
		}
	} else if child.IsDir() {
		return unix.EISDIR
	}
	if dir.Dentry.gone.Load() {
		return unix.ENOENT
	}
	if child.mounted.Load() != 0 {
		return unix.EBUSY
	}
	return nil
}

// sticky is check_sticky: in a sticky directory only the owner of the file or
// of the directory removes names.
func (c *Caller) sticky(dir, child Inode) error {
	mode, duid, _, err := ownerOf(dir)
	if err != nil || mode&unix.S_ISVTX == 0 || duid == c.Creds.UID {
		return err
	}
	_, uid, gid, err := ownerOf(child)
	if err == nil && uid != c.Creds.UID && !c.Creds.HasOver(uid, gid, unix.CAP_FOWNER) {
		return unix.EPERM
	}
	return err
}

// Unlink removes a name that is not a directory's (unlinkat(2)).
func (c *Caller) Unlink(at *File, path string) error {
	return c.inParent(at, path, func(w *walk) error {
		if w.lastKind != lastNorm {
			return unix.EISDIR
		}
		child, err := w.at.Dentry.lookupLocked(w.last)
		if err != nil {
			return err
		}
		if child.kind == 0 {
			return unix.ENOENT
		}
		if w.slash {
			if child.IsDir() {
				return unix.EISDIR
			}
			return unix.ENOTDIR
		}
		if err := c.mayDelete(w.at, child, false); err != nil {
			return err
		}
		m, ok := w.at.Inode().(MutableDir)
		if !ok {
			return unix.EPERM
		}
		if err := m.Unlink(w.last); err != nil {
			return err
		}
		child.notifySelf(unix.IN_ATTRIB) // its link count
		w.at.Dentry.remove(w.last)
		w.at.Dentry.notifyChild(unix.IN_DELETE, 0, child, w.last)
		return nil
	})
}

// Rmdir removes an empty directory (rmdir(2), unlinkat(2) with AT_REMOVEDIR).
func (c *Caller) Rmdir(at *File, path string) error {
	return c.inParent(at, path, func(w *walk) error {
		switch w.lastKind {
		case lastDotDot:
			return unix.ENOTEMPTY
		case lastDot:
			return unix.EINVAL
		case lastRoot:
			return unix.EBUSY
		}
		child, err := w.at.Dentry.lookupLocked(w.last)
		if err != nil {
			return err
		}
		if child.kind == 0 {
			return unix.ENOENT
		}
		if err := c.mayDelete(w.at, child, true); err != nil {
			return err
		}
		m, ok := w.at.Inode().(MutableDir)
		if !ok {
			return unix.EPERM
		}
		// Nothing may be made in it from here on.
		child.dirMu.Lock()
		defer child.dirMu.Unlock()
		if err := m.Rmdir(w.last); err != nil {
			return err
		}
		w.at.Dentry.remove(w.last)
		w.at.Dentry.notifyChild(unix.IN_DELETE, 0, child, w.last)
		return nil
	})
}
