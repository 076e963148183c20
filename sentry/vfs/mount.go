package vfs

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs/lock"
)

// Mount is a file system, or a part of one, at a place in the file tree.
type Mount struct {
	ns    *Namespace
	id    int
	sb    *superblock
	root  *Dentry
	flags atomic.Uint32 // unix.MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC …
	users atomic.Int64  // Files and FSContexts in it

	source  string
	options string

	// Where it hangs; nil for the root of everything and for what was
	// unmounted. Under ns.mu.
	parent   *Mount
	point    *Dentry
	children []*Mount
	dead     atomic.Bool
	finished bool
	locked   bool        // under ns.mu
	expiring atomic.Bool // MNT_EXPIRE was asked for, and it was not used since
}

// ID returns the mount's number (mountinfo, statx).
func (m *Mount) ID() int { return m.id }

// Flags returns the mount flags (unix.MS_*).
func (m *Mount) Flags() uint32 { return m.flags.Load() }

// FileSystem returns what is mounted.
func (m *Mount) FileSystem() FileSystem { return m.sb.fs }

// Root returns the top of m.
func (m *Mount) Root() Path { return Path{m, m.root} }

func (m *Mount) has(flag uint32) bool { return m != nil && m.flags.Load()&flag != 0 }

// place returns where m hangs.
func (m *Mount) place() (*Mount, *Dentry) {
	m.ns.mu.RLock()
	defer m.ns.mu.RUnlock()
	return m.parent, m.point
}

// Config is what a Namespace needs to know of the rest of the sentry. All
// fields may be left zero.
type Config struct {
	// OpenDevice opens the character device with the number rdev (unix.Mkdev)
	// through the name at, for c: ENXIO if there is none. nil: there are none.
	// at is good for as long as the file is open.
	OpenDevice func(c *Caller, at Path, rdev uint64, flags uint32) (FileOps, error)
	// NewFIFO makes the pipe behind a FIFO when it is first opened. nil: FIFOs
	// answer ENXIO.
	NewFIFO func() FIFO
	// CacheSize is how many names are kept for one file system (32768).
	CacheSize int
}

// FIFO is the pipe behind a name that mknod(S_IFIFO) made. It lives while
// somebody has it open.
type FIFO interface {
	// Open never blocks. It counts the caller as reader or writer at once,
	// and wakes those who wait for one; see Connecter for the caller's own
	// wait. ENXIO: O_WRONLY|O_NONBLOCK and nobody reads.
	Open(flags uint32) (FileOps, error)
}

// Connecter is a FileOps whose open(2) is complete only when the other side is
// there, too (fifo_open in fs/pipe.c). It is a Waitable that notifies of the
// change.
type Connecter interface {
	// Connected returns nil when the open is complete, EAGAIN until then.
	Connected() error
}

// mountKey is a mount point.
type mountKey struct {
	m *Mount
	d *Dentry
}

// tree is what the mount namespaces of a sandbox have in common.
type tree struct {
	cfg   Config
	locks lock.Table // of all files
	marks marks      // on all files

	mu            sync.RWMutex
	points        map[mountKey]*Mount
	sbs           map[FileSystem]*superblock
	nextID        int
	lastNamespace uint64
}

// Namespace is a tree of mounts. It goes away with the last FSContext in it, except
// for the first.
type Namespace struct {
	*tree
	refs atomic.Int64
	id   uint64
	// owner is the user namespace whose administrators may change the mounts; nil for
	// the root's.
	owner any
	root  *Mount // under tree.mu
}

// MountOptions are how a file system is mounted.
type MountOptions struct {
	Flags   uint32 // unix.MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_RELATIME …
	Source  string // what /proc/mounts shows: "none" if empty
	Options string // of the file system, as /proc/mounts shows them ("size=64k")
}

// mountFlags are those that a mount keeps.
const mountFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC |
	unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_NOSYMFOLLOW

// maxMounts bounds the mounts of a namespace (ENOSPC), as fs.mount-max does.
const maxMounts = 10000

