package tmpfs

import (
	"slices"
	"sort"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs"
)

// direntSize is what a name adds to its directory's size (BOGO_DIRENT_SIZE).
const direntSize = 20

// dir is a directory. Every name has a position that it keeps while it is
// there, and that is never given to another, so that a listing in progress
// neither repeats nor skips what stays.
type dir struct {
	node
	// Under node.mu:
	names map[string]*entry
	order []*entry // by pos; entries with a nil inode are gone
	holes int      // of those
	last  int64
}

type entry struct {
	name  string
	inode member // nil: removed
	pos   int64
}

func (d *dir) dropped() {}

// Stat implements vfs.Inode.
func (d *dir) Stat() (vfs.Stat, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	st := d.statLocked()
	st.Size = int64(2+len(d.names)) * direntSize
	return st, nil
}

// Lookup implements vfs.Dir.
func (d *dir) Lookup(name string) (vfs.Inode, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.names[name]; e != nil {
		return e.inode, nil
	}
	return nil, unix.ENOENT
}

// add makes a name. d.mu is held, and the name is not there.
func (d *dir) add(name string, m member) {
	if d.names == nil {
		d.names = make(map[string]*entry)
	}
	d.last++
	e := &entry{name, m, d.last}
	d.names[name] = e
	d.order = append(d.order, e)
	d.changed()
}

// drop removes a name. d.mu is held.
func (d *dir) drop(e *entry) {
	delete(d.names, e.name)
	e.inode = nil
	if d.holes++; d.holes > 32 && d.holes > len(d.order)/2 {
		d.order = slices.DeleteFunc(d.order, func(e *entry) bool { return e.inode == nil })
		d.holes = 0
	}
	d.changed()
}

func (d *dir) changed() {
	now := d.fs.now()
	d.mtime, d.ctime = now, now
}

// Create implements vfs.MutableDir.
func (d *dir) Create(name string, a vfs.CreateArgs) (vfs.Inode, error) {
	m, err := d.fs.newNode(a)
	if err != nil {
		return nil, err
	}
	if err := d.insert(name, m); err != nil {
		d.fs.nodes.Add(-1)
		return nil, err
	}
	return m, nil
}

func (d *dir) insert(name string, m member) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nlink == 0 {
		return unix.ENOENT
	}
	if d.names[name] != nil {
		return unix.EEXIST
	}
	d.add(name, m)
	if _, ok := m.(*dir); ok {
		d.nlink++
	}
	return nil
}

// Symlink implements vfs.MutableDir.
func (d *dir) Symlink(name, target string, a vfs.CreateArgs) (vfs.Inode, error) {
	if n := d.fs.nodes.Add(1); uint64(n) > d.fs.inodes {
		d.fs.nodes.Add(-1)
		return nil, unix.ENOSPC
	}
	l := &symlink{target: target}
	a.Mode = unix.S_IFLNK | 0o777
	l.init(d.fs, a, 1)
	if err := d.insert(name, l); err != nil {
		d.fs.nodes.Add(-1)
		return nil, err
	}
	return l, nil
}

// Tmpfile implements vfs.Tmpfiler.
func (d *dir) Tmpfile(a vfs.CreateArgs) (vfs.Inode, error) {
	m, err := d.fs.newNode(a)
	if err != nil {
		return nil, err
	}
	m.base().nlink = 0
	if f, ok := m.(*file); ok {
		f.linkable = !a.Nameless
	}
	return m, nil
}

// maxLinks is how many names a file may have (EMLINK).
const maxLinks = 1 << 16

// Link implements vfs.MutableDir.
func (d *dir) Link(name string, target vfs.Inode) error {
	m, ok := target.(member)
	if !ok || m.base().fs != d.fs {
		return unix.EXDEV
	}
	n := m.base()
	n.mu.Lock()
	f, isFile := m.(*file)
	switch {
	case n.dead, n.nlink == 0 && (!isFile || !f.linkable):
		n.mu.Unlock()
		return unix.ENOENT
	case n.nlink >= maxLinks:
		n.mu.Unlock()
		return unix.EMLINK
	}
	n.nlink++
	n.ctime = d.fs.now()
	n.mu.Unlock()
	if err := d.insert(name, m); err != nil {
		n.link(-1)
		release(m, 0)
		return err
	}
	return nil
}

// Unlink implements vfs.MutableDir.
func (d *dir) Unlink(name string) error {
	d.mu.Lock()
	e := d.names[name]
	if e == nil {
		d.mu.Unlock()
		return unix.ENOENT
	}
	m := e.inode
	if _, ok := m.(*dir); ok {
		d.mu.Unlock()
		return unix.EISDIR
	}
	d.drop(e)
	d.mu.Unlock()
	m.base().link(-1)
	release(m, 0)
	return nil
}

// Rmdir implements vfs.MutableDir.
func (d *dir) Rmdir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.names[name]
	if e == nil {
		return unix.ENOENT
	}
	child, ok := e.inode.(*dir)
	if !ok {
		return unix.ENOTDIR
	}
	if err := child.kill(); err != nil {
		return err
	}
	d.drop(e)
	d.nlink--
	return nil
}

