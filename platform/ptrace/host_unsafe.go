package ptrace

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// ptrace requests that x/sys/unix has no wrapper for.
const (
	ptSysemu           = 31
	ptSysemuSinglestep = 32
	ntX86XState        = 0x202
	offsetRax          = 10 * 8 // in struct user_regs_struct
)

// request makes a ptrace call that does not wait.
func request(req, tid int, addr, data uintptr) unix.Errno {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, data, 0, 0)
	return e
}

func getRegs(tid int, r *platform.Registers) unix.Errno {
	return request(unix.PTRACE_GETREGS, tid, 0, uintptr(unsafe.Pointer(r)))
}

func setRegs(tid int, r *platform.Registers) unix.Errno {
	return request(unix.PTRACE_SETREGS, tid, 0, uintptr(unsafe.Pointer(r)))
}

func pokeRax(tid int, v uint64) unix.Errno {
	return request(unix.PTRACE_POKEUSR, tid, offsetRax, uintptr(v))
}

// sigInfo is the head of siginfo_t for faults.
type sigInfo struct {
	signo, errno, code, _ int32
	addr                  uint64
	_                     [104]byte
}

func getSigInfo(tid int, si *sigInfo) unix.Errno {
	return request(unix.PTRACE_GETSIGINFO, tid, 0, uintptr(unsafe.Pointer(si)))
}

func getXState(tid int, buf []byte) (int, unix.Errno) {
	iov := unix.Iovec{Base: &buf[0], Len: uint64(len(buf))}
	e := request(unix.PTRACE_GETREGSET, tid, ntX86XState, uintptr(unsafe.Pointer(&iov)))
	return int(iov.Len), e
}

func setXState(tid int, buf []byte) unix.Errno {
	iov := unix.Iovec{Base: &buf[0], Len: uint64(len(buf))}
	return request(unix.PTRACE_SETREGSET, tid, ntX86XState, uintptr(unsafe.Pointer(&iov)))
}

// wait waits for a change of tid, a tracee of the calling thread. It lets the
// Go scheduler run other goroutines meanwhile.
func wait(tid int) (unix.WaitStatus, unix.Errno) {
	var status uint32
	for {
		_, _, e := syscall.RawSyscall6(unix.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&status)), unix.WALL, 0, 0, 0)
		if e != unix.EINTR {
			return unix.WaitStatus(status), e
		}
	}
}

// waitQuick is wait for what is known to come at once.
func waitQuick(tid int) (unix.WaitStatus, unix.Errno) {
	var status uint32
	for {
		_, _, e := unix.RawSyscall6(unix.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&status)), unix.WALL, 0, 0, 0)
		if e != unix.EINTR {
			return unix.WaitStatus(status), e
		}
	}
}

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
