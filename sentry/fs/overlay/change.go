package overlay

import (
	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs"
)

// make puts something new under name: fn makes it in the upper directory. A
// whiteout that is in the way goes, and comes back if fn fails.
func (d *dirNode) make(name string, fn func(mutable) (vfs.Inode, error)) (*node, error) {
	if _, err := d.copyUp(); err != nil {
		return nil, err
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.gone.Load() {
		return nil, unix.ENOENT
	}
	up := d.upperDir()
	there, whiteout, err := d.inUpper(name)
	if err != nil {
		return nil, err
	}
	if there != nil {
		return nil, unix.EEXIST
	}
	if whiteout {
		if err := up.Unlink(name); err != nil {
			return nil, err
		}
	} else if lower, err := d.inLower(name); err != nil || lower != nil {
		if err == nil {
			err = unix.EEXIST
		}
		return nil, err
	}
	i, err := fn(up)
	var n *node
	if err == nil {
		if st, serr := i.Stat(); serr == nil && whiteout && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if err = setOpaque(i); err != nil {
				_ = up.Rmdir(name)
			}
		}
	}
	if err == nil {
		n, err = d.fs.newNode(d, name, nil, i)
	}
	if err != nil {
		if whiteout {
			_, _ = up.Create(name, vfs.CreateArgs{Mode: unix.S_IFCHR})
		}
		return nil, err
	}
	d.disown(name)
	return d.adopt(name, n), nil
}

// Create implements vfs.MutableDir. EPERM: a guest cannot make a whiteout.
func (d *dirNode) Create(name string, a vfs.CreateArgs) (vfs.Inode, error) {
	if a.Mode&unix.S_IFMT == unix.S_IFCHR && a.Rdev == 0 {
		return nil, unix.EPERM
	}
	n, err := d.make(name, func(up mutable) (vfs.Inode, error) { return up.Create(name, a) })
	if err != nil {
		return nil, err
	}
	return n.self, nil
}

// Symlink implements vfs.MutableDir.
func (d *dirNode) Symlink(name, target string, a vfs.CreateArgs) (vfs.Inode, error) {
	n, err := d.make(name, func(up mutable) (vfs.Inode, error) { return up.Symlink(name, target, a) })
	if err != nil {
		return nil, err
	}
	return n.self, nil
}

// Tmpfile implements vfs.Tmpfiler.
func (d *dirNode) Tmpfile(a vfs.CreateArgs) (vfs.Inode, error) {
	up, err := d.copyUp()
	if err != nil {
		return nil, err
	}
	i, err := up.(mutable).Tmpfile(a)
	if err != nil {
		return nil, err
	}
	n, err := d.fs.newNode(d, "", nil, i)
	if err != nil {
		return nil, err
	}
	return n.self, nil
}

// Link implements vfs.MutableDir.
func (d *dirNode) Link(name string, target vfs.Inode) error {
	t := nodeOf(target)
	if t == nil || t.fs != d.fs {
		return unix.EXDEV
	}
	real, err := t.copyUp()
	if err != nil {
		return err
	}
	if _, err := d.copyUp(); err != nil {
		return err
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	up := d.upperDir()
	there, whiteout, err := d.inUpper(name)
	if err != nil {
		return err
	}
	if there != nil {
		return unix.EEXIST
	}
	if whiteout {
		// Made beside it and moved over it, for linking may fail.
		if err := up.Link(scratch, real); err != nil {
			return err
		}
		if err := up.Rename(scratch, up, name, 0); err != nil {
			_ = up.Unlink(scratch)
			return err
		}
	} else if err := up.Link(name, real); err != nil {
		return err
	}
	d.fs.share(t)
	d.disown(name)
	d.adopt(name, t)
	return nil
}

// whiteout hides name, over whatever the upper has there (no directory).
func (d *dirNode) whiteout(name string) error {
	up := d.upperDir()
	if _, err := up.Create(scratch, vfs.CreateArgs{Mode: unix.S_IFCHR}); err != nil {
		return err
	}
	if err := up.Rename(scratch, up, name, 0); err != nil {
		_ = up.Unlink(scratch)
		return err
	}
	return nil
}

// Unlink implements vfs.MutableDir.
func (d *dirNode) Unlink(name string) error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	n, err := d.lookup(name)
	if err != nil {
		return err
	}
	if n.kind == unix.S_IFDIR {
		return unix.EISDIR
	}
	lower, err := d.inLower(name)
	if err != nil {
		return err
	}
	if lower == nil {
		err = d.upperDir().Unlink(name)
	} else if _, err = d.copyUpLocked(); err == nil {
		err = d.whiteout(name)
	}
	if err != nil {
		return err
	}
	d.removed(name, n)
	return nil
}

// removed notes that name does not lead to n any more.
func (d *dirNode) removed(name string, n *node) {
	d.disown(name)
	if n.parent == d && n.name == name {
		n.gone.Store(true) // only what has no upper looks at it
	}
}

// Rmdir implements vfs.MutableDir.
func (d *dirNode) Rmdir(name string) error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	n, err := d.lookup(name)
	if err != nil {
		return err
	}
	child, ok := n.self.(*dirNode)
	if !ok {
		return unix.ENOTDIR
	}
	if err := d.removeDir(name, child); err != nil {
		return err
	}
	d.removed(name, n)
	return nil
}

