package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// copyInPath reads a path name: ENAMETOOLONG past PATH_MAX, ENOENT when it is
// empty and may not be.
func copyInPath(t *task.Task, addr hostarch.Addr, empty bool) (string, error) {
	s, err := t.Memory().Space.CopyInString(addr, unix.PathMax)
	if err != nil {
		return "", err
	}
	if s == "" && !empty {
		return "", unix.ENOENT
	}
	return s, nil
}

// place is a path argument together with where it starts.
type place struct {
	dir  *vfs.File // nil: the working directory
	path string
}

func (p *place) release() {
	if p.dir != nil {
		p.dir.DecRef()
	}
}

// copyInPlace reads a dirfd and a path. flags may hold AT_EMPTY_PATH.
func copyInPlace(t *task.Task, dirfd int32, addr hostarch.Addr, flags uint32) (place, error) {
	path, err := copyInPath(t, addr, flags&unix.AT_EMPTY_PATH != 0)
	if err != nil {
		return place{}, err
	}
	return placeOf(t, dirfd, path)
}

func placeOf(t *task.Task, dirfd int32, path string) (place, error) {
	p := place{path: path}
	if dirfd == unix.AT_FDCWD || path != "" && path[0] == '/' {
		return p, nil
	}
	var err error
	p.dir, err = t.AnyFile(dirfd)
	return p, err
}

// withPlace runs fn on a path argument.
func withPlace(t *task.Task, dirfd int32, addr hostarch.Addr, flags uint32, fn func(c *vfs.Caller, dir *vfs.File, path string) error) (uint64, error) {
	p, err := copyInPlace(t, dirfd, addr, flags)
	if err != nil {
		return 0, err
	}
	defer p.release()
	return 0, fn(t.Caller(), p.dir, p.path)
}

// Opening.

func sysOpen(t *task.Task, a *task.Args) (uint64, error) {
	return openat(t, unix.AT_FDCWD, a.Addr(0), a.Uint(1), a.Uint(2), 0)
}

func sysCreat(t *task.Task, a *task.Args) (uint64, error) {
	return openat(t, unix.AT_FDCWD, a.Addr(0), unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, a.Uint(1), 0)
}

func sysOpenat(t *task.Task, a *task.Args) (uint64, error) {
	return openat(t, a.Int(0), a.Addr(1), a.Uint(2), a.Uint(3), 0)
}

// openHowSize is the size of the first struct open_how, and of all so far.
const openHowSize = 24

// sysOpenat2 is openat2(2), which unlike openat refuses what it does not know.
func sysOpenat2(t *task.Task, a *task.Args) (uint64, error) {
	size := a[3]
	if size < openHowSize {
		return 0, unix.EINVAL
	}
	if size > hostarch.PageSize {
		return 0, unix.E2BIG
	}
	buf := make([]byte, size)
	if _, err := t.Memory().Space.CopyIn(a.Addr(2), buf); err != nil {
		return 0, err
	}
	for _, b := range buf[openHowSize:] {
		if b != 0 {
			return 0, unix.E2BIG
		}
	}
	flags, mode, resolve := binary.LittleEndian.Uint64(buf), binary.LittleEndian.Uint64(buf[8:]), binary.LittleEndian.Uint64(buf[16:])
	if err := vfs.CheckOpenHow(flags, mode, resolve); err != nil {
		return 0, err
	}
	return openat(t, a.Int(0), a.Addr(1), uint32(flags), uint32(mode), resolve)
}

func openat(t *task.Task, dirfd int32, addr hostarch.Addr, flags, mode uint32, resolve uint64) (uint64, error) {
	p, err := copyInPlace(t, dirfd, addr, 0)
	if err != nil {
		return 0, err
	}
	defer p.release()
	if resolve&unix.RESOLVE_IN_ROOT != 0 && p.dir == nil && dirfd != unix.AT_FDCWD {
		// An absolute path begins there, too.
		if p.dir, err = t.AnyFile(dirfd); err != nil {
			return 0, err
		}
	}
	if err := t.MayInstall(); err != nil {
		return 0, err
	}
	f, err := t.OpenFile(p.dir, p.path, vfs.OpenHow{Flags: flags, Mode: mode, Resolve: resolve})
	if err != nil {
		return 0, err
	}
	return install(t, f, flags&unix.O_CLOEXEC != 0)
}

