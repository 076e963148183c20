package ptrace

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

func tgkill(tgid, tid int, sig unix.Signal) {
	unix.RawSyscall(unix.SYS_TGKILL, uintptr(tgid), uintptr(tid), uintptr(sig))
}

func setAffinity(tid int, set *unix.CPUSet) {
	unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(tid), unsafe.Sizeof(*set), uintptr(unsafe.Pointer(set)))
}

// stubAddress returns where the machine code of stub_amd64.s lies in the
// sentry. It is copied from there, never called.
func stubAddress() unsafe.Pointer

// stubText returns a copy of the stub's machine code.
func stubText() []byte {
	text := make([]byte, stubCodeLen)
	copy(text, unsafe.Slice((*byte)(stubAddress()), stubCodeLen))
	return text
}

// mapCommands maps the command file, which holds one page a stub process.
func mapCommands(fd, pages int) ([]byte, error) {
	b, err := unix.Mmap(fd, 0, pages*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("mapping the command file: %w", err)
	}
	return b, nil
}

func unmap(b []byte) { unix.Munmap(b) }

// words views a command page as 64-bit words.
func words(b []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), len(b)/8)
}

// sigaction is Linux's struct kernel_sigaction.
type sigaction struct {
	handler, flags, restorer, mask uint64
}

// muteStops keeps the host from sending us SIGCHLD at every stop of a tracee.
// The Go runtime has a handler for it, which would run each time, for nothing:
// tracers wait with wait4. SIGCHLD of children that end is as before.
func muteStops() {
	const saNoCldStop = 1
	var act sigaction
	size := uintptr(8)
	if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&act)), size, 0, 0); e != 0 {
		return
	}
	act.flags |= saNoCldStop
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&act)), 0, size, 0, 0)
}
