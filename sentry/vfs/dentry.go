package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs/lock"
)

// evicted in Dentry.pins means that the cache dropped the name.
const evicted = -1 << 30

// defaultCacheSize is how many names one file system keeps in the cache.
const defaultCacheSize = 32768

// sweepStep is how many names an insertion into a full cache looks at.
const sweepStep = 8

// Dentry is a name in a file system's tree and what it stands for. It is
// shared by all mounts of the file system. A directory has exactly one that is
// alive.
//
// The inode never changes: a name that becomes another thing gets a new
// Dentry. A negative Dentry (nil inode) remembers that a name is absent.
type Dentry struct {
	sb     *superblock
	inode  Inode
	kind   uint32 // unix.S_IFMT part of the mode; 0: negative
	reval  Revalidator
	guard  CallerGuard
	parent atomic.Pointer[Dentry] // nil for a root; changed under sb.renameMu
	name   atomic.Pointer[string] // changed under sb.renameMu

	// pins counts the Files, FSContexts and Mounts that hold the name; while
	// it is not 0 the cache keeps it. evicted once the cache dropped it.
	pins    atomic.Int32
	used    atomic.Bool  // since the cache's hand last came by
	gone    atomic.Bool  // removed from its directory; changed under parent.dirMu
	holdsUp atomic.Bool  // gone, but pinned, and so pins parent for ".."
	mounted atomic.Int32 // mounts on top, in any namespace
	marked  atomic.Int32 // Marks, for which the cache keeps the name

	// dirMu serialises what changes the directory, and look-ups in the file
	// system below (Linux's i_rwsem).
	dirMu sync.Mutex

	mu       sync.RWMutex
	children map[string]*Dentry // positive and negative; under mu

	inRing bool // under superblock.ringMu

	anonLocks atomic.Pointer[lock.Table] // for those without superblock
}

// superblock is a FileSystem with its cached names.
type superblock struct {
	fs     FileSystem
	tree   *tree
	root   *Dentry
	mounts int // under tree.mu, and so active: mounts in use, be they dead
	active int
	fifos  fifoTable

	// renameMu is held for writing by every rename, so that who holds it for
	// reading sees a tree that stands still.
	renameMu sync.RWMutex

	ringMu sync.Mutex
	ring   []*Dentry // all cached names, in no order
	hand   int
	limit  int
}

func newSuperblock(fs FileSystem, t *tree) (*superblock, error) {
	limit := t.cfg.CacheSize
	if limit <= 0 {
		limit = defaultCacheSize
	}
	if c, ok := fs.(NameCacher); ok {
		limit = min(limit, c.CachedNames())
	}
	sb := &superblock{fs: fs, tree: t, limit: limit}
	root, err := sb.newDentry(nil, "/", fs.Root())
	if err != nil {
		return nil, err
	}
	root.pins.Store(1)
	sb.root = root
	return sb, nil
}

// newDentry makes a name that is in no directory yet. A nil inode makes a
// negative one.
func (sb *superblock) newDentry(parent *Dentry, name string, inode Inode) (*Dentry, error) {
	d := &Dentry{sb: sb, inode: inode}
	d.name.Store(&name)
	d.parent.Store(parent)
	if inode != nil {
		st, err := inode.Stat()
		if err != nil {
			return nil, err
		}
		d.kind = st.Mode & unix.S_IFMT
		if d.kind == unix.S_IFDIR {
			d.reval, _ = inode.(Revalidator)
			d.guard, _ = inode.(CallerGuard)
		}
	}
	return d, nil
}

// Name returns the last component of d's name.
func (d *Dentry) Name() string { return *d.name.Load() }

// Inode returns what the name stands for; nil if it is absent.
func (d *Dentry) Inode() Inode { return d.inode }

// IsDir reports whether d is a directory.
func (d *Dentry) IsDir() bool { return d.kind == unix.S_IFDIR }

func (d *Dentry) isSymlink() bool { return d.kind == unix.S_IFLNK }

