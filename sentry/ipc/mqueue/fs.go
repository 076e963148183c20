// Package mqueue is POSIX message queues (mq_overview(7), Linux's ipc/mqueue.c): a file
// system with one directory, in which each queue is a file. mq_open(2) opens it there;
// that directory need not be mounted anywhere.
//
// Nothing here waits: see Wait. A message that is sent while somebody waits for one is
// handed over, so that who waited longest is served first, and no notification is due.
//
// What a user's queues could hold at most is charged to the user (RLIMIT_MSGQUEUE), as
// on Linux; what all queues do hold is bounded besides, since root may lift that.
//
// Lock order:
//
//	FS.mu
//	queue.mu
//	node.mu
package mqueue

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/ipc"
	"runsc-lite/sentry/vfs"
)

// Budget is how much the messages of all queues may take, in bytes: they live in the
// sentry's own memory.
const Budget = 64 << 20

const (
	magic = 0x19800202 // MQUEUE_MAGIC

	hardQueues = 1024     // HARD_QUEUESMAX
	hardCount  = 65536    // HARD_MSGMAX
	hardSize   = 16 << 20 // HARD_MSGSIZEMAX
)

// Limits are those of /proc/sys/fs/mqueue.
type Limits struct {
	Queues                    atomic.Int64
	MaxCount, MaxSize         atomic.Int64
	DefaultCount, DefaultSize atomic.Int64
}

// Attr are a queue's bounds, as mq_open(2) is given them.
type Attr struct {
	MaxCount int64 // messages
	MaxSize  int64 // bytes of one
}

// Options are what a file system needs.
type Options struct {
	Dev uint64 // device number
	// Quota returns the bytes that the queues of who makes one may come to
	// (RLIMIT_MSGQUEUE). task is a vfs.Caller.Task.
	Quota  func(task any) uint64
	Budget *ipc.Budget
	Now    func() unix.Timespec
}

// FS is the queues of an IPC namespace.
type FS struct {
	o      Options
	Limits Limits
	root   *dir

	mu      sync.Mutex
	queues  map[string]*node
	count   int // those without a name that are still open, too
	charged map[uint32]uint64
	nextIno uint64
	closed  bool
}

// New makes a file system without queues.
func New(o Options) *FS {
	fs := &FS{o: o, queues: map[string]*node{}, charged: map[uint32]uint64{}, nextIno: 1}
	l := &fs.Limits
	l.Queues.Store(256)
	l.MaxCount.Store(10)
	l.MaxSize.Store(8192)
	l.DefaultCount.Store(10)
	l.DefaultSize.Store(8192)
	fs.root = &dir{node{fs: fs, ino: 1, mode: unix.S_IFDIR | unix.S_ISVTX | 0o777}}
	fs.root.touchAll()
	return fs
}

// Type implements vfs.FileSystem.
func (fs *FS) Type() string { return "mqueue" }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// Statfs implements vfs.FileSystem.
func (fs *FS) Statfs() (unix.Statfs_t, error) {
	s := unix.Statfs_t{Type: magic, Bsize: 4096, Frsize: 4096, Namelen: unix.NAME_MAX}
	s.Fsid.Val = [2]int32{int32(fs.o.Dev), int32(fs.o.Dev >> 32)}
	return s, nil
}

// attr checks what a new queue is to be like (mq_attr_ok).
func (fs *FS) attr(want *Attr, mayExceed bool) (Attr, error) {
	l := &fs.Limits
	if want == nil {
		return Attr{
			min(l.DefaultCount.Load(), l.MaxCount.Load()), min(l.DefaultSize.Load(), l.MaxSize.Load()),
		}, nil
	}
	count, size := l.MaxCount.Load(), l.MaxSize.Load()
	if mayExceed {
		count, size = hardCount, hardSize
	}
	if want.MaxCount <= 0 || want.MaxSize <= 0 || want.MaxCount > count || want.MaxSize > size {
		return Attr{}, unix.EINVAL
	}
	return *want, nil
}

// charge is what a queue counts (mqueue_get_inode): the text of all its messages, and
// 48 bytes each for a message and for a priority.
func (a Attr) charge() uint64 {
	return uint64(a.MaxCount)*uint64(a.MaxSize) + 48*uint64(a.MaxCount) + 48*uint64(min(a.MaxCount, MaxPriority))
}

// create makes a queue. ENOSPC: there are too many. EMFILE: the user's come to too much.
func (fs *FS) create(name string, a vfs.CreateArgs) (*node, error) {
	resource := a.By != nil && a.By.Creds.Has(unix.CAP_SYS_RESOURCE)
	want, _ := a.Special.(*Attr)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return nil, unix.EACCES
	}
	if int64(fs.count) >= hardQueues && !resource || int64(fs.count) >= fs.Limits.Queues.Load() && !resource {
		return nil, unix.ENOSPC
	}
	attr, err := fs.attr(want, resource)
	if err != nil {
		return nil, err
	}
	quota := ^uint64(0)
	if a.By != nil && fs.o.Quota != nil {
		quota = fs.o.Quota(a.By.Task)
	}
	if fs.charged[a.UID]+attr.charge() > quota {
		return nil, unix.EMFILE
	}
	fs.charged[a.UID] += attr.charge()
	fs.count++
	fs.nextIno++
	n := &node{
		fs: fs, ino: fs.nextIno, mode: a.Mode, uid: a.UID, gid: a.GID, linked: true, owner: a.UID,
		queue: &queue{fs: fs, maxCount: attr.MaxCount, maxSize: attr.MaxSize},
	}
	n.touchAll()
	fs.queues[name] = n
	return n, nil
}

// gone is for a queue that has neither a name nor a descriptor any more.
func (fs *FS) gone(n *node) {
	n.queue.drain()
	charge := Attr{n.queue.maxCount, n.queue.maxSize}.charge()
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.count--
	if fs.charged[n.owner] -= charge; fs.charged[n.owner] == 0 {
		delete(fs.charged, n.owner)
	}
}

// Close is for the end of the namespace: all names go, and none can be made any more.
func (fs *FS) Close() {
	fs.mu.Lock()
	all := slices.Collect(maps.Keys(fs.queues))
	fs.closed = true
	fs.mu.Unlock()
	for _, name := range all {
		_ = fs.root.Unlink(name) // it is gone already
	}
}

// names returns the queues in the order of their inodes.
func (fs *FS) names() []vfs.Entry {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	list := make([]vfs.Entry, 0, len(fs.queues))
	for name, n := range fs.queues {
		list = append(list, vfs.Entry{Name: name, Ino: n.ino, Type: unix.DT_REG, Next: int64(n.ino)})
	}
	slices.SortFunc(list, func(a, b vfs.Entry) int { return cmp.Compare(a.Ino, b.Ino) })
	return list
}
