package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// Requests and flags that package unix lacks.
const (
	ptracePeekSigInfoShared = 1
	ptraceGetFPRegs         = 14
	ptraceSetFPRegs         = 15
)

// sysPtrace is ptrace(2). Requests about threads that are not in a stop, or not the
// caller's to trace, answer ESRCH; those that are not here EIO.
func sysPtrace(t *task.Task, a *task.Args) (uint64, error) {
	tid := int(a.Int(1))
	procs := t.Kernel().Procs
	switch a[0] {
	case unix.PTRACE_TRACEME:
		if err := t.Thread().TraceMe(); err != nil {
			return 0, err
		}
		t.ShowCalls()
		return 0, nil
	case unix.PTRACE_ATTACH, unix.PTRACE_SEIZE:
		return 0, ptraceAttach(t, tid, a)
	case unix.PTRACE_INTERRUPT:
		return 0, procs.InterruptTracee(t.Thread(), tid)
	case unix.PTRACE_KILL:
		return 0, procs.KillTracee(t.Thread(), tid)
	}
	x, err := procs.Freeze(t.Thread(), tid)
	if err != nil {
		return 0, err
	}
	defer x.Thaw()
	o := task.Of(x.Thread())
	if o == nil {
		return 0, unix.ESRCH
	}
	return ptraceRequest(t, &tracee{x, o}, a)
}

func ptraceAttach(t *task.Task, tid int, a *task.Args) error {
	seize := a[0] == unix.PTRACE_SEIZE
	options := uint64(0)
	if seize {
		if options = a[3]; a[2] != 0 {
			return unix.EIO
		}
	}
	o, err := t.Kernel().Procs.Attach(t.Thread(), tid, seize, options)
	if err == nil {
		task.Of(o).ShowCalls()
	}
	return err
}

// tracee is a thread that a tracer looks at.
type tracee struct {
	*procmgr.Tracee
	task *task.Task
}

// ptraceRequest is a request about a thread that is stopped (ptrace_request,
// arch_ptrace).
func ptraceRequest(t *task.Task, x *tracee, a *task.Args) (uint64, error) {
	addr, data := a.Addr(2), a.Addr(3)
	switch a[0] {
	case unix.PTRACE_CONT:
		return 0, x.resume(a[3], 0)
	case unix.PTRACE_SYSCALL:
		return 0, x.resume(a[3], procmgr.TracedCalls)
	case unix.PTRACE_SINGLESTEP:
		return 0, x.resume(a[3], procmgr.TracedStep)
	case unix.PTRACE_SYSEMU:
		return 0, x.resume(a[3], procmgr.TracedEmulated)
	case unix.PTRACE_SYSEMU_SINGLESTEP:
		return 0, x.resume(a[3], procmgr.TracedEmulated|procmgr.TracedStep)
	case unix.PTRACE_LISTEN:
		return 0, x.Listen()
	case unix.PTRACE_DETACH:
		if a[3] > procmgr.NumSignals {
			return 0, unix.EIO
		}
		x.Detach(unix.Signal(a[3]))
		return 0, nil
	case unix.PTRACE_PEEKTEXT, unix.PTRACE_PEEKDATA:
		var b [8]byte
		if n, _ := x.task.Memory().Space.Peek(addr, b[:]); n != len(b) {
			return 0, unix.EIO
		}
		_, err := t.Memory().Space.CopyOut(data, b[:])
		return 0, err
	case unix.PTRACE_POKETEXT, unix.PTRACE_POKEDATA:
		b := binary.LittleEndian.AppendUint64(nil, a[3])
		if n, _ := x.task.Memory().Space.Poke(addr, b); n != len(b) {
			return 0, unix.EIO
		}
		return 0, nil
	case unix.PTRACE_PEEKUSR:
		return ptracePeekUser(t, x, a[2], data)
	case unix.PTRACE_POKEUSR:
		return 0, ptracePokeUser(x, a[2], a[3])
	case unix.PTRACE_GETREGS:
		_, err := t.Memory().Space.CopyOut(data, encodeRegs(x.task))
		return 0, err
	case unix.PTRACE_SETREGS:
		return 0, ptraceSetRegs(t, x, data, regsSize)
	case ptraceGetFPRegs:
		b, err := x.fpState(false)
		if err == nil {
			_, err = t.Memory().Space.CopyOut(data, b)
		}
		return 0, err
	case ptraceSetFPRegs:
		return 0, ptraceSetFP(t, x, data, fxsaveSize, false)
	case unix.PTRACE_GETREGSET, unix.PTRACE_SETREGSET:
		return 0, ptraceRegset(t, x, a[0] == unix.PTRACE_SETREGSET, a[2], data)
	case unix.PTRACE_SETOPTIONS, unix.PTRACE_OLDSETOPTIONS:
		return 0, x.SetOptions(a[3])
	case unix.PTRACE_GETEVENTMSG:
		return 0, copyOutUint64(t, data, x.Message())
	case unix.PTRACE_GETSIGINFO:
		info, err := x.SigInfo()
		if err != nil {
			return 0, err
		}
		var b [siginfoSize]byte
		info.Encode(b[:])
		_, err = t.Memory().Space.CopyOut(data, b[:])
		return 0, err
	case unix.PTRACE_SETSIGINFO:
		var b [siginfoSize]byte
		if _, err := t.Memory().Space.CopyIn(data, b[:]); err != nil {
			return 0, err
		}
		return 0, x.SetSigInfo(procmgr.DecodeSigInfo(b[:]))
	case unix.PTRACE_GETSIGMASK:
		if a[2] != sigsetSize {
			return 0, unix.EINVAL
		}
		return 0, copyOutUint64(t, data, uint64(x.SignalMask()))
	case unix.PTRACE_SETSIGMASK:
		if a[2] != sigsetSize {
			return 0, unix.EINVAL
		}
		var b [sigsetSize]byte
		if _, err := t.Memory().Space.CopyIn(data, b[:]); err != nil {
			return 0, err
		}
		x.SetSignalMask(procmgr.SigSet(binary.LittleEndian.Uint64(b[:])))
		return 0, nil
	case unix.PTRACE_PEEKSIGINFO:
		return ptracePeekSigInfo(t, x, addr, data)
	case unix.PTRACE_SECCOMP_GET_FILTER, unix.PTRACE_SECCOMP_GET_METADATA:
		return ptraceFilter(t, x, a)
	case unix.PTRACE_GET_SYSCALL_INFO:
		return ptraceSyscallInfo(t, x, a[2], data)
	}
	return 0, unix.EIO
}

