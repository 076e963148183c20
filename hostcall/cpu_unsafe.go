package hostcall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// CPU returns the processor that the calling thread is on (getcpu(2)).
func CPU() int {
	var cpu uint32
	unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	return int(cpu)
}
