package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// sysFork is fork(2).
func sysFork(t *task.Task, a *task.Args) (uint64, error) {
	return t.Clone(task.CloneArgs{ExitSignal: unix.SIGCHLD})
}

// sysVfork is vfork(2).
func sysVfork(t *task.Task, a *task.Args) (uint64, error) {
	return t.Clone(task.CloneArgs{Flags: unix.CLONE_VFORK | unix.CLONE_VM, ExitSignal: unix.SIGCHLD})
}

// sysClone is clone(2): flags, stack, parent_tid, child_tid, tls. The lowest
// byte of flags is the exit signal. CLONE_PIDFD stores into parent_tid.
func sysClone(t *task.Task, a *task.Args) (uint64, error) {
	flags := a[0] & 0xffffffff
	const pidfdClash = unix.CLONE_PIDFD | unix.CLONE_PARENT_SETTID
	if flags&pidfdClash == pidfdClash || flags&unix.CLONE_PIDFD != 0 && flags&unix.CLONE_DETACHED != 0 {
		return 0, unix.EINVAL
	}
	return t.Clone(task.CloneArgs{
		Flags:      flags &^ unix.CSIGNAL,
		ExitSignal: unix.Signal(flags & unix.CSIGNAL),
		Stack:      a.Addr(1),
		ParentTID:  a.Addr(2),
		PIDFD:      a.Addr(2),
		ChildTID:   a.Addr(3),
		TLS:        a[4],
		NewPIDFD:   func(p *procmgr.Process) (int32, error) { return installPIDFD(t, p, 0) },
	})
}

// Sizes of struct clone_args over time (CLONE_ARGS_SIZE_VER0…2).
const (
	cloneArgsVer0 = 64
	cloneArgsVer2 = 88
	// Linux's MAX_PID_NS_LEVEL.
	maxSetTID = 32
)

// sysClone3 is clone3(2). Unknown trailing bytes must be zero (E2BIG).
func sysClone3(t *task.Task, a *task.Args) (uint64, error) {
	size := a[1]
	if size > hostarch.PageSize {
		return 0, unix.E2BIG
	}
	if size < cloneArgsVer0 {
		return 0, unix.EINVAL
	}
	buf := make([]byte, max(size, cloneArgsVer2))
	if _, err := t.Memory().Space.CopyIn(a.Addr(0), buf[:size]); err != nil {
		return 0, err
	}
	for _, b := range buf[cloneArgsVer2:] {
		if b != 0 {
			return 0, unix.E2BIG
		}
	}
	f := func(i int) uint64 { return binary.LittleEndian.Uint64(buf[8*i:]) }
	flags, stack, stackSize := f(0), f(5), f(6)
	setTID, setTIDSize, cgroup := hostarch.Addr(f(8)), f(9), f(10)
	if flags&(unix.CLONE_DETACHED|unix.CSIGNAL&^cloneNewTime) != 0 || f(4) > procmgr.NumSignals {
		return 0, unix.EINVAL
	}
	if flags&^knownCloneFlags != 0 {
		return 0, unix.EINVAL
	}
	if (stack == 0) != (stackSize == 0) {
		return 0, unix.EINVAL
	}
	if flags&(unix.CLONE_THREAD|unix.CLONE_PARENT) != 0 && f(4) != 0 {
		return 0, unix.EINVAL // these have no exit signal of their own
	}
	if (setTID == 0) != (setTIDSize == 0) || setTIDSize > maxSetTID {
		return 0, unix.EINVAL
	}
	if flags&unix.CLONE_INTO_CGROUP == 0 && cgroup != 0 && size > cloneArgsVer2-8 {
		return 0, unix.EINVAL
	}
	args := task.CloneArgs{
		Flags:      flags,
		PIDFD:      hostarch.Addr(f(1)),
		ChildTID:   hostarch.Addr(f(2)),
		ParentTID:  hostarch.Addr(f(3)),
		ExitSignal: unix.Signal(f(4)),
		TLS:        f(7),
		NewPIDFD:   func(p *procmgr.Process) (int32, error) { return installPIDFD(t, p, 0) },
	}
	if stack != 0 {
		args.Stack = hostarch.Addr(stack + stackSize)
	}
	if setTIDSize != 0 {
		ids := make([]byte, 4*setTIDSize)
		if _, err := t.Memory().Space.CopyIn(setTID, ids); err != nil {
			return 0, err
		}
		for ; len(ids) > 0; ids = ids[4:] {
			args.SetTID = append(args.SetTID, int(int32(binary.LittleEndian.Uint32(ids))))
		}
	}
	return t.Clone(args)
}

