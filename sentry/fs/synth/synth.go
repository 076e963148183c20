// Package synth is what file systems of made-up files consist of: proc and sysfs.
//
//	Dir     a directory with a fixed list of names
//	File    a file; an Opener says what one open file of it is
//	Link    a symbolic link, its text made for each reader
//	Magic   a link that leads straight to a place (/proc/self/exe)
//
// All embed Node, which answers stat(2); a directory whose names come and go
// embeds it, too, and adds Lookup, Revalidate and Open by itself (OpenDir).
//
// Contents are made when they are read, as Linux's seq_file has it: at the
// beginning of the file, and not again until somebody goes back there, so that
// what is read in several pieces fits together. Text makes a small file at once;
// Records makes a large one piece by piece, since a guest may open many of them
// and read a byte of each.
//
// Writing is not kept anywhere by itself: Writable hands it to a function.
//
// Lock order: contents.mu; everything that makes contents comes below it. No lock
// of this package is held while a directory is listed.
package synth

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

// Options are how a file system is made.
type Options struct {
	// Type is its name in /proc/mounts, Magic its number in statfs(2).
	Type  string
	Magic int64
	// Dev is its device number (unix.Mkdev(0, n), different for each).
	Dev uint64
	// FileSize is the size that the files of a Tree claim to have, in bytes.
	FileSize int64
	// Now is the clock; nil for the host's.
	Now func() unix.Timespec
}

// FS is a file system: a vfs.FileSystem once SetRoot was called.
type FS struct {
	o       Options
	root    vfs.Inode
	lastIno atomic.Uint64
	held    atomic.Int64 // see contents
}

// New makes a file system without a root.
func New(o Options) *FS {
	if o.Now == nil {
		o.Now = func() unix.Timespec {
			t := time.Now()
			return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
		}
	}
	return &FS{o: o}
}

// SetRoot sets the root directory, before fs is mounted.
func (fs *FS) SetRoot(root vfs.Inode) { fs.root = root }

// Type implements vfs.FileSystem.
func (fs *FS) Type() string { return fs.o.Type }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// Statfs implements vfs.FileSystem (simple_statfs).
func (fs *FS) Statfs() (unix.Statfs_t, error) {
	return unix.Statfs_t{Type: fs.o.Magic, Bsize: 4096, Frsize: 4096, Namelen: 255}, nil
}

// Attr are an inode's attributes.
type Attr struct {
	Mode  uint32 // type and permissions
	Ino   uint64 // 0: the next one that is free
	Nlink uint32 // 0: 1, or 2 for a directory
	Size  int64
	// Owner tells whose it is at this moment; nil: root's.
	Owner func() (uid, gid uint32)
}

// Node is an inode's attributes. Its times are those of its making.
type Node struct {
	fs   *FS
	attr Attr
	made unix.Timespec
}

// Node makes the attributes of an inode.
func (fs *FS) Node(a Attr) Node {
	if a.Ino == 0 {
		a.Ino = fs.lastIno.Add(1)
	}
	if a.Nlink == 0 {
		a.Nlink = 1
		if a.Mode&unix.S_IFMT == unix.S_IFDIR {
			a.Nlink = 2
		}
	}
	return Node{fs: fs, attr: a, made: fs.o.Now()}
}

// Stat implements vfs.Inode.
func (n *Node) Stat() (vfs.Stat, error) {
	_, uid, gid := n.Owner()
	return vfs.Stat{
		Dev: n.fs.o.Dev, Ino: n.attr.Ino, Mode: n.attr.Mode, Nlink: n.attr.Nlink, UID: uid, GID: gid,
		Size: n.attr.Size, Blksize: 4096, Atime: n.made, Mtime: n.made, Ctime: n.made,
	}, nil
}

// Owner implements vfs.Owned.
func (n *Node) Owner() (mode, uid, gid uint32) {
	if n.attr.Owner != nil {
		uid, gid = n.attr.Owner()
	}
	return n.attr.Mode, uid, gid
}

// Attr returns what n was made with.
func (n *Node) Attr() Attr { return n.attr }

// SetStat implements vfs.StatSetter: truncating a file has no effect, so that
// shells may write to it; nothing else can be changed (EPERM).
func (n *Node) SetStat(s vfs.SetStat) error {
	if s.Mask == vfs.SetSize && n.attr.Mode&unix.S_IFMT == unix.S_IFREG {
		return nil
	}
	return unix.EPERM
}

// File is a file.
type File struct {
	Node
	open Opener
}

// Opener makes the operations of an open file, for whom c stands for. It is called
// when a file is opened; c is nil when no guest does.
type Opener func(c *vfs.Caller, flags uint32) (vfs.FileOps, error)

// File makes a file.
func (fs *FS) File(a Attr, open Opener) *File {
	a.Mode |= unix.S_IFREG
	return &File{fs.Node(a), open}
}

// Open implements vfs.Inode.
func (f *File) Open(flags uint32) (vfs.FileOps, error) { return f.OpenFor(nil, flags) }

// OpenFor implements vfs.CallerOpener.
func (f *File) OpenFor(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
	ops, err := f.open(c, flags)
	if err == nil {
		counted(ops, &f.fs.held)
	}
	return ops, err
}

// Link is a symbolic link.
type Link struct {
	Node
	text func(c *vfs.Caller) (string, error)
}

// Link makes a symbolic link whose text is made for each reader.
func (fs *FS) Link(a Attr, text func(c *vfs.Caller) (string, error)) *Link {
	if a.Mode&0o777 == 0 {
		a.Mode |= 0o777
	}
	a.Mode |= unix.S_IFLNK
	return &Link{fs.Node(a), text}
}

// Symlink makes a symbolic link that says the same to all.
func (fs *FS) Symlink(target string) *Link {
	return fs.Link(Attr{Size: int64(len(target))}, func(*vfs.Caller) (string, error) { return target, nil })
}

// Open implements vfs.Inode; vfs never opens a link.
func (l *Link) Open(uint32) (vfs.FileOps, error) { return nil, unix.ELOOP }

// ReadlinkFor implements vfs.CallerSymlinker.
func (l *Link) ReadlinkFor(c *vfs.Caller) (string, error) { return l.text(c) }

// Magic is a link that leads straight to a place: its text is only for reading.
type Magic struct {
	Link
	jump func(c *vfs.Caller) (vfs.Path, error)
}

// Magic makes a magic link.
func (fs *FS) Magic(a Attr, text func(c *vfs.Caller) (string, error), jump func(c *vfs.Caller) (vfs.Path, error)) *Magic {
	return &Magic{*fs.Link(a, text), jump}
}

// Jump implements vfs.Jumper.
func (m *Magic) Jump(c *vfs.Caller) (vfs.Path, error) { return m.jump(c) }
