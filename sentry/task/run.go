package task

import (
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
	"runsc-lite/procmgr"
)

// noCall in orig_rax says that a thread is not in a system call.
const noCall = ^uint64(0)

// run is a task's life, from its first instruction to its last.
func (t *Task) run(ctx platform.Context) {
	defer t.k.tasks.Done()
	t.ctx = ctx
	t.th.Start()
	t.th.SetRunner(ctx)
	t.follow()
	defer t.exit()
	defer t.contain()

	*ctx.Registers() = t.init.regs
	if t.init.fp != nil {
		if err := ctx.SetFPState(t.init.fp); err != nil {
			t.lost(err)
		}
	}
	if a := t.init.setTID; a != 0 {
		t.mem.Space.StoreUint32(a, uint32(t.TID())) // Linux ignores a fault here
	}
	t.init = startState{}
	t.publish()

	for {
		if t.th.Pending() && !t.work() {
			t.th.TraceExit()
			return
		}
		ex, err := t.runGuest()
		if err != nil {
			t.lost(err)
			continue
		}
		switch ex.Kind {
		case platform.ExitSyscall:
			if ex.Trapped {
				t.trapped()
			}
			t.syscall()
		case platform.ExitFault:
			ctx.Registers().Orig_rax = noCall
			t.pageFault(&ex)
		case platform.ExitSignal:
			ctx.Registers().Orig_rax = noCall
			t.exception(&ex)
		case platform.ExitInterrupted:
			ctx.Registers().Orig_rax = noCall
			if t.unpublished.Swap(false) {
				t.publish()
			}
		}
	}
}

// contain keeps a panic of a handler inside this one process: its guest is
// killed, and the sandbox goes on.
func (t *Task) contain() {
	if p := recover(); p != nil {
		t.k.Log.Error("a system call panicked; its process is killed",
			"panic", fmt.Sprint(p), "tid", t.th.ID(), "syscall", t.k.name(t.sysno), "stack", string(debug.Stack()))
		t.th.ExitGroup(procmgr.SignalStatus(unix.SIGKILL))
	}
}

// lost ends the process because its guest side is gone.
func (t *Task) lost(err error) {
	t.k.Log.Debug("guest thread lost", "tid", t.th.ID(), "err", err)
	t.th.ExitGroup(procmgr.SignalStatus(unix.SIGKILL))
}

// work does what must be done before guest code runs on: stops, signals,
// death. It reports false when the task has to exit.
func (t *Task) work() bool {
	for {
		w := t.th.NextWork()
		switch w.Kind {
		case procmgr.WorkNone:
			t.settleRestart(nil)
			if m, ok := t.th.TakeSavedMask(); ok {
				t.th.SetSignalMask(m)
			}
			return true
		case procmgr.WorkExit:
			return false
		case procmgr.WorkDeliver:
			t.deliver(&w)
		}
	}
}

// deliver makes the thread run a signal handler (handle_signal).
func (t *Task) deliver(w *procmgr.Work) {
	t.settleRestart(&w.Action)
	mask := t.th.SignalMask()
	if saved, ok := t.th.TakeSavedMask(); ok {
		mask = saved // sigsuspend and its kind: the handler returns to the mask of before
	}
	if err := t.pushFrame(&w.Info, &w.Action, uint64(mask)); err != nil {
		// Linux's signal_setup_done(failed): force_sigsegv.
		t.th.ForceSegv(w.Info.Signo)
		return
	}
	t.frames++
	blocked := t.th.SignalMask() | w.Action.Mask
	if w.Action.Flags&saNoDefer == 0 {
		blocked |= procmgr.SetOf(unix.Signal(w.Info.Signo))
	}
	t.th.SetSignalMask(blocked)
	t.steppedIntoHandler()
}

// syscall services the call that the registers describe.
func (t *Task) syscall() {
	regs := t.ctx.Registers()
	t.sysno = regs.Orig_rax
	t.group.calls.Add(1)
	args := &t.args
	*args = Args{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}
	if t.th.TraceMode() != 0 {
		t.tracedCall(regs)
		return
	}
	if s := t.seccomp.Load(); s != nil && !t.mayCall(s, regs) {
		return
	}
	t.serve(regs, args)
}

// serve runs the handler of a call and sets its result.
func (t *Task) serve(regs *platform.Registers, args *Args) {
	var ret uint64
	var err error
	if t.tracer == nil {
		ret, err = t.dispatch(args)
	} else {
		ret, err = t.tracedDispatch(args)
	}
	if t.noResult {
		t.noResult = false
		return
	}
	if err == nil {
		regs.Rax = ret
		return
	}
	switch e := err.(type) {
	case unix.Errno:
		regs.Rax = errnoValue(e)
	case Restart:
		// A signal is pending: settled with it.
		t.restart = e
		regs.Rax = errnoValue(unix.EINTR)
	default:
		var errno unix.Errno
		if !errors.As(err, &errno) {
			t.k.Log.Warn("system call failed without an errno", "syscall", t.k.name(t.sysno), "err", err)
			errno = unix.EIO
		}
		regs.Rax = errnoValue(errno)
	}
}

func (t *Task) dispatch(args *Args) (uint64, error) {
	k := t.k
	if t.sysno < uint64(len(k.Syscalls)) {
		if fn := k.Syscalls[t.sysno].Fn; fn != nil {
			return fn(t, args)
		}
	}
	if t.sysno < uint64(len(k.missed)) {
		k.missed[t.sysno].Add(1)
	}
	return 0, unix.ENOSYS
}

func (k *Kernel) name(nr uint64) string {
	if nr < uint64(len(k.Syscalls)) && k.Syscalls[nr].Name != "" {
		return k.Syscalls[nr].Name
	}
	return fmt.Sprintf("syscall_%#x", nr)
}

// NoResult tells the loop that the running handler set the registers itself
// (rt_sigreturn, execve).
func (t *Task) NoResult() { t.noResult = true }
