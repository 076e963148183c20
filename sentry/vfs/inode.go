package vfs

import (
	"golang.org/x/sys/unix"
)

// Inode is a file, directory or other object of a file system. The two
// methods here are what everything has; what else an inode can do are the
// optional interfaces below, found by type assertion as in package io. Inodes
// are compared with ==: one object, one Inode value while it is referenced.
//
// Inodes check nothing about permissions: vfs did that before it calls.
// Names given to them are single components, not empty, not "." or "..", at
// most 255 bytes. All methods are safe from any goroutine, never block for
// long, and return unix.Errno values as errors.
type Inode interface {
	// Stat returns the attributes (stat(2)).
	Stat() (Stat, error)
	// Open makes the operations of a new open file description. flags are
	// open(2) flags less O_CREAT, O_EXCL, O_TRUNC (vfs did those).
	Open(flags uint32) (FileOps, error)
}

// Stat are an inode's attributes, with Linux's meanings (statx(2)).
type Stat struct {
	Dev     uint64 // of the file system, as makedev gives it
	Ino     uint64
	Mode    uint32 // type and permissions
	Nlink   uint32
	UID     uint32
	GID     uint32
	Rdev    uint64
	Size    int64
	Blksize uint32
	Blocks  int64 // 512-byte units
	Atime   unix.Timespec
	Mtime   unix.Timespec
	Ctime   unix.Timespec
	Btime   unix.Timespec // zero when not known
}

// SetStat says which attributes SetStat is to change.
type SetStat struct {
	Mask  SetMask
	Mode  uint32 // permission bits (07777)
	UID   uint32
	GID   uint32
	Size  int64
	Atime unix.Timespec // Nsec may be UTIME_NOW
	Mtime unix.Timespec
}

// SetMask is a set of attributes.
type SetMask uint32

const (
	SetMode SetMask = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime
	SetMtime
)

// Dir is an inode that is a directory.
type Dir interface {
	// Lookup returns the inode of name: unix.ENOENT if there is none.
	Lookup(name string) (Inode, error)
}

// CreateArgs are who creates an inode and how.
type CreateArgs struct {
	Mode uint32 // type and permissions, umask applied
	UID  uint32
	GID  uint32
	Rdev uint64 // for S_IFCHR and S_IFBLK
	// Nameless says of a Tmpfile that it will never get a name (O_EXCL).
	Nameless bool
	// By is who creates it, for file systems that charge for it; nil: the sentry.
	By *Caller
	// Special is what OpenHow has of that name.
	Special any
}

// MutableDir is a directory in which names can be made and removed. vfs
// serialises calls on one directory, and on both of a Rename.
type MutableDir interface {
	Dir
	// Create makes a file of the type in a.Mode (anything but a symlink):
	// EEXIST if the name is there.
	Create(name string, a CreateArgs) (Inode, error)
	Symlink(name, target string, a CreateArgs) (Inode, error)
	Link(name string, target Inode) error
	Unlink(name string) error // not for directories: EISDIR
	Rmdir(name string) error
	// Rename moves child oldName of this directory to newName of newDir, in
	// the same file system. flags are renameat2(2)'s.
	Rename(oldName string, newDir Inode, newName string, flags uint32) error
}

// Tmpfiler is a directory that supports O_TMPFILE.
type Tmpfiler interface {
	Tmpfile(a CreateArgs) (Inode, error)
}

// StatSetter is an inode whose attributes can be changed.
type StatSetter interface {
	SetStat(s SetStat) error
}

// Symlinker is a symbolic link.
type Symlinker interface {
	Readlink() (string, error)
}

// Jumper is a magic link, as in /proc/self/fd: following it leads straight to
// a place, whatever Readlink says. EACCES: not everybody may.
type Jumper interface {
	Jump(c *Caller) (Path, error)
}

// Fallocater is a regular file that supports fallocate(2).
type Fallocater interface {
	Fallocate(mode uint32, off, length int64) error
}

// Xattrer is an inode with extended attributes. ENODATA when there is none of
// the name.
type Xattrer interface {
	Getxattr(name string) ([]byte, error)
	Setxattr(name string, value []byte, flags uint32) error
	Listxattr() ([]string, error)
	Removexattr(name string) error
}

// Revalidator is a directory whose names come and go by themselves (proc):
// cached children are looked up anew at every walk.
type Revalidator interface {
	// Revalidate reports whether a cached child may still be used.
	Revalidate(name string, child Inode) bool
}

// NameCacher is a FileSystem of which fewer names are worth keeping than of others:
// what they stand for goes away by itself, and is held by them until then (proc).
type NameCacher interface {
	// CachedNames is how many are kept at most.
	CachedNames() int
}

// Unmounter is a FileSystem that has something to give back when it is mounted
// nowhere and nothing in it is open any more. It must not call vfs.
type Unmounter interface{ Unmounted() }

// FileSystem is a mounted file system instance.
type FileSystem interface {
	// Type is its name in /proc/mounts.
	Type() string
	Root() Inode
	Statfs() (unix.Statfs_t, error)
}
