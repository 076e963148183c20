package syscalls

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// copyOutStat writes struct stat (144 bytes).
func copyOutStat(t *task.Task, addr hostarch.Addr, s *vfs.Stat) error {
	var b [144]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], s.Dev)
	le.PutUint64(b[8:], s.Ino)
	le.PutUint64(b[16:], uint64(s.Nlink))
	le.PutUint32(b[24:], s.Mode)
	ns := t.Thread().Credentials().UserNS
	le.PutUint32(b[28:], ns.UID(s.UID))
	le.PutUint32(b[32:], ns.GID(s.GID))
	le.PutUint64(b[40:], s.Rdev)
	le.PutUint64(b[48:], uint64(s.Size))
	le.PutUint64(b[56:], uint64(s.Blksize))
	le.PutUint64(b[64:], uint64(s.Blocks))
	for i, ts := range [...]unix.Timespec{s.Atime, s.Mtime, s.Ctime} {
		le.PutUint64(b[72+16*i:], uint64(ts.Sec))
		le.PutUint64(b[80+16*i:], uint64(ts.Nsec))
	}
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}

func fstatat(t *task.Task, dirfd int32, path, buf hostarch.Addr, flags uint32) (uint64, error) {
	return withPlace(t, dirfd, path, flags, func(c *vfs.Caller, dir *vfs.File, path string) error {
		st, err := c.Stat(dir, path, flags)
		if err != nil {
			return err
		}
		return copyOutStat(t, buf, &st)
	})
}

func sysStat(t *task.Task, a *task.Args) (uint64, error) {
	return fstatat(t, unix.AT_FDCWD, a.Addr(0), a.Addr(1), 0)
}

func sysLstat(t *task.Task, a *task.Args) (uint64, error) {
	return fstatat(t, unix.AT_FDCWD, a.Addr(0), a.Addr(1), unix.AT_SYMLINK_NOFOLLOW)
}

