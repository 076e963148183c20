package procmgr

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

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

// retarget wakes threads for signals of the process whose taker is gone.
func (p *Process) retarget(set SigSet) {
	for _, o := range p.threads {
		if set&^o.mask != 0 && o.pending.Load()&pendSignal == 0 {
			o.setPending(pendSignal)
			o.wake()
		}
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

// SendSignal sends a signal to the process, any thread of which may take it.
// EAGAIN: the queue of real-time signals is full.
func (p *Process) SendSignal(info SigInfo) error {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	return p.send(info, nil)
}

// SendSignal sends a signal to one thread (tgkill(2)).
func (t *Thread) SendSignal(info SigInfo) error {
	t.p.table.mu.Lock()
	defer t.p.table.mu.Unlock()
	return t.p.send(info, t)
}

// send queues info for target, or any thread if that is nil, and wakes whoever is
// to take it (__send_signal_locked, complete_signal). Table.mu is held.
func (p *Process) send(info SigInfo, target *Thread) error {
	sig := unix.Signal(info.Signo)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.threads) == 0 || p.isEnded.Load() {
		return nil
	}
	p.prepare(sig)
	if p.exiting && sig != unix.SIGKILL {
		return nil
	}
	if p.discards(sig, target, &info) {
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
	if !q.add(p, info) {
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
		t.recalc()
	}
	if sig == unix.SIGCONT {
		p.resume()
	}
}

// discards reports whether a signal has no effect at all (sig_ignored).
func (p *Process) discards(sig unix.Signal, target *Thread, info *SigInfo) bool {
	t := target
	if t == nil {
		t = p.leader
	}
	act := p.hand.get(sig)
	// "sig_kernel_only": the kernel can kill or stop init, nothing else can.
	force := info.Code == SIKernel && (sig == unix.SIGKILL || sig == unix.SIGSTOP)
	if p.unkillable && act.Handler == SigDfl && !force {
		return true
	}
	if t.mask.Has(sig) || t.waitSet.Has(sig) {
		return false // it may be unblocked, and handled otherwise, by then
	}
	if t.follow != nil && sig != unix.SIGKILL {
		return false // NextWork tells of it
	}
	return act.ignores(sig)
}

// choose finds a thread to take sig and wakes it.
func (p *Process) choose(sig unix.Signal, target *Thread) {
	takes := func(t *Thread) bool {
		if t.waitSet.Has(sig) {
			notify(t.sigCh)
			return true
		}
		if t.mask.Has(sig) || t.State() == Zombie {
			return false
		}
		t.setPending(pendSignal)
		t.wake()
		return true
	}
	if target != nil {
		takes(target)
		return
	}
	// A thread that waits for just this one comes first, then the leader.
	for _, t := range p.threads {
		if t.waitSet.Has(sig) && takes(t) {
			return
		}
	}
	if slices.Contains(p.threads, p.leader) && takes(p.leader) {
		return
	}
	for _, t := range p.threads {
		if takes(t) {
			return
		}
	}
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// ForceSignal makes the thread itself take a signal at once, for a fault of its
// own: if it is blocked or ignored, it is unblocked and its disposition becomes the
// default one, which ends the process (force_sig_info).
func (t *Thread) ForceSignal(info SigInfo) {
	sig := unix.Signal(info.Signo)
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hand.mu.Lock()
	act := &p.hand.actions[sig]
	if t.mask.Has(sig) || act.Handler == SigIgn {
		*act = SigAction{}
		t.mask &^= SetOf(sig)
	}
	p.hand.mu.Unlock()
	t.queue.add(p, info)
	t.setPending(pendSignal)
}

// ForceSegv ends a thread that cannot take signal sig: its handler's frame cannot
// be built. A SIGSEGV that cannot be delivered has no second chance
// (force_sigsegv).
func (t *Thread) ForceSegv(sig int32) {
	if unix.Signal(sig) == unix.SIGSEGV {
		t.p.hand.mu.Lock()
		t.p.hand.actions[unix.SIGSEGV] = SigAction{}
		t.p.hand.mu.Unlock()
	}
	t.ForceSignal(SigInfo{Signo: int32(unix.SIGSEGV), Code: SIKernel})
}

// Dequeue takes a pending signal out of set without delivering it (signalfd(2)).
func (t *Thread) Dequeue(set SigSet) (SigInfo, bool) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.dequeue(set)
}

func (t *Thread) dequeue(set SigSet) (SigInfo, bool) {
	info, ok := t.queue.take(t.p.table, set)
	if !ok {
		info, ok = t.p.queue.take(t.p.table, set)
	}
	if ok {
		t.recalc()
	}
	return info, ok
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
