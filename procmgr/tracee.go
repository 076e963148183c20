package procmgr

import (
	"golang.org/x/sys/unix"
)

// Tracee is a thread in a stop for its tracer, which looks at it: until Thaw it does
// not go on, whatever happens to it.
type Tracee struct {
	t  *Thread
	tr *tracing
}

// Freeze returns the thread with an id, which t traces and which is in a stop: ESRCH.
// Thaw it soon.
func (tb *Table) Freeze(t *Thread, tid int) (*Tracee, error) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	o, err := t.tracee(tid)
	if err != nil {
		return nil, err
	}
	if tr := o.trace; !tr.stopped || tr.listening || tr.resumed || o.Killed() && !tr.stop.dying {
		return nil, unix.ESRCH
	}
	o.trace.frozen = true
	return &Tracee{o, o.trace}, nil
}

// Thaw ends Freeze.
func (x *Tracee) Thaw() {
	defer x.lock()()
	x.tr.frozen = false
	x.t.Unpark()
}

func (x *Tracee) lock() (unlock func()) {
	x.t.p.table.mu.Lock()
	return x.t.p.table.mu.Unlock
}

// Thread returns the thread.
func (x *Tracee) Thread() *Thread { return x.t }

// Do lets the thread's own goroutine call fn, and waits for that.
func (x *Tracee) Do(fn func()) {
	done := make(chan struct{}, 1)
	unlock := x.lock()
	x.tr.ask, x.tr.answered = fn, done
	x.t.Unpark()
	unlock()
	<-done
}

// Resume lets the thread go on when it is thawed, with a signal if that is not 0, and
// in a mode of TracedCalls, TracedEmulated and TracedStep.
func (x *Tracee) Resume(sig unix.Signal, mode uint32) {
	defer x.lock()()
	x.tr.resumed, x.tr.signal = true, sig
	x.t.traceMode.Store(Traced | mode)
}

// Detach ends the tracing, and lets the thread go on with a signal if that is not 0.
func (x *Tracee) Detach(sig unix.Signal) {
	defer x.lock()()
	x.tr.resumed, x.tr.signal = true, sig
	x.t.p.table.letGo(x.t)
}

// Listen is PTRACE_LISTEN: the thread stays stopped, and tells when its group goes on.
// EIO: it is not in a stop that is for that.
func (x *Tracee) Listen() error {
	defer x.lock()()
	if i := x.tr.stop.info; !x.tr.seized || i == nil || i.Code>>siginfoMessage != eventStop {
		return unix.EIO
	}
	x.tr.listening = true
	return nil
}

// SetOptions is PTRACE_SETOPTIONS: EINVAL for unknown ones.
func (x *Tracee) SetOptions(options uint64) error {
	if options&^traceOptions != 0 {
		return unix.EINVAL
	}
	defer x.lock()()
	x.tr.options = uint32(options)
	return nil
}

// Message is PTRACE_GETEVENTMSG's.
func (x *Tracee) Message() uint64 {
	defer x.lock()()
	return x.tr.stop.message
}

// SigInfo is what the thread stopped for. EINVAL: its group's stop, which has none.
func (x *Tracee) SigInfo() (SigInfo, error) {
	defer x.lock()()
	if x.tr.stop.info == nil {
		return SigInfo{}, unix.EINVAL
	}
	return *x.tr.stop.info, nil
}

// SetSigInfo changes it.
func (x *Tracee) SetSigInfo(info SigInfo) error {
	defer x.lock()()
	if x.tr.stop.info == nil {
		return unix.EINVAL
	}
	*x.tr.stop.info = info
	return nil
}

// Call says of a stop at a system call which it is: 'e' for the entry, 'x' for the
// exit, 's' for a filter's; 0 for another stop.
func (x *Tracee) Call() byte {
	defer x.lock()()
	if x.tr.stop.info == nil {
		return 0
	}
	switch code := uint32(x.tr.stop.info.Code); {
	case code == uint32(unix.SIGTRAP)|unix.PTRACE_EVENT_SECCOMP<<siginfoMessage:
		return 's'
	case code == uint32(unix.SIGTRAP)|sysGood && x.tr.stop.message == callEntry:
		return 'e'
	case code == uint32(unix.SIGTRAP)|sysGood && x.tr.stop.message == callExit:
		return 'x'
	}
	return 0
}

// SignalMask is PTRACE_GETSIGMASK's: the mask that the thread has outside of a call
// that replaced it for its own length.
func (x *Tracee) SignalMask() SigSet {
	x.t.p.mu.Lock()
	defer x.t.p.mu.Unlock()
	if x.t.saved {
		return x.t.savedMask
	}
	return x.t.mask
}

// SetSignalMask is PTRACE_SETSIGMASK.
func (x *Tracee) SetSignalMask(m SigSet) {
	x.t.TakeSavedMask()
	x.t.SetSignalMask(m)
}

// Queued returns at most n signals that are pending, from the given one on: the
// thread's own, or its process's (PTRACE_PEEKSIGINFO).
func (x *Tracee) Queued(shared bool, from uint64, n int) []SigInfo {
	x.t.p.mu.Lock()
	defer x.t.p.mu.Unlock()
	q := &x.t.queue
	if shared {
		q = &x.t.p.queue
	}
	var out []SigInfo
	add := func(e *queued) {
		if from > 0 {
			from--
		} else if len(out) < n {
			out = append(out, e.info)
		}
	}
	for i := range q.standard {
		add(&q.standard[i])
	}
	if q.realtime != nil {
		for i := range q.realtime {
			f := &q.realtime[i]
			for j := f.head; j < len(f.list); j++ {
				add(&f.list[j])
			}
		}
	}
	return out
}