// removeDir removes an empty directory and hides the lower's, if there is one.
func (d *dirNode) removeDir(name string, child *dirNode) error {
	entries, err := child.list()
	if err != nil {
		return err
	}
	if len(entries) != 0 {
		return unix.ENOTEMPTY
	}
	lower, err := d.inLower(name)
	if err != nil {
		return err
	}
	if lower != nil {
		if _, err := d.copyUpLocked(); err != nil {
			return err
		}
	}
	up := d.upperDir()
	if child.upper() == nil {
		return d.whiteout(name)
	}
	if lower == nil {
		if err := child.clear(); err != nil {
			return err
		}
		return up.Rmdir(name)
	}
	// The whiteout changes places with the directory, so that there is no
	// moment, and no failure, in which the lower one shows.
	if _, err := up.Create(scratch, vfs.CreateArgs{Mode: unix.S_IFCHR}); err != nil {
		return err
	}
	if err := up.Rename(scratch, up, name, unix.RENAME_EXCHANGE); err != nil {
		_ = up.Unlink(scratch)
		return err
	}
	if err := child.clear(); err != nil {
		return err
	}
	return up.Rmdir(scratch)
}

// clear removes the whiteouts in the upper part of a directory that is empty.
func (d *dirNode) clear() error {
	up := d.upperDir()
	if up == nil {
		return nil
	}
	var names []string
	if err := readAll(up, func(e vfs.Entry) { names = append(names, e.Name) }); err != nil {
		return err
	}
	for _, name := range names {
		if err := up.Unlink(name); err != nil {
			return err
		}
	}
	return nil
}

// Rename implements vfs.MutableDir. EXDEV: a directory that has a lower part.
func (d *dirNode) Rename(oldName string, newDir vfs.Inode, newName string, flags uint32) error {
	to, ok := newDir.(*dirNode)
	if !ok || to.fs != d.fs {
		return unix.EXDEV
	}
	if flags&unix.RENAME_WHITEOUT != 0 {
		return unix.EINVAL
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	n, err := d.lookup(oldName)
	if err != nil {
		return err
	}
	target, err := to.lookup(newName)
	if err != nil && err != unix.ENOENT {
		return err
	}
	exchange := flags&unix.RENAME_EXCHANGE != 0
	if n.kind == unix.S_IFDIR && n.lower != nil ||
		exchange && target != nil && target.kind == unix.S_IFDIR && target.lower != nil {
		return unix.EXDEV
	}
	for _, dir := range [...]*dirNode{d, to} {
		if _, err := dir.copyUpLocked(); err != nil {
			return err
		}
	}
	if _, err := n.copyUpLocked(); err != nil {
		return err
	}
	if exchange {
		return d.exchange(oldName, n, to, newName, target)
	}
	return d.move(oldName, n, to, newName, target)
}

func (d *dirNode) exchange(oldName string, n *node, to *dirNode, newName string, target *node) error {
	if target == nil {
		return unix.ENOENT
	}
	if _, err := target.copyUpLocked(); err != nil {
		return err
	}
	if err := to.shield(newName, n); err != nil {
		return err
	}
	if err := d.shield(oldName, target); err != nil {
		return err
	}
	if err := d.upperDir().Rename(oldName, to.upper(), newName, unix.RENAME_EXCHANGE); err != nil {
		return err
	}
	d.disown(oldName)
	to.disown(newName)
	n.parent, n.name = to, newName
	target.parent, target.name = d, oldName
	to.adopt(newName, n)
	d.adopt(oldName, target)
	return nil
}

// shield makes a directory that is about to be called name in d opaque if there
// is something of the name below.
func (d *dirNode) shield(name string, n *node) error {
	if n.kind != unix.S_IFDIR {
		return nil
	}
	lower, err := d.inLower(name)
	if err != nil || lower == nil {
		return err
	}
	return setOpaque(n.upper())
}

func (d *dirNode) move(oldName string, n *node, to *dirNode, newName string, target *node) error {
	if err := to.shield(newName, n); err != nil {
		return err
	}
	if n.kind == unix.S_IFDIR {
		// What is in the way of a directory: an empty one, or a whiteout.
		if target != nil {
			victim, ok := target.self.(*dirNode)
			if !ok {
				return unix.ENOTDIR
			}
			entries, err := victim.list()
			if err != nil {
				return err
			}
			if len(entries) != 0 {
				return unix.ENOTEMPTY
			}
			if err := victim.clear(); err != nil {
				return err
			}
		} else if _, whiteout, err := to.inUpper(newName); err != nil {
			return err
		} else if whiteout {
			if err := to.upperDir().Unlink(newName); err != nil {
				return err
			}
		}
	} else if target != nil && target.kind == unix.S_IFDIR {
		return unix.EISDIR
	}
	lower, err := d.inLower(oldName)
	if err != nil {
		return err
	}
	flags := uint32(0)
	if lower != nil {
		flags = unix.RENAME_WHITEOUT // the old name is to stay hidden
	}
	if err := d.upperDir().Rename(oldName, to.upper(), newName, flags); err != nil {
		return err
	}
	if target != nil {
		to.removed(newName, target)
	}
	d.disown(oldName)
	to.disown(newName)
	n.parent, n.name = to, newName
	to.adopt(newName, n)
	return nil
}
