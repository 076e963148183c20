package procmgr

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// WorkKind says what NextWork found.
type WorkKind uint8

const (
	// WorkNone: guest code may run on.
	WorkNone WorkKind = iota
	// WorkDeliver: run the handler of a signal.
	WorkDeliver
	// WorkExit: the thread has to exit.
	WorkExit
)

// Work is what a thread has to do before it runs guest code.
type Work struct {
	Kind   WorkKind
	Info   SigInfo   // WorkDeliver
	Action SigAction // WorkDeliver: a handler
}

// NextWork does what is due: it applies the default actions of signals (ignore,
// stop, end the process), stays while the process is stopped, and returns with what
// is left to the caller (get_signal). Only the thread's own goroutine calls it.
func (t *Thread) NextWork() Work {
	for {
		switch bits := t.pending.Load(); {
		case bits&pendExit != 0:
			return Work{Kind: WorkExit}
		case bits&pendStop != 0:
			t.stayStopped()
		case bits&pendSignal != 0:
			if w, ok := t.nextSignal(); ok {
				return w
			}
		case bits&pendYield != 0:
			t.giveUp()
		default:
			return Work{}
		}
	}
}

// nextSignal takes a signal from the queues and does what its disposition says; ok
// if that is to run a handler.
func (t *Thread) nextSignal() (w Work, ok bool) {
	p := t.p
	p.mu.Lock()
	info, ok := t.dequeue(^t.mask)
	if !ok {
		t.recalc()
		p.mu.Unlock()
		return Work{}, false
	}
	sig := unix.Signal(info.Signo)
	t.stopTaken = stopSignals.Has(sig)
	if t.follow != nil {
		seen := info
		p.mu.Unlock()
		t.follow.Signal(&seen)
		p.mu.Lock()
	}
	if t.trace != nil {
		t.stopTaken = true // the tracer may make it one
		p.mu.Unlock()
		traced := info // on the heap, unlike info
		if !t.traceSignal(&traced) {
			return Work{}, false
		}
		info = traced
		sig = unix.Signal(info.Signo)
		p.mu.Lock()
	}
	act := p.hand.take(sig)
	switch {
	case act.Handler > SigIgn:
		p.mu.Unlock()
		return Work{WorkDeliver, info, act}, true
	case act.ignores(sig):
	case p.unkillable && sig != unix.SIGSTOP:
		// Init gets no signals that it does not want. A SIGSTOP is here only if
		// it came from a namespace above.
	case stopSignals.Has(sig):
		p.mu.Unlock()
		t.stop(sig)
		return Work{}, false
	default:
		p.beginGroupExit(SignalStatus(sig))
	}
	p.mu.Unlock()
	return Work{}, false
}

// Follower is told what happens to a thread, by the thread's own goroutine and with
// no lock held.
type Follower interface {
	// Signal is called just before a signal takes effect, but for SIGKILL.
	Signal(*SigInfo)
	// Waited is called when the thread goes on, Blocked or Stopped since begin.
	Waited(in State, begin time.Time)
}

// Follow makes f t's follower. As under ptrace(2), signals that are ignored are
// queued from now on, too: they interrupt what the thread waits in, which goes on.
func (t *Thread) Follow(f Follower) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.follow = f
}

// stop begins to stop the process for sig (do_signal_stop). Terminal stops have no
// effect on an orphaned process group.
func (t *Thread) stop(sig unix.Signal) {
	p := t.p
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	if sig != unix.SIGSTOP && p.group.orphaned(nil) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// A SIGCONT that came between taking the signal and now wins.
	if !t.stopTaken || p.exiting || p.execer != nil {
		return
	}
	if p.stopping != 0 {
		// Those whose tracer let them go on meanwhile stop again.
		for _, o := range p.threads {
			if o.trace != nil && !o.leaving {
				o.setPending(pendStop)
				o.wake()
			}
		}
		return
	}
	p.stopping = sig
	for _, o := range p.threads {
		if o.leaving || o.State() == New {
			continue // it does not stop; a new one joins in Start
		}
		o.stopDue = true
		p.toStop++
		o.setPending(pendStop)
		o.trapNotify()
		if o != t {
			o.wake()
		}
	}
}

