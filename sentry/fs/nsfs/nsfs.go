// Package nsfs is the files that stand for namespaces: those that the links in
// /proc/PID/ns lead to (namespaces(7), ioctl_ns(2), Linux's fs/nsfs.c). What is open
// keeps its namespace alive.
//
// Lock order: there are no locks.
package nsfs

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/vfs"
)

// Kind is a kind of namespaces.
type Kind struct {
	Name    string
	Flag    uint64 // CLONE_NEW*
	initial uint64 // number of Linux's first one (include/linux/proc_ns.h)
	others  uint64 // where the numbers of the others begin
}

// The kinds that there are.
var (
	cgroup = &Kind{"cgroup", unix.CLONE_NEWCGROUP, 0xeffffffb, 0xf1000000}
	ipc    = &Kind{"ipc", unix.CLONE_NEWIPC, 0xefffffff, 0xf2000000}
	mnt    = &Kind{"mnt", unix.CLONE_NEWNS, 0xeffffff8, 0xf3000000}
	net    = &Kind{"net", unix.CLONE_NEWNET, 0xeffffff9, 0xf4000000}
	pid    = &Kind{"pid", unix.CLONE_NEWPID, 0xeffffffc, 0xf5000000}
	user   = &Kind{"user", unix.CLONE_NEWUSER, 0xeffffffd, 0xf6000000}
	uts    = &Kind{"uts", unix.CLONE_NEWUTS, 0xeffffffe, 0xf7000000}
)

// Namespace is a namespace of any kind. The zero value is none.
type Namespace struct {
	kind *Kind
	ns   any
}

// Of returns the Namespace for a *procmgr.PIDNamespace, a *procmgr.UserNamespace (nil
// is the first), a *vfs.Namespace, or one of package namespaces.
func Of(ns any) Namespace {
	switch ns.(type) {
	case *procmgr.PIDNamespace:
		return Namespace{pid, ns}
	case *procmgr.UserNamespace:
		return Namespace{user, ns}
	case *vfs.Namespace:
		return Namespace{mnt, ns}
	case *namespaces.UTS:
		return Namespace{uts, ns}
	case *namespaces.IPC:
		return Namespace{ipc, ns}
	case *namespaces.Net:
		return Namespace{net, ns}
	case *namespaces.Cgroup:
		return Namespace{cgroup, ns}
	}
	return Namespace{}
}

// FromFile returns what an open file stands for: EINVAL if that is no namespace.
func FromFile(f *vfs.File) (Namespace, error) {
	if o, ok := f.Ops().(file); ok {
		return o.ns, nil
	}
	return Namespace{}, unix.EINVAL
}

// Flag returns the CLONE_NEW* flag of the kind.
func (n Namespace) Flag() uint64 { return n.kind.Flag }

// Object returns what Of was given.
func (n Namespace) Object() any { return n.ns }

func (n Namespace) serial() uint64 {
	switch ns := n.ns.(type) {
	case *vfs.Namespace:
		return ns.ID()
	case interface{ Serial() uint64 }:
		return ns.Serial()
	}
	return 0
}

// Ino returns the inode number that tells namespaces apart.
func (n Namespace) Ino() uint64 {
	if s := n.serial(); s != 0 {
		return n.kind.others + s
	}
	return n.kind.initial
}

// owner returns the user namespace that n belongs to; the one above, for a user
// namespace.
func (n Namespace) owner() *procmgr.UserNamespace {
	switch ns := n.ns.(type) {
	case *procmgr.UserNamespace:
		return ns.Parent()
	case *vfs.Namespace:
		o, _ := ns.Owner().(*procmgr.UserNamespace)
		return o
	case interface {
		Owner() *procmgr.UserNamespace
	}:
		return ns.Owner()
	}
	return nil
}

// counted are namespaces that end with the last reference; the others just go.
type counted interface {
	TryHold() bool
	Release()
}

// Place makes a place for a file of n, which is in no file tree.
func (n Namespace) Place() vfs.Path {
	return vfs.NewAnon(inode{n}, fmt.Sprintf("%s:[%d]", n.kind.Name, n.Ino()))
}

// open opens n: ENOENT if it has ended.
func (n Namespace) open() (file, error) {
	if c, ok := n.ns.(counted); ok && !c.TryHold() {
		return file{}, unix.ENOENT
	}
	return file{n}, nil
}

// inode is a file of nsfs.
type inode struct{ ns Namespace }

// dev is the device number of nsfs.
var dev = unix.Mkdev(0, 4)

// Stat implements vfs.Inode.
func (i inode) Stat() (vfs.Stat, error) {
	return vfs.Stat{Dev: dev, Ino: i.ns.Ino(), Mode: unix.S_IFREG | 0o444, Nlink: 1, Blksize: 4096}, nil
}

// Open implements vfs.Inode.
func (i inode) Open(flags uint32) (vfs.FileOps, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EPERM
	}
	return i.ns.open()
}

// file is an open namespace: there is nothing to read in it.
type file struct{ ns Namespace }

// Release implements vfs.FileOps.
func (f file) Release() {
	if c, ok := f.ns.ns.(counted); ok {
		c.Release()
	}
}

// Requests of ioctl_ns(2).
const (
	getUserNS   = 0xb701
	getParent   = 0xb702
	getNSType   = 0xb703
	getOwnerUID = 0xb704
)

// caller is what ioctls ask of the task whose memory they get.
type caller interface {
	Thread() *procmgr.Thread
	Install(f *vfs.File, cloexec bool) (int32, error)
}

// Ioctl implements vfs.Ioctler (ns_ioctl).
func (f file) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	if request == getNSType {
		return f.ns.Flag(), nil
	}
	t, ok := mem.(caller)
	if !ok {
		return 0, unix.ENOTTY
	}
	own := t.Thread().Credentials().UserNS
	switch request {
	case getUserNS:
		return related(t, f.ns, own)
	case getParent:
		switch ns := f.ns.ns.(type) {
		case *procmgr.UserNamespace:
			return related(t, f.ns, own)
		case *procmgr.PIDNamespace:
			// pidns_get_parent: what is not below the reader's own is not shown.
			if ns.Parent() == nil || !t.Thread().Namespace().Includes(ns.Parent()) {
				return 0, unix.EPERM
			}
			return install(t, Of(ns.Parent()))
		}
		return 0, unix.EINVAL
	case getOwnerUID:
		ns, ok := f.ns.ns.(*procmgr.UserNamespace)
		if !ok {
			return 0, unix.EINVAL
		}
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], own.UID(ns.Maker()))
		_, err := mem.CopyOut(hostarch.Addr(arg), b[:])
		return 0, err
	}
	return 0, unix.ENOTTY
}

// related opens the user namespace that n belongs to: EPERM if that is not own or
// below it (ns_get_owner).
func related(t caller, n Namespace, own *procmgr.UserNamespace) (uint64, error) {
	if n.kind == user && n.serial() == 0 || !n.owner().Within(own) {
		return 0, unix.EPERM
	}
	return install(t, Of(n.owner()))
}

// install opens n for a task.
func install(t caller, n Namespace) (uint64, error) {
	ops, err := n.open()
	if err != nil {
		return 0, err
	}
	fd, err := t.Install(vfs.NewFileAt(n.Place(), ops, unix.O_RDONLY), true)
	return uint64(fd), err
}
