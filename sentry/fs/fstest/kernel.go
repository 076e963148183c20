package fstest

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs"
)

// Kernel is a handful of path calls: those of the sentry, or the host's.
// Results are text, so that they are easily compared and shown.
type Kernel interface {
	Open(slot int, path string, flags, mode uint32) string
	Close(slot int) string
	Read(slot int, n int, off int64) string
	Write(slot int, data []byte, off int64) string
	Seek(slot int, off int64, whence int32) string
	Ftruncate(slot int, size int64) string
	Fallocate(slot int, mode uint32, off, length int64) string
	Fstat(slot int) string
	Stat(path string, flags uint32) string
	Access(path string, mode uint32) string
	Mkdir(path string, mode uint32) string
	Mknod(path string, mode uint32) string
	Rmdir(path string) string
	Unlink(path string) string
	Rename(from, to string, flags uint32) string
	Link(from, to string, flags uint32) string
	Symlink(target, path string) string
	Readlink(path string) string
	Chmod(path string, mode uint32) string
	Chown(path string, uid, gid uint32) string
	Truncate(path string, size int64) string
	ReadDir(path string) string
	Chdir(path string) string
	// As makes the calls that follow those of user and group id.
	As(id int)
}

// Slots is how many descriptors a Kernel has.
const Slots = 4

func result(err error, format string, args ...any) string {
	if err != nil {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf(format, args...)
}

// dirSizes are not compared, nor how many names a directory has.
func statText(mode, nlink, uid, gid uint32, size int64) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return fmt.Sprintf("%o %d:%d", mode, uid, gid)
	case unix.S_IFREG, unix.S_IFLNK:
		return fmt.Sprintf("%o n%d %d:%d %d", mode, nlink, uid, gid, size)
	}
	return fmt.Sprintf("%o n%d %d:%d", mode, nlink, uid, gid)
}

// Sentry is the sentry as a Kernel.
type Sentry struct {
	Caller *vfs.Caller
	files  [Slots]*vfs.File
}

// fsCaps are the capabilities that setfsuid(2) takes away (CAP_FS_MASK).
const fsCaps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_MKNOD | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_LINUX_IMMUTABLE | 1<<unix.CAP_MAC_OVERRIDE

