package hostcall

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// retryEINTR calls fn until it is not interrupted.
func retryEINTR[T any](fn func() (T, error)) (T, error) {
	for {
		v, err := fn()
		if err != unix.EINTR {
			return v, err
		}
	}
}

// OpenTree opens the host directory at path as the top of a tree (O_PATH).
func OpenTree(path string) (int, error) {
	return retryEINTR(func() (int, error) {
		return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
}

// OpenAt opens the single name in dir. O_NOFOLLOW and O_CLOEXEC are added, and
// O_NONBLOCK and O_NOCTTY, so that a name which turns out to be a FIFO or a
// terminal does no harm.
func OpenAt(dir int, name string, flags int) (int, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	}
	return retryEINTR(func() (int, error) { return unix.Openat(dir, name, flags, 0) })
}

// StatAt returns the attributes of the single name in dir, of a symbolic link
// itself. An empty name means dir.
func StatAt(dir int, name string) (st unix.Stat_t, err error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	err = unix.Fstatat(dir, name, &st, flags)
	return st, err
}

// ReadlinkAt returns the text of the symbolic link called name in dir.
func ReadlinkAt(dir int, name string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(dir, name, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// MknodAt makes a device, a FIFO or a socket called name in the directory dir.
// mode is type and permissions.
func MknodAt(dir int, name string, mode uint32, dev uint64) error {
	return unix.Mknodat(dir, name, mode, int(dev))
}

// Statfs describes the file system that fd is in.
func Statfs(fd int) (st unix.Statfs_t, err error) {
	_, err = retryEINTR(func() (int, error) { return 0, unix.Fstatfs(fd, &st) })
	return st, err
}

// ReadFull fills dst from byte off of the file on, as far as the file goes.
func ReadFull(fd int, dst []byte, off int64) (int, error) {
	done := 0
	for done < len(dst) {
		n, err := retryEINTR(func() (int, error) { return unix.Pread(fd, dst[done:], off+int64(done)) })
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// ReadVec is preadv(2), for at most as many buffers as the host takes at once.
func ReadVec(fd int, dst [][]byte, off int64) (int, error) {
	const iovMax = 1024
	if len(dst) > iovMax {
		dst = dst[:iovMax]
	}
	return retryEINTR(func() (int, error) { return unix.Preadv(fd, dst, off) })
}

// DirEntry is an entry of a host directory.
type DirEntry struct {
	Name string
	Ino  uint64
	Type uint8 // DT_*
}

// ReadDir returns all entries of an open directory but "." and "..".
func ReadDir(fd int) ([]DirEntry, error) {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, err
	}
	var out []DirEntry
	buf := make([]byte, 32<<10)
	for {
		n, err := retryEINTR(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return out, nil
		}
		out = parseDirents(buf[:n], out)
	}
}

// parseDirents reads struct linux_dirent64 records.
func parseDirents(b []byte, out []DirEntry) []DirEntry {
	const header = 19 // d_ino, d_off, d_reclen, d_type
	for len(b) > header {
		size := int(binary.LittleEndian.Uint16(b[16:]))
		if size <= header || size > len(b) {
			return out
		}
		name := b[header:size]
		for i, c := range name {
			if c == 0 {
				name = name[:i]
				break
			}
		}
		if s := string(name); s != "." && s != ".." && s != "" {
			out = append(out, DirEntry{Name: s, Ino: binary.LittleEndian.Uint64(b), Type: b[18]})
		}
		b = b[size:]
	}
	return out
}

// CloseFD closes a descriptor of this package. On Linux it is closed whatever
// close(2) answers.
func CloseFD(fd int) { _ = unix.Close(fd) }

// DupFD makes another descriptor of the open file.
func DupFD(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }
