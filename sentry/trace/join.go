package trace

import (
	"time"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// Join makes one tracer of several; nil of none.
func Join(tracers ...task.Tracer) task.Tracer {
	switch len(tracers) {
	case 0:
		return nil
	case 1:
		return tracers[0]
	}
	return joined(tracers)
}

type joined []task.Tracer

// Thread implements task.Tracer.
func (j joined) Thread(th *procmgr.Thread) task.ThreadTracer {
	var threads joinedThread
	for _, tr := range j {
		if t := tr.Thread(th); t != nil {
			threads = append(threads, t)
		}
	}
	if len(threads) == 0 {
		return nil
	}
	return threads
}

// joinedThread is one thread with several followers. It is all that a
// task.ThreadTracer may be.
type joinedThread []task.ThreadTracer

// Enter implements task.ThreadTracer.
func (j joinedThread) Enter(c *task.Call) {
	for _, t := range j {
		t.Enter(c)
	}
}

// Exit implements task.ThreadTracer.
func (j joinedThread) Exit(c *task.Call, ret uint64, err error) {
	for _, t := range j {
		t.Exit(c, ret, err)
	}
}

// Signal implements procmgr.Follower.
func (j joinedThread) Signal(info *procmgr.SigInfo) {
	for _, t := range j {
		t.Signal(info)
	}
}

// Waited implements procmgr.Follower.
func (j joinedThread) Waited(in procmgr.State, begin time.Time) {
	for _, t := range j {
		t.Waited(in, begin)
	}
}

// End implements task.ThreadTracer.
func (j joinedThread) End(status uint32) {
	for _, t := range j {
		t.End(status)
	}
}

// Fault implements task.FaultTracer.
func (j joinedThread) Fault(addr hostarch.Addr, at hostarch.AccessType, begin time.Time, err error) {
	for _, t := range j {
		if f, ok := t.(task.FaultTracer); ok {
			f.Fault(addr, at, begin, err)
		}
	}
}

// Program implements task.ProgramTracer.
func (j joinedThread) Program(a *task.ExecArgs, env uint64) {
	for _, t := range j {
		if p, ok := t.(task.ProgramTracer); ok {
			p.Program(a, env)
		}
	}
}
