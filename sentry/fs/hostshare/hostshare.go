// Package hostshare is a directory tree, or a single file, of the host that the sandbox
// and the host share: what either changes the other sees.
//
// The guest's path walk is the sentry's: this package is asked for single names in
// directories, and opens them by descriptor, without ever following a symbolic link of
// the host or using a path that came from the guest. Permissions are the sentry's
// business; what is made belongs to who made it in the sandbox.
//
// # Coherence
//
// Names are looked up anew at every walk, attributes asked for each time, and read(2)
// and write(2) are the host's: nothing of them is kept here. What is mapped has to be in
// the sandbox's memory (pages.go): it is a copy that the sandbox's own writes go to as
// well, and that goes back to the host with msync(2), fsync(2) and munmap(2), and at
// the end. What the host changes in a file that is mapped is seen when it is mapped
// next.
//
// # Descriptors
//
// Each inode has an O_PATH descriptor while somebody refers to it: it is the file, under
// whatever name. An inode that has lost its last name, and that nobody uses, gives it
// back at once, for the file to go away.
//
// # Special files
//
// Sockets and devices of the host can be looked at. Opening them is vfs's business:
// devices are the sandbox's own. File systems that are windows into the host's kernel
// (proc, sysfs, cgroup …) appear as empty directories.
//
// Lock order:
//
//	inode.mu
//	file.mu
//	  FS.mu
//	    handle.mu
package hostshare

import (
	"runtime"
	"sync"
	"weak"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/fs/extent"
	"runsc-lite/sentry/vfs"
)

// Options are how a tree is shared.
type Options struct {
	// Memory is where what is mapped is kept. It must be set.
	Memory extent.Memory
	// Type is what /proc/mounts shows; "": hostshare.
	Type string
}

// FS is a shared tree.
type FS struct {
	o    Options
	self hostcall.Self
	root *inode

	mu     sync.Mutex
	inodes map[identity]weak.Pointer[inode]
	mapped map[*file]struct{} // files with pages
}

type identity struct {
	dev, ino uint64
	kind     uint32
}

// New shares what is behind a descriptor, which it takes over: of a directory (O_PATH
// will do), or of a single file.
func New(fd int, o Options) (*FS, error) {
	if o.Type == "" {
		o.Type = "hostshare"
	}
	fs := &FS{o: o, inodes: map[identity]weak.Pointer[inode]{}, mapped: map[*file]struct{}{}}
	st, err := hostcall.StatAt(fd, "")
	if err != nil {
		hostcall.CloseFD(fd)
		return nil, err
	}
	if fs.self, err = hostcall.OpenSelf(); err != nil {
		hostcall.CloseFD(fd)
		return nil, err
	}
	fs.root = fs.inode(fd, &st)
	return fs, nil
}

// Close writes back what is mapped. The file system is not mounted any more.
func (fs *FS) Close() {
	fs.mu.Lock()
	files := make([]*file, 0, len(fs.mapped))
	for f := range fs.mapped {
		files = append(files, f)
	}
	fs.mu.Unlock()
	for _, f := range files {
		f.end()
	}
	fs.root.give()
	fs.self.Close()
}

// Type implements vfs.FileSystem.
func (fs *FS) Type() string { return fs.o.Type }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root.self }

// Statfs implements vfs.FileSystem.
func (fs *FS) Statfs() (unix.Statfs_t, error) {
	var st unix.Statfs_t
	err := fs.root.with(func(fd int) (err error) {
		st, err = hostcall.Statfs(fd)
		return err
	})
	return st, err
}

// CachedNames implements vfs.NameCacher: each has a descriptor.
func (fs *FS) CachedNames() int { return cachedNames }

const cachedNames = 4096

// inode returns the inode of the file behind fd, which it takes over.
func (fs *FS) inode(fd int, st *unix.Stat_t) *inode {
	id := identity{st.Dev, st.Ino, st.Mode & unix.S_IFMT}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if i := fs.inodes[id].Value(); i != nil && i.take() {
		hostcall.CloseFD(fd)
		return i
	}
	i := &inode{fs: fs, id: id, path: &handle{fd: fd}}
	switch id.kind {
	case unix.S_IFDIR:
		i.self = &dir{inode: i}
	case unix.S_IFLNK:
		i.self = &link{inode: i}
	case unix.S_IFREG:
		i.self = newFile(i)
	default:
		i.self = i
	}
	fs.inodes[id] = weak.Make(i)
	runtime.AddCleanup(i, func(h *handle) { fs.forget(id, h) }, i.path)
	return i
}

// forget closes the descriptor of an inode that nobody refers to any more.
func (fs *FS) forget(id identity, h *handle) {
	h.close()
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if p, ok := fs.inodes[id]; ok && p.Value() == nil {
		delete(fs.inodes, id)
	}
}

// handle is an O_PATH descriptor.
type handle struct {
	mu sync.RWMutex
	fd int // -1: closed
}

func (h *handle) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd >= 0 {
		hostcall.CloseFD(h.fd)
		h.fd = -1
	}
}
