package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Sink is told of what happens to files that are marked (inotify). Its methods
// are called without the lock that guards marks, but possibly with those of
// directories, and must not call this package.
type Sink interface {
	// Event tells of an event: mask has one or more of inotify(7)'s bits, and
	// IN_ISDIR. name is that in the marked directory; empty for the file itself.
	// cookie ties the two halves of a rename together. It may come once more after
	// Unmark.
	Event(m *Mark, mask, cookie uint32, name string)
}

// Mark asks for the events of a file, and of the files in it if it is a directory
// (fsnotify_mark).
type Mark struct {
	Sink Sink
	// Data is the Sink's own.
	Data any

	mask   atomic.Uint32
	dentry *Dentry // keeps the inode what it is
	inode  Inode
	on     bool // under marks.mu
}

// Inode returns what is marked.
func (m *Mark) Inode() Inode { return m.inode }

// Mask returns which events are asked for.
func (m *Mark) Mask() uint32 { return m.mask.Load() }

// SetMask changes that.
func (m *Mark) SetMask(mask uint32) { m.mask.Store(mask) }

// marks are all of a tree.
type marks struct {
	n      atomic.Int32
	cookie atomic.Uint32
	mu     sync.Mutex
	m      map[Inode][]*Mark
}

// Mark adds m, which is new, to the file at p. EINVAL: it is in no file system.
// ENOENT: its name was dropped from the cache meanwhile.
//
// release has to be called once, without a lock that m's Sink takes: if the last name of
// the file is gone by then, it tells the Sink so.
func (p Path) Mark(m *Mark) (release func(), err error) {
	d := p.Dentry
	if d.sb == nil {
		return nil, unix.EINVAL
	}
	if !d.pin() {
		return nil, unix.ENOENT
	}
	k := &d.sb.tree.marks
	k.mu.Lock()
	defer k.mu.Unlock()
	m.dentry, m.inode, m.on = d, d.inode, true
	if k.m == nil {
		k.m = make(map[Inode][]*Mark)
	}
	k.m[m.inode] = append(k.m[m.inode], m)
	k.n.Add(1)
	d.marked.Add(1)
	return d.unpin, nil
}

// Unmark takes m away, if it is there.
func (m *Mark) Unmark() {
	if m.dentry == nil {
		return
	}
	k := &m.dentry.sb.tree.marks
	k.mu.Lock()
	defer k.mu.Unlock()
	if !m.on {
		return
	}
	m.on = false
	list := k.m[m.inode]
	for i, o := range list {
		if o == m {
			// Never in place: emit may be looking at the old one.
			list = append(append(make([]*Mark, 0, len(list)), list[:i]...), list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(k.m, m.inode)
	} else {
		k.m[m.inode] = list
	}
	k.n.Add(-1)
	m.dentry.marked.Add(-1)
}

// marked returns who asks for the events of an inode.
func (k *marks) marked(i Inode) []*Mark {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.m[i]
}

// emit tells of an event of an inode.
func (k *marks) emit(i Inode, mask, cookie uint32, name string, unlinked bool) {
	for _, m := range k.marked(i) {
		want := m.Mask()
		if unlinked && want&unix.IN_EXCL_UNLINK != 0 {
			continue
		}
		if got := mask & want & (unix.IN_ALL_EVENTS); got != 0 {
			m.Sink.Event(m, got|mask&unix.IN_ISDIR, cookie, name)
		}
	}
}

// notify tells of an event of what d names: its directory by name, and itself
// (fsnotify_parent).
func (d *Dentry) notify(mask uint32) {
	if d.sb == nil || d.sb.tree.marks.n.Load() == 0 {
		return
	}
	k := &d.sb.tree.marks
	if d.IsDir() {
		mask |= unix.IN_ISDIR
	}
	if p := d.parent.Load(); p != nil {
		k.emit(p.inode, mask, 0, d.Name(), d.gone.Load())
	}
	k.emit(d.inode, mask, 0, "", false)
}

// opened tells that f, which is not shared yet, was opened.
func (f *File) opened() {
	f.told = true
	f.path.Dentry.notify(unix.IN_OPEN)
}

// notifyChild tells of what happened to a name in the directory d.
func (d *Dentry) notifyChild(mask, cookie uint32, child *Dentry, name string) {
	if d.sb.tree.marks.n.Load() == 0 {
		return
	}
	if child.IsDir() {
		mask |= unix.IN_ISDIR
	}
	d.sb.tree.marks.emit(d.inode, mask, cookie, name, false)
}

// notifySelf tells of an event that only d itself is told of.
func (d *Dentry) notifySelf(mask uint32) {
	if d.sb == nil || d.inode == nil || d.sb.tree.marks.n.Load() == 0 {
		return
	}
	if d.IsDir() {
		mask |= unix.IN_ISDIR
	}
	d.sb.tree.marks.emit(d.inode, mask, 0, "", false)
}

// Ended are the bits of an event that ends a mark, whether it was asked for or not.
const Ended = unix.IN_DELETE_SELF | unix.IN_UNMOUNT

// notifyGone tells that the last name of an inode is gone, and that nobody has it
// open any more (fsnotify_inoderemove).
func (d *Dentry) notifyGone() {
	if d.sb == nil || d.inode == nil || d.sb.tree.marks.n.Load() == 0 {
		return
	}
	list := d.sb.tree.marks.marked(d.inode)
	if len(list) == 0 {
		return
	}
	if st, err := d.inode.Stat(); err == nil && st.Nlink > 0 && !d.IsDir() {
		return
	}
	for _, m := range list {
		m.Sink.Event(m, unix.IN_DELETE_SELF, 0, "")
	}
}

// notifyUnmount tells that a file system is mounted nowhere any more.
func (sb *superblock) notifyUnmount() {
	k := &sb.tree.marks
	if k.n.Load() == 0 {
		return
	}
	var list []*Mark
	k.mu.Lock()
	for _, ms := range k.m {
		if ms[0].dentry.sb == sb {
			list = append(list, ms...)
		}
	}
	k.mu.Unlock()
	for _, m := range list {
		m.Sink.Event(m, unix.IN_UNMOUNT, 0, "")
	}
}

// Watchable finds a file that the caller may watch: it must be allowed to read it
// (inotify_find_inode). ENOTDIR: it is to be a directory, and is none.
func (c *Caller) Watchable(path string, flags uint32, dir bool) (Path, error) {
	p, err := c.Walk(nil, path, flags)
	if err != nil {
		return Path{}, err
	}
	if dir && !p.Dentry.IsDir() {
		return Path{}, unix.ENOTDIR
	}
	return p, c.permission(p.Inode(), MayRead)
}
