// Package image shows the file tree of an archive, read-only: the root of a
// one-file image, below the writable layer.
//
// Names are looked up in the archive's index, and files are read from its blocks
// when they are needed: a mapping or a small file through the page cache, the
// rest of large ones past it. Nothing in an archive is trusted. What is damaged
// in it is EIO, as on a disk, and is reported outside.
//
// Lock order:
//
//	FS.linkedMu
//	pagecache's
package image

import (
	"fmt"
	"runtime"
	"sync"
	"weak"

	"golang.org/x/sys/unix"
	"runsc-lite/archive"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/fs/extent"
	"runsc-lite/sentry/fs/pagecache"
	"runsc-lite/sentry/vfs"
)

// wholeFile: files that are larger are not kept when they are read; 1 MiB.
const wholeFile = 1 << 20

// Options are how a tree is shown.
type Options struct {
	Memory extent.Memory
	// Dev is the file system's device number.
	Dev uint64
	// Report is told of what is damaged, of each thing once and of a few things
	// only: a guest decides how often it looks. It is called from any goroutine.
	Report func(error)
}

// maxReports is how many things are reported.
const maxReports = 16

// FS is the tree of an archive.
type FS struct {
	archive *archive.Reader
	dev     uint64
	root    *dirNode
	pages   *pagecache.Cache

	report    func(error)
	reportMu  sync.Mutex
	reported  map[string]bool
	linkedMu  sync.Mutex
	linked    map[uint32]weak.Pointer[node] // files with several names
	filesSize uint64
}

// New shows an archive.
func New(a *archive.Reader, o Options) (*FS, error) {
	n, err := a.Inode(0)
	if err != nil {
		return nil, fmt.Errorf("its root: %w", err)
	}
	_, size, _ := a.Sizes()
	fs := &FS{archive: a, dev: o.Dev, report: o.Report, reported: map[string]bool{}, linked: map[uint32]weak.Pointer[node]{}, filesSize: size}
	fs.pages = pagecache.New(pagecache.Options{
		Memory: o.Memory, Whole: archive.BlockSize, Chunk: archive.BlockSize, Through: wholeFile,
	})
	fs.root = &dirNode{node{fs: fs, inode: n}}
	return fs, nil
}

// Close gives the page cache back. The file system is not mounted any more.
func (fs *FS) Close() { fs.pages.Close() }

// Type implements vfs.FileSystem.
func (fs *FS) Type() string { return "image" }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// Statfs implements vfs.FileSystem.
func (fs *FS) Statfs() (unix.Statfs_t, error) {
	return unix.Statfs_t{
		Type: unix.SQUASHFS_MAGIC, Bsize: 4096, Frsize: 4096, Namelen: 255, Flags: unix.ST_RDONLY | unix.ST_RELATIME,
		Blocks: (fs.filesSize + 4095) / 4096,
	}, nil
}

// errno is what a guest gets of an error of the archive.
func (fs *FS) errno(err error) error {
	fs.reportMu.Lock()
	text := err.Error()
	tell := fs.report != nil && !fs.reported[text] && len(fs.reported) < maxReports
	if tell {
		fs.reported[text] = true
	}
	fs.reportMu.Unlock()
	if tell {
		fs.report(err)
	}
	return unix.EIO
}

// node is an object of the archive.
type node struct {
	fs    *FS
	inode *archive.Inode
	self  vfs.Inode // the inode that it is part of; nil for directories
}

// Stat implements vfs.Inode.
func (n *node) Stat() (vfs.Stat, error) {
	i := n.inode
	at := unix.Timespec{Sec: i.Sec, Nsec: int64(i.Nsec)}
	st := vfs.Stat{
		Dev: n.fs.dev, Ino: uint64(i.Number) + 1, Mode: i.Mode, Nlink: i.Nlink, UID: i.UID, GID: i.GID,
		Rdev: i.Rdev, Size: i.Size, Blksize: 4096, Atime: at, Mtime: at, Ctime: at,
	}
	switch i.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		st.Size = 4096
	case unix.S_IFREG:
		st.Blocks = (i.Size + 511) / 512
	}
	return st, nil
}

// Owner implements vfs.Owned.
func (n *node) Owner() (mode, uid, gid uint32) { return n.inode.Mode, n.inode.UID, n.inode.GID }

// Open implements vfs.Inode for what vfs opens itself or not at all.
func (n *node) Open(uint32) (vfs.FileOps, error) { return nil, unix.ENXIO }

