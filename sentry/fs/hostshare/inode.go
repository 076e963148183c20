package hostshare

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/vfs"
)

// inode is a file of the host.
type inode struct {
	vfs.WriteCount
	fs   *FS
	id   identity
	self vfs.Inode // what it is: dir, link, file, or the inode itself
	path *handle

	mu     sync.Mutex
	users  int  // who has it open, or refers to it (vfs.Holder)
	orphan bool // it has no name any more
}

// take reports whether the inode is good for one more name.
func (i *inode) take() bool {
	i.path.mu.RLock()
	defer i.path.mu.RUnlock()
	return i.path.fd >= 0
}

// with calls fn with the O_PATH descriptor: ESTALE if the file is gone.
func (i *inode) with(fn func(fd int) error) error {
	i.path.mu.RLock()
	defer i.path.mu.RUnlock()
	if i.path.fd < 0 {
		return unix.ESTALE
	}
	return fn(i.path.fd)
}

func (i *inode) give() { i.path.close() }

// Hold implements vfs.Holder.
func (i *inode) Hold() {
	i.mu.Lock()
	i.users++
	i.mu.Unlock()
}

// Unhold implements vfs.Holder.
func (i *inode) Unhold() {
	i.mu.Lock()
	i.users--
	i.letGo()
	i.mu.Unlock()
}

// letGo gives the descriptor of a file back that is of no use to anybody. i.mu is held.
func (i *inode) letGo() {
	if i.orphan && i.users <= 0 {
		i.give()
	}
}

// unnamed notes that a name of the file was removed.
func (i *inode) unnamed() {
	st, err := i.stat()
	if err == nil && st.Nlink > 0 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return
	}
	i.mu.Lock()
	i.orphan = true
	i.letGo()
	i.mu.Unlock()
}

func (i *inode) stat() (st unix.Stat_t, err error) {
	err = i.with(func(fd int) (err error) {
		st, err = hostcall.StatAt(fd, "")
		return err
	})
	return st, err
}

// Stat implements vfs.Inode.
func (i *inode) Stat() (vfs.Stat, error) {
	st, err := i.stat()
	return statOf(&st), err
}

func statOf(st *unix.Stat_t) vfs.Stat {
	return vfs.Stat{
		Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid,
		Rdev: st.Rdev, Size: st.Size, Blksize: uint32(st.Blksize), Blocks: st.Blocks,
		Atime: st.Atim, Mtime: st.Mtim, Ctime: st.Ctim,
	}
}

// Open implements vfs.Inode for what vfs opens itself or not at all.
func (i *inode) Open(uint32) (vfs.FileOps, error) { return nil, unix.ENXIO }

// SetStat implements vfs.StatSetter.
func (i *inode) SetStat(s vfs.SetStat) error {
	return i.with(func(fd int) error {
		if s.Mask&(vfs.SetUID|vfs.SetGID) != 0 {
			const same = ^uint32(0)
			uid, gid := uint32(same), uint32(same)
			if s.Mask&vfs.SetUID != 0 {
				uid = s.UID
			}
			if s.Mask&vfs.SetGID != 0 {
				gid = s.GID
			}
			if err := hostcall.Chown(fd, uid, gid); err != nil {
				return err
			}
		}
		if s.Mask&vfs.SetMode != 0 {
			if err := i.fs.self.Chmod(fd, s.Mode&0o7777); err != nil {
				return err
			}
		}
		if s.Mask&(vfs.SetAtime|vfs.SetMtime) != 0 {
			keep := unix.Timespec{Nsec: unix.UTIME_OMIT}
			accessed, modified := keep, keep
			if s.Mask&vfs.SetAtime != 0 {
				accessed = s.Atime
			}
			if s.Mask&vfs.SetMtime != 0 {
				modified = s.Mtime
			}
			return hostcall.SetTimes(fd, accessed, modified)
		}
		return nil
	})
}

// withOpen calls fn with a descriptor that extended attributes can be asked of. Other
// kinds of files have none.
func (i *inode) withOpen(fn func(fd int) error) error {
	if i.id.kind != unix.S_IFREG && i.id.kind != unix.S_IFDIR {
		return unix.EOPNOTSUPP
	}
	return i.with(func(path int) error {
		fd, err := i.fs.self.Reopen(path, unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer hostcall.CloseFD(fd)
		return fn(fd)
	})
}

// Getxattr implements vfs.Xattrer.
func (i *inode) Getxattr(name string) (b []byte, err error) {
	err = i.withOpen(func(fd int) (err error) {
		b, err = hostcall.Xattr(fd, name)
		return err
	})
	return b, err
}

// Setxattr implements vfs.Xattrer.
func (i *inode) Setxattr(name string, value []byte, flags uint32) error {
	return i.withOpen(func(fd int) error { return hostcall.SetXattr(fd, name, value, flags) })
}

// Listxattr implements vfs.Xattrer.
func (i *inode) Listxattr() (names []string, err error) {
	err = i.withOpen(func(fd int) (err error) {
		names, err = hostcall.Xattrs(fd)
		return err
	})
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	return names, err
}

// Removexattr implements vfs.Xattrer.
func (i *inode) Removexattr(name string) error {
	return i.withOpen(func(fd int) error { return hostcall.RemoveXattr(fd, name) })
}

// link is a symbolic link. Its text is walked inside the sandbox.
type link struct{ *inode }

// Readlink implements vfs.Symlinker.
func (l *link) Readlink() (target string, err error) {
	err = l.with(func(fd int) (err error) {
		target, err = hostcall.ReadlinkAt(fd, "")
		return err
	})
	return target, err
}