func (d *Dentry) pin() bool {
	for {
		n := d.pins.Load()
		if n < 0 {
			return false
		}
		if d.pins.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (d *Dentry) unpin() {
	if d.pins.Add(-1) == 0 && d.gone.Load() {
		d.letGo()
	}
}

// setGone notes that d has no name any more. While somebody holds it, its
// parent stays in the cache, for that is where ".." leads. The caller holds the
// parent's dirMu.
func (d *Dentry) setGone() {
	if p := d.parent.Load(); p != nil && d.pins.Load() > 0 && p.pin() {
		d.holdsUp.Store(true)
	}
	d.gone.Store(true)
	if d.pins.Load() <= 0 {
		d.letGo()
	}
}

func (d *Dentry) letGo() {
	d.notifyGone()
	if d.holdsUp.CompareAndSwap(true, false) {
		d.parent.Load().unpin()
	}
}

// stale reports whether the cache dropped d: who still looks at it walks anew.
func (d *Dentry) stale() bool { return d.pins.Load() < 0 }

// cached returns the cached child, nil if there is none.
func (d *Dentry) cached(name string) *Dentry {
	d.mu.RLock()
	c := d.children[name]
	d.mu.RUnlock()
	if c == nil {
		return nil
	}
	if d.reval != nil && !d.reval.Revalidate(name, c.inode) {
		return nil
	}
	if !c.used.Load() {
		c.used.Store(true)
	}
	return c
}

// lookup returns the child called name, which may be negative. errStale: d is
// no longer in the cache.
func (d *Dentry) lookup(name string) (*Dentry, error) {
	if c := d.cached(name); c != nil {
		return c, nil
	}
	if len(name) > unix.NAME_MAX {
		return nil, unix.ENAMETOOLONG
	}
	if err := d.lockDir(); err != nil {
		return nil, err
	}
	defer d.unlockDir()
	return d.lookupLocked(name)
}

// lockDir takes d.dirMu, and keeps d in the cache until unlockDir. errStale:
// the cache dropped d already.
func (d *Dentry) lockDir() error {
	if !d.pin() {
		return errStale
	}
	d.dirMu.Lock()
	return nil
}

func (d *Dentry) unlockDir() {
	d.dirMu.Unlock()
	d.unpin()
}

// lookupLocked is lookup for who called d.lockDir.
func (d *Dentry) lookupLocked(name string) (*Dentry, error) {
	if len(name) > unix.NAME_MAX {
		return nil, unix.ENAMETOOLONG
	}
	if c := d.cached(name); c != nil {
		return c, nil
	}
	if d.gone.Load() {
		return nil, unix.ENOENT
	}
	dir, ok := d.inode.(Dir)
	if !ok {
		return nil, unix.ENOTDIR
	}
	inode, err := dir.Lookup(name)
	if err == unix.ENOENT {
		inode = nil
	} else if err != nil {
		return nil, err
	}
	if d.reval != nil {
		// The old name, if any, is out of date; absent names are not
		// remembered here, for they may appear by themselves.
		d.forget(name)
		if inode == nil {
			return nil, unix.ENOENT
		}
	}
	c, err := d.sb.newDentry(d, name, inode)
	if err != nil {
		return nil, err
	}
	d.insert(name, c)
	return c, nil
}

// insert puts c into d under name, in place of what is there. The caller holds
// d.dirMu, and d is not stale.
func (d *Dentry) insert(name string, c *Dentry) {
	c.used.Store(true)
	d.mu.Lock()
	if d.children == nil {
		d.children = make(map[string]*Dentry)
	}
	d.children[name] = c
	d.mu.Unlock()
	d.sb.remember(c)
}

// forget takes the name out of d. The caller holds d.dirMu.
func (d *Dentry) forget(name string) {
	d.mu.Lock()
	c := d.children[name]
	delete(d.children, name)
	d.mu.Unlock()
	if c != nil {
		c.setGone()
	}
}

// remove marks c, which was d's child called name, as deleted, and remembers
// that the name is absent. The caller holds d.dirMu.
func (d *Dentry) remove(name string) {
	d.forget(name)
	if d.reval != nil {
		return
	}
	if neg, err := d.sb.newDentry(d, name, nil); err == nil {
		d.insert(name, neg)
	}
}

// remember puts d into the ring and makes room for it. It holds no other lock
// for long: names that somebody is busy with are passed over.
func (sb *superblock) remember(d *Dentry) {
	sb.ringMu.Lock()
	defer sb.ringMu.Unlock()
	if d.inRing {
		return
	}
	for range sweepStep {
		if len(sb.ring) < sb.limit {
			break
		}
		if sb.hand >= len(sb.ring) {
			sb.hand = 0
		}
		c := sb.ring[sb.hand]
		if c.used.Swap(false) || !c.evict() {
			sb.hand++
			continue
		}
		c.inRing = false
		last := len(sb.ring) - 1
		sb.ring[sb.hand] = sb.ring[last]
		sb.ring[last] = nil
		sb.ring = sb.ring[:last]
	}
	d.inRing = true
	sb.ring = append(sb.ring, d)
}

// evict drops d from the cache if nobody needs it there.
func (d *Dentry) evict() bool {
	if d.gone.Load() || d.stale() {
		return true // not in its directory any more
	}
	p := d.parent.Load()
	if p == nil || !p.mu.TryLock() {
		return false
	}
	defer p.mu.Unlock()
	if !d.mu.TryLock() {
		return false
	}
	defer d.mu.Unlock()
	if len(d.children) != 0 || d.parent.Load() != p || d.marked.Load() != 0 || !d.pins.CompareAndSwap(0, evicted) {
		return false
	}
	if d.marked.Load() != 0 {
		d.pins.Store(0)
		return false
	}
	if name := d.Name(); p.children[name] == d {
		delete(p.children, name)
	}
	return true
}

// lockTable returns where the locks of d's inode are.
func (d *Dentry) lockTable(create bool) *lock.Table {
	if d.sb != nil {
		return &d.sb.tree.locks
	}
	t := d.anonLocks.Load()
	if t == nil && create {
		d.anonLocks.CompareAndSwap(nil, new(lock.Table))
		t = d.anonLocks.Load()
	}
	return t
}
