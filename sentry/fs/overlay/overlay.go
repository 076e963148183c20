// Package overlay lays a writable file system over one that is only read, in
// the way of Linux's overlayfs: the sandbox's root is a tmpfs over the host's
// or the image's tree.
//
//	lookup       the upper file system first; directories that are in both
//	             are merged
//	first change the file is copied up, with its directories, and the copy
//	             takes its place
//	removal      a whiteout (character device 0:0) in the upper hides the name
//	new dir over a removed one: marked opaque, so that the old one's names do
//	             not show through
//
// What follows from that, as overlayfs documents it: a descriptor that was
// opened for reading before the copy-up keeps reading the lower file; hard
// links of the lower file system part when one of them is copied up; renaming a
// directory that has a lower part is EXDEV, upon which mv(1) copies. In
// addition, a lower file that was removed can no longer be copied up: changing
// it through an open descriptor is ESTALE.
//
// Open files are those of the file system below, directly: reading, writing and
// mapping cost nothing extra.
//
// Lock order:
//
//	(vfs's directory locks)
//	  FS.mu             copy-ups, renames, removals; parent and name of nodes
//	    dirNode.kidsMu
//	      the locks of the file systems below
package overlay

import (
	"encoding/binary"
	"strings"
	"sync"
	"weak"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs"
)

// Names of extended attributes that the overlay keeps in the upper file system
// and hides from the guest.
const (
	xattrPrefix = "trusted.overlay."
	xattrOpaque = xattrPrefix + "opaque" // on directories: nothing shows through
	xattrOrigin = xattrPrefix + "origin" // the inode number before the copy-up
)

// scratch is the name under which things are prepared. No guest can use it.
const scratch = "\x00scratch"

// FS is a lower and an upper file system seen as one.
type FS struct {
	lower, upper vfs.FileSystem
	dev          uint64
	root         *dirNode

	mu sync.Mutex

	devMu sync.Mutex
	devs  map[uint64]uint64 // lower device numbers, in the order they were met

	linkedMu sync.Mutex
	linked   map[vfs.Inode]weak.Pointer[node] // upper files with several names
}

// New lays upper, whose directories are vfs.MutableDir and vfs.Tmpfiler, over
// lower. dev is the device number of the result.
func New(lower, upper vfs.FileSystem, dev uint64) (*FS, error) {
	fs := &FS{lower: lower, upper: upper, dev: dev, devs: map[uint64]uint64{},
		linked: map[vfs.Inode]weak.Pointer[node]{}}
	st, err := lower.Root().Stat()
	if err != nil {
		return nil, err
	}
	fs.layer(st.Dev)
	up := upper.Root()
	s, ok := up.(vfs.StatSetter)
	if _, mutable := up.(mutable); !ok || !mutable {
		return nil, unix.EINVAL
	}
	if err := s.SetStat(attributes(st)); err != nil {
		return nil, err
	}
	n, err := fs.newNode(nil, "", lower.Root(), up)
	if err != nil {
		return nil, err
	}
	fs.root = n.self.(*dirNode)
	return fs, nil
}

// mutable is what the upper file system's directories are.
type mutable interface {
	vfs.MutableDir
	vfs.Tmpfiler
	vfs.Inode
}

// Type implements vfs.FileSystem.
func (fs *FS) Type() string { return "overlay" }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// Statfs implements vfs.FileSystem.
func (fs *FS) Statfs() (unix.Statfs_t, error) {
	st, err := fs.upper.Statfs()
	st.Type = unix.OVERLAYFS_SUPER_MAGIC
	return st, err
}

// layer numbers the file systems of the lower tree: 0 for the first.
func (fs *FS) layer(dev uint64) uint64 {
	fs.devMu.Lock()
	defer fs.devMu.Unlock()
	n, ok := fs.devs[dev]
	if !ok {
		n = uint64(len(fs.devs))
		fs.devs[dev] = n
	}
	return n
}

// Inode numbers of the layers are kept apart by their highest bits, as with
// overlayfs's xino. The first lower file system's stay what they are.
const layerShift = 56

func (fs *FS) lowerIno(dev, ino uint64) uint64 {
	n := fs.layer(dev)
	if n > 0 {
		n++ // 1 is the upper's
	}
	return ino&(1<<layerShift-1) | (n&0xff)<<layerShift
}

func upperIno(ino uint64) uint64 { return ino&(1<<layerShift-1) | 1<<layerShift }

// inoOf returns the number that the overlay shows for an inode of the upper.
func inoOf(upper vfs.Inode, st *vfs.Stat) uint64 {
	if x, ok := upper.(vfs.Xattrer); ok {
		if v, err := x.Getxattr(xattrOrigin); err == nil && len(v) == 8 {
			return binary.LittleEndian.Uint64(v)
		}
	}
	return upperIno(st.Ino)
}

func isWhiteout(st *vfs.Stat) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func isOpaque(dir vfs.Inode) bool {
	x, ok := dir.(vfs.Xattrer)
	if !ok {
		return false
	}
	v, err := x.Getxattr(xattrOpaque)
	return err == nil && string(v) == "y"
}

func setOpaque(dir vfs.Inode) error {
	x, ok := dir.(vfs.Xattrer)
	if !ok {
		return unix.EOPNOTSUPP
	}
	return x.Setxattr(xattrOpaque, []byte("y"), 0)
}

func hidden(xattr string) bool { return strings.HasPrefix(xattr, xattrPrefix) }

// attributes are those of st that a copy gets.
func attributes(st vfs.Stat) vfs.SetStat {
	return vfs.SetStat{
		Mask: vfs.SetMode | vfs.SetUID | vfs.SetGID | vfs.SetAtime | vfs.SetMtime,
		Mode: st.Mode & 0o7777, UID: st.UID, GID: st.GID, Atime: st.Atime, Mtime: st.Mtime,
	}
}
