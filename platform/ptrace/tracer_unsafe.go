package ptrace

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// ptrace requests and options that x/sys/unix does not have for this machine.
const (
	ptSysemu           = 31
	ptSysemuSinglestep = 32
	ntX86XState        = 0x202
	offsetRbp          = 4 * 8 // in struct user_regs_struct
	offsetRax          = 10 * 8

	seizeOptions = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACESECCOMP
)

// tracer makes the ptrace calls of one OS thread, and counts them: an
// operation's cost is the number of its host calls.
type tracer struct {
	key   *key
	calls uint64
}

// request makes a ptrace call without an address in it.
func (t *tracer) request(req, tid int, data uintptr) unix.Errno {
	t.calls++
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), 0, data, 0, 0)
	return e
}

func (t *tracer) getRegs(tid int, r *platform.Registers) unix.Errno {
	t.calls++
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GETREGS, uintptr(tid), 0, uintptr(unsafe.Pointer(r)), 0, 0)
	return e
}

func (t *tracer) setRegs(tid int, r *platform.Registers) unix.Errno {
	t.calls++
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SETREGS, uintptr(tid), 0, uintptr(unsafe.Pointer(r)), 0, 0)
	return e
}

// poke sets the register at off in struct user_regs_struct.
func (t *tracer) poke(tid int, off uintptr, v uint64) unix.Errno {
	t.calls++
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_POKEUSR, uintptr(tid), off, uintptr(v), 0, 0)
	return e
}

// peek reads the word at off in struct user.
func (t *tracer) peek(tid int, off uintptr) (v uint64, e unix.Errno) {
	t.calls++
	_, _, e = unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_PEEKUSR, uintptr(tid), off, uintptr(unsafe.Pointer(&v)), 0, 0)
	return v, e
}

// sigInfo is the head of siginfo_t for faults.
type sigInfo struct {
	signo, errno, code, _ int32
	addr                  uint64
	_                     [104]byte
}

func (t *tracer) getSigInfo(tid int, si *sigInfo) unix.Errno {
	t.calls++
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GETSIGINFO, uintptr(tid), 0, uintptr(unsafe.Pointer(si)), 0, 0)
	return e
}

// getXState reads floating-point state and returns its length in bytes.
func (t *tracer) getXState(tid int, buf []byte) (int, unix.Errno) {
	t.calls++
	iov := unix.Iovec{Base: &buf[0], Len: uint64(len(buf))}
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GETREGSET, uintptr(tid), ntX86XState, uintptr(unsafe.Pointer(&iov)), 0, 0)
	return int(iov.Len), e
}

func (t *tracer) setXState(tid int, buf []byte) unix.Errno {
	t.calls++
	iov := unix.Iovec{Base: &buf[0], Len: uint64(len(buf))}
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SETREGSET, uintptr(tid), ntX86XState, uintptr(unsafe.Pointer(&iov)), 0, 0)
	return e
}

// wait waits for a change of tid, a tracee of the calling thread. It can take
// any time, so the Go runtime is told that this is a system call: garbage
// collection and other goroutines go on.
func (t *tracer) wait(tid int) (unix.WaitStatus, unix.Errno) {
	var status uint32
	for {
		t.calls++
		_, _, e := syscall.Syscall6(unix.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&status)), unix.WALL, 0, 0, 0)
		if e != unix.EINTR {
			return unix.WaitStatus(status), e
		}
	}
}

// poll is wait that returns at once: 0 if nothing has changed.
func (t *tracer) poll(tid int) (unix.WaitStatus, unix.Errno) {
	var status uint32
	for {
		t.calls++
		r, _, e := unix.RawSyscall6(unix.SYS_WAIT4, uintptr(tid), uintptr(unsafe.Pointer(&status)), unix.WALL|unix.WNOHANG, 0, 0, 0)
		switch {
		case e == unix.EINTR:
		case e != 0 || int(r) == tid:
			return unix.WaitStatus(status), e
		default:
			return 0, 0
		}
	}
}

// waitSoon is wait for what will not take long: it polls for a while.
func (t *tracer) waitSoon(tid int) (unix.WaitStatus, unix.Errno) {
	if ws, e := t.pollSoon(tid); ws != 0 || e != 0 {
		return ws, e
	}
	return t.wait(tid)
}

// pollSoon polls for a while: 0 if nothing has changed.
func (t *tracer) pollSoon(tid int) (unix.WaitStatus, unix.Errno) {
	for range 64 {
		if ws, e := t.poll(tid); ws != 0 || e != 0 {
			return ws, e
		}
		pause(8)
	}
	return 0, 0
}

// pause executes n PAUSE instructions.
//
//go:noescape
func pause(n int)
