package procmgr

import (
	"time"

	"golang.org/x/sys/unix"
)

// stopFor stops t until its tracer lets it go on, or it has to exit (ptrace_stop). It
// returns the signal that it goes on with, and whether it has stopped at all. Only
// t's own goroutine calls it.
func (t *Thread) stopFor(s traceStop) (unix.Signal, bool) {
	w, _ := t.Data().(TraceWatcher)
	if w != nil {
		w.BeginStop()
		defer w.EndStop()
	}
	tb, p := t.p.table, t.p
	tb.mu.Lock()
	p.mu.Lock()
	tr := t.trace
	if tr == nil || !s.dying && t.Killed() || s.dying && tr.tracer.Killed() {
		if tr == nil && p.stopping != 0 && t.stopDue {
			t.setPending(pendStop)
		}
		p.mu.Unlock()
		tb.mu.Unlock()
		return 0, false
	}
	tr.stop, tr.stopped, tr.resumed, tr.signal = s, true, false, 0
	tr.trap = false
	if s.why == CLDStopped {
		tr.notify = false
		t.endsStop()
	}
	t.traceMode.Store(Traced)
	t.setState(Tracing)
	t.releaseSlot()
	begin := time.Now()
	t.usage.waits(begin, time.Time{})
	p.mu.Unlock()
	t.tellTracer(s.why, int32(s.code&0x7f))
	tb.mu.Unlock()

	for !t.goesOn(tr) {
		t.pause()
	}
	t.resume()
	t.usage.waits(begin, time.Now())
	if t.follow != nil {
		t.follow.Waited(Stopped, begin)
	}
	return tr.signal, true
}

// goesOn does what the tracer asks of t, and ends the stop if it is over.
func (t *Thread) goesOn(tr *tracing) bool {
	tb, p := t.p.table, t.p
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if fn := tr.ask; fn != nil {
		tr.ask = nil
		tb.mu.Unlock()
		fn()
		tb.mu.Lock()
		tr.answered <- struct{}{}
		return false
	}
	dead := t.Killed() && !tr.stop.dying
	if tr.frozen || !dead && !tr.resumed && t.trace == tr && !(tr.listening && tr.notify) {
		return false
	}
	tr.stopped, tr.listening, tr.stop = false, false, traceStop{}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.retrap()
	t.recalc() // nobody told it of signals meanwhile
	return true
}

// jobTrap stops a traced thread because its group is stopped, or its tracer wants it
// to (do_jobctl_trap). It reports whether t is traced.
func (t *Thread) jobTrap() bool {
	p := t.p
	p.mu.Lock()
	tr := t.trace
	if tr == nil {
		p.mu.Unlock()
		return false
	}
	t.clearPending(pendStop)
	sig, seized := p.stopping, tr.seized
	p.mu.Unlock()
	s := traceStop{code: uint32(sig), why: CLDStopped}
	switch {
	case seized:
		if sig == 0 {
			sig = unix.SIGTRAP
		}
		s.code = uint32(sig) | eventStop<<siginfoMessage
		s.info = t.ownInfo(sig, s.code)
	case sig == 0:
		return true
	}
	t.stopFor(s)
	return true
}

// ownInfo is the siginfo of a stop that is not for a signal.
func (t *Thread) ownInfo(sig unix.Signal, code uint32) *SigInfo {
	return &SigInfo{
		Signo: int32(sig), Code: int32(code), PID: int32(t.IDIn(t.Namespace())), UID: t.Credentials().RUID,
		Addr: uint64(t.IDIn(t.Namespace())) | uint64(t.Credentials().RUID)<<32, // both, where SIGTRAP has it
	}
}

// notifyTracer is ptrace_notify: t stops with SIGTRAP and something more in code.
func (t *Thread) notifyTracer(code uint32, message uint64, dying bool) (unix.Signal, bool) {
	return t.stopFor(traceStop{
		code: code, why: CLDTrapped, info: t.ownInfo(unix.SIGTRAP, code), message: message, dying: dying,
	})
}

// traceSignal stops t for a signal that it is about to take, which the tracer may
// change (ptrace_signal). It reports whether there still is one.
func (t *Thread) traceSignal(info *SigInfo) bool {
	seen := *info
	sig, stopped := t.stopFor(traceStop{code: uint32(info.Signo), why: CLDTrapped, info: &seen, signal: true})
	if !stopped {
		return true
	}
	if sig == 0 {
		return false
	}
	*info = seen
	if info.Signo != int32(sig) {
		*info = SigInfo{Signo: int32(sig), Code: SIUser}
		t.p.table.mu.Lock()
		if t.trace != nil {
			tracer := t.trace.tracer
			info.PID, info.UID = int32(tracer.IDIn(t.Namespace())), tracer.Credentials().RUID
		}
		t.p.table.mu.Unlock()
	}
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	if t.mask.Has(sig) || t.Killed() {
		t.queue.add(t.p, t, *info)
		t.recalc()
		return false
	}
	return true
}

