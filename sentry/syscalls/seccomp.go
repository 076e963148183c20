package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/seccomp"
	"runsc-lite/sentry/task"
)

// Operations and flags of seccomp(2).
const (
	seccompSetModeStrict  = 0
	seccompSetModeFilter  = 1
	seccompGetActionAvail = 2
	seccompGetNotifSizes  = 3

	seccompTsync      = 1 << 0
	seccompLog        = 1 << 1
	seccompSpecAllow  = 1 << 2
	seccompListener   = 1 << 3
	seccompTsyncEsrch = 1 << 4
	seccompKillable   = 1 << 5
)

// sysSeccomp is seccomp(2).
func sysSeccomp(t *task.Task, a *task.Args) (uint64, error) {
	flags := a.Uint(1)
	switch a.Uint(0) {
	case seccompSetModeStrict:
		if flags != 0 || a[2] != 0 {
			return 0, unix.EINVAL
		}
		return 0, t.SetSeccompStrict()
	case seccompSetModeFilter:
		return seccompFilter(t, flags, a.Addr(2))
	case seccompGetNotifSizes:
		return seccompSizes(t, a)
	case seccompGetActionAvail:
		if flags != 0 {
			return 0, unix.EINVAL
		}
		action, err := t.Memory().Space.LoadUint32(a.Addr(2))
		if err != nil {
			return 0, unix.EFAULT
		}
		if !seccomp.Available(action) {
			return 0, unix.EOPNOTSUPP
		}
		return 0, nil
	}
	return 0, unix.EINVAL
}

// prctlSeccomp is PR_SET_SECCOMP.
func prctlSeccomp(t *task.Task, mode uint64, prog hostarch.Addr) (uint64, error) {
	switch mode {
	case seccomp.ModeStrict:
		return 0, t.SetSeccompStrict()
	case seccomp.ModeFilter:
		return seccompFilter(t, 0, prog)
	}
	return 0, unix.EINVAL
}

// seccompFilter is seccomp_set_mode_filter. What a filter logs goes nowhere, and
// there is no speculation to be allowed.
func seccompFilter(t *task.Task, flags uint32, addr hostarch.Addr) (uint64, error) {
	const known = seccompTsync | seccompLog | seccompSpecAllow | seccompListener | seccompTsyncEsrch | seccompKillable
	// A result that is a descriptor leaves no room for a thread's id.
	const ambiguous = seccompTsync | seccompListener
	if flags&^known != 0 || flags&(ambiguous|seccompTsyncEsrch) == ambiguous ||
		flags&(seccompKillable|seccompListener) == seccompKillable {
		return 0, unix.EINVAL
	}
	var fprog [16]byte // struct sock_fprog
	if _, err := t.Memory().Space.CopyIn(addr, fprog[:]); err != nil {
		return 0, unix.EFAULT
	}
	n := binary.LittleEndian.Uint16(fprog[:])
	if n == 0 || n > seccomp.MaxInstructions {
		return 0, unix.EINVAL
	}
	if c := t.Thread().Credentials(); !c.NoNewPrivs && !c.HasCap(unix.CAP_SYS_ADMIN) {
		return 0, unix.EACCES
	}
	b := make([]byte, int(n)*seccomp.InstructionSize)
	if _, err := t.Memory().Space.CopyIn(hostarch.Addr(binary.LittleEndian.Uint64(fprog[8:])), b); err != nil {
		return 0, unix.EFAULT
	}
	f, err := seccomp.Compile(b)
	if err != nil {
		return 0, err
	}
	if flags&seccompLog != 0 {
		f.Log()
	}
	if flags&seccompListener != 0 {
		return listen(t, f, flags)
	}
	differs, err := t.AddSeccompFilter(f, flags&seccompTsync != 0)
	if err == nil && differs != 0 && flags&seccompTsyncEsrch != 0 {
		return 0, unix.ESRCH
	}
	return uint64(differs), err
}

// listen puts on a filter that asks user space (SECCOMP_FILTER_FLAG_NEW_LISTENER): it
// returns the descriptor to answer by.
func listen(t *task.Task, f *seccomp.Filter, flags uint32) (uint64, error) {
	l := &seccomp.Listener{WaitKillable: flags&seccompKillable != 0}
	fd, err := installListener(t, l)
	if err != nil {
		return 0, err
	}
	f.Listen(l)
	differs, err := t.AddSeccompFilter(f, flags&seccompTsync != 0)
	if err == nil && differs != 0 {
		err = unix.ESRCH
	}
	if err != nil {
		t.FDs().Close(int(fd))
		return 0, err
	}
	return uint64(fd), nil
}