const (
	cloneNewTime    = 0x80 // shares a bit with CSIGNAL, hence clone3 only
	knownCloneFlags = 0xffffffff&^unix.CSIGNAL | cloneNewTime | unix.CLONE_CLEAR_SIGHAND | unix.CLONE_INTO_CGROUP
)

func sysExecve(t *task.Task, a *task.Args) (uint64, error) {
	return execveat(t, unix.AT_FDCWD, a.Addr(0), a.Addr(1), a.Addr(2), 0)
}

func sysExecveat(t *task.Task, a *task.Args) (uint64, error) {
	flags := a.Int(4)
	if flags&^(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW) != 0 {
		return 0, unix.EINVAL
	}
	return execveat(t, a.Int(0), a.Addr(1), a.Addr(2), a.Addr(3), flags)
}

// Limits of execve(2)'s strings (fs/exec.c).
const (
	maxArgStrlen  = 32 * hostarch.PageSize
	maxArgStrings = 0x7fffffff
)

func execveat(t *task.Task, dirfd int32, pathAddr, argvAddr, envAddr hostarch.Addr, flags int32) (uint64, error) {
	path, err := copyInPath(t, pathAddr, flags&unix.AT_EMPTY_PATH != 0)
	if err != nil {
		return 0, err
	}
	err = t.Exec(task.ExecArgs{DirFD: dirfd, Path: path, Flags: flags, Strings: func() (argv, env []string, err error) {
		// What Linux allows for both together: a quarter of the stack, 6 MiB at
		// most, 128 KiB at least.
		budget := int(min(max(t.Process().Limits().Get(unix.RLIMIT_STACK).Cur/4, 128<<10), 6<<20))
		if argv, err = copyInStrings(t, argvAddr, &budget); err == nil {
			env, err = copyInStrings(t, envAddr, &budget)
		}
		return argv, env, err
	}})
	if err != nil {
		return 0, err
	}
	t.NoResult()
	return 0, nil
}

// copyInStrings reads a null-terminated array of strings, as argv; a null
// array is empty. budget is what strings and pointers may still take, bytes.
func copyInStrings(t *task.Task, addr hostarch.Addr, budget *int) ([]string, error) {
	if addr == 0 {
		return nil, nil
	}
	var out []string
	mem := t.Memory().Space
	for {
		var word [8]byte
		if _, err := mem.CopyIn(addr, word[:]); err != nil {
			return nil, err
		}
		p := hostarch.Addr(binary.LittleEndian.Uint64(word[:]))
		if p == 0 {
			return out, nil
		}
		s, err := mem.CopyInString(p, maxArgStrlen)
		if err == unix.ENAMETOOLONG {
			return nil, unix.E2BIG
		}
		if err != nil {
			return nil, err
		}
		if *budget -= len(s) + 1 + len(word); *budget < 0 {
			return nil, unix.E2BIG
		}
		out = append(out, s)
		addr += hostarch.Addr(len(word))
	}
}

// sysExit is _exit(2) of one thread.
func sysExit(t *task.Task, a *task.Args) (uint64, error) {
	t.Thread().Exit(procmgr.ExitStatus(int(a.Int(0) & 0xff)))
	t.NoResult()
	return 0, nil
}

// sysExitGroup is exit_group(2).
func sysExitGroup(t *task.Task, a *task.Args) (uint64, error) {
	t.Thread().ExitGroup(procmgr.ExitStatus(int(a.Int(0) & 0xff)))
	t.NoResult()
	return 0, nil
}

// sysWait4 is wait4(2).
func sysWait4(t *task.Task, a *task.Args) (uint64, error) {
	pid, statusAddr, options, usage := a.Int(0), a.Addr(1), a.Int(2), a.Addr(3)
	if uint32(options)&^(unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED|unix.WNOTHREAD|unix.WCLONE|unix.WALL) != 0 {
		return 0, unix.EINVAL
	}
	o := procmgr.WaitOptions{Options: int(options) | unix.WEXITED}
	switch {
	case pid == -1<<31:
		return 0, unix.ESRCH
	case pid < -1:
		o.Kind, o.ID = procmgr.WaitPGID, int(-pid)
	case pid == -1:
		o.Kind = procmgr.WaitAny
	case pid == 0:
		o.Kind = procmgr.WaitPGID
	default:
		o.Kind, o.ID = procmgr.WaitPID, int(pid)
	}
	r, err := t.Thread().Wait(o)
	if err != nil {
		return 0, task.Interrupted(err, task.RestartSys)
	}
	if r.PID == 0 {
		return 0, nil // WNOHANG, nothing yet
	}
	if statusAddr != 0 {
		if err := t.Memory().Space.StoreUint32(statusAddr, r.WaitStatus); err != nil {
			return 0, err
		}
	}
	if usage != 0 {
		if err := copyOutRusage(t, usage, &r.Rusage); err != nil {
			return 0, err
		}
	}
	return uint64(r.PID), nil
}

