// Package devpts is the file system of pseudo-terminals (Linux's fs/devpts). Opening
// its ptmx makes a pseudo-terminal, whose slave appears under its number and goes away
// with the master. Each mount of its own has its own numbers, from 0 on.
//
// Lock order:
//
//	FS.mu
//	  nothing
package devpts

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/tty"
	"runsc-lite/sentry/vfs"
)

const (
	magic     = 0x1cd1 // DEVPTS_SUPER_MAGIC
	ptmxIno   = 2
	firstSlot = 3 // inode number of the first slave
	// maxSlaves bounds the terminals of a file system (ENOSPC), which take some
	// 20 KiB each.
	maxSlaves = 1024
)

// Ptmx is the device number of ptmx.
var Ptmx = unix.Mkdev(5, 2)

// Options are how a file system is made: mount options of devpts, and what it needs.
type Options struct {
	Procs *procmgr.Table // must be set
	Dev   uint64         // device number of the file system
	// UID and GID own slaves; -1: who opened the master.
	UID, GID int
	Mode     uint32 // of slaves; 0: 0600
	PtmxMode uint32 // of ptmx; may be 0
	Max      int    // how many terminals there may be; 0: 1024, which is the most
	Now      func() unix.Timespec
}

// FS is a devpts.
type FS struct {
	o    Options
	made unix.Timespec
	root *root
	ptmx *node

	mu     sync.Mutex
	slaves map[int]*slave
}

// New makes a file system without terminals.
func New(o Options) *FS {
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	if o.Max <= 0 || o.Max > maxSlaves {
		o.Max = maxSlaves
	}
	if o.Now == nil {
		o.Now = func() unix.Timespec { return unix.NsecToTimespec(time.Now().UnixNano()) }
	}
	fs := &FS{o: o, made: o.Now(), slaves: map[int]*slave{}}
	fs.root = &root{node{fs: fs, ino: 1, mode: unix.S_IFDIR | 0o755, times: fs.fixedTimes}}
	fs.ptmx = &node{fs: fs, ino: ptmxIno, mode: unix.S_IFCHR | o.PtmxMode&0o7777, rdev: Ptmx, times: fs.fixedTimes}
	return fs
}

func (fs *FS) fixedTimes() (accessed, modified int64) {
	n := fs.made.Nano()
	return n, n
}

// Type implements vfs.FileSystem.
func (fs *FS) Type() string { return "devpts" }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// Statfs implements vfs.FileSystem.
func (fs *FS) Statfs() (unix.Statfs_t, error) {
	s := unix.Statfs_t{Type: magic, Bsize: 4096, Frsize: 4096, Namelen: 255}
	s.Fsid.Val = [2]int32{int32(fs.o.Dev), int32(fs.o.Dev >> 32)}
	return s, nil
}

// add makes the inode of a terminal with a number of its own, which make gets.
func (fs *FS) add(uid, gid uint32, make func(s *slave, index int) error) error {
	if fs.o.UID >= 0 {
		uid = uint32(fs.o.UID)
	}
	if fs.o.GID >= 0 {
		gid = uint32(fs.o.GID)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	index := 0
	for fs.slaves[index] != nil {
		index++
	}
	if index >= fs.o.Max {
		return unix.ENOSPC
	}
	s := &slave{node: node{
		fs: fs, ino: uint64(firstSlot + index), mode: unix.S_IFCHR | fs.o.Mode&0o7777, uid: uid, gid: gid,
		rdev: tty.SlaveNumber(index), changed: fs.o.Now(),
	}}
	if err := make(s, index); err != nil {
		return err
	}
	fs.slaves[index] = s
	return nil
}

func (fs *FS) remove(index int) {
	fs.mu.Lock()
	delete(fs.slaves, index)
	fs.mu.Unlock()
}

// AddTerminal gives a terminal that is no pseudo-terminal of this sandbox the lowest
// free number in the file system, for good: one that a user sits at. ENOSPC, and
// whatever make returns.
func (fs *FS) AddTerminal(uid, gid uint32, make func(index int) (tty.Terminal, error)) (index int, t tty.Terminal, err error) {
	err = fs.add(uid, gid, func(s *slave, i int) (err error) {
		index, s.times = i, fs.fixedTimes
		s.terminal, err = make(i)
		t = s.terminal
		return err
	})
	return index, t, err
}

// openMaster makes a pseudo-terminal for c.
func (fs *FS) openMaster(c *vfs.Caller, at vfs.Path, flags uint32) (vfs.FileOps, error) {
	var m *tty.Master
	err := fs.add(c.Creds.UID, c.Creds.GID, func(s *slave, index int) error {
		var p *tty.Pair
		p, m = tty.NewPair(tty.PairOptions{
			Procs: fs.o.Procs, Index: index, Now: fs.o.Now,
			Release: func() { fs.remove(index) },
		}, flags)
		s.terminal = p
		s.times = func() (int64, int64) { return p.Accessed.Load(), p.Modified.Load() }
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &master{m, fs, at}, nil
}

// Open opens a device of pseudo-terminals through the name at: ptmx, in the file
// system or beside the directory "pts" that it is mounted on (devpts_acquire), or a
// slave. ENODEV: there is no devpts where ptmx looks for it. EIO: no slave of a
// devpts.
func Open(c *vfs.Caller, at vfs.Path, rdev uint64, flags uint32) (vfs.FileOps, error) {
	if rdev != Ptmx {
		if s, ok := at.Inode().(*slave); ok {
			return s.terminal.Open(c, flags)
		}
		return nil, unix.EIO
	}
	fs, _, err := find(c, at)
	if err != nil {
		return nil, err
	}
	return fs.openMaster(c, at, flags)
}

// find returns the devpts of the ptmx at at, and its root.
func find(c *vfs.Caller, at vfs.Path) (*FS, vfs.Path, error) {
	if n, ok := at.Inode().(*node); ok {
		return n.fs, at.Mount.Root(), nil
	}
	p, err := c.Beside(at, "pts")
	if err != nil {
		return nil, vfs.Path{}, unix.ENODEV
	}
	r, ok := p.Inode().(*root)
	if !ok {
		return nil, vfs.Path{}, unix.ENODEV
	}
	return r.fs, p, nil
}

// master is an open ptmx.
type master struct {
	*tty.Master
	fs *FS
	at vfs.Path // of the open file, which keeps it in place
}

const tiocgptpeer = 0x5441

// Ioctl implements vfs.Ioctler.
func (m *master) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	if request != tiocgptpeer {
		return m.Master.Ioctl(mem, request, arg)
	}
	who, ok := mem.(interface {
		Caller() *vfs.Caller
		Install(f *vfs.File, cloexec bool) (int32, error)
	})
	if !ok {
		return 0, unix.ENOTTY
	}
	c, flags := who.Caller(), uint32(arg)
	fs, dir, err := find(c, m.at)
	if err != nil {
		return 0, err
	}
	if fs != m.fs {
		return 0, unix.ENODEV // something else is mounted there now
	}
	p, err := c.Below(dir, strconv.Itoa(m.Index()))
	if err != nil {
		return 0, err
	}
	f, err := c.OpenPath(p, flags&(unix.O_ACCMODE|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_APPEND))
	if err != nil {
		return 0, err
	}
	fd, err := who.Install(f, flags&unix.O_CLOEXEC != 0)
	return uint64(fd), err
}

// names returns the numbers of the slaves in order.
func (fs *FS) names() []int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	all := make([]int, 0, len(fs.slaves))
	for index := range fs.slaves {
		all = append(all, index)
	}
	slices.Sort(all)
	return all
}