func sysNewfstatat(t *task.Task, a *task.Args) (uint64, error) {
	flags := a.Uint(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return fstatat(t, a.Int(0), a.Addr(1), a.Addr(2), flags)
}

func sysFstat(t *task.Task, a *task.Args) (uint64, error) {
	f, err := t.AnyFile(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return 0, copyOutStat(t, a.Addr(1), &st)
}

const (
	statxReserved  = 0x80000000
	statxMountRoot = 0x2000 // STATX_ATTR_MOUNT_ROOT
)

// sysStatx is statx(2). The mask is a wish: what is known is given.
func sysStatx(t *task.Task, a *task.Args) (uint64, error) {
	flags, mask, buf := a.Uint(2), a.Uint(3), a.Addr(4)
	if mask&statxReserved != 0 ||
		flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_EMPTY_PATH|linux.AT_STATX_SYNC_TYPE) != 0 ||
		flags&linux.AT_STATX_SYNC_TYPE == linux.AT_STATX_SYNC_TYPE {
		return 0, unix.EINVAL
	}
	return withPlace(t, a.Int(0), a.Addr(1), flags, func(c *vfs.Caller, dir *vfs.File, path string) error {
		st, p, err := c.StatPath(dir, path, flags&^linux.AT_STATX_SYNC_TYPE)
		if err != nil {
			return err
		}
		return copyOutStatx(t, buf, &st, p)
	})
}

// copyOutStatx writes struct statx (256 bytes).
func copyOutStatx(t *task.Task, addr hostarch.Addr, s *vfs.Stat, p vfs.Path) error {
	var b [256]byte
	le := binary.LittleEndian
	mask := uint32(unix.STATX_BASIC_STATS)
	if s.Btime != (unix.Timespec{}) {
		mask |= unix.STATX_BTIME
	}
	le.PutUint64(b[56:], statxMountRoot) // what is known of stx_attributes
	if p.Mount != nil {
		mask |= unix.STATX_MNT_ID
		le.PutUint64(b[144:], uint64(p.Mount.ID()))
		if p == p.Mount.Root() {
			le.PutUint64(b[8:], statxMountRoot)
		}
	}
	le.PutUint32(b[0:], mask)
	le.PutUint32(b[4:], s.Blksize)
	le.PutUint32(b[16:], s.Nlink)
	ns := t.Thread().Credentials().UserNS
	le.PutUint32(b[20:], ns.UID(s.UID))
	le.PutUint32(b[24:], ns.GID(s.GID))
	le.PutUint16(b[28:], uint16(s.Mode))
	le.PutUint64(b[32:], s.Ino)
	le.PutUint64(b[40:], uint64(s.Size))
	le.PutUint64(b[48:], uint64(s.Blocks))
	for i, ts := range [...]unix.Timespec{s.Atime, s.Btime, s.Ctime, s.Mtime} {
		le.PutUint64(b[64+16*i:], uint64(ts.Sec))
		le.PutUint32(b[72+16*i:], uint32(ts.Nsec))
	}
	le.PutUint32(b[128:], unix.Major(s.Rdev))
	le.PutUint32(b[132:], unix.Minor(s.Rdev))
	le.PutUint32(b[136:], unix.Major(s.Dev))
	le.PutUint32(b[140:], unix.Minor(s.Dev))
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}

// copyOutStatfs writes struct statfs (120 bytes).
func copyOutStatfs(t *task.Task, addr hostarch.Addr, s *unix.Statfs_t) error {
	var b [120]byte
	le := binary.LittleEndian
	for i, v := range [...]uint64{uint64(s.Type), uint64(s.Bsize), s.Blocks, s.Bfree, s.Bavail, s.Files, s.Ffree} {
		le.PutUint64(b[8*i:], v)
	}
	le.PutUint32(b[56:], uint32(s.Fsid.Val[0]))
	le.PutUint32(b[60:], uint32(s.Fsid.Val[1]))
	le.PutUint64(b[64:], uint64(s.Namelen))
	le.PutUint64(b[72:], uint64(s.Frsize))
	le.PutUint64(b[80:], uint64(s.Flags))
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}

func sysStatfs(t *task.Task, a *task.Args) (uint64, error) {
	return withPlace(t, unix.AT_FDCWD, a.Addr(0), 0, func(c *vfs.Caller, dir *vfs.File, path string) error {
		s, err := c.Statfs(dir, path, 0)
		if err != nil {
			return err
		}
		return copyOutStatfs(t, a.Addr(1), &s)
	})
}

func sysFstatfs(t *task.Task, a *task.Args) (uint64, error) {
	f, err := t.AnyFile(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	s, err := t.Caller().Statfs(f, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return 0, err
	}
	return 0, copyOutStatfs(t, a.Addr(1), &s)
}

// Times. nil means now for both.

func setTimes(t *task.Task, dirfd int32, pathAddr hostarch.Addr, times *[2]unix.Timespec, flags uint32) (uint64, error) {
	if times == nil {
		times = &[2]unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	}
	if pathAddr == 0 && dirfd != unix.AT_FDCWD {
		// futimens(3)
		if flags != 0 {
			return 0, unix.EINVAL
		}
		f, err := t.File(dirfd)
		if err != nil {
			return 0, err
		}
		defer f.DecRef()
		return 0, t.Caller().Utimens(f, "", times[0], times[1], unix.AT_EMPTY_PATH)
	}
	return withPlace(t, dirfd, pathAddr, flags, func(c *vfs.Caller, dir *vfs.File, path string) error {
		return c.Utimens(dir, path, times[0], times[1], flags)
	})
}

func sysUtimensat(t *task.Task, a *task.Args) (uint64, error) {
	flags := a.Uint(3)
	var times *[2]unix.Timespec
	if a[2] != 0 {
		times = new([2]unix.Timespec)
		for i := range times {
			ts, _, err := copyInTimespec(t, a.Addr(2)+hostarch.Addr(16*i))
			if err != nil {
				return 0, err
			}
			if ts.Nsec != unix.UTIME_NOW && ts.Nsec != unix.UTIME_OMIT && uint64(ts.Nsec) >= nanosPerSecond {
				return 0, unix.EINVAL
			}
			times[i] = ts
		}
		if times[0].Nsec == unix.UTIME_OMIT && times[1].Nsec == unix.UTIME_OMIT {
			return 0, nil
		}
	}
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return setTimes(t, a.Int(0), a.Addr(1), times, flags)
}

// copyInTimevals reads two struct timeval.
func copyInTimevals(t *task.Task, addr hostarch.Addr) (*[2]unix.Timespec, error) {
	if addr == 0 {
		return nil, nil
	}
	var b [32]byte
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return nil, err
	}
	var times [2]unix.Timespec
	for i := range times {
		sec, usec := int64(binary.LittleEndian.Uint64(b[16*i:])), binary.LittleEndian.Uint64(b[16*i+8:])
		if usec >= 1e6 {
			return nil, unix.EINVAL
		}
		times[i] = unix.Timespec{Sec: sec, Nsec: int64(usec) * 1000}
	}
	return &times, nil
}

func sysUtimes(t *task.Task, a *task.Args) (uint64, error) {
	times, err := copyInTimevals(t, a.Addr(1))
	if err != nil {
		return 0, err
	}
	return setTimes(t, unix.AT_FDCWD, a.Addr(0), times, 0)
}

func sysFutimesat(t *task.Task, a *task.Args) (uint64, error) {
	times, err := copyInTimevals(t, a.Addr(2))
	if err != nil {
		return 0, err
	}
	return setTimes(t, a.Int(0), a.Addr(1), times, 0)
}

// sysUtime is utime(2): whole seconds.
func sysUtime(t *task.Task, a *task.Args) (uint64, error) {
	var times *[2]unix.Timespec
	if a[1] != 0 {
		var b [16]byte
		if _, err := t.Memory().Space.CopyIn(a.Addr(1), b[:]); err != nil {
			return 0, err
		}
		times = &[2]unix.Timespec{
			{Sec: int64(binary.LittleEndian.Uint64(b[0:]))},
			{Sec: int64(binary.LittleEndian.Uint64(b[8:]))},
		}
	}
	return setTimes(t, unix.AT_FDCWD, a.Addr(0), times, 0)
}

// Extended attributes (xattr(7)).

const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
)

