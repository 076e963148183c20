package hostfd

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/vfs"
)

// inode answers for the file where an open file is not asked.
type inode struct{ h *host }

// Stat implements vfs.Inode. Type, permissions, size and times are the host's.
// The file system that it is in is not told.
func (i inode) Stat() (vfs.Stat, error) {
	st, err := hostcall.Fstat(i.h.fd)
	if err != nil {
		return vfs.Stat{}, err
	}
	return vfs.Stat{
		Dev: unix.Mkdev(0, 15), Ino: st.Ino, Mode: st.Mode, Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid,
		Rdev: st.Rdev, Size: st.Size, Blksize: uint32(st.Blksize), Blocks: st.Blocks,
		Atime: st.Atim, Mtime: st.Mtim, Ctime: st.Ctim,
	}, nil
}

// Open implements vfs.Inode, for /dev/stdin and its like. The new file shares the
// host's position.
func (i inode) Open(flags uint32) (vfs.FileOps, error) {
	if i.h.kind == unix.S_IFSOCK {
		return nil, unix.ENXIO
	}
	return i.h.open(flags)
}

// SetStat implements vfs.StatSetter: the length of a regular file can be set,
// nothing else.
func (i inode) SetStat(s vfs.SetStat) error {
	if s.Mask != vfs.SetSize {
		return unix.EPERM
	}
	return hostcall.Ftruncate(i.h.fd, s.Size)
}

// name is how the file shows in /proc/PID/fd.
func name(h *host, st *unix.Stat_t) string {
	major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev)
	ino := "[" + strconv.FormatUint(st.Ino, 10) + "]"
	switch h.kind {
	case unix.S_IFIFO:
		return "pipe:" + ino
	case unix.S_IFSOCK:
		return "socket:" + ino
	case unix.S_IFCHR:
		switch {
		case major >= 136 && major <= 143:
			return "/dev/pts/" + strconv.FormatUint(uint64((major-136)<<8|minor), 10)
		case major == 1 && minor == 3:
			return "/dev/null"
		case major == 1 && minor == 5:
			return "/dev/zero"
		}
	}
	return "host:" + ino
}

// The sizes of struct termios, termios2 and winsize, as the kernel has them.
const (
	termiosSize  = 36
	termios2Size = 44
	winsizeSize  = 8
)

// Requests that golang.org/x/sys does not name.
const (
	tcgets2  = 0x802c542a
	tcsets2  = 0x402c542b
	tcsetsw2 = 0x402c542c
	tcsetsf2 = 0x402c542d
)

// Ioctl implements vfs.Ioctler: what is harmless to the host. Among what is not:
// TIOCSTI, which types into the user's shell, and all that is about process groups
// and sessions, which are the sandbox's own (package tty).
func (s *stream) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	in, out := 0, 0
	switch request {
	case unix.TIOCINQ:
		out = 4
	case unix.TIOCOUTQ, unix.TIOCGETD, unix.TIOCGSOFTCAR:
		out = 4
	case unix.TCGETS:
		out = termiosSize
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF:
		in = termiosSize
	case tcgets2:
		out = termios2Size
	case tcsets2, tcsetsw2, tcsetsf2:
		in = termios2Size
	case unix.TIOCGWINSZ:
		out = winsizeSize
	case unix.TIOCSWINSZ:
		in = winsizeSize
	case unix.TCFLSH, unix.TCXONC, unix.TCSBRK, unix.TCSBRKP:
		if !s.terminal {
			return 0, unix.ENOTTY
		}
		_, err := hostcall.IoctlInt(s.fd, request, uintptr(arg))
		return 0, err
	default:
		return 0, unix.ENOTTY
	}
	if request != unix.TIOCINQ && !s.terminal {
		return 0, unix.ENOTTY
	}
	var b [termios2Size]byte
	if in > 0 {
		if _, err := mem.CopyIn(hostarch.Addr(arg), b[:in]); err != nil {
			return 0, err
		}
	}
	if _, err := hostcall.Ioctl(s.fd, request, b[:max(in, out)]); err != nil {
		return 0, err
	}
	if out > 0 {
		if _, err := mem.CopyOut(hostarch.Addr(arg), b[:out]); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// WindowSize returns the size of an inherited terminal: rows and columns.
func WindowSize(f *vfs.File) (rows, columns uint16, err error) {
	s, ok := f.Ops().(*stream)
	if !ok || !s.terminal {
		return 0, 0, unix.ENOTTY
	}
	var b [winsizeSize]byte
	if _, err := hostcall.Ioctl(s.fd, unix.TIOCGWINSZ, b[:]); err != nil {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint16(b[:]), binary.LittleEndian.Uint16(b[2:]), nil
}