// NewNamespace makes a tree that consists of root.
func NewNamespace(cfg Config, root FileSystem, o MountOptions) (*Namespace, error) {
	ns := &Namespace{tree: &tree{
		cfg:    cfg,
		points: make(map[mountKey]*Mount),
		sbs:    make(map[FileSystem]*superblock),
		nextID: 20,
	}}
	ns.refs.Store(1)
	sb, err := ns.superblock(root)
	if err != nil {
		return nil, err
	}
	ns.root = ns.newMount(sb, sb.root, o)
	return ns, nil
}

// Root returns the top of the tree.
func (ns *Namespace) Root() Path {
	ns.mu.RLock()
	root := ns.root.Root()
	ns.mu.RUnlock()
	return ns.top(root)
}

// ID tells namespaces apart: 0 is the first.
func (ns *Namespace) ID() uint64 { return ns.id }

// Owner returns whose it is: what CopyNamespace was told.
func (ns *Namespace) Owner() any { return ns.owner }

func (ns *Namespace) superblock(fs FileSystem) (*superblock, error) {
	if sb := ns.sbs[fs]; sb != nil {
		return sb, nil
	}
	sb, err := newSuperblock(fs, ns.tree)
	if err != nil {
		return nil, err
	}
	ns.sbs[fs] = sb
	return sb, nil
}

func (ns *Namespace) newMount(sb *superblock, root *Dentry, o MountOptions) *Mount {
	m := &Mount{ns: ns, id: ns.nextID, sb: sb, root: root, source: o.Source, options: o.Options}
	ns.nextID++
	sb.mounts++
	sb.active++
	m.flags.Store(o.Flags & mountFlags)
	return m
}

// covering returns what is mounted on p; nil if nothing is.
func (ns *Namespace) covering(p Path) *Mount {
	if p.Dentry.mounted.Load() == 0 {
		return nil
	}
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	return ns.points[mountKey{p.Mount, p.Dentry}]
}

// top returns the root of the uppermost mount on p, or p.
func (ns *Namespace) top(p Path) Path {
	for {
		m := ns.covering(p)
		if m == nil {
			return p
		}
		p = Path{m, m.root}
	}
}

// attach hangs m on p. ns.mu is held.
func (ns *Namespace) attach(m *Mount, p Path) error {
	if p.Mount == nil || p.Mount.ns != ns || p.Mount.dead.Load() || p.Dentry.gone.Load() {
		return unix.ENOENT
	}
	if m.root.IsDir() != p.Dentry.IsDir() {
		return unix.ENOTDIR
	}
	for {
		over := ns.points[mountKey{p.Mount, p.Dentry}]
		if over == nil {
			break
		}
		p = Path{over, over.root}
	}
	if !p.Dentry.pin() {
		return errStale
	}
	p.Dentry.mounted.Add(1)
	m.parent, m.point = p.Mount, p.Dentry
	p.Mount.children = append(p.Mount.children, m)
	ns.points[mountKey{p.Mount, p.Dentry}] = m
	return nil
}

// detach takes m off. ns.mu is held.
func (ns *Namespace) detach(m *Mount) {
	delete(ns.points, mountKey{m.parent, m.point})
	m.point.mounted.Add(-1)
	m.point.unpin()
	p := m.parent
	if i := slices.Index(p.children, m); i >= 0 {
		p.children = slices.Delete(p.children, i, i+1)
	}
	m.parent, m.point = nil, nil
}

// Mount mounts fs at at, on top of what is there. The root of a file system
// that is mounted already is shared with the other mount.
func (ns *Namespace) Mount(at Path, fs FileSystem, o MountOptions) (*Mount, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if len(ns.points) >= maxMounts {
		return nil, unix.ENOSPC
	}
	sb, err := ns.superblock(fs)
	if err != nil {
		return nil, err
	}
	m := ns.newMount(sb, sb.root, o)
	sb.root.pin()
	if err := ns.attach(m, at); err != nil {
		sb.root.unpin()
		ns.dropMount(m)
		return nil, err
	}
	return m, nil
}

