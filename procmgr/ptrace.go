package procmgr

import (
	"golang.org/x/sys/unix"
)

// TraceMode bits say how a thread is traced at this moment.
const (
	// Traced: a tracer is attached.
	Traced = 1 << iota
	// TracedCalls: it stops before and after its next system call
	// (PTRACE_SYSCALL).
	TracedCalls
	// TracedEmulated: it stops at its next system call, which is not made
	// (PTRACE_SYSEMU).
	TracedEmulated
	// TracedStep: it stops after its next instruction (PTRACE_SINGLESTEP).
	TracedStep
)

const (
	traceOptions   = 0xff | unix.PTRACE_O_EXITKILL
	eventStop      = unix.PTRACE_EVENT_STOP
	sysGood        = 0x80
	callEntry      = 1 // PTRACE_EVENTMSG_SYSCALL_ENTRY
	callExit       = 2
	siginfoMessage = 8 // where si_code's event is
)

// tracing is what a traced thread has of its tracer (ptrace(2)). The pointer in
// Thread and all fields are under Table.mu; the pointer changes under Process.mu as
// well, so that either is enough to see whether there is a tracer.
type tracing struct {
	tracer  *Thread
	links   links[Thread] // in tracer.p.tracees
	seized  bool
	options uint32 // PTRACE_O_*

	trap   bool // a stop is due: PTRACE_INTERRUPT, or it is the new child of a seized one
	notify bool // a stop is due: its group stopped, or went on

	// Of the stop that it is in.

	stopped   bool
	listening bool // PTRACE_LISTEN: it is, but for its group's sake only
	frozen    bool // the tracer looks at it: it does not go on, whatever happens
	resumed   bool
	signal    unix.Signal // it goes on with
	stop      traceStop
	ask       func()        // to be called by its own goroutine
	answered  chan struct{} // and then told of
}

// traceStop is why a thread stops for its tracer.
type traceStop struct {
	code    uint32 // as wait4(2) has it, without its lowest byte; 0: the tracer knows
	why     int32  // CLDTrapped or CLDStopped
	info    *SigInfo
	message uint64 // PTRACE_GETEVENTMSG
	dying   bool   // it exits, and stops all the same
	signal  bool   // it is about to take a signal
}

// TraceWatcher is what Thread.Data may be: it is told of each stop for a tracer, by
// the thread's own goroutine and without a lock. The tracer sees what BeginStop
// leaves, and may change it until EndStop.
type TraceWatcher interface {
	BeginStop()
	EndStop()
}

func traceLinks(t *Thread) *links[Thread] { return &t.trace.links }

// TraceMode returns how t is traced: 0 if it is not. It takes no lock.
func (t *Thread) TraceMode() uint32 { return t.traceMode.Load() }

// TracerIDIn returns the id of t's tracer in a namespace, 0 if there is none.
func (t *Thread) TracerIDIn(ns *PIDNamespace) int {
	if t.TraceMode() == 0 {
		return 0
	}
	t.p.table.mu.Lock()
	defer t.p.table.mu.Unlock()
	if t.trace == nil {
		return 0
	}
	return t.trace.tracer.IDIn(ns)
}

// TracedUnprivileged reports whether t has a tracer that may not follow it into more
// privilege (ptracer_capable).
func (t *Thread) TracedUnprivileged() bool {
	if t.TraceMode() == 0 {
		return false
	}
	t.p.table.mu.Lock()
	defer t.p.table.mu.Unlock()
	return t.trace != nil &&
		!t.trace.tracer.Credentials().HasCapIn(t.Credentials().UserNS, unix.CAP_SYS_PTRACE)
}

// link makes t traced. Table.mu and t.p.mu are held, the latter unless t is new.
func (t *Thread) link(tracer *Thread, seized bool, options uint32) {
	t.trace = &tracing{tracer: tracer, seized: seized, options: options}
	tracer.p.tracees.add(t, traceLinks)
	t.traceMode.Store(Traced)
}

