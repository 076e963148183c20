package devpts

import (
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/tty"
	"runsc-lite/sentry/vfs"
)

// node is what all inodes have; alone it is ptmx.
type node struct {
	fs    *FS
	ino   uint64
	rdev  uint64
	times func() (accessed, modified int64) // nanoseconds

	mu      sync.Mutex
	mode    uint32
	uid     uint32
	gid     uint32
	changed unix.Timespec
	// What utimensat(2) set, for as long as it is later than times.
	atime, mtime unix.Timespec
}

// Stat implements vfs.Inode.
func (n *node) Stat() (vfs.Stat, error) {
	accessed, modified := n.times()
	n.mu.Lock()
	defer n.mu.Unlock()
	st := vfs.Stat{
		Dev: n.fs.o.Dev, Ino: n.ino, Mode: n.mode, Nlink: 1, UID: n.uid, GID: n.gid, Rdev: n.rdev, Blksize: 1024,
		Atime: later(n.atime, accessed), Mtime: later(n.mtime, modified), Ctime: n.changed, Btime: n.fs.made,
	}
	if st.Ctime == (unix.Timespec{}) {
		st.Ctime = n.fs.made
	}
	if n.mode&unix.S_IFMT == unix.S_IFDIR {
		st.Nlink = 2
	}
	return st, nil
}

func later(t unix.Timespec, ns int64) unix.Timespec {
	if t.Nano() > ns {
		return t
	}
	return unix.NsecToTimespec(ns)
}

// SetStat implements vfs.StatSetter, for grantpt(3), mesg(1) and chown(1).
func (n *node) SetStat(s vfs.SetStat) error {
	if s.Mask&vfs.SetSize != 0 {
		return unix.EINVAL
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.fs.o.Now()
	if s.Mask&vfs.SetMode != 0 {
		n.mode = n.mode&unix.S_IFMT | s.Mode&0o7777
	}
	if s.Mask&vfs.SetUID != 0 {
		n.uid = s.UID
	}
	if s.Mask&vfs.SetGID != 0 {
		n.gid = s.GID
	}
	if s.Mask&vfs.SetAtime != 0 {
		n.atime = when(s.Atime, now)
	}
	if s.Mask&vfs.SetMtime != 0 {
		n.mtime = when(s.Mtime, now)
	}
	n.changed = now
	return nil
}

func when(t, now unix.Timespec) unix.Timespec {
	if t.Nsec == unix.UTIME_NOW {
		return now
	}
	return t
}

// Open implements vfs.Inode; vfs opens devices through Open.
func (n *node) Open(uint32) (vfs.FileOps, error) { return nil, unix.ENXIO }

// slave is the inode of a terminal.
type slave struct {
	node
	terminal tty.Terminal
}

// root is the directory.
type root struct{ node }

// Lookup implements vfs.Dir.
func (r *root) Lookup(name string) (vfs.Inode, error) {
	if name == "ptmx" {
		return r.fs.ptmx, nil
	}
	if s := r.fs.slave(name); s != nil {
		return s, nil
	}
	return nil, unix.ENOENT
}

// slave returns the terminal with a name, nil if there is none.
func (fs *FS) slave(name string) *slave {
	index, err := strconv.Atoi(name)
	if err != nil || strconv.Itoa(index) != name {
		return nil
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.slaves[index]
}

// Revalidate implements vfs.Revalidator: terminals come and go.
func (r *root) Revalidate(name string, child vfs.Inode) bool {
	now, err := r.Lookup(name)
	if err != nil {
		return child == nil
	}
	return child == now
}

// Open implements vfs.Inode.
func (r *root) Open(uint32) (vfs.FileOps, error) { return openRoot{r}, nil }

type openRoot struct{ r *root }

// Release implements vfs.FileOps.
func (openRoot) Release() {}

// ReadDir implements vfs.DirReader: ptmx is at 0, the terminals are behind it by their
// numbers.
func (o openRoot) ReadDir(off int64, emit func(vfs.Entry) bool) error {
	if off == 0 {
		if !emit(vfs.Entry{Name: "ptmx", Ino: ptmxIno, Type: unix.DT_CHR, Next: 1}) {
			return nil
		}
		off = 1
	}
	for _, index := range o.r.fs.names() {
		if int64(index)+1 < off {
			continue
		}
		e := vfs.Entry{Name: strconv.Itoa(index), Ino: uint64(firstSlot + index), Type: unix.DT_CHR, Next: int64(index) + 2}
		if !emit(e) {
			return nil
		}
	}
	return nil
}