// Detached makes a mount of fs that hangs nowhere, for files that are reached without a
// path (kern_mount). It stays until Release.
func (ns *Namespace) Detached(fs FileSystem, o MountOptions) (*Mount, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	sb, err := ns.superblock(fs)
	if err != nil {
		return nil, err
	}
	sb.root.pin()
	return ns.newMount(sb, sb.root, o), nil
}

// Release ends a mount that Detached made.
func (m *Mount) Release() {
	m.ns.mu.Lock()
	defer m.ns.mu.Unlock()
	if m.parent == nil && !m.dead.Load() {
		m.root.unpin()
		m.ns.dropMount(m)
	}
}

// dropMount ends a mount that hangs nowhere, and forgets its file system if nothing
// of it is mounted any more. ns.mu is held.
func (ns *Namespace) dropMount(m *Mount) {
	m.dead.Store(true)
	if m.sb.mounts--; m.sb.mounts == 0 {
		delete(ns.sbs, m.sb.fs)
		m.sb.notifyUnmount()
	}
	ns.finish(m)
}

// finish is for a mount that is dead: once nothing in it is used any more, nor in
// the others of its file system, that is over. t.mu is held.
func (t *tree) finish(m *Mount) {
	if !m.dead.Load() || m.finished || m.users.Load() > 0 {
		return
	}
	m.finished = true
	if m.sb.active--; m.sb.active == 0 {
		if u, ok := m.sb.fs.(Unmounter); ok {
			u.Unmounted()
		}
	}
}

// Bind mounts source at at as well (MS_BIND), with all that is mounted below
// it if recursive.
func (ns *Namespace) Bind(at, source Path, recursive bool) (*Mount, error) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if source.Mount == nil || source.Mount.ns != ns {
		return nil, unix.EINVAL
	}
	if !recursive && hides(source) {
		return nil, unix.EINVAL
	}
	// What is to be copied is settled before anything is: at may be part of it.
	var list []*Mount
	if recursive {
		for _, c := range source.Mount.children {
			if below(c.point, source.Dentry) {
				list = append(list, c)
			}
		}
		for i := 0; i < len(list); i++ {
			list = append(list, list[i].children...)
		}
	}
	if len(ns.points)+1+len(list) > maxMounts {
		return nil, unix.ENOSPC
	}
	m, err := ns.bind(at, source, source.Mount)
	if err != nil {
		return nil, err
	}
	copies := map[*Mount]*Mount{source.Mount: m}
	for _, c := range list { // parents first
		n, err := ns.bind(Path{copies[c.parent], c.point}, c.Root(), c)
		if err != nil {
			ns.unmount(m)
			return nil, err
		}
		n.locked = c.locked
		copies[c] = n
	}
	return m, nil
}

// hides reports whether something is mounted below p that must not be taken off
// (has_locked_children).
func hides(p Path) bool {
	return slices.ContainsFunc(p.Mount.children, func(c *Mount) bool { return c.locked && below(c.point, p.Dentry) })
}

func (ns *Namespace) bind(at, source Path, like *Mount) (*Mount, error) {
	m := ns.newMount(like.sb, source.Dentry, MountOptions{Flags: like.Flags(), Source: like.source, Options: like.options})
	if !source.Dentry.pin() {
		ns.dropMount(m)
		return nil, errStale
	}
	if err := ns.attach(m, at); err != nil {
		source.Dentry.unpin()
		ns.dropMount(m)
		return nil, err
	}
	return m, nil
}

// below reports whether d is top or under it.
func below(d, top *Dentry) bool {
	for ; d != nil; d = d.parent.Load() {
		if d == top {
			return true
		}
	}
	return false
}