// install gives f the lowest free descriptor; the reference goes with it.
func install(t *task.Task, f *vfs.File, cloexec bool) (uint64, error) {
	fd, err := t.Install(f, cloexec)
	return uint64(fd), err
}

// Names.

func sysAccess(t *task.Task, a *task.Args) (uint64, error) {
	return faccessat(t, unix.AT_FDCWD, a.Addr(0), a.Uint(1), 0)
}

func sysFaccessat(t *task.Task, a *task.Args) (uint64, error) {
	return faccessat(t, a.Int(0), a.Addr(1), a.Uint(2), 0)
}

func sysFaccessat2(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(3)&^(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return faccessat(t, a.Int(0), a.Addr(1), a.Uint(2), a.Uint(3))
}

// faccessat checks with the real ids, unless AT_EACCESS says otherwise.
func faccessat(t *task.Task, dirfd int32, addr hostarch.Addr, mode, flags uint32) (uint64, error) {
	if mode&^7 != 0 {
		return 0, unix.EINVAL
	}
	return withPlace(t, dirfd, addr, flags, func(c *vfs.Caller, dir *vfs.File, path string) error {
		who := *c
		if flags&unix.AT_EACCESS == 0 {
			who.Creds = t.RealCreds()
		}
		return who.Access(dir, path, mode, flags&^unix.AT_EACCESS)
	})
}

func sysMkdir(t *task.Task, a *task.Args) (uint64, error) {
	return mkdirat(t, unix.AT_FDCWD, a.Addr(0), a.Uint(1))
}

func sysMkdirat(t *task.Task, a *task.Args) (uint64, error) {
	return mkdirat(t, a.Int(0), a.Addr(1), a.Uint(2))
}

func mkdirat(t *task.Task, dirfd int32, addr hostarch.Addr, mode uint32) (uint64, error) {
	return withPlace(t, dirfd, addr, 0, func(c *vfs.Caller, dir *vfs.File, path string) error {
		return c.Mkdir(dir, path, mode)
	})
}

func sysMknod(t *task.Task, a *task.Args) (uint64, error) {
	return mknodat(t, unix.AT_FDCWD, a.Addr(0), a.Uint(1), a.Uint(2))
}

func sysMknodat(t *task.Task, a *task.Args) (uint64, error) {
	return mknodat(t, a.Int(0), a.Addr(1), a.Uint(2), a.Uint(3))
}

func mknodat(t *task.Task, dirfd int32, addr hostarch.Addr, mode, dev uint32) (uint64, error) {
	return withPlace(t, dirfd, addr, 0, func(c *vfs.Caller, dir *vfs.File, path string) error {
		return c.Mknod(dir, path, mode, uint64(dev))
	})
}

func sysRmdir(t *task.Task, a *task.Args) (uint64, error) {
	return unlinkat(t, unix.AT_FDCWD, a.Addr(0), unix.AT_REMOVEDIR)
}

func sysUnlink(t *task.Task, a *task.Args) (uint64, error) {
	return unlinkat(t, unix.AT_FDCWD, a.Addr(0), 0)
}

func sysUnlinkat(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(2)&^unix.AT_REMOVEDIR != 0 {
		return 0, unix.EINVAL
	}
	return unlinkat(t, a.Int(0), a.Addr(1), a.Uint(2))
}

func unlinkat(t *task.Task, dirfd int32, addr hostarch.Addr, flags uint32) (uint64, error) {
	return withPlace(t, dirfd, addr, 0, func(c *vfs.Caller, dir *vfs.File, path string) error {
		if flags&unix.AT_REMOVEDIR != 0 {
			return c.Rmdir(dir, path)
		}
		return c.Unlink(dir, path)
	})
}

// twoPlaces reads the two path arguments of rename and link.
func twoPlaces(t *task.Task, fd1 int32, addr1 hostarch.Addr, flags1 uint32, fd2 int32, addr2 hostarch.Addr, fn func(c *vfs.Caller, from, to place) error) (uint64, error) {
	from, err := copyInPlace(t, fd1, addr1, flags1)
	if err != nil {
		return 0, err
	}
	defer from.release()
	to, err := copyInPlace(t, fd2, addr2, 0)
	if err != nil {
		return 0, err
	}
	defer to.release()
	return 0, fn(t.Caller(), from, to)
}

func sysRename(t *task.Task, a *task.Args) (uint64, error) {
	return renameat(t, unix.AT_FDCWD, a.Addr(0), unix.AT_FDCWD, a.Addr(1), 0)
}

func sysRenameat(t *task.Task, a *task.Args) (uint64, error) {
	return renameat(t, a.Int(0), a.Addr(1), a.Int(2), a.Addr(3), 0)
}

func sysRenameat2(t *task.Task, a *task.Args) (uint64, error) {
	return renameat(t, a.Int(0), a.Addr(1), a.Int(2), a.Addr(3), a.Uint(4))
}

func renameat(t *task.Task, fd1 int32, addr1 hostarch.Addr, fd2 int32, addr2 hostarch.Addr, flags uint32) (uint64, error) {
	return twoPlaces(t, fd1, addr1, 0, fd2, addr2, func(c *vfs.Caller, from, to place) error {
		return c.Rename(from.dir, from.path, to.dir, to.path, flags)
	})
}

func sysLink(t *task.Task, a *task.Args) (uint64, error) {
	return linkat(t, unix.AT_FDCWD, a.Addr(0), unix.AT_FDCWD, a.Addr(1), 0)
}

func sysLinkat(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(4)&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return linkat(t, a.Int(0), a.Addr(1), a.Int(2), a.Addr(3), a.Uint(4))
}

func linkat(t *task.Task, fd1 int32, addr1 hostarch.Addr, fd2 int32, addr2 hostarch.Addr, flags uint32) (uint64, error) {
	return twoPlaces(t, fd1, addr1, flags, fd2, addr2, func(c *vfs.Caller, from, to place) error {
		return c.Link(from.dir, from.path, to.dir, to.path, flags)
	})
}

func sysSymlink(t *task.Task, a *task.Args) (uint64, error) {
	return symlinkat(t, a.Addr(0), unix.AT_FDCWD, a.Addr(1))
}

func sysSymlinkat(t *task.Task, a *task.Args) (uint64, error) {
	return symlinkat(t, a.Addr(0), a.Int(1), a.Addr(2))
}

func symlinkat(t *task.Task, targetAddr hostarch.Addr, dirfd int32, addr hostarch.Addr) (uint64, error) {
	target, err := copyInPath(t, targetAddr, false)
	if err != nil {
		return 0, err
	}
	return withPlace(t, dirfd, addr, 0, func(c *vfs.Caller, dir *vfs.File, path string) error {
		return c.Symlink(target, dir, path)
	})
}

func sysReadlink(t *task.Task, a *task.Args) (uint64, error) {
	return readlinkat(t, unix.AT_FDCWD, a.Addr(0), a.Addr(1), a.Int(2))
}

func sysReadlinkat(t *task.Task, a *task.Args) (uint64, error) {
	return readlinkat(t, a.Int(0), a.Addr(1), a.Addr(2), a.Int(3))
}

func readlinkat(t *task.Task, dirfd int32, addr, buf hostarch.Addr, size int32) (uint64, error) {
	if size <= 0 {
		return 0, unix.EINVAL
	}
	p, err := copyInPlace(t, dirfd, addr, unix.AT_EMPTY_PATH)
	if err != nil {
		return 0, err
	}
	defer p.release()
	target, err := t.Caller().Readlink(p.dir, p.path)
	if err != nil {
		return 0, err
	}
	n, err := t.Memory().Space.CopyOut(buf, []byte(target[:min(len(target), int(size))]))
	return uint64(n), err
}

// Attributes by name.

func sysChmod(t *task.Task, a *task.Args) (uint64, error) {
	return fchmodat(t, unix.AT_FDCWD, a.Addr(0), a.Uint(1), 0)
}

func sysFchmodat(t *task.Task, a *task.Args) (uint64, error) {
	return fchmodat(t, a.Int(0), a.Addr(1), a.Uint(2), 0)
}

func sysFchmodat2(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(3)&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return fchmodat(t, a.Int(0), a.Addr(1), a.Uint(2), a.Uint(3))
}

func fchmodat(t *task.Task, dirfd int32, addr hostarch.Addr, mode, flags uint32) (uint64, error) {
	return withPlace(t, dirfd, addr, flags, func(c *vfs.Caller, dir *vfs.File, path string) error {
		return c.Chmod(dir, path, mode, flags)
	})
}

func sysFchmod(t *task.Task, a *task.Args) (uint64, error) {
	f, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	return 0, t.Caller().Chmod(f, "", a.Uint(1), unix.AT_EMPTY_PATH)
}

func sysChown(t *task.Task, a *task.Args) (uint64, error) {
	return fchownat(t, unix.AT_FDCWD, a.Addr(0), a.Uint(1), a.Uint(2), 0)
}

func sysLchown(t *task.Task, a *task.Args) (uint64, error) {
	return fchownat(t, unix.AT_FDCWD, a.Addr(0), a.Uint(1), a.Uint(2), unix.AT_SYMLINK_NOFOLLOW)
}

func sysFchownat(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(4)&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return fchownat(t, a.Int(0), a.Addr(1), a.Uint(2), a.Uint(3), a.Uint(4))
}

// hostIDs turns the ids of a chown call into those that files have: EINVAL for what is
// no id in the caller's user namespace.
func hostIDs(t *task.Task, uid, gid uint32) (u, g uint32, err error) {
	ns := t.Thread().Credentials().UserNS
	u, g = ns.HostUID(uid), ns.HostGID(gid)
	if uid != procmgr.NoID && u == procmgr.NoID || gid != procmgr.NoID && g == procmgr.NoID {
		return 0, 0, unix.EINVAL
	}
	return u, g, nil
}

func fchownat(t *task.Task, dirfd int32, addr hostarch.Addr, uid, gid, flags uint32) (uint64, error) {
	uid, gid, err := hostIDs(t, uid, gid)
	if err != nil {
		return 0, err
	}
	return withPlace(t, dirfd, addr, flags, func(c *vfs.Caller, dir *vfs.File, path string) error {
		return c.Chown(dir, path, uid, gid, flags)
	})
}

func sysFchown(t *task.Task, a *task.Args) (uint64, error) {
	f, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	uid, gid, err := hostIDs(t, a.Uint(1), a.Uint(2))
	if err != nil {
		return 0, err
	}
	return 0, t.Caller().Chown(f, "", uid, gid, unix.AT_EMPTY_PATH)
}

func sysTruncate(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int64(1) < 0 {
		return 0, unix.EINVAL
	}
	if err := t.CheckFileSize(a.Int64(1)); err != nil {
		return 0, err
	}
	path, err := copyInPath(t, a.Addr(0), false)
	if err != nil {
		return 0, err
	}
	return 0, t.Caller().Truncate(path, a.Int64(1))
}

// Where the process is.

func sysChdir(t *task.Task, a *task.Args) (uint64, error) {
	return withPlace(t, unix.AT_FDCWD, a.Addr(0), 0, func(c *vfs.Caller, dir *vfs.File, path string) error {
		return c.Chdir(dir, path, 0)
	})
}

func sysFchdir(t *task.Task, a *task.Args) (uint64, error) {
	f, err := t.AnyFile(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	return 0, t.Caller().Chdir(f, "", unix.AT_EMPTY_PATH)
}

func sysChroot(t *task.Task, a *task.Args) (uint64, error) {
	path, err := copyInPath(t, a.Addr(0), false)
	if err != nil {
		return 0, err
	}
	return 0, t.Caller().Chroot(path)
}

// sysGetcwd is getcwd(2): it returns the length with the final NUL.
func sysGetcwd(t *task.Task, a *task.Args) (uint64, error) {
	s, err := t.FS().Getcwd()
	if err != nil {
		return 0, err
	}
	if uint64(len(s))+1 > a[1] {
		return 0, unix.ERANGE
	}
	n, err := t.Memory().Space.CopyOut(a.Addr(0), append([]byte(s), 0))
	return uint64(n), err
}

func sysUmask(t *task.Task, a *task.Args) (uint64, error) {
	return uint64(t.FS().SetUmask(a.Uint(0))), nil
}
