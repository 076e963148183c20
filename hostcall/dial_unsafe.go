package hostcall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// disconnect is connect(2) to nothing: x/sys/unix has no such address.
func disconnect(fd int) error {
	sa := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if _, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa)); e != 0 {
		return e
	}
	return nil
}
