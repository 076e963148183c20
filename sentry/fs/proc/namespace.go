package proc

import (
	"fmt"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// The numbers of Linux's initial namespaces (include/linux/proc_ns.h), and the first
// that others get.
const (
	mntIno     = 0xeffffff8
	netIno     = 0xeffffff9
	cgroupIno  = 0xeffffffb
	pidIno     = 0xeffffffc
	userIno    = 0xeffffffd
	utsIno     = 0xeffffffe
	ipcIno     = 0xefffffff
	dynamicIno = 0xf0000000
	// Mount namespaces are numbered by themselves.
	mntDynamicIno = 0xf8000000
)

// namespace is a name in /proc/PID/ns.
type namespace struct {
	name, kind string
	ino        uint64
	clone      uint64                                         // CLONE_NEW*
	pids       func(th *procmgr.Thread) *procmgr.PIDNamespace // of the pid namespaces
}

// userNamespace stands for a user namespace.
func userNamespace(ns *procmgr.UserNamespace) *namespaceInode {
	f := &namespaceInode{kind: "user", ino: userIno, clone: unix.CLONE_NEWUSER, user: ns}
	if n := ns.Serial(); n != 0 {
		f.ino = dynamicIno + 1<<24 + n
	}
	return f
}

// namespaces are those that there are: one of each but for pid and user namespaces.
var namespaces = [...]namespace{
	{"cgroup", "cgroup", cgroupIno, unix.CLONE_NEWCGROUP, nil},
	{"ipc", "ipc", ipcIno, unix.CLONE_NEWIPC, nil},
	{"mnt", "mnt", mntIno, unix.CLONE_NEWNS, nil},
	{"net", "net", netIno, unix.CLONE_NEWNET, nil},
	{"pid", "pid", pidIno, unix.CLONE_NEWPID, (*procmgr.Thread).Namespace},
	{"pid_for_children", "pid", pidIno, unix.CLONE_NEWPID, (*procmgr.Thread).ChildNamespace},
	{"user", "user", userIno, unix.CLONE_NEWUSER, nil},
	{"uts", "uts", utsIno, unix.CLONE_NEWUTS, nil},
}

// namespaceDir is /proc/PID/ns.
type namespaceDir struct {
	synth.Node
	s *subject
}

func newNamespaces(s *subject, a synth.Attr) vfs.Inode { return &namespaceDir{s.fs.Node(a), s} }

// Lookup implements vfs.Dir.
func (d *namespaceDir) Lookup(name string) (vfs.Inode, error) {
	for i := range namespaces {
		if ns := &namespaces[i]; ns.name == name {
			return d.s.magic(d.s.node(unix.S_IFLNK|0o777, inoNS+uint64(i)), func() (place, error) { return d.s.namespace(ns), nil }), nil
		}
	}
	return nil, unix.ENOENT
}

// Revalidate implements vfs.Revalidator.
func (d *namespaceDir) Revalidate(string, vfs.Inode) bool { return d.s.check() == nil }

// Open implements vfs.Inode.
func (d *namespaceDir) Open(uint32) (vfs.FileOps, error) { return synth.OpenDir(d.list), nil }

func (d *namespaceDir) list(off int64, emit func(vfs.Entry) bool) error {
	if d.s.check() != nil {
		return unix.ENOENT
	}
	id := d.s.thread().ID()
	for i := max(off, 0); i < int64(len(namespaces)); i++ {
		e := vfs.Entry{Name: namespaces[i].name, Ino: inoOf(id, !d.s.whole, inoNS+uint64(i)), Type: unix.DT_LNK, Next: i + 1}
		if !emit(e) {
			break
		}
	}
	return nil
}

// namespace finds the file that stands for one of the thread's namespaces.
func (s *subject) namespace(ns *namespace) place {
	f := &namespaceInode{kind: ns.kind, ino: ns.ino, clone: ns.clone}
	switch {
	case ns.pids != nil:
		f = pidNamespace(ns.pids(s.thread()))
	case ns.clone == unix.CLONE_NEWUSER:
		f = userNamespace(s.userNS())
	}
	if ns.clone == unix.CLONE_NEWNS {
		if at, err := s.context(); err == nil && at.Namespace().ID() != 0 {
			f.ino = mntDynamicIno + at.Namespace().ID()
		}
	}
	return place{path: f.place()}
}

func pidNamespace(ns *procmgr.PIDNamespace) *namespaceInode {
	f := &namespaceInode{kind: "pid", ino: pidIno, clone: unix.CLONE_NEWPID, pids: ns}
	if n := ns.Serial(); n != 0 {
		f.ino = dynamicIno + n
	}
	return f
}

// namespaceInode is a file of nsfs, which stands for a namespace.
type namespaceInode struct {
	kind       string
	ino, clone uint64
	pids       *procmgr.PIDNamespace  // of a pid namespace
	user       *procmgr.UserNamespace // of a user namespace
}

// place makes a place for the file, which is in no file tree.
func (n *namespaceInode) place() vfs.Path {
	return vfs.NewAnon(n, fmt.Sprintf("%s:[%d]", n.kind, n.ino))
}

// PIDNamespaceOf returns the pid namespace that an open file of /proc/PID/ns stands
// for, nil if it does not (setns(2)).
func PIDNamespaceOf(f *vfs.File) *procmgr.PIDNamespace {
	if n, ok := f.Ops().(namespaceFile); ok {
		return n.n.pids
	}
	return nil
}

// nsfsDev is the device number of nsfs.
var nsfsDev = unix.Mkdev(0, 4)

// Stat implements vfs.Inode.
func (n *namespaceInode) Stat() (vfs.Stat, error) {
	return vfs.Stat{Dev: nsfsDev, Ino: n.ino, Mode: unix.S_IFREG | 0o444, Nlink: 1, Blksize: 4096}, nil
}

// Open implements vfs.Inode.
func (n *namespaceInode) Open(flags uint32) (vfs.FileOps, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EPERM
	}
	return namespaceFile{n}, nil
}

