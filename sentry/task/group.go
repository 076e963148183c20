package task

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/timers"
)

// group is what the threads of a process share beyond procmgr's: its timers.
type group struct {
	k     *Kernel
	p     *procmgr.Process
	calls atomic.Uint64 // system calls that came to the sentry
	refs  atomic.Int32  // tasks

	filters sync.Mutex // taken while Task.seccomp of one of the tasks changes

	mu     sync.Mutex
	timers *timers.Set // nil until it is needed
}

// newGroup makes the group of one task.
func (k *Kernel) newGroup(p *procmgr.Process) *group {
	g := &group{k: k, p: p}
	g.refs.Store(1)
	limits := p.Limits()
	if limits.Soft(unix.RLIMIT_CPU) != procmgr.Infinity || limits.Soft(procmgr.LimitRTTime) != procmgr.Infinity {
		g.set()
	}
	return g
}

// join adds a task.
func (g *group) join() *group {
	g.refs.Add(1)
	return g
}

// leave takes one out. With the last one all timers end.
func (g *group) leave() {
	if g.refs.Add(-1) != 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timers != nil {
		g.timers.Close()
	}
}

// exec is what execve(2) does to timers. Timers that th's process has no more have no
// signals pending.
func (g *group) exec(th *procmgr.Thread) {
	g.mu.Lock()
	s := g.timers
	g.mu.Unlock()
	if s != nil {
		s.Exec()
	}
	th.FlushTimers()
}

// set returns the timers.
func (g *group) set() *timers.Set {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timers == nil {
		g.timers = timers.New(timers.Config{Process: g.p, Clock: g.k.Clock, CPUs: g.k.CPUs})
	}
	return g.timers
}

// Timers returns the timers of t's process.
func (t *Task) Timers() *timers.Set { return t.group.set() }

// RealtimeChanged says that RLIMIT_RTTIME of t's process was set, or that one of its
// threads has a real-time policy now.
func (t *Task) RealtimeChanged() {
	if t.Process().Limits().Soft(procmgr.LimitRTTime) != procmgr.Infinity {
		t.group.set().RealtimeChanged()
	}
}

// CPULimitChanged says that RLIMIT_CPU of t's process was set.
func (t *Task) CPULimitChanged() { t.group.set().LimitChanged() }
