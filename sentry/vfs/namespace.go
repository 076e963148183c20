package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// copy makes a namespace with copies of all mounts of ns (copy_mnt_ns). It has one
// reference. ENOSPC: too many mounts.
//
// What comes from the namespace of another owner stays where it is, and as closed as
// it is (MNT_LOCKED).
func (ns *Namespace) copy(owner any) (*Namespace, map[*Mount]*Mount, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	all := []*Mount{ns.root}
	for i := 0; i < len(all); i++ {
		all = append(all, all[i].children...)
	}
	if len(ns.points)+len(all) > maxMounts {
		return nil, nil, unix.ENOSPC
	}
	ns.lastNamespace++
	n := &Namespace{tree: ns.tree, id: ns.lastNamespace, owner: owner}
	n.refs.Store(1)
	copies := make(map[*Mount]*Mount, len(all))
	for _, m := range all { // parents first
		c := n.newMount(m.sb, m.root, MountOptions{Flags: m.Flags(), Source: m.source, Options: m.options})
		c.root.pin() // it cannot fail: m has it pinned
		c.locked = m.locked || owner != ns.owner
		copies[m] = c
		if m == ns.root {
			n.root = c
			continue
		}
		c.parent, c.point = copies[m.parent], m.point
		c.point.pin()
		c.point.mounted.Add(1)
		c.parent.children = append(c.parent.children, c)
		n.points[mountKey{c.parent, c.point}] = c
	}
	return n, copies, nil
}