// namespaceFile is an open namespace: there is nothing to read in it.
type namespaceFile struct{ n *namespaceInode }

// Release implements vfs.FileOps.
func (namespaceFile) Release() {}

// Requests of ioctl_ns(2).
const (
	nsGetUserNS   = 0xb701
	nsGetParent   = 0xb702
	nsGetNSType   = 0xb703
	nsGetOwnerUID = 0xb704
)

// Ioctl implements vfs.Ioctler (ns_ioctl). All is owned by root's user namespace,
// which has no parent.
func (f namespaceFile) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	switch request {
	case nsGetUserNS:
		if f.n.clone == unix.CLONE_NEWUSER {
			return 0, unix.EPERM
		}
		return install(mem, &namespaceInode{kind: "user", ino: userIno, clone: unix.CLONE_NEWUSER})
	case nsGetParent:
		switch f.n.clone {
		case unix.CLONE_NEWUSER:
			return 0, unix.EPERM
		case unix.CLONE_NEWPID:
			if f.n.pids.Parent() == nil {
				return 0, unix.EPERM
			}
			return install(mem, pidNamespace(f.n.pids.Parent()))
		}
		return 0, unix.EINVAL
	case nsGetNSType:
		return f.n.clone, nil
	case nsGetOwnerUID:
		if f.n.clone != unix.CLONE_NEWUSER {
			return 0, unix.EINVAL
		}
		_, err := mem.CopyOut(hostarch.Addr(arg), make([]byte, 4))
		return 0, err
	}
	return 0, unix.ENOTTY
}

// install opens a namespace for the task that an ioctl's memory is of.
func install(mem vfs.Memory, n *namespaceInode) (uint64, error) {
	t, ok := mem.(interface {
		Install(f *vfs.File, cloexec bool) (int32, error)
	})
	if !ok {
		return 0, unix.ENOTTY
	}
	fd, err := t.Install(vfs.NewFileAt(n.place(), namespaceFile{n}, unix.O_RDONLY), true)
	return uint64(fd), err
}
