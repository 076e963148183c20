package task

import (
	"errors"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// Restart is how an interrupted call goes on once signals are dealt with
// (Linux's ERESTART* codes, signal(7) "Interruption of system calls").
type Restart uint8

const (
	noRestart Restart = iota
	// NotRestarted: EINTR, handler or not.
	NotRestarted
	// RestartSys: again, unless a handler without SA_RESTART ran.
	RestartSys
	// RestartNoIntr: again in any case.
	RestartNoIntr
	// RestartNoHand: again, unless a handler ran.
	RestartNoHand
	// RestartBlock: by restart_syscall(2), unless a handler ran.
	RestartBlock
)

// Error implements error.
func (r Restart) Error() string { return "interrupted system call" }

// Name is Linux's name for the code, as strace shows it.
func (r Restart) Name() string {
	return [...]string{"", "EINTR", "ERESTARTSYS", "ERESTARTNOINTR", "ERESTARTNOHAND", "ERESTART_RESTARTBLOCK"}[r]
}

// Is makes errors.Is(r, unix.EINTR) true.
func (r Restart) Is(target error) bool { return target == unix.EINTR }

// Interrupted turns the error of a wait into how: calls that failed for
// another reason keep their error.
func Interrupted(err error, how Restart) error {
	if errors.Is(err, procmgr.ErrInterrupted) {
		return how
	}
	return err
}

// SetRestartBlock makes fn what restart_syscall(2) runs, and returns
// RestartBlock for the handler to return.
func (t *Task) SetRestartBlock(fn Handler) error {
	t.restartFn = fn
	return RestartBlock
}

// RestartSyscall is restart_syscall(2).
func (t *Task) RestartSyscall(a *Args) (uint64, error) {
	fn := t.restartFn
	t.restartFn = nil
	if fn == nil {
		return 0, unix.EINTR
	}
	return fn(t, a)
}

// settleRestart decides what the interrupted call, if there is one, does now
// that act's handler is about to run, or nothing at all (act == nil).
func (t *Task) settleRestart(act *procmgr.SigAction) {
	how := t.restart
	if how == noRestart {
		return
	}
	t.restart = noRestart
	regs := t.ctx.Registers()
	again := how != NotRestarted
	if act != nil {
		switch how {
		case RestartSys:
			again = act.Flags&saRestart != 0
		case RestartNoHand, RestartBlock:
			again = false
		}
	}
	if !again {
		regs.Rax = errnoValue(unix.EINTR)
		return
	}
	regs.Rax = t.sysno
	if how == RestartBlock {
		regs.Rax = unix.SYS_RESTART_SYSCALL
	}
	regs.Rip -= 2 // the SYSCALL instruction
}

func errnoValue(e unix.Errno) uint64 { return -uint64(e) }