func copyInXattrName(t *task.Task, addr hostarch.Addr) (string, error) {
	s, err := t.Memory().Space.CopyInString(addr, maxXattrName+1)
	switch {
	case err == unix.ENAMETOOLONG:
		return "", unix.ERANGE
	case err != nil:
		return "", err
	case s == "":
		return "", unix.ERANGE
	}
	return s, nil
}

// xattrAt runs fn on a path (or on a descriptor, when byFD is set) given as
// the first argument.
func xattrAt(t *task.Task, a *task.Args, flags uint32, byFD bool, fn func(c *vfs.Caller, f *vfs.File, path string, flags uint32) (uint64, error)) (uint64, error) {
	if byFD {
		f, err := t.File(a.Int(0))
		if err != nil {
			return 0, err
		}
		defer f.DecRef()
		return fn(t.Caller(), f, "", unix.AT_EMPTY_PATH)
	}
	path, err := copyInPath(t, a.Addr(0), false)
	if err != nil {
		return 0, err
	}
	return fn(t.Caller(), nil, path, flags)
}

func setxattr(t *task.Task, a *task.Args, flags uint32, byFD bool) (uint64, error) {
	how := a.Uint(4)
	if how&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return 0, unix.EINVAL
	}
	name, err := copyInXattrName(t, a.Addr(1))
	if err != nil {
		return 0, err
	}
	if a[3] > maxXattrValue {
		return 0, unix.E2BIG
	}
	value := make([]byte, a[3])
	if _, err := t.Memory().Space.CopyIn(a.Addr(2), value); err != nil {
		return 0, err
	}
	return xattrAt(t, a, flags, byFD, func(c *vfs.Caller, f *vfs.File, path string, flags uint32) (uint64, error) {
		return 0, c.Setxattr(f, path, flags, name, value, how)
	})
}

