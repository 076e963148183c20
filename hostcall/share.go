package hostcall

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// What follows changes files of the host, each by the descriptor of its directory and a
// single name, or by a descriptor of its own (O_PATH).

// Self is this process's own descriptors as files (/proc/self/fd), by which what is
// behind an O_PATH descriptor is reached for calls that do not take such. They lead
// nowhere else: the kernel follows no link there.
type Self int

// OpenSelf opens it.
func OpenSelf() (Self, error) {
	fd, err := OpenTree("/proc/self/fd")
	return Self(fd), err
}

// Close closes it.
func (s Self) Close() { CloseFD(int(s)) }

// Reopen opens what is behind a descriptor anew, with other rights.
func (s Self) Reopen(fd, flags int) (int, error) {
	return retryEINTR(func() (int, error) {
		return unix.Openat(int(s), strconv.Itoa(fd), flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	})
}

// Link gives what is behind a descriptor one more name.
func (s Self) Link(fd, dir int, name string) error {
	return unix.Linkat(int(s), strconv.Itoa(fd), dir, name, unix.AT_SYMLINK_FOLLOW)
}

// Chmod changes the permissions of what is behind a descriptor: EOPNOTSUPP for a
// symbolic link.
func (s Self) Chmod(fd int, mode uint32) error {
	return unix.Fchmodat(int(s), strconv.Itoa(fd), mode, 0)
}

// MakeAt makes a directory, or any other kind of file but a link.
func MakeAt(dir int, name string, mode uint32, rdev uint64) error {
	if mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.Mkdirat(dir, name, mode&^unix.S_IFMT)
	}
	return unix.Mknodat(dir, name, mode, int(rdev))
}

// SymlinkAt makes a symbolic link.
func SymlinkAt(target string, dir int, name string) error { return unix.Symlinkat(target, dir, name) }

// UnlinkAt removes a name; isDir says of what.
func UnlinkAt(dir int, name string, isDir bool) error {
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
	}
	return unix.Unlinkat(dir, name, flags)
}

// RenameAt is renameat2(2).
func RenameAt(oldDir int, oldName string, newDir int, newName string, flags uint32) error {
	return unix.Renameat2(oldDir, oldName, newDir, newName, uint(flags))
}

// Chown changes the owner of what is behind a descriptor; an id of -1 stays.
func Chown(fd int, uid, gid uint32) error {
	return unix.Fchownat(fd, "", int(int32(uid)), int(int32(gid)), unix.AT_EMPTY_PATH)
}

// SetTimes sets its times.
func SetTimes(fd int, accessed, modified unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", []unix.Timespec{accessed, modified}, unix.AT_EMPTY_PATH)
}

// Fallocate is fallocate(2).
func Fallocate(fd int, mode uint32, off, length int64) error {
	_, err := retryEINTR(func() (int, error) { return 0, unix.Fallocate(fd, mode, off, length) })
	return err
}

// WriteFull stores all of src from byte off of the file on.
func WriteFull(fd int, src []byte, off int64) error {
	for len(src) > 0 {
		n, err := retryEINTR(func() (int, error) { return unix.Pwrite(fd, src, off) })
		if err != nil {
			return err
		}
		src, off = src[n:], off+int64(n)
	}
	return nil
}

// maxXattr is the largest value of an extended attribute, and list of names, in bytes
// (XATTR_SIZE_MAX).
const maxXattr = 64 << 10

// Xattr returns an extended attribute of an open file.
func Xattr(fd int, name string) ([]byte, error) {
	b := make([]byte, maxXattr)
	n, err := unix.Fgetxattr(fd, name, b)
	if err != nil {
		return nil, err
	}
	return b[:n:n], nil
}

// SetXattr sets one.
func SetXattr(fd int, name string, value []byte, flags uint32) error {
	return unix.Fsetxattr(fd, name, value, int(flags))
}

// RemoveXattr removes one.
func RemoveXattr(fd int, name string) error { return unix.Fremovexattr(fd, name) }

// Xattrs lists the names.
func Xattrs(fd int) (names []string, err error) {
	b := make([]byte, maxXattr)
	n, err := unix.Flistxattr(fd, b)
	if err != nil {
		return nil, err
	}
	for start, i := 0, 0; i < n; i++ {
		if b[i] == 0 {
			names = append(names, string(b[start:i]))
			start = i + 1
		}
	}
	return names, nil
}

// TmpfileAt makes a file without a name in a directory (O_TMPFILE).
func TmpfileAt(dir, flags int, mode uint32) (int, error) {
	return retryEINTR(func() (int, error) { return unix.Openat(dir, ".", flags|unix.O_CLOEXEC, mode) })
}