// link is a symbolic link.
type link struct{ node }

// Readlink implements vfs.Symlinker.
func (l *link) Readlink() (string, error) {
	to, err := l.fs.archive.Readlink(l.inode)
	if err != nil {
		return "", l.fs.errno(err)
	}
	return to, nil
}

// dirNode is a directory.
type dirNode struct{ node }

// Lookup implements vfs.Dir.
func (d *dirNode) Lookup(name string) (vfs.Inode, error) {
	i, err := d.fs.archive.Lookup(d.inode, name)
	switch {
	case err != nil:
		return nil, d.fs.errno(fmt.Errorf("looking for %q: %w", name, err))
	case i == nil:
		return nil, unix.ENOENT
	}
	base := node{fs: d.fs, inode: i}
	switch {
	case i.Mode&unix.S_IFMT == unix.S_IFDIR:
		return &dirNode{base}, nil
	case i.Nlink > 1:
		return d.fs.shared(base), nil
	}
	return newLeaf(base).self, nil
}

// newLeaf makes the inode of what is no directory.
func newLeaf(base node) *node {
	switch base.inode.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f := &file{base}
		f.self = f
		return &f.node
	case unix.S_IFLNK:
		l := &link{base}
		l.self = l
		return &l.node
	}
	n := &base
	n.self = n
	return n
}

// shared returns the one inode of a file with several names.
func (fs *FS) shared(base node) vfs.Inode {
	fs.linkedMu.Lock()
	defer fs.linkedMu.Unlock()
	number := base.inode.Number
	if n := fs.linked[number].Value(); n != nil {
		return n.self
	}
	n := newLeaf(base)
	fs.linked[number] = weak.Make(n)
	runtime.AddCleanup(n, fs.forget, number)
	return n.self
}

func (fs *FS) forget(number uint32) {
	fs.linkedMu.Lock()
	defer fs.linkedMu.Unlock()
	if p, ok := fs.linked[number]; ok && p.Value() == nil {
		delete(fs.linked, number)
	}
}

// Open implements vfs.Inode.
func (d *dirNode) Open(uint32) (vfs.FileOps, error) { return &openDir{d}, nil }

// openDir is an open directory.
type openDir struct{ d *dirNode }

// Release implements vfs.FileOps.
func (o *openDir) Release() {}

// ReadDir implements vfs.DirReader.
func (o *openDir) ReadDir(off int64, emit func(vfs.Entry) bool) error {
	a := o.d.fs.archive
	for ; off >= 0 && off < int64(a.Entries(o.d.inode)); off++ {
		e, err := a.Entry(o.d.inode, int(off))
		if err != nil {
			return o.d.fs.errno(fmt.Errorf("listing a directory: %w", err))
		}
		if !emit(vfs.Entry{Name: e.Name, Ino: uint64(e.Inode) + 1, Type: e.Type, Next: off + 1}) {
			return nil
		}
	}
	return nil
}

// file is a regular file.
type file struct{ node }

// Open implements vfs.Inode: EROFS for writing.
func (f *file) Open(flags uint32) (vfs.FileOps, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EROFS
	}
	return &openFile{f.fs.pages.Open(
		pagecache.Key{Ino: uint64(f.inode.Number)}, pagecache.Version{Size: f.inode.Size}, source{&f.node},
	)}, nil
}

// openFile is an open regular file.
type openFile struct{ *pagecache.File }

// Pager implements vfs.Mappable.
func (o *openFile) Pager() memfile.Pager { return o.File }

// source is where the page cache gets a file's content.
type source struct{ n *node }

// Fill implements pagecache.Source.
func (s source) Fill(dst []byte, off int64) error {
	i := s.n.inode
	dst = dst[:min(int64(len(dst)), max(0, i.Size-off))]
	if err := s.n.fs.archive.ReadAt(i, dst, off); err != nil {
		return s.n.fs.errno(err)
	}
	return nil
}

// ReadAt implements pagecache.Source.
func (s source) ReadAt(dst [][]byte, off int64) (done int64, err error) {
	for _, b := range dst {
		b = b[:min(int64(len(b)), max(0, s.n.inode.Size-off))]
		if err := s.Fill(b, off); err != nil {
			if done > 0 {
				err = nil // what came before it is good
			}
			return done, err
		}
		off += int64(len(b))
		done += int64(len(b))
	}
	return done, nil
}

// Close implements pagecache.Source.
func (source) Close() {}