// NewSentry makes a Kernel whose root is fs.
func NewSentry(tb testing.TB, fs vfs.FileSystem, c vfs.Config) *Sentry {
	ns, err := vfs.NewNamespace(c, fs, vfs.MountOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	ctx := vfs.NewFSContext(ns)
	ctx.SetUmask(0o022)
	return &Sentry{Caller: &vfs.Caller{FSContext: ctx, Creds: vfs.RootCreds()}}
}

// Done closes what is open.
func (s *Sentry) Done() {
	for i := range s.files {
		s.Close(i)
	}
	s.Caller.Release()
}

func (s *Sentry) As(id int) {
	c := vfs.RootCreds()
	c.UID, c.GID = uint32(id), uint32(id)
	if id != 0 {
		c.Caps &^= fsCaps
	}
	s.Caller.Creds = c
}

func (s *Sentry) Open(slot int, path string, flags, mode uint32) string {
	s.Close(slot)
	f, err := s.Caller.Open(nil, path, vfs.OpenHow{Flags: flags, Mode: mode})
	if err == nil {
		s.files[slot] = f
	}
	return result(err, "ok")
}

func (s *Sentry) Close(slot int) string {
	if f := s.files[slot]; f != nil {
		s.files[slot] = nil
		f.DecRef()
		return "ok"
	}
	return unix.EBADF.Error()
}

// split cuts a buffer in uneven parts, as guest memory comes.
func split(b []byte) [][]byte {
	if len(b) < 3 {
		return [][]byte{b}
	}
	return [][]byte{b[:1], b[1 : len(b)/2], b[len(b)/2:]}
}

func (s *Sentry) Read(slot, n int, off int64) string {
	f := s.files[slot]
	if f == nil {
		return unix.EBADF.Error()
	}
	b := make([]byte, n)
	var got int64
	var err error
	if off < 0 {
		got, err = f.Read(split(b))
	} else {
		got, err = f.PRead(split(b), off)
	}
	return result(err, "%d %q", got, summary(b[:got]))
}

func summary(b []byte) string {
	b = bytes.ReplaceAll(b, make([]byte, 512), []byte("0"))
	return string(b)
}

func (s *Sentry) Write(slot int, data []byte, off int64) string {
	f := s.files[slot]
	if f == nil {
		return unix.EBADF.Error()
	}
	var n int64
	var err error
	if off < 0 {
		n, err = f.Write(s.Caller.Creds, split(data), -1)
	} else {
		n, err = f.PWrite(s.Caller.Creds, split(data), off, -1)
	}
	return result(err, "%d", n)
}

func (s *Sentry) Seek(slot int, off int64, whence int32) string {
	f := s.files[slot]
	if f == nil {
		return unix.EBADF.Error()
	}
	if f.IsDir() {
		return "directory"
	}
	pos, err := f.Lseek(off, whence)
	return result(err, "%d", pos)
}

func (s *Sentry) Ftruncate(slot int, size int64) string {
	f := s.files[slot]
	if f == nil {
		return unix.EBADF.Error()
	}
	return result(s.Caller.Ftruncate(f, size), "ok")
}

func (s *Sentry) Fallocate(slot int, mode uint32, off, length int64) string {
	f := s.files[slot]
	if f == nil {
		return unix.EBADF.Error()
	}
	return result(f.Fallocate(s.Caller.Creds, mode, off, length), "ok")
}

func (s *Sentry) Fstat(slot int) string {
	f := s.files[slot]
	if f == nil {
		return unix.EBADF.Error()
	}
	st, err := f.Stat()
	return result(err, "%s", statText(st.Mode, st.Nlink, st.UID, st.GID, st.Size))
}

func (s *Sentry) Stat(path string, flags uint32) string {
	st, err := s.Caller.Stat(nil, path, flags)
	return result(err, "%s", statText(st.Mode, st.Nlink, st.UID, st.GID, st.Size))
}

func (s *Sentry) Access(path string, mode uint32) string {
	return result(s.Caller.Access(nil, path, mode, unix.AT_EACCESS), "ok")
}

func (s *Sentry) Mkdir(path string, mode uint32) string {
	return result(s.Caller.Mkdir(nil, path, mode), "ok")
}

func (s *Sentry) Mknod(path string, mode uint32) string {
	return result(s.Caller.Mknod(nil, path, mode, 0), "ok")
}

func (s *Sentry) Rmdir(path string) string  { return result(s.Caller.Rmdir(nil, path), "ok") }
func (s *Sentry) Unlink(path string) string { return result(s.Caller.Unlink(nil, path), "ok") }

func (s *Sentry) Rename(from, to string, flags uint32) string {
	return result(s.Caller.Rename(nil, from, nil, to, flags), "ok")
}

func (s *Sentry) Link(from, to string, flags uint32) string {
	return result(s.Caller.Link(nil, from, nil, to, flags), "ok")
}

func (s *Sentry) Symlink(target, path string) string {
	return result(s.Caller.Symlink(target, nil, path), "ok")
}

func (s *Sentry) Readlink(path string) string {
	t, err := s.Caller.Readlink(nil, path)
	return result(err, "%q", t)
}

func (s *Sentry) Chmod(path string, mode uint32) string {
	return result(s.Caller.Chmod(nil, path, mode, 0), "ok")
}

func (s *Sentry) Chown(path string, uid, gid uint32) string {
	return result(s.Caller.Chown(nil, path, uid, gid, unix.AT_SYMLINK_NOFOLLOW), "ok")
}

func (s *Sentry) Truncate(path string, size int64) string {
	return result(s.Caller.Truncate(path, size), "ok")
}

func (s *Sentry) Chdir(path string) string { return result(s.Caller.Chdir(nil, path, 0), "ok") }

func (s *Sentry) ReadDir(path string) string {
	f, err := s.Caller.Open(nil, path, vfs.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY})
	if err != nil {
		return err.Error()
	}
	defer f.DecRef()
	var names []string
	for room := 3; ; { // in small portions
		n := 0
		err := f.ReadDir(s.Caller, func(e vfs.Entry) bool {
			if n == room {
				return false
			}
			n++
			names = append(names, fmt.Sprintf("%s/%d", e.Name, e.Type))
			return true
		})
		if err != nil {
			return err.Error()
		}
		if n == 0 {
			break
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// Host is the host as a Kernel: the calls of one thread in a chroot.
type Host struct {
	fds [Slots]int
}

// NewHost makes the calling goroutine's thread one whose root is dir, for good:
// the thread ends with the goroutine. It is skipped where that is not allowed.
func NewHost(tb testing.TB, dir string) *Host {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		tb.Skipf("unshare: %v", err)
	}
	if err := unix.Chroot(dir); err != nil {
		tb.Skipf("chroot: %v", err)
	}
	if err := unix.Chdir("/"); err != nil {
		tb.Fatal(err)
	}
	unix.Umask(0o022)
	h := &Host{}
	for i := range h.fds {
		h.fds[i] = -1
	}
	return h
}

// Done closes what is open.
func (h *Host) Done() {
	for i := range h.fds {
		h.Close(i)
	}
}

func (h *Host) As(id int) {
	_, _ = unix.SetfsgidRetGid(id)
	_, _ = unix.SetfsuidRetUid(id)
}

func (h *Host) Open(slot int, path string, flags, mode uint32) string {
	h.Close(slot)
	fd, err := unix.Open(path, int(flags)|unix.O_CLOEXEC, mode)
	if err == nil {
		h.fds[slot] = fd
	}
	return result(err, "ok")
}

func (h *Host) Close(slot int) string {
	if fd := h.fds[slot]; fd >= 0 {
		h.fds[slot] = -1
		unix.Close(fd)
		return "ok"
	}
	return unix.EBADF.Error()
}

func (h *Host) Read(slot, n int, off int64) string {
	if h.fds[slot] < 0 {
		return unix.EBADF.Error() // whatever else is wrong
	}
	b := make([]byte, n)
	var got int
	var err error
	if off < 0 {
		got, err = unix.Readv(h.fds[slot], split(b))
	} else {
		got, err = unix.Preadv(h.fds[slot], split(b), off)
	}
	return result(err, "%d %q", got, summary(b[:max(got, 0)]))
}

func (h *Host) Write(slot int, data []byte, off int64) string {
	if h.fds[slot] < 0 {
		return unix.EBADF.Error() // whatever else is wrong
	}
	var n int
	var err error
	if off < 0 {
		n, err = unix.Writev(h.fds[slot], split(data))
	} else {
		n, err = unix.Pwritev(h.fds[slot], split(data), off)
	}
	return result(err, "%d", n)
}

func (h *Host) Seek(slot int, off int64, whence int32) string {
	if h.fds[slot] < 0 {
		return unix.EBADF.Error() // whatever else is wrong
	}
	var st unix.Stat_t
	if unix.Fstat(h.fds[slot], &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return "directory"
	}
	pos, err := unix.Seek(h.fds[slot], off, int(whence))
	return result(err, "%d", pos)
}

func (h *Host) Ftruncate(slot int, size int64) string {
	if h.fds[slot] < 0 {
		return unix.EBADF.Error() // whatever else is wrong
	}
	return result(unix.Ftruncate(h.fds[slot], size), "ok")
}

func (h *Host) Fallocate(slot int, mode uint32, off, length int64) string {
	if h.fds[slot] < 0 {
		return unix.EBADF.Error() // whatever else is wrong
	}
	return result(unix.Fallocate(h.fds[slot], mode, off, length), "ok")
}

func (h *Host) Fstat(slot int) string {
	if h.fds[slot] < 0 {
		return unix.EBADF.Error() // whatever else is wrong
	}
	var st unix.Stat_t
	err := unix.Fstat(h.fds[slot], &st)
	return result(err, "%s", statText(st.Mode, uint32(st.Nlink), st.Uid, st.Gid, st.Size))
}

func (h *Host) Stat(path string, flags uint32) string {
	var st unix.Stat_t
	err := unix.Fstatat(unix.AT_FDCWD, path, &st, int(flags))
	return result(err, "%s", statText(st.Mode, uint32(st.Nlink), st.Uid, st.Gid, st.Size))
}

func (h *Host) Access(path string, mode uint32) string {
	return result(unix.Faccessat2(unix.AT_FDCWD, path, mode, unix.AT_EACCESS), "ok")
}

func (h *Host) Mkdir(path string, mode uint32) string { return result(unix.Mkdir(path, mode), "ok") }
func (h *Host) Mknod(path string, mode uint32) string { return result(unix.Mknod(path, mode, 0), "ok") }
func (h *Host) Rmdir(path string) string              { return result(unix.Rmdir(path), "ok") }
func (h *Host) Unlink(path string) string             { return result(unix.Unlink(path), "ok") }

func (h *Host) Rename(from, to string, flags uint32) string {
	return result(unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, uint(flags)), "ok")
}

func (h *Host) Link(from, to string, flags uint32) string {
	return result(unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, int(flags)), "ok")
}

func (h *Host) Symlink(target, path string) string { return result(unix.Symlink(target, path), "ok") }

func (h *Host) Readlink(path string) string {
	b := make([]byte, 4096)
	n, err := unix.Readlink(path, b)
	return result(err, "%q", b[:max(n, 0)])
}

func (h *Host) Chmod(path string, mode uint32) string { return result(unix.Chmod(path, mode), "ok") }

func (h *Host) Chown(path string, uid, gid uint32) string {
	return result(unix.Lchown(path, int(int32(uid)), int(int32(gid))), "ok")
}

func (h *Host) Truncate(path string, size int64) string {
	return result(unix.Truncate(path, size), "ok")
}
func (h *Host) Chdir(path string) string { return result(unix.Chdir(path), "ok") }

func (h *Host) ReadDir(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 4096)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return err.Error()
		}
		if n == 0 {
			break
		}
		for b := buf[:n]; len(b) > 19; {
			size := int(b[16]) | int(b[17])<<8
			name, _, _ := bytes.Cut(b[19:size], []byte{0})
			names = append(names, fmt.Sprintf("%s/%d", name, b[18]))
			b = b[size:]
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
