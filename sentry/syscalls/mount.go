package syscalls

import (
	"bytes"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

const (
	propagation = unix.MS_SHARED | unix.MS_PRIVATE | unix.MS_SLAVE | unix.MS_UNBINDABLE
	// atimeFlags are what MS_REMOUNT leaves as it is unless one of them is given.
	atimeFlags = unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME
	msMagic    = 0xc0ed0000
	msNoUser   = 1 << 31
)

// mountFlags makes a mount's flags of mount(2)'s (path_mount): relatime is how
// mounts are unless they are asked to be otherwise.
func mountFlags(flags uint32) uint32 {
	if flags&unix.MS_NOATIME == 0 {
		flags |= unix.MS_RELATIME
	}
	if flags&unix.MS_STRICTATIME != 0 {
		flags &^= unix.MS_RELATIME | unix.MS_NOATIME
	}
	if flags&unix.MS_NOATIME != 0 {
		flags &^= unix.MS_RELATIME
	}
	return flags
}

// copyInOptional reads a string that need not be there.
func copyInOptional(t *task.Task, addr hostarch.Addr) (string, error) {
	if addr == 0 {
		return "", nil
	}
	s, err := t.Memory().Space.CopyInString(addr, unix.PathMax)
	if err == unix.ENAMETOOLONG {
		err = unix.EINVAL
	}
	return s, err
}

// copyInMountData reads the options: up to a page, as far as there is memory
// (copy_mount_options).
func copyInMountData(t *task.Task, addr hostarch.Addr) (string, error) {
	if addr == 0 {
		return "", nil
	}
	var b [hostarch.PageSize]byte
	n, err := t.Memory().Space.CopyIn(addr, b[:])
	if n == 0 && err != nil {
		return "", err
	}
	b[len(b)-1] = 0
	s, _, _ := bytes.Cut(b[:], []byte{0})
	return string(s), nil
}

// sysMount is mount(2). All mounts are private: what makes them so, or slaves of
// nobody, has nothing to do; sharing them is EINVAL.
func sysMount(t *task.Task, a *task.Args) (uint64, error) {
	kind, err := copyInOptional(t, a.Addr(2))
	if err != nil {
		return 0, err
	}
	source, err := copyInOptional(t, a.Addr(0))
	if err != nil {
		return 0, err
	}
	data, err := copyInMountData(t, a.Addr(4))
	if err != nil {
		return 0, err
	}
	target, err := copyInPath(t, a.Addr(1), false)
	if err != nil {
		return 0, err
	}
	flags := a.Uint(3)
	if flags&0xffff0000 == msMagic {
		flags &^= 0xffff0000
	}
	if flags&msNoUser != 0 {
		return 0, unix.EINVAL
	}
	if !t.MayMount() {
		return 0, unix.EPERM
	}
	c := t.Caller()
	switch {
	case flags&unix.MS_REMOUNT != 0:
		return 0, remount(c, target, flags)
	case flags&unix.MS_BIND != 0:
		if source == "" {
			return 0, unix.EINVAL
		}
		return 0, c.BindMount(source, target, flags&unix.MS_REC != 0)
	case flags&propagation != 0:
		return 0, setPropagation(c, target, flags)
	case flags&unix.MS_MOVE != 0:
		if source == "" {
			return 0, unix.EINVAL
		}
		return 0, c.MoveMount(source, target)
	}
	return 0, c.Mount(target, func() (vfs.FileSystem, vfs.MountOptions, error) {
		if kind == "" {
			return nil, vfs.MountOptions{}, unix.EINVAL
		}
		k := t.Kernel()
		if k.FileSystem == nil {
			return nil, vfs.MountOptions{}, unix.ENODEV
		}
		fs, options, err := k.FileSystem(kind, data, t.Thread().Namespace(), t.Namespaces().IPC)
		return fs, vfs.MountOptions{Flags: mountFlags(flags), Source: source, Options: options}, err
	})
}

// remount is MS_REMOUNT, with MS_BIND or without: the flags of file systems are
// those of their mounts here.
func remount(c *vfs.Caller, target string, flags uint32) error {
	return c.Remount(target, func(old uint32) uint32 {
		if flags&atimeFlags == 0 {
			return flags | old&atimeFlags
		}
		return mountFlags(flags)
	})
}

func setPropagation(c *vfs.Caller, target string, flags uint32) error {
	const other = unix.MS_REC | unix.MS_SILENT
	kind := flags & propagation
	if flags&^(propagation|other) != 0 || kind&(kind-1) != 0 {
		return unix.EINVAL
	}
	if err := c.CheckMount(target); err != nil {
		return err
	}
	if kind == unix.MS_PRIVATE || kind == unix.MS_SLAVE {
		return nil
	}
	return unix.EINVAL
}

// sysUmount2 is umount2(2).
func sysUmount2(t *task.Task, a *task.Args) (uint64, error) {
	flags := a.Uint(1)
	if flags&^(unix.MNT_FORCE|unix.MNT_DETACH|unix.MNT_EXPIRE|unix.UMOUNT_NOFOLLOW) != 0 ||
		flags&unix.MNT_EXPIRE != 0 && flags&(unix.MNT_FORCE|unix.MNT_DETACH) != 0 {
		return 0, unix.EINVAL
	}
	path, err := copyInPath(t, a.Addr(0), false)
	if err != nil {
		return 0, err
	}
	if !t.MayMount() {
		return 0, unix.EPERM
	}
	return 0, t.Caller().Unmount(path, flags)
}

// sysPivotRoot is pivot_root(2).
func sysPivotRoot(t *task.Task, a *task.Args) (uint64, error) {
	if !t.MayMount() {
		return 0, unix.EPERM
	}
	newRoot, err := copyInPath(t, a.Addr(0), false)
	if err != nil {
		return 0, err
	}
	putOld, err := copyInPath(t, a.Addr(1), false)
	if err != nil {
		return 0, err
	}
	old, now, err := t.Caller().PivotRoot(newRoot, putOld)
	if err != nil {
		return 0, err
	}
	t.Kernel().FollowRoot(old, now)
	return 0, nil
}
