package procmgr

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Handlers that are not addresses.
const (
	SigDfl = 0
	SigIgn = 1
)

// SA_* flags that concern the process manager.
const (
	saNoCldStop = 0x1
	saNoCldWait = 0x2
	saNoDefer   = 0x40000000
	saResetHand = 0x80000000
	// saKnown are all flags that there are; others are cleared, so that
	// programs can find out what is supported.
	saKnown = 0x1 | 0x2 | 0x4 | 0x800 | 0x04000000 | 0x08000000 | 0x10000000 | saNoDefer | saResetHand
)

// SigAction is a disposition (struct kernel_sigaction).
type SigAction struct {
	Handler  uint64 // SigDfl, SigIgn or a guest address
	Flags    uint64 // SA_*
	Restorer uint64
	Mask     SigSet
}

// actions are the dispositions of all signals, by number.
type actions [NumSignals + 1]SigAction

// noActions are the dispositions of a fresh program. They do not change.
var noActions actions

// sigHand holds the dispositions of a process, which CLONE_SIGHAND shares. fork(2)
// copies them, lazily: few children change any.
type sigHand struct {
	mu      sync.Mutex
	refs    int
	actions *actions
	lazy    bool // another sigHand may have the same actions
}

func newSigHand() *sigHand { return &sigHand{refs: 1, actions: &noActions, lazy: true} }

func (h *sigHand) get(sig unix.Signal) SigAction {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.actions[sig]
}

// take is get for a signal that is about to be handled: it resets one that is to be
// handled once (SA_RESETHAND).
func (h *sigHand) take(sig unix.Signal) SigAction {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.actions[sig]
	if a.Handler > SigIgn && a.Flags&saResetHand != 0 {
		h.own()[sig].Handler = SigDfl
	}
	return a
}

func (h *sigHand) set(sig unix.Signal, a SigAction) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.own()[sig] = a
}

// own returns the actions for changing them. h.mu is held.
func (h *sigHand) own() *actions {
	if h.lazy {
		c := *h.actions
		h.actions, h.lazy = &c, false
	}
	return h.actions
}

func (h *sigHand) share() *sigHand {
	h.mu.Lock()
	h.refs++
	h.mu.Unlock()
	return h
}

func (h *sigHand) copy() *sigHand {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lazy = true
	return &sigHand{refs: 1, actions: h.actions, lazy: true}
}

// unshare returns what only the caller has: h itself, or a copy of it.
func (h *sigHand) unshare() *sigHand {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refs == 1 {
		return h
	}
	h.refs--
	h.lazy = true
	return &sigHand{refs: 1, actions: h.actions, lazy: true}
}

func (h *sigHand) drop() {
	h.mu.Lock()
	h.refs--
	h.mu.Unlock()
}

// flush sets what is caught to the default; what is ignored stays so
// (flush_signal_handlers).
func (h *sigHand) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.actions
	h.actions, h.lazy = &noActions, true
	for sig := range old {
		if old[sig].Handler == SigIgn {
			h.own()[sig].Handler = SigIgn
		}
	}
}

const unblockable = SigSet(1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1))

var (
	stopSignals = SetOf(unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	ignoredDfl  = SetOf(unix.SIGCONT, unix.SIGCHLD, unix.SIGWINCH, unix.SIGURG)
	coreSignals = SetOf(unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGFPE, unix.SIGSEGV,
		unix.SIGBUS, unix.SIGSYS, unix.SIGXCPU, unix.SIGXFSZ)
	synchronous = SetOf(unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGTRAP, unix.SIGFPE, unix.SIGSYS)
)

// ignores reports whether a signal with this disposition is thrown away.
func (a *SigAction) ignores(sig unix.Signal) bool {
	return a.Handler == SigIgn || a.Handler == SigDfl && ignoredDfl.Has(sig)
}

// fatal reports whether a signal with this disposition ends the process (sig_fatal).
func (a *SigAction) fatal(sig unix.Signal) bool {
	return a.Handler == SigDfl && !(ignoredDfl | stopSignals).Has(sig)
}

// SetAction sets, unless next is nil, the disposition of sig and returns what it
// was (sigaction(2)). EINVAL: no such signal, or one that cannot be caught.
func (p *Process) SetAction(sig unix.Signal, next *SigAction) (SigAction, error) {
	if sig < 1 || sig > NumSignals || next != nil && unblockable.Has(sig) {
		return SigAction{}, unix.EINVAL
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.hand.get(sig)
	if next == nil {
		return old, nil
	}
	n := *next
	n.Mask &^= unblockable
	n.Flags &= saKnown
	if n != old {
		p.hand.set(sig, n)
	}
	if n.ignores(sig) {
		// POSIX: what is pending and now ignored is thrown away.
		p.queue.removeAll(p.table, SetOf(sig))
		for _, t := range p.threads {
			t.queue.removeAll(p.table, SetOf(sig))
			t.recalc()
		}
	}
	return old, nil
}

// ActionsShared reports whether another process has the same dispositions
// (CLONE_SIGHAND).
func (p *Process) ActionsShared() bool {
	p.mu.Lock()
	h := p.hand
	p.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refs > 1
}

// Actions returns which signals are ignored and which are caught, for
// /proc/PID/status.
func (p *Process) Actions() (ignored, caught SigSet) {
	p.mu.Lock()
	h := p.hand
	p.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for sig := unix.Signal(1); sig <= NumSignals; sig++ {
		switch h.actions[sig].Handler {
		case SigDfl:
		case SigIgn:
			ignored |= SetOf(sig)
		default:
			caught |= SetOf(sig)
		}
	}
	return ignored, caught
}