// kill makes an empty directory one that nothing can be put into.
func (d *dir) kill() error {
	d.mu.Lock()
	if len(d.names) != 0 {
		d.mu.Unlock()
		return unix.ENOTEMPTY
	}
	d.nlink = 0
	d.ctime = d.fs.now()
	d.mu.Unlock()
	release(d, 0)
	return nil
}

// Rename implements vfs.MutableDir. vfs holds both directories and lets no
// other rename run, so locking old before new is as good as any order.
func (d *dir) Rename(oldName string, newDir vfs.Inode, newName string, flags uint32) error {
	to, ok := newDir.(*dir)
	if !ok || to.fs != d.fs {
		return unix.EXDEV
	}
	d.lockWith(to)
	gone, err := d.renameLocked(oldName, to, newName, flags)
	d.unlockWith(to)
	if gone != nil {
		gone.base().link(-1)
		release(gone, 0)
	}
	return err
}

func (d *dir) lockWith(o *dir) {
	a, b := d, o
	if a == b {
		a.mu.Lock()
		return
	}
	if a.ino > b.ino {
		a, b = b, a
	}
	a.mu.Lock()
	b.mu.Lock()
}

func (d *dir) unlockWith(o *dir) {
	d.mu.Unlock()
	if o != d {
		o.mu.Unlock()
	}
}

// renameLocked returns the file whose name was overwritten, if any.
func (d *dir) renameLocked(oldName string, to *dir, newName string, flags uint32) (gone member, err error) {
	e := d.names[oldName]
	if e == nil {
		return nil, unix.ENOENT
	}
	m := e.inode
	_, isDir := m.(*dir)
	target := to.names[newName]
	if to.nlink == 0 {
		return nil, unix.ENOENT
	}
	now := d.fs.now()
	if flags&unix.RENAME_EXCHANGE != 0 {
		if target == nil {
			return nil, unix.ENOENT
		}
		other := target.inode
		_, otherDir := other.(*dir)
		e.inode, target.inode = other, m
		if isDir != otherDir {
			// Only the counts of sub-directories change.
			if isDir {
				d.nlink--
				to.nlink++
			} else {
				d.nlink++
				to.nlink--
			}
		}
		d.changed()
		to.changed()
		touch(m, now)
		touch(other, now)
		return nil, nil
	}
	var white member
	if flags&unix.RENAME_WHITEOUT != 0 {
		white, err = d.fs.newNode(vfs.CreateArgs{Mode: unix.S_IFCHR, Rdev: 0})
		if err != nil {
			return nil, err
		}
	}
	if target != nil {
		if flags&unix.RENAME_NOREPLACE != 0 {
			err = unix.EEXIST
		} else if victim, ok := target.inode.(*dir); ok {
			switch {
			case !isDir:
				err = unix.EISDIR
			default:
				if err = victim.kill(); err == nil {
					to.drop(target)
					to.nlink--
				}
			}
		} else if isDir {
			err = unix.ENOTDIR
		} else {
			gone = target.inode
			to.drop(target)
		}
		if err != nil {
			if white != nil {
				d.fs.nodes.Add(-1)
			}
			return nil, err
		}
	}
	d.drop(e)
	to.add(newName, m)
	if isDir {
		d.nlink--
		to.nlink++
	}
	if white != nil {
		d.add(oldName, white)
	}
	touch(m, now)
	return gone, nil
}

// touch notes that an inode was renamed. Its directories' locks are held, and
// a directory is never its own child.
func touch(m member, now unix.Timespec) {
	n := m.base()
	n.mu.Lock()
	n.ctime = now
	n.mu.Unlock()
}

// Open implements vfs.Inode.
func (d *dir) Open(uint32) (vfs.FileOps, error) { return openDir{d}, nil }

// openDir is an open directory; vfs keeps the position.
type openDir struct{ d *dir }

// Release implements vfs.FileOps.
func (openDir) Release() {}

// ReadDir implements vfs.DirReader. The entries are emitted in batches that
// are collected under the lock, so that emit may do as it likes.
func (o openDir) ReadDir(off int64, emit func(vfs.Entry) bool) error {
	var batch [64]vfs.Entry
	for {
		n := o.d.batch(off, batch[:])
		for _, e := range batch[:n] {
			if !emit(e) {
				return nil
			}
			off = e.Next
		}
		if n < len(batch) {
			return nil
		}
	}
}

func (d *dir) batch(off int64, out []vfs.Entry) (n int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	i := sort.Search(len(d.order), func(i int) bool { return d.order[i].pos > off })
	for ; i < len(d.order) && n < len(out); i++ {
		e := d.order[i]
		if e.inode == nil {
			continue
		}
		b := e.inode.base()
		out[n] = vfs.Entry{Name: e.name, Ino: b.ino, Type: uint8(b.kind() >> 12), Next: e.pos}
		n++
	}
	return n
}
