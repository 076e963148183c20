package hostcall

import (
	"encoding/binary"
	"fmt"
	"strings"

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

// Orphaned reports whether this process's group could not be continued if it stopped:
// nobody above, beginning with the parents that are in the group themselves, is in
// another group of the same session (will_become_orphaned_pgrp, as far as this process
// and those above it go).
func Orphaned() bool {
	own, err := unix.Getsid(0)
	if err != nil {
		return true
	}
	for parent := unix.Getppid(); parent > 0; parent = parentOf(parent) {
		session, err := unix.Getsid(parent)
		if err != nil || session != own {
			return true
		}
		group, err := unix.Getpgid(parent)
		if err != nil {
			return true
		}
		if group != unix.Getpgrp() {
			return false
		}
	}
	return true // it is in another pid namespace
}

// parentOf returns the parent of a process, 0 if that is not known.
func parentOf(pid int) int {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/stat", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var b [512]byte
	n, _ := unix.Read(fd, b[:])
	// The name in parentheses may have any characters, further ones included.
	stat := string(b[:max(n, 0)])
	var state string
	var parent int
	if _, err := fmt.Sscan(stat[strings.LastIndexByte(stat, ')')+1:], &state, &parent); err != nil {
		return 0
	}
	return parent
}

// GetInt is an ioctl(2) that answers an int.
func GetInt(fd int, request uint32) (int, error) {
	var b [4]byte
	_, err := Ioctl(fd, request, b[:])
	return int(int32(binary.LittleEndian.Uint32(b[:]))), err
}