// traceOption reports whether t is traced with an option, which PTRACE_O_* names.
func (t *Thread) traceOption(option uint32) bool {
	if t.TraceMode() == 0 {
		return false
	}
	t.p.table.mu.Lock()
	defer t.p.table.mu.Unlock()
	return t.trace != nil && t.trace.options&option != 0
}

// traceEvent stops t for an event if its tracer has asked for it. Event n has option
// 1<<n.
func (t *Thread) traceEvent(event uint32, message uint64, dying bool) bool {
	if !t.traceOption(1 << event) {
		return false
	}
	t.notifyTracer(uint32(unix.SIGTRAP)|event<<siginfoMessage, message, dying)
	return true
}

// TraceNotify stops a traced thread with a plain SIGTRAP.
func (t *Thread) TraceNotify() { t.notifyTracer(uint32(unix.SIGTRAP), 0, false) }

// TraceCall stops a traced thread before a system call, or after it
// (ptrace_report_syscall). The signal that the tracer lets it go on with is sent to
// it.
func (t *Thread) TraceCall(exit bool) {
	code, message := uint32(unix.SIGTRAP), uint64(callEntry)
	if t.traceOption(unix.PTRACE_O_TRACESYSGOOD) {
		code |= sysGood
	}
	if exit {
		message = callExit
	}
	if sig, _ := t.notifyTracer(code, message, false); sig != 0 {
		t.SendSignal(SigInfo{Signo: int32(sig), Code: SIKernel})
	}
}

// TraceSeccomp stops t because a filter says so; false: no tracer wants to know.
func (t *Thread) TraceSeccomp(data uint16) bool {
	return t.traceEvent(unix.PTRACE_EVENT_SECCOMP, uint64(data), false)
}

// TraceExec stops t after execve(2); before, its id was old. A tracer that did not ask
// for that, and did not seize it, gets a SIGTRAP.
func (t *Thread) TraceExec(old int) {
	if t.TraceMode() == 0 || t.traceEvent(unix.PTRACE_EVENT_EXEC, uint64(old), false) {
		return
	}
	t.p.table.mu.Lock()
	defer t.p.table.mu.Unlock()
	if t.trace != nil && !t.trace.seized {
		t.p.send(SigInfo{
			Signo: int32(unix.SIGTRAP), Code: SIUser, PID: int32(t.IDIn(t.Namespace())), UID: t.Credentials().RUID,
		}, t)
	}
}

// TraceExit stops t, which has to exit, before it gives back anything.
func (t *Thread) TraceExit() {
	if t.TraceMode() != 0 {
		t.traceEvent(unix.PTRACE_EVENT_EXIT, uint64(t.ExitStatus()), true)
	}
}

// cloneEvent is the event that a clone of t is, 0 if the tracer did not ask for it.
func (t *Thread) cloneEvent(flags uint64, sig unix.Signal) uint32 {
	if t.trace == nil || flags&unix.CLONE_UNTRACED != 0 {
		return 0
	}
	event := uint32(unix.PTRACE_EVENT_FORK)
	switch {
	case flags&unix.CLONE_VFORK != 0:
		event = unix.PTRACE_EVENT_VFORK
	case sig != unix.SIGCHLD:
		event = unix.PTRACE_EVENT_CLONE
	}
	if t.trace.options>>event&1 == 0 {
		return 0
	}
	return event
}

// traceChild makes a new thread traced as t is, if that is due (ptrace_init_task).
// Table.mu is held.
func (t *Thread) traceChild(th *Thread, o *CloneOptions) {
	tr := t.trace
	if tr == nil || o.Flags&unix.CLONE_PTRACE == 0 && t.cloneEvent(o.Flags, o.ExitSignal) == 0 {
		return
	}
	th.link(tr.tracer, tr.seized, tr.options)
	if th.trace.trap = tr.seized; tr.seized {
		th.setPending(pendStop)
	} else {
		th.queue.put(queued{info: SigInfo{Signo: int32(unix.SIGSTOP)}})
	}
}

// TraceClone stops t, which has cloned th, if its tracer wants to know; WaitVfork is
// to come after it.
func (t *Thread) TraceClone(th *Thread, flags uint64, sig unix.Signal) {
	if t.TraceMode() == 0 {
		return
	}
	t.p.table.mu.Lock()
	event := t.cloneEvent(flags, sig)
	id := t.idForTracer(th)
	t.p.table.mu.Unlock()
	if event != 0 {
		t.traceEvent(event, uint64(id), false)
	}
}

// TraceVforkDone stops t, whose child th has given the memory back.
func (t *Thread) TraceVforkDone(th *Thread) {
	if t.TraceMode() == 0 {
		return
	}
	t.p.table.mu.Lock()
	id := t.idForTracer(th)
	t.p.table.mu.Unlock()
	t.traceEvent(unix.PTRACE_EVENT_VFORK_DONE, uint64(id), false)
}

func (t *Thread) idForTracer(th *Thread) int {
	if t.trace == nil {
		return 0
	}
	return th.IDIn(t.trace.tracer.Namespace())
}