// unlink ends that (__ptrace_unlink). If its group is stopped, so is t then. Table.mu
// and t.p.mu are held.
func (t *Thread) unlink() {
	t.trace.tracer.p.tracees.remove(t, traceLinks)
	t.trace = nil
	t.traceMode.Store(0)
	if t.State() >= Zombie {
		return
	}
	if t.p.stopping != 0 && !t.leaving {
		t.setPending(pendStop)
	}
	t.wake()
}

// TraceMe is PTRACE_TRACEME: t's parent traces it. EPERM: it is traced already, or
// there is nobody.
func (t *Thread) TraceMe() error {
	t.p.table.mu.Lock()
	defer t.p.table.mu.Unlock()
	tracer := t.p.parentThread
	if t.trace != nil || tracer == nil || tracer.Data() == nil || tracer.State() >= Zombie {
		return unix.EPERM
	}
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.link(tracer, false, 0)
	return nil
}

// Attach makes t the tracer of the thread with an id in its namespace: PTRACE_ATTACH,
// which stops it, or PTRACE_SEIZE with options (ptrace_attach). It returns the thread.
// ESRCH, EPERM; EIO: unknown options.
func (tb *Table) Attach(t *Thread, tid int, seize bool, options uint64) (*Thread, error) {
	if options&^traceOptions != 0 {
		return nil, unix.EIO
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	o := t.Namespace().GetThread(tid)
	switch {
	case o == nil:
		return nil, unix.ESRCH
	case o.p == t.p, o.Data() == nil, o.State() >= Zombie, o.trace != nil:
		return nil, unix.EPERM
	}
	if err := t.MayTrace(o, TraceAttach|TraceRealCreds); err != nil {
		return nil, err
	}
	o.p.mu.Lock()
	o.link(t, seize, uint32(options))
	if o.State() == Stopped {
		o.setPending(pendStop) // it stops anew, for the tracer
		o.Unpark()
	}
	o.p.mu.Unlock()
	if !seize {
		o.p.send(SigInfo{Signo: int32(unix.SIGSTOP), Code: SIKernel}, o)
	}
	return o, nil
}

// tracee returns the thread with an id if t traces it: ESRCH. Table.mu is held.
func (t *Thread) tracee(tid int) (*Thread, error) {
	o := t.Namespace().GetThread(tid)
	if o == nil || o.trace == nil || o.trace.tracer != t {
		return nil, unix.ESRCH
	}
	return o, nil
}

// InterruptTracee is PTRACE_INTERRUPT: a seized tracee stops. EIO: it is not one.
func (tb *Table) InterruptTracee(t *Thread, tid int) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	o, err := t.tracee(tid)
	if err != nil {
		return err
	}
	if !o.trace.seized {
		return unix.EIO
	}
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	o.trace.trap = true
	o.setPending(pendStop)
	o.wake()
	return nil
}

// KillTracee is PTRACE_KILL.
func (tb *Table) KillTracee(t *Thread, tid int) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	o, err := t.tracee(tid)
	if err != nil {
		return err
	}
	return o.p.send(SigInfo{Signo: int32(unix.SIGKILL), Code: SIUser}, nil)
}

// trapNotify tells a seized tracee that its group stopped or went on
// (ptrace_trap_notify). Table.mu and t.p.mu are held.
func (t *Thread) trapNotify() {
	if tr := t.trace; tr != nil && tr.seized {
		tr.notify = true
		t.setPending(pendStop)
		t.wake()
	}
}

// retrap makes pending again what is due to t's tracer. Table.mu or t.p.mu is held.
func (t *Thread) retrap() {
	if tr := t.trace; tr != nil && (tr.trap || tr.notify) {
		t.setPending(pendStop)
	}
}

// endTracer lets go all that t traces (exit_ptrace). Table.mu is held.
func (tb *Table) endTracer(t *Thread) {
	for o := t.p.tracees.first; o != nil; {
		next := o.trace.links.next
		if o.trace.tracer == t {
			kill := o.trace.options&unix.PTRACE_O_EXITKILL != 0
			tb.letGo(o)
			if kill {
				o.p.send(SigInfo{Signo: int32(unix.SIGKILL), Code: SIKernel}, nil)
			}
		}
		o = next
	}
}