// resume lets the thread go on: EIO if there is no such signal.
func (x *tracee) resume(sig uint64, mode uint32) error {
	if sig > procmgr.NumSignals {
		return unix.EIO
	}
	x.Resume(unix.Signal(sig), mode)
	return nil
}

// ptracePeekSigInfo is ptrace_peek_siginfo.
func ptracePeekSigInfo(t *task.Task, x *tracee, addr, data hostarch.Addr) (uint64, error) {
	var b [16]byte // struct ptrace_peeksiginfo_args
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	from, flags, n := le.Uint64(b[:]), le.Uint32(b[8:]), int32(le.Uint32(b[12:]))
	if flags&^ptracePeekSigInfoShared != 0 || n < 0 {
		return 0, unix.EINVAL
	}
	list := x.Queued(flags != 0, from, int(n))
	for i := range list {
		var b [siginfoSize]byte
		list[i].Encode(b[:])
		if _, err := t.Memory().Space.CopyOut(data+hostarch.Addr(i*siginfoSize), b[:]); err != nil {
			if i == 0 {
				return 0, err
			}
			return uint64(i), nil
		}
	}
	return uint64(len(list)), nil
}

// Sizes of struct ptrace_syscall_info by what it tells of.
const (
	infoNone    = 24
	infoEntry   = 80
	infoExit    = 33
	infoSeccomp = 84
)

// ptraceSyscallInfo is ptrace_get_syscall_info. It returns how much there is, of which
// size bytes at most are copied.
func ptraceSyscallInfo(t *task.Task, x *tracee, size uint64, data hostarch.Addr) (uint64, error) {
	var b [88]byte
	le := binary.LittleEndian
	regs := x.task.Regs()
	le.PutUint32(b[4:], task.Arch)
	le.PutUint64(b[8:], regs.Rip)
	le.PutUint64(b[16:], regs.Rsp)
	n := infoNone
	call := func() {
		nr, args := x.task.CallOf()
		le.PutUint64(b[24:], nr)
		for i, v := range args {
			le.PutUint64(b[32+8*i:], v)
		}
	}
	switch x.Call() {
	case 'e':
		b[0], n = 1, infoEntry
		call()
	case 'x':
		b[0], n = 2, infoExit
		le.PutUint64(b[24:], regs.Rax)
		if regs.Rax > maxErrno {
			b[32] = 1
		}
	case 's':
		b[0], n = 3, infoSeccomp
		call()
		le.PutUint32(b[80:], uint32(x.Message()))
	}
	_, err := t.Memory().Space.CopyOut(data, b[:min(uint64(n), size)])
	return uint64(n), err
}

// maxErrno is below what results are errors (MAX_ERRNO).
const maxErrno = ^uint64(4095)