// TryHold adds a reference, unless the namespace has gone.
func (ns *Namespace) TryHold() bool {
	for {
		n := ns.refs.Load()
		if n == 0 {
			return false
		}
		if ns.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release drops a reference. With the last one all mounts go.
func (ns *Namespace) Release() {
	if ns.refs.Add(-1) != 0 {
		return
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for _, c := range slices.Clone(ns.root.children) {
		ns.unmount(c)
	}
	ns.root.root.unpin()
	ns.dropMount(ns.root)
}

// CopyNamespace returns a context of its own, in a copy of f's mount namespace, at
// the same places (CLONE_NEWNS), which belongs to owner.
func (f *FSContext) CopyNamespace(owner any) (*FSContext, error) {
	for range retries {
		ns, copies, err := f.ns.copy(owner)
		if err != nil {
			return nil, err
		}
		moved := func(p Path) Path {
			if c := copies[p.Mount]; c != nil {
				p.Mount = c
			}
			return p
		}
		f.mu.RLock()
		n := &FSContext{ns: ns, root: moved(f.root), cwd: moved(f.cwd)}
		ok := n.root.pin()
		if ok && !n.cwd.pin() {
			n.root.unpin()
			ok = false
		}
		f.mu.RUnlock()
		if ok {
			n.refs.Store(1)
			n.umask.Store(f.umask.Load())
			return n, nil
		}
		ns.Release()
	}
	return nil, unix.ENOENT
}

// mountPoint calls fn with the place that path leads to. Whether c may change mounts
// is the system call layer's business: only that knows whose the namespace is.
func (c *Caller) mountPoint(path string, flags uint32, fn func(Path) error) error {
	return c.retry(func() error {
		p, err := c.Walk(nil, path, flags)
		if err != nil {
			return err
		}
		if p.Mount == nil {
			return unix.EINVAL
		}
		return fn(p)
	})
}

// Mount mounts what open makes on path (mount(2)).
func (c *Caller) Mount(path string, open func() (FileSystem, MountOptions, error)) error {
	return c.mountPoint(path, 0, func(p Path) error {
		fs, o, err := open()
		if err == nil {
			_, err = c.ns.Mount(p, fs, o)
		}
		return err
	})
}

// BindMount mounts source on path as well (MS_BIND, with MS_REC if recursive).
func (c *Caller) BindMount(source, path string, recursive bool) error {
	return c.mountPoint(path, 0, func(p Path) error {
		from, err := c.Walk(nil, source, 0)
		if err == nil {
			_, err = c.ns.Bind(p, from, recursive)
		}
		return err
	})
}

// MoveMount moves the mount at source to path (MS_MOVE).
func (c *Caller) MoveMount(source, path string) error {
	return c.mountPoint(path, 0, func(p Path) error {
		from, err := c.Walk(nil, source, 0)
		if err == nil {
			err = c.ns.Move(from, p)
		}
		return err
	})
}

// Remount changes the flags of the mount at path; change makes the new ones from the
// old (MS_REMOUNT).
func (c *Caller) Remount(path string, change func(old uint32) uint32) error {
	return c.mountPoint(path, 0, func(p Path) error { return c.ns.Remount(p, change(p.Mount.Flags())) })
}

// CheckMount says whether there is a mount at path whose propagation may be changed:
// EINVAL if not.
func (c *Caller) CheckMount(path string) error {
	return c.mountPoint(path, 0, func(p Path) error {
		if p.Mount.ns != c.ns || p.Dentry != p.Mount.root {
			return unix.EINVAL
		}
		return nil
	})
}

// Unmount takes off what is mounted on path (umount2(2)). flags: MNT_*, and
// UMOUNT_NOFOLLOW.
func (c *Caller) Unmount(path string, flags uint32) error {
	how := uint32(0)
	if flags&unix.UMOUNT_NOFOLLOW != 0 {
		how = unix.AT_SYMLINK_NOFOLLOW
	}
	// The topmost goes, even if "." is below it (LOOKUP_MOUNTPOINT).
	return c.mountPoint(path, how, func(p Path) error { return c.ns.Unmount(c.ns.top(p), flags) })
}

// PivotRoot makes the mount at newRoot the root, and hangs the old root on putOld
// (pivot_root(2)). It returns both roots: whoever is at the old one is to be moved.
func (c *Caller) PivotRoot(newRoot, putOld string) (old, now Path, err error) {
	err = c.mountPoint(newRoot, 0, func(p Path) error {
		to, err := c.Walk(nil, putOld, 0)
		if err != nil {
			return err
		}
		if !p.Dentry.IsDir() || !to.Dentry.IsDir() {
			return unix.ENOTDIR
		}
		old, now = c.Root(), p
		return c.ns.pivot(old, p, to)
	})
	return old, now, err
}

func (ns *Namespace) pivot(root, newRoot, putOld Path) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	m := newRoot.Mount
	switch {
	case m.ns != ns || root.Mount == nil || root.Mount.ns != ns || putOld.Mount == nil || putOld.Mount.ns != ns,
		m.dead.Load(), root.Mount.dead.Load():
		return unix.EINVAL
	case newRoot.Dentry.gone.Load():
		return unix.ENOENT
	case m == root.Mount || putOld.Mount == root.Mount:
		return unix.EBUSY
	case root.Dentry != root.Mount.root || newRoot.Dentry != m.root || m.parent == nil:
		return unix.EINVAL
	case !reaches(newRoot, putOld) || !reaches(root, newRoot):
		return unix.EINVAL
	}
	// Where the old root hung, if anywhere, the new one will.
	was := root.Mount
	top := Path{was.parent, was.point}
	back := Path{m.parent, m.point}
	ns.detach(m)
	if top.Mount != nil {
		ns.detach(was)
	}
	err := ns.attach(was, putOld)
	if err == nil {
		if top.Mount == nil {
			ns.root = m
			return nil
		}
		return ns.attach(m, top)
	}
	if top.Mount != nil {
		if undo := ns.attach(was, top); undo != nil {
			return undo
		}
	}
	if undo := ns.attach(m, back); undo != nil {
		return undo
	}
	return err
}

// reaches reports whether p is at top or below it (is_path_reachable). ns.mu is held.
func reaches(top, p Path) bool {
	for p.Mount != top.Mount {
		if p.Mount.parent == nil {
			return false
		}
		p = Path{p.Mount.parent, p.Mount.point}
	}
	return below(p.Dentry, top.Dentry)
}

// Follow moves who is at the old root to the new one (chroot_fs_refs).
func (f *FSContext) Follow(old, now Path) {
	f.mu.Lock()
	var gone []Path
	for _, p := range [...]*Path{&f.root, &f.cwd} {
		if *p == old && now.pin() {
			gone = append(gone, *p)
			*p = now
		}
	}
	f.mu.Unlock()
	for _, p := range gone {
		p.unpin()
	}
}