// Unmount takes off the mount whose root is at (umount2(2)). EINVAL: at is no
// mount's root. EBUSY: files in it are open, or something is mounted in it,
// unless flags have unix.MNT_DETACH. EAGAIN: MNT_EXPIRE, for the first time.
func (ns *Namespace) Unmount(at Path, flags uint32) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	m := at.Mount
	if m == nil || m.ns != ns || at.Dentry != m.root || m.dead.Load() {
		return unix.EINVAL
	}
	if m.locked {
		return unix.EINVAL
	}
	if m.parent == nil {
		return unix.EBUSY // the root of everything
	}
	if flags&unix.MNT_EXPIRE != 0 {
		if m.users.Load() > 0 || len(m.children) > 0 {
			return unix.EBUSY
		}
		if !m.expiring.Swap(true) {
			return unix.EAGAIN
		}
	}
	if flags&unix.MNT_DETACH == 0 && (m.users.Load() > 0 || len(m.children) > 0) {
		return unix.EBUSY
	}
	ns.unmount(m)
	return nil
}

func (ns *Namespace) unmount(m *Mount) {
	for _, c := range slices.Clone(m.children) {
		ns.unmount(c)
	}
	ns.detach(m)
	m.root.unpin()
	ns.dropMount(m)
}

// Move hangs the mount whose root is from at to instead (MS_MOVE). ELOOP: to
// is in it.
func (ns *Namespace) Move(from, to Path) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	m := from.Mount
	if m == nil || m.ns != ns || from.Dentry != m.root || m.parent == nil || m.locked || to.Mount == nil {
		return unix.EINVAL
	}
	for p := to.Mount; p != nil; p = p.parent {
		if p == m {
			return unix.ELOOP
		}
	}
	old := Path{m.parent, m.point}
	ns.detach(m)
	if err := ns.attach(m, to); err != nil {
		if undo := ns.attach(m, old); undo != nil {
			return undo
		}
		return err
	}
	return nil
}

// Remount changes the flags of the mount whose root is at. EPERM: it is locked as it
// is.
func (ns *Namespace) Remount(at Path, flags uint32) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	m := at.Mount
	if m == nil || m.ns != ns || at.Dentry != m.root || m.dead.Load() {
		return unix.EINVAL
	}
	const closed = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if m.locked && m.Flags()&closed&^flags != 0 {
		return unix.EPERM
	}
	m.flags.Store(flags & mountFlags)
	return nil
}

// MountInfo is a line of /proc/PID/mountinfo or /proc/mounts.
type MountInfo struct {
	ID, Parent int
	Dev        uint64
	Root       string // the part of the file system that is mounted
	Point      string // where, as seen from the asking root
	Flags      uint32
	Type       string
	Source     string
	Options    string // of the file system; "" for none
}

// Mounts lists what is mounted and reachable from root, parents first.
func (ns *Namespace) Mounts(root Path) []MountInfo {
	ns.mu.RLock()
	all := make([]*Mount, 0, len(ns.points)+1)
	all = append(all, ns.root)
	for i := 0; i < len(all); i++ {
		all = append(all, all[i].children...)
	}
	ns.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Mount) int { return a.id - b.id })
	infos := make([]MountInfo, 0, len(all))
	for _, m := range all {
		point, reachable, _ := m.Root().name(root)
		if !reachable {
			continue
		}
		info := MountInfo{ID: m.id, Parent: m.id, Root: m.rootName(), Point: point, Flags: m.Flags(),
			Type: m.sb.fs.Type(), Source: m.source, Options: m.options}
		if info.Source == "" {
			info.Source = "none"
		}
		if parent, _ := m.place(); parent != nil {
			info.Parent = parent.id
		}
		if st, err := m.root.inode.Stat(); err == nil {
			info.Dev = st.Dev
		}
		infos = append(infos, info)
	}
	return infos
}

// rootName spells m's root in its file system.
func (m *Mount) rootName() string {
	m.sb.renameMu.RLock()
	defer m.sb.renameMu.RUnlock()
	var parts []string
	for d := m.root; d != nil && d != m.sb.root; d = d.parent.Load() {
		parts = append(parts, d.Name())
	}
	slices.Reverse(parts)
	return "/" + strings.Join(parts, "/")
}