// pause waits for an Unpark.
func (t *Thread) pause() {
	if p := t.parker(); p != nil {
		p.Park(-1)
		return
	}
	<-t.kick
}

// stayStopped parks the thread until the process goes on. The last one to stop
// tells the parent.
func (t *Thread) stayStopped() {
	p := t.p
	if t.jobTrap() {
		return
	}
	var begin time.Time
	for {
		p.table.mu.Lock()
		p.mu.Lock()
		stay := p.stopping != 0 && t.pending.Load()&pendExit == 0 && t.trace == nil
		if !stay {
			if t.trace == nil {
				t.clearPending(pendStop)
			}
			t.recalc() // nobody told it of signals meanwhile
		} else {
			if t.State() != Stopped {
				t.setState(Stopped)
				t.releaseSlot()
				begin = time.Now()
				t.usage.waits(begin, time.Time{})
			}
			t.endsStop()
		}
		p.mu.Unlock()
		p.table.mu.Unlock()
		if !stay {
			break
		}
		t.pause()
	}
	if !begin.IsZero() {
		t.resume()
		t.usage.waits(begin, time.Now())
		if t.follow != nil {
			t.follow.Waited(Stopped, begin)
		}
	}
}

// endsStop notes that t has stopped, or is not going to. If it was the last one that
// the stop waited for, the process is stopped, and the parent hears of it. Table.mu
// and p.mu are held.
func (t *Thread) endsStop() {
	p := t.p
	if !t.stopDue {
		return
	}
	t.stopDue = false
	if p.toStop--; p.toStop > 0 || len(p.threads) == 0 {
		return
	}
	p.stopped = true
	p.report.stopped = stopStatus(p.stopping)
	p.report.continued = false
	p.tellParent(CLDStopped, int32(p.stopping))
}

// endStop ends a stop, complete or not. p.mu is held.
func (p *Process) endStop() {
	if p.stopping == 0 {
		return
	}
	p.stopping, p.stopped, p.toStop = 0, false, 0
	for _, t := range p.threads {
		t.stopDue = false
		t.clearPending(pendStop)
		t.retrap()
		t.Unpark()
	}
}

// resume ends a stop by SIGCONT. Table.mu and p.mu are held.
func (p *Process) resume() {
	if p.stopping == 0 {
		return
	}
	// A stop that was not complete is reported as one, but collected as a
	// continuation (prepare_signal).
	code, status := int32(CLDStopped), int32(p.stopping)
	if p.stopped {
		code, status = CLDContinued, int32(unix.SIGCONT)
	}
	p.endStop()
	p.report.stopped = 0
	p.report.continued = true
	p.tellParent(code, status)
}

// tellParent queues a stop or continuation for the parent's Wait and sends SIGCHLD
// (do_notify_parent_cldstop). Table.mu is held, and p.mu.
func (p *Process) tellParent(code, status int32) {
	parent := p.parent
	if parent == nil || !p.started {
		return
	}
	parent.changes.add(p)
	parent.wakeWaiters(p)
	act := parent.hand.get(unix.SIGCHLD)
	if act.Handler == SigIgn || act.Flags&saNoCldStop != 0 || code == CLDStopped && p.tracedBy(parent) {
		return
	}
	u := p.usageLocked()
	parent.send(p.childInfo(unix.SIGCHLD, code, status, &u), nil)
}

// userTick is what times in a siginfo count in (USER_HZ).
const userTick = 10 * time.Millisecond

// childInfo makes the siginfo that tells a parent of p.
func (p *Process) childInfo(sig unix.Signal, code, status int32, u *Rusage) SigInfo {
	return SigInfo{
		Signo: int32(sig), Code: code, PID: int32(p.id.in(p.parent.id.ns)), UID: p.seenBy(p.parent),
		Status: status, UTime: uint64(u.UserTime / userTick), STime: uint64(u.SystemTime / userTick),
	}
}

// seenBy returns p's real user as another process knows it.
func (p *Process) seenBy(o *Process) uint32 {
	return o.leader.Credentials().UserNS.UID(p.leader.Credentials().RUID)
}

// remove takes t off the list of threads. Table.mu and p.mu are held.
func (p *Process) remove(t *Thread) {
	if i := slices.Index(p.threads, t); i >= 0 {
		p.threads = slices.Delete(p.threads, i, i+1)
	}
}
