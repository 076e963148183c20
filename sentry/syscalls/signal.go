package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

const (
	sigsetSize    = 8
	sigactionSize = 32 // struct kernel_sigaction: handler, flags, restorer, mask
	siginfoSize   = 128
)

// copyInSigset reads a sigset_t; size is what the caller says it is.
func copyInSigset(t *task.Task, addr hostarch.Addr, size uint64) (procmgr.SigSet, error) {
	if size != sigsetSize {
		return 0, unix.EINVAL
	}
	var b [sigsetSize]byte
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return 0, err
	}
	return procmgr.SigSet(binary.LittleEndian.Uint64(b[:])), nil
}

func copyOutUint64(t *task.Task, addr hostarch.Addr, v uint64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}

// sysRtSigaction is rt_sigaction(2).
func sysRtSigaction(t *task.Task, a *task.Args) (uint64, error) {
	sig, newAddr, oldAddr, size := a.Int(0), a.Addr(1), a.Addr(2), a[3]
	if size != sigsetSize {
		return 0, unix.EINVAL
	}
	var next *procmgr.SigAction
	var b [sigactionSize]byte
	le := binary.LittleEndian
	if newAddr != 0 {
		if _, err := t.Memory().Space.CopyIn(newAddr, b[:]); err != nil {
			return 0, err
		}
		next = &procmgr.SigAction{
			Handler:  le.Uint64(b[0:]),
			Flags:    le.Uint64(b[8:]),
			Restorer: le.Uint64(b[16:]),
			Mask:     procmgr.SigSet(le.Uint64(b[24:])),
		}
	}
	old, err := t.Process().SetAction(unix.Signal(sig), next)
	if err != nil {
		return 0, err
	}
	if oldAddr != 0 {
		le.PutUint64(b[0:], old.Handler)
		le.PutUint64(b[8:], old.Flags)
		le.PutUint64(b[16:], old.Restorer)
		le.PutUint64(b[24:], uint64(old.Mask))
		if _, err := t.Memory().Space.CopyOut(oldAddr, b[:]); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// sysRtSigprocmask is rt_sigprocmask(2).
func sysRtSigprocmask(t *task.Task, a *task.Args) (uint64, error) {
	how, setAddr, oldAddr, size := a.Int(0), a.Addr(1), a.Addr(2), a[3]
	if size != sigsetSize {
		return 0, unix.EINVAL
	}
	old := t.Thread().SignalMask()
	if setAddr != 0 {
		set, err := copyInSigset(t, setAddr, size)
		if err != nil {
			return 0, err
		}
		switch how {
		case unix.SIG_BLOCK:
			set |= old
		case unix.SIG_UNBLOCK:
			set = old &^ set
		case unix.SIG_SETMASK:
		default:
			return 0, unix.EINVAL
		}
		t.Thread().SetSignalMask(set)
	}
	if oldAddr != 0 {
		return 0, copyOutUint64(t, oldAddr, uint64(old))
	}
	return 0, nil
}

// sysRtSigreturn is rt_sigreturn(2). A frame that cannot be read is a SIGSEGV.
func sysRtSigreturn(t *task.Task, a *task.Args) (uint64, error) {
	t.NoResult()
	if err := t.SigReturn(); err != nil {
		t.Thread().ForceSignal(procmgr.SigInfo{Signo: int32(unix.SIGSEGV), Code: procmgr.SIKernel})
	}
	return 0, nil
}

func sysRtSigpending(t *task.Task, a *task.Args) (uint64, error) {
	if a[1] > sigsetSize {
		return 0, unix.EINVAL
	}
	var b [sigsetSize]byte
	binary.LittleEndian.PutUint64(b[:], uint64(t.Thread().PendingSet()&t.Thread().SignalMask()))
	_, err := t.Memory().Space.CopyOut(a.Addr(0), b[:a[1]])
	return 0, err
}

// sysRtSigsuspend is rt_sigsuspend(2): always EINTR, after a handler ran.
func sysRtSigsuspend(t *task.Task, a *task.Args) (uint64, error) {
	set, err := copyInSigset(t, a.Addr(0), a[1])
	if err != nil {
		return 0, err
	}
	t.Thread().SaveMask(set)
	return pause(t)
}

func sysPause(t *task.Task, a *task.Args) (uint64, error) { return pause(t) }

func pause(t *task.Task) (uint64, error) {
	err := t.Block(nil, never)
	return 0, task.Interrupted(err, task.RestartNoHand)
}

// sysRtSigtimedwait is rt_sigtimedwait(2).
func sysRtSigtimedwait(t *task.Task, a *task.Args) (uint64, error) {
	set, err := copyInSigset(t, a.Addr(0), a[3])
	if err != nil {
		return 0, err
	}
	deadline, err := copyInTimeout(t, a.Addr(2))
	if err != nil {
		return 0, err
	}
	info, err := t.Thread().Sigtimedwait(set, deadline)
	if err != nil {
		return 0, task.Interrupted(err, eintr)
	}
	if a[1] != 0 {
		var b [siginfoSize]byte
		info.Encode(b[:])
		if _, err := t.Memory().Space.CopyOut(a.Addr(1), b[:]); err != nil {
			return 0, err
		}
	}
	return uint64(info.Signo), nil
}

func sysKill(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Kernel().Procs.Kill(t.Thread(), int(a.Int(0)), unix.Signal(a.Int(1)))
}

func sysTkill(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int(0) <= 0 {
		return 0, unix.EINVAL
	}
	return 0, t.Kernel().Procs.Tgkill(t.Thread(), -1, int(a.Int(0)), unix.Signal(a.Int(1)))
}

func sysTgkill(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int(0) <= 0 || a.Int(1) <= 0 {
		return 0, unix.EINVAL
	}
	return 0, t.Kernel().Procs.Tgkill(t.Thread(), int(a.Int(0)), int(a.Int(1)), unix.Signal(a.Int(2)))
}

// copyInSiginfo reads the siginfo_t of a sigqueueinfo call. Only a process
// itself may send codes that the kernel uses. strict: it has to name the signal.
func copyInSiginfo(t *task.Task, addr hostarch.Addr, sig int32, self, strict bool) (procmgr.SigInfo, error) {
	var b [siginfoSize]byte
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return procmgr.SigInfo{}, err
	}
	info := procmgr.DecodeSigInfo(b[:])
	if strict && info.Signo != sig {
		return info, unix.EINVAL
	}
	info.Signo = sig
	if (info.Code >= 0 || info.Code == procmgr.SITkill) && !self {
		return info, unix.EPERM
	}
	return info, nil
}

func sysRtSigqueueinfo(t *task.Task, a *task.Args) (uint64, error) {
	pid, sig := a.Int(0), a.Int(1)
	info, err := copyInSiginfo(t, a.Addr(2), sig, int(pid) == t.PID(), false)
	if err != nil {
		return 0, err
	}
	return 0, t.Kernel().Procs.Sigqueue(t.Thread(), int(pid), 0, info)
}

func sysRtTgsigqueueinfo(t *task.Task, a *task.Args) (uint64, error) {
	tgid, tid, sig := a.Int(0), a.Int(1), a.Int(2)
	if tgid <= 0 || tid <= 0 {
		return 0, unix.EINVAL
	}
	info, err := copyInSiginfo(t, a.Addr(3), sig, int(tgid) == t.PID(), false)
	if err != nil {
		return 0, err
	}
	return 0, t.Kernel().Procs.Sigqueue(t.Thread(), int(tgid), int(tid), info)
}

// sysSigaltstack is sigaltstack(2).
func sysSigaltstack(t *task.Task, a *task.Args) (uint64, error) {
	sp := hostarch.Addr(t.Context().Registers().Rsp)
	var old, b [24]byte
	t.EncodeSigStack(old[:], sp)
	if a[0] != 0 {
		if _, err := t.Memory().Space.CopyIn(a.Addr(0), b[:]); err != nil {
			return 0, err
		}
		le := binary.LittleEndian
		err := t.SetSigStack(task.SigStack{
			Addr:  hostarch.Addr(le.Uint64(b[0:])),
			Flags: le.Uint32(b[8:]),
			Size:  le.Uint64(b[16:]),
		}, sp)
		if err != nil {
			return 0, err
		}
	}
	if a[1] != 0 {
		if _, err := t.Memory().Space.CopyOut(a.Addr(1), old[:]); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
