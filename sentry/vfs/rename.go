package vfs

import (
	"golang.org/x/sys/unix"
)

// Rename moves or exchanges names (renameat2(2), vfs_rename). flags:
// RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT.
func (c *Caller) Rename(oldAt *File, oldPath string, newAt *File, newPath string, flags uint32) error {
	const all = unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE | unix.RENAME_WHITEOUT
	if flags&^all != 0 || flags&unix.RENAME_EXCHANGE != 0 && flags != unix.RENAME_EXCHANGE {
		return unix.EINVAL
	}
	if flags&unix.RENAME_WHITEOUT != 0 && !c.Creds.Has(unix.CAP_MKNOD) {
		return unix.EPERM
	}
	return c.retry(func() error {
		var from, to walk
		if err := c.toParent(&from, oldAt, oldPath); err != nil {
			return err
		}
		if err := c.toParent(&to, newAt, newPath); err != nil {
			return err
		}
		if from.at.Mount != to.at.Mount {
			return unix.EXDEV
		}
		if from.lastKind != lastNorm {
			return unix.EBUSY
		}
		if to.lastKind != lastNorm {
			if flags&unix.RENAME_NOREPLACE != 0 {
				return unix.EEXIST
			}
			return unix.EBUSY
		}
		unlock, err := lockTwo(from.at.Dentry, to.at.Dentry)
		if err != nil {
			return err
		}
		defer unlock()
		return c.renameLocked(&from, &to, flags)
	})
}

// lockTwo locks two directories of one file system and keeps its tree as it is
// (lock_rename). The one that is above goes first.
func lockTwo(a, b *Dentry) (unlock func(), err error) {
	sb := a.sb
	sb.renameMu.Lock()
	if a == b {
		if err := a.lockDir(); err != nil {
			sb.renameMu.Unlock()
			return nil, err
		}
		return func() { a.unlockDir(); sb.renameMu.Unlock() }, nil
	}
	if below(a, b) {
		a, b = b, a
	}
	if err := a.lockDir(); err != nil {
		sb.renameMu.Unlock()
		return nil, err
	}
	if err := b.lockDir(); err != nil {
		a.unlockDir()
		sb.renameMu.Unlock()
		return nil, err
	}
	return func() {
		b.unlockDir()
		a.unlockDir()
		sb.renameMu.Unlock()
	}, nil
}

func (c *Caller) renameLocked(from, to *walk, flags uint32) error {
	fromDir, toDir := from.at.Dentry, to.at.Dentry
	exchange := flags&unix.RENAME_EXCHANGE != 0
	old, err := fromDir.lookupLocked(from.last)
	if err != nil {
		return err
	}
	if old.kind == 0 {
		return unix.ENOENT
	}
	if !old.pin() { // it is to be in the cache throughout
		return errStale
	}
	defer old.unpin()
	target, err := toDir.lookupLocked(to.last)
	if err == unix.ENOENT && toDir.reval != nil && !toDir.gone.Load() {
		target, err = toDir.sb.newDentry(toDir, to.last, nil) // an absent name, which is not remembered
	}
	if err != nil {
		return err
	}
	if !target.pin() {
		return errStale
	}
	defer target.unpin()
	there := target.kind != 0
	switch {
	case flags&unix.RENAME_NOREPLACE != 0 && there:
		return unix.EEXIST
	case exchange && !there:
		return unix.ENOENT
	case exchange && to.slash && !target.IsDir():
		return unix.ENOTDIR
	case !old.IsDir() && from.slash:
		return unix.ENOTDIR
	case !old.IsDir() && !exchange && to.slash:
		return unix.ENOTDIR
	case below(toDir, old):
		return unix.EINVAL // into itself
	case there && below(fromDir, target):
		if exchange {
			return unix.EINVAL
		}
		return unix.ENOTEMPTY
	}
	if there && target.inode == old.inode {
		return nil // two names of one file: "does nothing"
	}
	if err := c.mayDelete(from.at, old, old.IsDir()); err != nil {
		return err
	}
	switch {
	case !there:
		err = c.mayCreate(to.at)
	case exchange:
		err = c.mayDelete(to.at, target, target.IsDir())
	default:
		err = c.mayDelete(to.at, target, old.IsDir())
	}
	if err != nil {
		return err
	}
	if fromDir != toDir {
		// The ".." of a directory that moves is written to.
		if old.IsDir() {
			if err := c.Creds.Permission(old.inode, MayWrite); err != nil {
				return err
			}
		}
		if exchange && target.IsDir() {
			if err := c.Creds.Permission(target.inode, MayWrite); err != nil {
				return err
			}
		}
	}
	m, ok := fromDir.inode.(MutableDir)
	if !ok {
		return unix.EPERM
	}
	if there && target.IsDir() && !exchange {
		target.dirMu.Lock()
		defer target.dirMu.Unlock()
	}
	if err := m.Rename(from.last, toDir.inode, to.last, flags); err != nil {
		return err
	}
	moveNames(fromDir, from.last, old, toDir, to.last, target, flags)
	notifyMove(fromDir, from.last, old, toDir, to.last)
	switch {
	case exchange:
		notifyMove(toDir, to.last, target, fromDir, from.last)
	case there:
		target.notifySelf(unix.IN_ATTRIB) // its link count
	}
	return nil
}

// moveNames brings the cache in line with a Rename that the file system did
// (d_move, d_exchange). Both directories and sb.renameMu are locked.
func moveNames(fromDir *Dentry, fromName string, old *Dentry, toDir *Dentry, toName string, target *Dentry, flags uint32) {
	sb := fromDir.sb
	fromDir.mu.Lock()
	delete(fromDir.children, fromName)
	fromDir.mu.Unlock()
	toDir.mu.Lock()
	delete(toDir.children, toName)
	toDir.mu.Unlock()
	old.name.Store(&toName)
	old.parent.Store(toDir)
	toDir.insert(toName, old)
	switch {
	case flags&unix.RENAME_EXCHANGE != 0:
		target.name.Store(&fromName)
		target.parent.Store(fromDir)
		fromDir.insert(fromName, target)
	default:
		if target.kind != 0 {
			target.setGone()
		}
		if flags&unix.RENAME_WHITEOUT == 0 && fromDir.reval == nil {
			if neg, err := sb.newDentry(fromDir, fromName, nil); err == nil {
				fromDir.insert(fromName, neg)
			}
		}
	}
}

// notifyMove tells of one name that moved (fsnotify_move).
func notifyMove(fromDir *Dentry, fromName string, d *Dentry, toDir *Dentry, toName string) {
	k := &d.sb.tree.marks
	if k.n.Load() == 0 {
		return
	}
	cookie := k.cookie.Add(1)
	fromDir.notifyChild(unix.IN_MOVED_FROM, cookie, d, fromName)
	toDir.notifyChild(unix.IN_MOVED_TO, cookie, d, toName)
	d.notifySelf(unix.IN_MOVE_SELF)
}
