package hostcall

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// OpenControlling opens the controlling terminal of this process for reading and
// writing: ENXIO if it has none.
func OpenControlling() (int, error) {
	return retryEINTR(func() (int, error) {
		return unix.Open("/dev/tty", unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
}

// tiocgdev is TIOCGDEV.
const tiocgdev = 0x80045432

// TerminalDevice returns the device number of a terminal, whatever name it was opened
// by. ENOTTY.
func TerminalDevice(fd int) (uint32, error) {
	var b [4]byte
	_, err := Ioctl(fd, tiocgdev, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// InBackground reports whether fd is the controlling terminal of this process, and
// another process group in its foreground.
func InBackground(fd int) bool {
	pgid, err := GetInt(fd, unix.TIOCGPGRP)
	return err == nil && pgid != unix.Getpgrp()
}

// Orphaned reports whether this process's group could not be continued by its parent
// if it stopped, because that is not in the same session, or in the same group
// (will_become_orphaned_pgrp, for this process alone).
func Orphaned() bool {
	parent := unix.Getppid()
	if parent == 0 {
		return true // it is in another pid namespace
	}
	session, err := unix.Getsid(parent)
	if err != nil {
		return true
	}
	own, err := unix.Getsid(0)
	if err != nil || own != session {
		return true
	}
	group, err := unix.Getpgid(parent)
	return err != nil || group == unix.Getpgrp()
}

// GetInt is an ioctl(2) that answers an int.
func GetInt(fd int, request uint32) (int, error) {
	var b [4]byte
	_, err := Ioctl(fd, request, b[:])
	return int(int32(binary.LittleEndian.Uint32(b[:]))), err
}
