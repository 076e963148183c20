package hostcall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ioctl is ioctl(2) with a pointer to buf, which has the size that request is
// about.
func Ioctl(fd int, request uint32, buf []byte) (uintptr, error) {
	return IoctlInt(fd, request, uintptr(unsafe.Pointer(unsafe.SliceData(buf))))
}

// IoctlInt is ioctl(2) with a number.
//
//go:uintptrescapes
func IoctlInt(fd int, request uint32, arg uintptr) (uintptr, error) {
	for {
		r, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), arg)
		if e == 0 {
			return r, nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}
