// Package tmpfs is a file system in memory, complete in the way of Linux's
// mm/shmem.c: files, directories, links, devices, FIFOs, sockets, extended
// attributes, fallocate, O_TMPFILE; and memfd_create(2) with its seals.
//
// The contents of files are extents of the sandbox's memory file, so that what
// read(2) copies and what mmap(2) maps is the same memory.
//
// An inode's contents go away when it has neither names nor users. Users are
// open files and vfs.Holder's holds; mappings hold the file that they map.
//
// Lock order:
//
//	(an address space, in Pager.Page)
//	  dir.mu of two directories: vfs lets only one rename run at a time
//	    node.mu
//	      extent.Mappings' lock
//
// Mappings are invalidated without any of them held.
package tmpfs

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/fs/extent"
	"runsc-lite/sentry/vfs"
)

const pageSize = 4096

// magic is TMPFS_MAGIC.
const magic = 0x01021994

// Options are how a file system is made.
type Options struct {
	Memory extent.Memory
	// Dev is its device number (unix.Mkdev(0, n), different for each).
	Dev uint64
	// Type is its name in /proc/mounts; "tmpfs" if empty.
	Type string
	// Size bounds the contents in bytes (ENOSPC); 0: only by Memory.
	Size uint64
	// Inodes bounds their number (ENOSPC); 0: a million.
	Inodes uint64
	// Mode, UID and GID are the root directory's; Mode 0 means 01777.
	Mode     uint32
	UID, GID uint32
	// Now is the clock; nil for the host's.
	Now func() unix.Timespec
}

// FS is a file system in memory.
type FS struct {
	mem    extent.Memory
	dev    uint64
	kind   string
	size   uint64 // pages; 0: no bound
	inodes uint64
	now    func() unix.Timespec
	root   *dir

	used    atomic.Int64 // pages
	nodes   atomic.Int64
	lastIno atomic.Uint64
}

// New makes a file system with an empty root directory.
func New(o Options) *FS {
	fs := &FS{mem: o.Memory, dev: o.Dev, kind: o.Type, inodes: o.Inodes, now: o.Now}
	if fs.kind == "" {
		fs.kind = "tmpfs"
	}
	if fs.inodes == 0 {
		fs.inodes = 1 << 20
	}
	if o.Size != 0 {
		fs.size = max(o.Size/pageSize, 1)
	}
	if fs.now == nil {
		fs.now = hostNow
	}
	if o.Mode == 0 {
		o.Mode = 0o1777
	}
	fs.nodes.Add(1)
	fs.root = &dir{}
	fs.root.init(fs, vfs.CreateArgs{Mode: unix.S_IFDIR | o.Mode&0o7777, UID: o.UID, GID: o.GID}, 2)
	return fs
}

func hostNow() unix.Timespec {
	t := time.Now()
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// Type implements vfs.FileSystem.
func (fs *FS) Type() string { return fs.kind }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// Statfs implements vfs.FileSystem.
func (fs *FS) Statfs() (unix.Statfs_t, error) {
	s := unix.Statfs_t{Type: magic, Bsize: pageSize, Frsize: pageSize, Namelen: 255}
	s.Fsid.Val = [2]int32{int32(fs.dev), int32(fs.dev >> 32)}
	if fs.size != 0 {
		s.Blocks = fs.size
		s.Bfree = fs.size - min(fs.size, uint64(fs.used.Load()))
		s.Bavail = s.Bfree
	}
	s.Files = fs.inodes
	s.Ffree = fs.inodes - min(fs.inodes, uint64(fs.nodes.Load()))
	return s, nil
}

// Unmounted implements vfs.Unmounter: all contents go, except for those of files
// that are mapped.
func (fs *FS) Unmounted() {
	dirs := []*dir{fs.root}
	for len(dirs) > 0 {
		d := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		d.mu.Lock()
		order := d.order
		d.names, d.order, d.holes, d.nlink = nil, nil, 0, 0
		d.mu.Unlock()
		for _, e := range order {
			switch m := e.inode.(type) {
			case nil:
			case *dir:
				dirs = append(dirs, m)
			default:
				n := m.base()
				n.mu.Lock()
				n.nlink = max(n.nlink, 1) - 1
				n.mu.Unlock()
				release(m, 0)
			}
		}
	}
}

// charge takes n pages of what the file system may hold.
func (fs *FS) charge(n uint64) error {
	if fs.size == 0 {
		fs.used.Add(int64(n))
		return nil
	}
	if now := fs.used.Add(int64(n)); uint64(now) > fs.size {
		fs.used.Add(-int64(n))
		return unix.ENOSPC
	}
	return nil
}

func (fs *FS) uncharge(n uint64) { fs.used.Add(-int64(n)) }

// newNode makes the inode of the type in a.Mode.
func (fs *FS) newNode(a vfs.CreateArgs) (member, error) {
	if n := fs.nodes.Add(1); uint64(n) > fs.inodes {
		fs.nodes.Add(-1)
		return nil, unix.ENOSPC
	}
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f := &file{}
		f.init(fs, a, 1)
		return f, nil
	case unix.S_IFDIR:
		d := &dir{}
		d.init(fs, a, 2)
		return d, nil
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		s := &special{}
		s.init(fs, a, 1)
		return s, nil
	}
	fs.nodes.Add(-1)
	return nil, unix.EINVAL
}
