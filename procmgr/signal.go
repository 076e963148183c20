package procmgr

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// blocked returns the signals that t does not take: those that it waits for in
// Sigtimedwait come to it all the same. Process.mu is held.
func (t *Thread) blocked() SigSet { return t.mask &^ t.waitSet }

// recalc sets the signal bit of pending (recalc_sigpending). Process.mu is held.
func (t *Thread) recalc() {
	if (t.queue.set|t.p.queue.set)&^t.mask&^t.waitSet != 0 {
		t.setPending(pendSignal)
	} else {
		t.clearPending(pendSignal)
	}
}

// SignalMask returns which signals are blocked.
func (t *Thread) SignalMask() SigSet {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.mask
}

// SetSignalMask blocks exactly the signals in m, but for those that cannot be.
// Signals of the process that this thread does not take any more go to another.
func (t *Thread) SetSignalMask(m SigSet) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.setMask(m)
}

func (t *Thread) setMask(m SigSet) {
	m &^= unblockable
	blocked := m &^ t.mask
	t.mask = m
	t.recalc()
	if again := t.p.queue.set & blocked; again != 0 {
		t.p.retarget(again)
	}
}

// retarget finds other threads for signals of the process whose taker is gone
// (retarget_shared_pending). Process.mu is held.
func (p *Process) retarget(set SigSet) {
	for _, o := range p.threads {
		if set == 0 {
			return
		}
		if mine := set &^ o.blocked(); mine != 0 && o.takes() {
			set &^= mine
			o.tell(mine)
		}
	}
}

// takes reports whether the thread can be given a signal now. One that is stopped
// looks by itself when it goes on (wants_signal).
func (t *Thread) takes() bool {
	stopped := t.pending.Load()&pendStop != 0 && !t.stopDue
	return !t.leaving && !stopped && t.State() != New
}

// tell makes the thread look at signals that are pending for it, one of set.
func (t *Thread) tell(set SigSet) {
	if set&t.waitSet != 0 {
		t.tellOn(t.sigCh)
	}
	if set&^t.mask&^t.waitSet != 0 {
		t.setPending(pendSignal)
		t.wake()
	}
}

// SaveMask sets the mask for the length of a call (sigsuspend, ppoll …). The old
// one comes back when the call is over: a handler that ends it returns to it
// (TakeSavedMask), or NextWork finds none to run.
func (t *Thread) SaveMask(m SigSet) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.savedMask, t.saved = t.mask, true
	t.setPending(pendSaved)
	t.setMask(m)
}

// TakeSavedMask returns the mask that SaveMask replaced, once.
func (t *Thread) TakeSavedMask() (SigSet, bool) {
	if t.pending.Load()&pendSaved == 0 {
		return 0, false
	}
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	ok := t.saved
	t.saved = false
	t.clearPending(pendSaved)
	return t.savedMask, ok
}

// RestoreMask undoes SaveMask.
func (t *Thread) RestoreMask() {
	if m, ok := t.TakeSavedMask(); ok {
		t.SetSignalMask(m)
	}
}

// PendingSet returns the signals that are queued for the thread or its process.
func (t *Thread) PendingSet() SigSet {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.queue.set | t.p.queue.set
}

// PendingSets returns the thread's own and its process's, for /proc/PID/status.
func (t *Thread) PendingSets() (own, process SigSet) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.queue.set, t.p.queue.set
}

// SendSignal sends a signal from the kernel to the process, any thread of which may
// take it. EAGAIN: the queue of real-time signals is full.
func (p *Process) SendSignal(info SigInfo) error {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	return p.send(info, nil)
}

// SendSignal sends a signal to one thread, as the kernel does.
func (t *Thread) SendSignal(info SigInfo) error {
	t.p.table.mu.Lock()
	defer t.p.table.mu.Unlock()
	return t.p.send(info, t)
}

// send queues info for target, or any thread if that is nil, and wakes whoever is
// to take it (__send_signal_locked). It comes from the kernel, and so reaches an init
// that would not hear of it otherwise. Table.mu is held.
func (p *Process) send(info SigInfo, target *Thread) error {
	return p.sendForced(info, target, true)
}

// sendFrom is send for a signal of another thread.
func (p *Process) sendFrom(sender *Thread, info SigInfo, target *Thread) error {
	from := sender.p.id.in(p.id.ns)
	if info.raw == nil {
		info.PID = int32(from)
	} else if from == 0 {
		info.hidePID()
	}
	info.mapUID(sender.Credentials().UserNS, p.leader.Credentials().UserNS)
	return p.sendForced(info, target, from == 0)
}

func (p *Process) sendForced(info SigInfo, target *Thread, force bool) error {
	sig := unix.Signal(info.Signo)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.threads) == 0 || target != nil && target.State() >= Zombie {
		return nil
	}
	p.prepare(sig)
	if p.exiting || p.discards(sig, target, force) {
		return nil
	}
	if sig == unix.SIGKILL {
		p.beginGroupExit(SignalStatus(sig))
		return nil
	}
	q := &p.queue
	if target != nil {
		q = &target.queue
	}
	if !q.add(p, target, info) {
		return unix.EAGAIN
	}
	p.signals.Notify(waiter.EventIn)
	p.choose(sig, target)
	return nil
}

// prepare does what sending alone does (prepare_signal): SIGCONT ends a stop,
// and the two kinds throw each other away.
func (p *Process) prepare(sig unix.Signal) {
	var gone SigSet
	switch {
	case sig == unix.SIGCONT:
		gone = stopSignals
	case stopSignals.Has(sig):
		gone = SetOf(unix.SIGCONT)
	default:
		return
	}
	p.queue.removeAll(p.table, gone)
	for _, t := range p.threads {
		t.queue.removeAll(p.table, gone)
		if sig == unix.SIGCONT {
			t.stopTaken = false
		}
		t.recalc()
	}
	if sig == unix.SIGCONT {
		p.resume()
		for _, t := range p.threads {
			t.trapNotify()
		}
	}
}