// letGo ends a tracing. A thread that has ended is gone with it, a process is for its
// parent to collect then (__ptrace_detach). Table.mu is held.
func (tb *Table) letGo(o *Thread) {
	p := o.p
	hidden := p.hidden()
	o.p.mu.Lock()
	if tr := o.trace; tr.stopped && tr.stop.signal && !tr.resumed {
		tr.signal = unix.Signal(tr.stop.code) // a signal that nobody has looked at is delivered
	}
	o.unlink()
	o.p.mu.Unlock()
	switch {
	case o.State() != Zombie:
	case p.leader != o:
		p.bury(o)
	case hidden:
		if p.parent == nil || tb.tellEnd(p) {
			tb.reap(p)
		} else {
			p.parent.wakeWaiters(p)
		}
	}
}

// bury ends a thread that was kept for its tracer. Table.mu is held.
func (p *Process) bury(o *Thread) {
	for i, c := range p.corpses {
		if c == o {
			p.corpses = append(p.corpses[:i], p.corpses[i+1:]...)
			o.setState(Dead)
			o.release()
			if len(p.corpses) == 0 && p.hidden() {
				p.leader.trace.tracer.p.wakeWaiters(nil)
			}
			return
		}
	}
}

// untrace ends all tracing of a process that is reaped. Table.mu is held.
func (p *Process) untrace() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader.trace != nil {
		p.leader.unlink()
	}
	for len(p.corpses) > 0 {
		o := p.corpses[0]
		if o.trace != nil {
			o.unlink()
		}
		p.bury(o)
	}
}

// hidden reports whether p has ended, and that is for a tracer to know before its
// parent. Table.mu is held.
func (p *Process) hidden() bool {
	tr := p.leader.trace
	return p.zombie && tr != nil && tr.tracer.p != p.parent
}

// tracedBy reports whether a thread of q traces p's leader. Table.mu is held.
func (p *Process) tracedBy(q *Process) bool {
	tr := p.leader.trace
	return tr != nil && tr.tracer.p == q
}

// tellTracer tells t's tracer that it stopped or ended. It reports whether that does
// not want to hear of children that end. Table.mu is held.
func (t *Thread) tellTracer(code, status int32) (ignored bool) {
	tracer := t.trace.tracer.p
	act := tracer.hand.get(unix.SIGCHLD)
	end := code != CLDTrapped && code != CLDStopped
	ignored = act.Handler == SigIgn || act.Flags&saNoCldWait != 0
	if act.Handler != SigIgn && (end || act.Flags&saNoCldStop == 0) {
		u := t.Usage()
		tracer.send(SigInfo{
			Signo: int32(unix.SIGCHLD), Code: code, PID: int32(t.IDIn(tracer.id.ns)), UID: t.Credentials().RUID,
			Status: status, UTime: uint64(u.UserTime / userTick), STime: uint64(u.SystemTime / userTick),
		}, nil)
	}
	for w := tracer.waiters.first; w != nil; w = w.wait.links.next {
		if w.traces(t, &w.wait.query) {
			w.tellOn(w.wait.ch)
		}
	}
	return ignored
}

// keepForTracer keeps t, a thread that has ended and is not the leader, for its tracer
// to hear of it. It reports false if there is none that wants to. Table.mu is held.
func (tb *Table) keepForTracer(t *Thread) bool {
	if t.trace == nil {
		return false
	}
	if t.tellTracer(exitCode(t.ExitStatus())) {
		t.p.mu.Lock()
		defer t.p.mu.Unlock()
		t.unlink()
		return false
	}
	t.p.corpses = append(t.p.corpses, t)
	return true
}

// tellTracerEnd tells a tracer that is not the parent that p has ended. The parent
// hears of it once the tracer has collected that, or does not want to. Table.mu is
// held.
func (tb *Table) tellTracerEnd(p *Process) {
	if p.leader.tellTracer(exitCode(p.exitStatus)) {
		tb.letGo(p.leader)
	}
}
