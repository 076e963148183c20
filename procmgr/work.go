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
	p := t.p
	for {
		if t.pending.Load()&pendExit != 0 {
			return Work{Kind: WorkExit}
		}
		if t.pending.Load()&pendStop != 0 {
			t.stayStopped()
			continue
		}
		if t.pending.Load()&pendSignal == 0 {
			return Work{}
		}
		p.mu.Lock()
		info, ok := t.dequeue(^t.mask)
		if !ok {
			t.recalc()
			p.mu.Unlock()
			continue
		}
		sig := unix.Signal(info.Signo)
		if t.follow != nil {
			seen := info
			p.mu.Unlock()
			t.follow(&seen)
			p.mu.Lock()
		}
		p.hand.mu.Lock()
		act := p.hand.actions[sig]
		if act.Handler > SigIgn && act.Flags&saResetHand != 0 {
			p.hand.actions[sig].Handler = SigDfl
		}
		p.hand.mu.Unlock()
		switch {
		case act.Handler > SigIgn:
			p.mu.Unlock()
			return Work{WorkDeliver, info, act}
		case act.ignores(sig):
		case p.unkillable && info.Code != SIKernel:
		case stopSignals.Has(sig):
			p.mu.Unlock()
			t.stop(sig)
			continue
		default:
			status := SignalStatus(sig)
			p.beginGroupExit(status)
		}
		p.mu.Unlock()
	}
}

// FollowSignals makes NextWork call fn for each signal just before it takes effect,
// with no lock held. As under ptrace(2), signals that are ignored are queued then,
// too: they interrupt what the thread waits in, which goes on. SIGKILL is not told
// of.
func (t *Thread) FollowSignals(fn func(*SigInfo)) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.follow = fn
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
	if p.exiting || p.queue.set.Has(unix.SIGCONT) || t.queue.set.Has(unix.SIGCONT) || p.stopping != 0 {
		return
	}
	p.stopping = sig
	p.toStop = len(p.threads)
	for _, o := range p.threads {
		o.stopSeen = false
		o.setPending(pendStop)
		if o != t {
			o.wake()
		}
	}
}

// stayStopped parks the thread until the process goes on. The last one to stop
// tells the parent.
func (t *Thread) stayStopped() {
	p := t.p
	p.table.mu.Lock()
	p.mu.Lock()
	if p.stopping == 0 || t.pending.Load()&pendExit != 0 {
		t.clearPending(pendStop)
		p.mu.Unlock()
		p.table.mu.Unlock()
		return
	}
	if !t.stopSeen {
		t.stopSeen = true
		p.countStopped()
	}
	p.mu.Unlock()
	p.table.mu.Unlock()

	t.setState(Stopped)
	begin := time.Now()
	for t.pending.Load()&pendStop != 0 && t.pending.Load()&pendExit == 0 {
		<-t.kick
	}
	t.resume()
	t.usage.blocked.Add(int64(time.Since(begin)))
}

// countStopped notes that one thread more has stopped, or is gone. Table.mu and
// p.mu are held.
func (p *Process) countStopped() {
	p.toStop--
	if p.toStop == 0 && !p.stopped {
		p.stopped = true
		p.report.stopped = stopStatus(p.stopping)
		p.report.continued = false
		p.tellParent(CLDStopped, int32(p.stopping))
	}
}

// resume ends a stop (SIGCONT). Table.mu and p.mu are held.
func (p *Process) resume() {
	if p.stopping == 0 {
		return
	}
	p.stopping = 0
	for _, t := range p.threads {
		t.clearPending(pendStop)
		notify(t.kick)
	}
	if p.stopped {
		p.stopped = false
		p.report.stopped = 0
		p.report.continued = true
		p.tellParent(CLDContinued, int32(unix.SIGCONT))
	}
}

// tellParent queues a stop or continuation for the parent's Wait and sends SIGCHLD
// (do_notify_parent_cldstop). Table.mu is held, and p.mu.
func (p *Process) tellParent(code, status int32) {
	parent := p.parent
	if parent == nil {
		return
	}
	parent.ready.add(p)
	parent.wakeWaiters()
	act := parent.hand.get(unix.SIGCHLD)
	if act.Handler == SigIgn || act.Flags&saNoCldStop != 0 {
		return
	}
	u := p.usageLocked()
	parent.send(p.childInfo(unix.SIGCHLD, code, status, &u), nil)
}

// childInfo makes the siginfo that tells a parent of p.
func (p *Process) childInfo(sig unix.Signal, code, status int32, u *Rusage) SigInfo {
	const tick = 10 * time.Millisecond
	return SigInfo{
		Signo: int32(sig), Code: code, PID: int32(p.ID()), UID: p.leader.Credentials().RUID, Status: status,
		UTime: uint64(u.UserTime / tick), STime: uint64(u.SystemTime / tick),
	}
}

// beginGroupExit makes all threads exit; the first status counts. p.mu is held.
func (p *Process) beginGroupExit(status uint32) {
	if p.exiting {
		return
	}
	p.exiting = true
	p.groupCode = status
	p.stopping = 0
	for _, t := range p.threads {
		t.setPending(pendExit)
		t.wake()
	}
}

// remove takes t off the list of threads. p.mu is held.
func (p *Process) remove(t *Thread) {
	if i := slices.Index(p.threads, t); i >= 0 {
		p.threads = slices.Delete(p.threads, i, i+1)
	}
}
