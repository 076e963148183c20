package task

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/procmgr"
)

// Tracer follows the threads of a sandbox (strace and its kind).
type Tracer interface {
	// Thread is called for each thread before its first instruction. It may
	// return nil: that thread is not followed.
	Thread(th *procmgr.Thread) ThreadTracer
}

// ThreadTracer follows one thread. It is called by the thread's own goroutine,
// and has to return soon: the guest waits for it.
type ThreadTracer interface {
	// Enter and Exit are called before and after a system call. Exit is given
	// the call that Enter was; a call that does not return, because the thread
	// ends in it, has an Exit as well.
	Enter(c *Call)
	Exit(c *Call, ret uint64, err error)
	procmgr.Follower
	// End is called last, with the thread's wait status.
	End(status uint32)
}

// FaultTracer is what a ThreadTracer may be, too: Fault is called after a page fault
// since begin. An error means that it becomes a signal.
type FaultTracer interface {
	Fault(addr hostarch.Addr, at hostarch.AccessType, begin time.Time, err error)
}

// ProgramTracer is what a ThreadTracer may be, too: Program is called first for a
// sandbox's first program, which no call of a guest executed. env is where its
// environment is in memory.
type ProgramTracer interface {
	Program(a *ExecArgs, env uint64)
}

// Call is a system call under way.
type Call struct {
	NR   uint64
	Args Args
	SP   uint64    // the guest's stack pointer
	Mem  *mm.Space // as it was at the entry
}

// tracedDispatch is dispatch for a thread that is followed.
func (t *Task) tracedDispatch(args *Args) (uint64, error) {
	regs := t.ctx.Registers()
	c := Call{NR: t.sysno, Args: *args, SP: regs.Rsp, Mem: t.mem.Space}
	t.tracer.Enter(&c)
	ret, err := t.dispatch(args)
	shown, failure := ret, err
	if t.noResult && !t.th.Killed() {
		// execve and rt_sigreturn: what the guest finds in RAX.
		if shown = regs.Rax; shown > maxErrno {
			failure = unix.Errno(-shown)
		}
	}
	t.tracer.Exit(&c, shown, failure)
	return ret, err
}

// maxErrno is the lowest RAX that is an error (MAX_ERRNO).
const maxErrno = ^uint64(4095)

// follow begins to follow t, if the kernel has a tracer that wants to.
func (t *Task) follow() {
	if t.k.Tracer == nil || t.tracer != nil {
		return
	}
	if t.tracer = t.k.Tracer.Thread(t.th); t.tracer != nil {
		t.th.Follow(t.tracer)
	}
}

// followProgram is follow for the first program, which is loaded.
func (t *Task) followProgram(a *ExecArgs) {
	t.follow()
	if p, ok := t.tracer.(ProgramTracer); ok {
		p.Program(a, uint64(t.mem.Program.Env.Start))
	}
}

// faultTracer returns who is to be told of a page fault that begins now, nil for
// nobody.
func (t *Task) faultTracer() (f FaultTracer, begin time.Time) {
	if t.tracer == nil {
		return nil, begin
	}
	if f, _ = t.tracer.(FaultTracer); f != nil {
		begin = time.Now()
	}
	return f, begin
}
