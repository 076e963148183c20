package ptrace

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// errGone: what an operation needs was killed, or the platform was closed.
var errGone = errors.New("the guest's host process is gone")

func lostError(e unix.Errno) error {
	if e == unix.ESRCH || e == unix.ECHILD {
		return errGone
	}
	return fmt.Errorf("controlling the guest's host process: %w", e)
}

// traceError explains why tracing may be refused.
func traceError(err error) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("tracing a process of our own: %w", err)
	}
	return fmt.Errorf("tracing a process of our own: %w: the host forbids ptrace, or running a memfd. "+
		"In a container, allow the ptrace system call in its seccomp profile or add CAP_SYS_PTRACE; "+
		"on the host, set kernel.yama.ptrace_scope to 0 or 1, and vm.memfd_noexec to 0 or 1", err)
}

// failure decodes the result of a system call.
func failure(ret uint64) unix.Errno {
	if ret > ^uint64(4095) {
		return unix.Errno(-ret)
	}
	return 0
}

const eventSeccomp = unix.WaitStatus(unix.PTRACE_EVENT_SECCOMP<<16 | int(unix.SIGTRAP)<<8 | 0x7f)

// runStub lets a stopped tracee run stub code from r on until the code says
// that it is done, or has failed: then ok is false and r is what it ended with.
// Signals that come in between are dropped. One of them may be the kick of
// Interrupt, which has left its mark already; the others are none of ours.
func (t *tracer) runStub(tid int, r *platform.Registers) (ok bool, err error) {
	r.Cs, r.Ss, r.Eflags, r.Orig_rax = userCS, userSS, 0x202, ^uint64(0)
	if r.Rip == entryBatch {
		t.key.forBatch(r)
	} else {
		t.key.forCall(r)
	}
	if e := t.setRegs(tid, r); e != 0 {
		return false, lostError(e)
	}
	for {
		if e := t.request(unix.PTRACE_CONT, tid, 0); e != 0 {
			return false, lostError(e)
		}
		ws, e := t.wait(tid)
		if e != 0 {
			return false, lostError(e)
		}
		if ws == eventSeccomp {
			return true, nil
		}
		if !ws.Stopped() {
			return false, errGone
		}
		switch sig := unix.Signal(ws >> 8 & 0xff); sig {
		case unix.SIGILL, unix.SIGSEGV, unix.SIGBUS, unix.SIGSYS, unix.SIGTRAP, unix.SIGFPE:
			var si sigInfo
			if ws>>16 != 0 || t.getSigInfo(tid, &si) != 0 || si.code <= 0 ||
				sig == unix.SIGTRAP && si.code == trapBrkpt { // the end of a guest's step
				continue
			}
			if e := t.getRegs(tid, r); e != 0 {
				return false, lostError(e)
			}
			if sig != unix.SIGILL || r.Rip < stubBase || r.Rip >= stubData {
				return false, fmt.Errorf("a stub process got %v (code %d, address %#x) at %#x, in its own code", sig, si.code, si.addr, r.Rip)
			}
			return false, nil
		}
	}
}

// call makes a stopped tracee execute one system call, and returns its result.
func (t *tracer) call(tid int, entry, nr uint64, args ...uint64) (uint64, error) {
	var a [6]uint64
	copy(a[:], args)
	r := platform.Registers{Rip: entry, Rax: nr, Rdi: a[0], Rsi: a[1], Rdx: a[2], R10: a[3], R8: a[4], R9: a[5]}
	return t.callRegs(tid, &r)
}

// callRegs is call with registers that the caller has set.
func (t *tracer) callRegs(tid int, r *platform.Registers) (uint64, error) {
	ok, err := t.runStub(tid, r)
	if err != nil {
		return 0, err
	}
	if ok {
		if e := t.getRegs(tid, r); e != 0 {
			return 0, lostError(e)
		}
	}
	if e := failure(r.R14); e != 0 {
		return 0, e
	}
	return r.R14, nil
}