// sysWaitid is waitid(2). The raw call has a fifth argument, struct rusage.
func sysWaitid(t *task.Task, a *task.Args) (uint64, error) {
	kind, id, infoAddr, options, usage := a.Int(0), a.Int(1), a.Addr(2), a.Int(3), a.Addr(4)
	const states = unix.WEXITED | unix.WSTOPPED | unix.WCONTINUED
	if uint32(options)&^(unix.WNOHANG|unix.WNOWAIT|states|unix.WNOTHREAD|unix.WCLONE|unix.WALL) != 0 || options&states == 0 {
		return 0, unix.EINVAL
	}
	o := procmgr.WaitOptions{Options: int(options)}
	nonblock := false
	switch kind {
	case unix.P_ALL:
		o.Kind = procmgr.WaitAny
	case unix.P_PID:
		if id <= 0 {
			return 0, unix.EINVAL
		}
		o.Kind, o.ID = procmgr.WaitPID, int(id)
	case unix.P_PGID:
		if id < 0 {
			return 0, unix.EINVAL
		}
		o.Kind, o.ID = procmgr.WaitPGID, int(id)
	case unix.P_PIDFD:
		if id < 0 {
			return 0, unix.EINVAL
		}
		var err error
		if o.Process, nonblock, err = pidfdProcess(t, id); err != nil {
			return 0, err
		}
		o.Kind = procmgr.WaitProcess
		nonblock = nonblock && options&unix.WNOHANG == 0
		if nonblock {
			o.Options |= unix.WNOHANG
		}
	default:
		return 0, unix.EINVAL
	}
	r, err := t.Thread().Wait(o)
	if err == nil && r.PID == 0 && nonblock {
		err = unix.EAGAIN
	}
	if r.PID != 0 && usage != 0 {
		if err := copyOutRusage(t, usage, &r.Rusage); err != nil {
			return 0, err
		}
	}
	if infoAddr != 0 {
		// Only the fields that Linux stores: signo, errno, code, pid, uid, status;
		// zeros when there was nothing, or an error.
		var buf [32]byte
		if r.PID != 0 {
			le := binary.LittleEndian
			le.PutUint32(buf[0:], uint32(unix.SIGCHLD))
			le.PutUint32(buf[8:], uint32(r.Code))
			le.PutUint32(buf[16:], uint32(r.PID))
			le.PutUint32(buf[20:], r.UID)
			le.PutUint32(buf[24:], uint32(r.Status))
		}
		if _, err := t.Memory().Space.CopyOut(infoAddr, buf[:28]); err != nil {
			return 0, err
		}
	}
	return 0, task.Interrupted(err, task.RestartSys)
}

func sysGetpid(t *task.Task, a *task.Args) (uint64, error) { return uint64(t.PID()), nil }
func sysGettid(t *task.Task, a *task.Args) (uint64, error) { return uint64(t.TID()), nil }
func sysGetppid(t *task.Task, a *task.Args) (uint64, error) {
	return uint64(t.Kernel().Procs.Getppid(t.Thread())), nil
}

func sysSetTidAddress(t *task.Task, a *task.Args) (uint64, error) {
	t.SetClearTID(a.Addr(0))
	return uint64(t.TID()), nil
}

func sysGetpgrp(t *task.Task, a *task.Args) (uint64, error) {
	return uint64(t.Process().GroupIDIn(t.Thread().Namespace())), nil
}

func sysGetpgid(t *task.Task, a *task.Args) (uint64, error) {
	id, err := t.Kernel().Procs.Getpgid(t.Process(), int(a.Int(0)))
	return uint64(id), err
}

func sysSetpgid(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Kernel().Procs.Setpgid(t.Process(), int(a.Int(0)), int(a.Int(1)))
}

func sysGetsid(t *task.Task, a *task.Args) (uint64, error) {
	id, err := t.Kernel().Procs.Getsid(t.Process(), int(a.Int(0)))
	return uint64(id), err
}

func sysSetsid(t *task.Task, a *task.Args) (uint64, error) {
	id, err := t.Kernel().Procs.Setsid(t.Process())
	return uint64(id), err
}