// discards reports whether a signal has no effect at all (sig_ignored). force lets
// SIGKILL and SIGSTOP through to an init.
func (p *Process) discards(sig unix.Signal, target *Thread, force bool) bool {
	t := target
	if t == nil {
		t = p.leader
	}
	act := p.hand.get(sig)
	if t.mask.Has(sig) {
		return false // it may be unblocked, and handled otherwise, by then
	}
	if (t.follow != nil || t.trace != nil) && sig != unix.SIGKILL {
		return false // NextWork tells of it
	}
	if p.unkillable && act.Handler == SigDfl && !(force && unblockable.Has(sig)) {
		return true
	}
	return act.ignores(sig)
}

// choose finds a thread to take sig, and wakes it (complete_signal). A signal that is
// going to end the process does so at once, unless a core dump is due.
func (p *Process) choose(sig unix.Signal, target *Thread) {
	t := target
	if t == nil {
		t = p.taker(sig)
	} else if t.blocked().Has(sig) || !t.takes() {
		t = nil
	}
	if t == nil {
		return // who unblocks it finds it
	}
	act := p.hand.get(sig)
	if act.fatal(sig) && !coreSignals.Has(sig) && !t.mask.Has(sig) && !p.unkillable && t.follow == nil && t.trace == nil {
		p.beginGroupExit(SignalStatus(sig))
		return
	}
	t.tell(SetOf(sig))
}

// taker returns a thread for a signal of the process: the leader, if it does not
// block it and has no other to see to; otherwise another such, or at least one that
// does not block it. nil: all block it.
func (p *Process) taker(sig unix.Signal) *Thread {
	var busy *Thread
	for i := -1; i < len(p.threads); i++ {
		t := p.leader
		if i >= 0 {
			t = p.threads[i]
		}
		if t.blocked().Has(sig) || !t.takes() {
			// A process that is not started yet has nobody else.
			if p.started || t.blocked().Has(sig) {
				continue
			}
		}
		if t.pending.Load()&pendSignal == 0 {
			return t
		}
		if busy == nil {
			busy = t
		}
	}
	return busy
}

// ForceSignal makes the thread itself take a signal at once, for a fault of its
// own: if it is blocked or ignored, it is unblocked and its disposition becomes the
// default one, which ends the process, even an init (force_sig_info).
func (t *Thread) ForceSignal(info SigInfo) {
	t.force(info, false)
}

// ForceSegv ends a thread that cannot take signal sig: its handler's frame cannot
// be built. A SIGSEGV that cannot be delivered has no second chance
// (force_sigsegv).
func (t *Thread) ForceSegv(sig int32) {
	t.force(SigInfo{Signo: int32(unix.SIGSEGV), Code: SIKernel}, unix.Signal(sig) == unix.SIGSEGV)
}

func (t *Thread) force(info SigInfo, toDefault bool) {
	sig := unix.Signal(info.Signo)
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	act := p.hand.get(sig)
	if toDefault || t.mask.Has(sig) || act.Handler == SigIgn {
		act.Handler = SigDfl
		p.hand.set(sig, act)
		t.mask &^= SetOf(sig)
	}
	if act.Handler == SigDfl {
		p.unkillable = false
	}
	t.queue.add(p, t, info)
	t.recalc()
}

// Dequeue takes a pending signal out of set without delivering it (signalfd(2)).
func (t *Thread) Dequeue(set SigSet) (SigInfo, bool) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.dequeue(set)
}

// dequeue takes a pending signal of set. Process.mu is held, but not all the time.
func (t *Thread) dequeue(set SigSet) (SigInfo, bool) {
	for {
		info, ok := t.queue.take(t.p.table, set)
		own := ok
		if !ok {
			info, ok = t.p.queue.take(t.p.table, set)
		}
		if !ok {
			return info, false
		}
		t.recalc()
		if info.timer == nil && (own || unix.Signal(info.Signo) != unix.SIGALRM) {
			return info, true
		}
		late := info // what is completed is on the heap: not each signal has to be
		t.p.mu.Unlock()
		ok = t.taken(&late, !own)
		info = late
		t.p.mu.Lock()
		if ok {
			return info, true
		}
	}
}

// Sigtimedwait waits for a signal of set and takes it (sigtimedwait(2)). EAGAIN:
// the deadline is past. ErrInterrupted: another signal came.
func (t *Thread) Sigtimedwait(set SigSet, deadline time.Time) (SigInfo, error) {
	set &^= unblockable
	p := t.p
	for {
		p.mu.Lock()
		if info, ok := t.dequeue(set); ok {
			t.waitSet = 0
			t.recalc()
			p.mu.Unlock()
			return info, nil
		}
		if t.sigCh == nil {
			t.sigCh = make(chan struct{}, 1)
		}
		t.waitSet = set
		t.recalc()
		p.mu.Unlock()

		err := t.Block(t.sigCh, deadline)
		if err == nil {
			continue
		}
		p.mu.Lock()
		info, ok := t.dequeue(set)
		t.waitSet = 0
		t.recalc()
		p.mu.Unlock()
		switch {
		case ok:
			return info, nil
		case err == unix.ETIMEDOUT:
			return SigInfo{}, unix.EAGAIN
		}
		return SigInfo{}, err
	}
}
