package hostcall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mincore tells which pages of mem, which is page-aligned, are in memory
// (mincore(2)): bit 0 of a byte of vec for each.
func Mincore(mem, vec []byte) error {
	if len(mem) == 0 {
		return nil
	}
	_, _, e := unix.RawSyscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&vec[0])))
	if e != 0 {
		return e
	}
	return nil
}