func getxattr(t *task.Task, a *task.Args, flags uint32, byFD bool) (uint64, error) {
	name, err := copyInXattrName(t, a.Addr(1))
	if err != nil {
		return 0, err
	}
	return xattrAt(t, a, flags, byFD, func(c *vfs.Caller, f *vfs.File, path string, flags uint32) (uint64, error) {
		value, err := c.Getxattr(f, path, flags, name)
		if err != nil {
			return 0, err
		}
		return copyOutSized(t, a.Addr(2), a[3], value)
	})
}

// copyOutSized writes b unless size is 0, which asks for the length.
func copyOutSized(t *task.Task, addr hostarch.Addr, size uint64, b []byte) (uint64, error) {
	if size == 0 {
		return uint64(len(b)), nil
	}
	if uint64(len(b)) > size {
		return 0, unix.ERANGE
	}
	n, err := t.Memory().Space.CopyOut(addr, b)
	return uint64(n), err
}

func listxattr(t *task.Task, a *task.Args, flags uint32, byFD bool) (uint64, error) {
	return xattrAt(t, a, flags, byFD, func(c *vfs.Caller, f *vfs.File, path string, flags uint32) (uint64, error) {
		names, err := c.Listxattr(f, path, flags)
		if err != nil {
			return 0, err
		}
		var b strings.Builder
		for _, n := range names {
			b.WriteString(n)
			b.WriteByte(0)
		}
		return copyOutSized(t, a.Addr(1), a[2], []byte(b.String()))
	})
}

func removexattr(t *task.Task, a *task.Args, flags uint32, byFD bool) (uint64, error) {
	name, err := copyInXattrName(t, a.Addr(1))
	if err != nil {
		return 0, err
	}
	return xattrAt(t, a, flags, byFD, func(c *vfs.Caller, f *vfs.File, path string, flags uint32) (uint64, error) {
		return 0, c.Removexattr(f, path, flags, name)
	})
}

const nofollow = unix.AT_SYMLINK_NOFOLLOW

func sysSetxattr(t *task.Task, a *task.Args) (uint64, error)  { return setxattr(t, a, 0, false) }
func sysLsetxattr(t *task.Task, a *task.Args) (uint64, error) { return setxattr(t, a, nofollow, false) }
func sysFsetxattr(t *task.Task, a *task.Args) (uint64, error) { return setxattr(t, a, 0, true) }
func sysGetxattr(t *task.Task, a *task.Args) (uint64, error)  { return getxattr(t, a, 0, false) }
func sysLgetxattr(t *task.Task, a *task.Args) (uint64, error) { return getxattr(t, a, nofollow, false) }
func sysFgetxattr(t *task.Task, a *task.Args) (uint64, error) { return getxattr(t, a, 0, true) }
func sysListxattr(t *task.Task, a *task.Args) (uint64, error) { return listxattr(t, a, 0, false) }
func sysLlistxattr(t *task.Task, a *task.Args) (uint64, error) {
	return listxattr(t, a, nofollow, false)
}
func sysFlistxattr(t *task.Task, a *task.Args) (uint64, error)  { return listxattr(t, a, 0, true) }
func sysRemovexattr(t *task.Task, a *task.Args) (uint64, error) { return removexattr(t, a, 0, false) }
func sysLremovexattr(t *task.Task, a *task.Args) (uint64, error) {
	return removexattr(t, a, nofollow, false)
}
func sysFremovexattr(t *task.Task, a *task.Args) (uint64, error) { return removexattr(t, a, 0, true) }
