// Package hostdir shows a directory tree of the host, read-only.
//
// The guest's path walk is the sentry's: this package is asked for single names
// in directories, and opens them by descriptor, without ever following a
// symbolic link of the host or using a path that came from the guest. The
// sentry's own rights on the host bound what can be read: EACCES comes through.
//
// # The exclusive rule
//
// The tree is taken to stand still while the sandbox runs, as an image does.
// Names and attributes are cached for as long as vfs keeps the name. What was
// replaced on the host is noticed when it is opened (its device and inode
// number are compared): ESTALE, which makes vfs look again. The page cache of a
// file is checked against its size and times at every open.
//
// # Descriptors
//
// A directory keeps an O_PATH descriptor in a bounded cache, and is opened anew
// from its parent when it fell out. A regular file has one descriptor while it
// is open, however many Files share it. Nothing else holds descriptors.
//
// # Special files
//
// Devices, sockets and FIFOs of the host can be looked at. Opening them is
// vfs's business: devices are the sandbox's own. File systems that are windows
// into the host's kernel (proc, sysfs, cgroup …) appear as empty directories.
//
// Lock order:
//
//	pagecache's
//	  handles.mu
package hostdir

import (
	"fmt"
	"sync"
	"weak"

	"golang.org/x/sys/unix"
	"runsc-lite/hostcall"
	"runsc-lite/sentry/fs/extent"
	"runsc-lite/sentry/fs/pagecache"
	"runsc-lite/sentry/vfs"
)

// Options are how a tree is shown.
type Options struct {
	Memory extent.Memory
	// CacheSize is how many bytes of files that nobody has open stay in
	// memory; 0: 64 MiB.
	CacheSize uint64
	// Handles is how many directories are kept open; 0: 128.
	Handles int
}

// FS is a host directory tree.
type FS struct {
	root    *node
	handles handles
	pages   *pagecache.Cache
	statfs  unix.Statfs_t

	linkedMu sync.Mutex
	linked   map[identity]weak.Pointer[node] // files with several names
}

// identity says which file of the host it is.
type identity pagecache.Key

func identityOf(st *unix.Stat_t) identity { return identity{st.Dev, st.Ino} }

// New opens the host directory at path, which is followed if it is a symbolic
// link: it is the user's word, not the guest's.
func New(path string, o Options) (*FS, error) {
	fd, err := hostcall.OpenTree(path)
	if err != nil {
		return nil, fmt.Errorf("opening the directory %s: %w", path, err)
	}
	fs, err := NewAt(fd, o)
	if err != nil {
		return nil, fmt.Errorf("the directory %s: %w", path, err)
	}
	return fs, nil
}

// NewAt is New for what is behind a descriptor, which it takes over: a directory, or
// a single file, which is opened for all that is to be done with it if it is regular.
func NewAt(fd int, o Options) (*FS, error) {
	st, err := hostcall.StatAt(fd, "")
	if err != nil {
		hostcall.CloseFD(fd)
		return nil, err
	}
	fs := &FS{linked: make(map[identity]weak.Pointer[node])}
	if fs.statfs, err = hostcall.Statfs(fd); err != nil {
		hostcall.CloseFD(fd)
		return nil, err
	}
	if o.Handles <= 0 {
		o.Handles = 128
	}
	fs.handles.limit = o.Handles
	fs.pages = pagecache.New(pagecache.Options{Memory: o.Memory, Idle: o.CacheSize, Whole: wholeFile, Chunk: chunk, Through: wholeFile})
	base := node{fs: fs, stat: statOf(&st)}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		root := &dirNode{node: base}
		root.self = root
		fs.root = &root.node
	} else {
		switch root := newLeaf(base).(type) {
		case *fileNode:
			fs.root = &root.node
		case *node:
			fs.root = root
		}
	}
	fs.handles.pinRoot(fs.root, fd)
	return fs, nil
}

// Close gives the descriptors and the page cache back. The file system is not
// mounted any more.
func (fs *FS) Close() {
	fs.handles.close()
	fs.pages.Close()
}

// Type implements vfs.FileSystem.
func (fs *FS) Type() string { return "hostdir" }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root.self }

// Statfs implements vfs.FileSystem.
func (fs *FS) Statfs() (unix.Statfs_t, error) { return fs.statfs, nil }

func statOf(st *unix.Stat_t) vfs.Stat {
	return vfs.Stat{
		Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid,
		Rdev: st.Rdev, Size: st.Size, Blksize: uint32(st.Blksize), Blocks: st.Blocks,
		Atime: st.Atim, Mtime: st.Mtim, Ctime: st.Ctim,
	}
}
