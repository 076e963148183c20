package procmgr

import (
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// TimerSignal is where a signal of a POSIX timer comes from (timer_create(2)). One of
// its signals at most is queued at a time, and it is told when that is over.
type TimerSignal interface {
	// Taken is called when the signal is about to be delivered, without locks. It
	// completes info. false: the signal is void, since the timer was deleted or set
	// anew.
	Taken(info *SigInfo) bool
	// Dropped is called when the signal is thrown away. Locks are held.
	Dropped()
}

// SendTimer queues the signal of a timer for target, or for whichever thread of the
// process if that is nil. It is queued even if one of the same number is pending, and
// whatever RLIMIT_SIGPENDING says: the timer was charged (ChargeTimer). It reports
// false if the signal would have no effect: it is ignored, or the target has ended.
func (p *Process) SendTimer(info SigInfo, target *Thread, from TimerSignal) bool {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	sig := unix.Signal(info.Signo)
	if len(p.threads) == 0 || target != nil && target.State() >= Zombie {
		return false
	}
	p.prepare(sig)
	if p.exiting || p.discards(sig, target, true) {
		return false
	}
	if sig == unix.SIGKILL {
		p.beginGroupExit(SignalStatus(sig))
		return false
	}
	q := &p.queue
	if target != nil {
		q = &target.queue
	}
	info.timer = from
	q.put(queued{info: info})
	p.signals.Notify(waiter.EventIn)
	p.choose(sig, target)
	return true
}

// taken completes a signal that was taken from a queue: false if it is void. No lock
// is held.
func (t *Thread) taken(info *SigInfo, fromProcess bool) bool {
	if from := info.timer; from != nil {
		info.timer = nil
		return from.Taken(info)
	}
	if fromProcess && unix.Signal(info.Signo) == unix.SIGALRM {
		if f := t.p.onAlarm.Load(); f != nil {
			(*f)()
		}
	}
	return true
}

// OnAlarm sets what is called, without locks, when a SIGALRM of the process is taken:
// that is when Linux's ITIMER_REAL goes on (posixtimer_rearm_itimer).
func (p *Process) OnAlarm(f func()) { p.onAlarm.Store(&f) }

// ChargeTimer counts a timer of t's against RLIMIT_SIGPENDING, since it may queue a
// signal at any time; release ends that. EAGAIN: the limit is reached.
func (t *Thread) ChargeTimer() (release func(), err error) {
	tb := t.p.table
	t.p.mu.Lock()
	u := t.user
	t.p.mu.Unlock()
	if !tb.chargePending(u, t.p.limits.Soft(rlimitSigPending)) {
		return nil, unix.EAGAIN
	}
	return func() { tb.dischargePending(u) }, nil
}

// FlushTimers throws away all signals of timers that are pending for t or its process
// (flush_itimer_signals).
func (t *Thread) FlushTimers() {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.queue.removeTimers(t.p.table)
	t.p.queue.removeTimers(t.p.table)
	t.recalc()
}

// removeTimers throws away what SI_TIMER says of.
func (q *sigQueue) removeTimers(tb *Table) {
	for i := 0; i < len(q.standard); {
		if q.standard[i].info.Code == SITimer {
			q.remove(tb, i)
		} else {
			i++
		}
	}
	if q.realtime == nil {
		return
	}
	for i := range q.realtime {
		f := &q.realtime[i]
		f.list = slices.DeleteFunc(f.list[f.head:], func(e queued) bool {
			if e.info.Code != SITimer {
				return false
			}
			e.drop(tb)
			return true
		})
		if f.head = 0; len(f.list) == 0 {
			q.set &^= SetOf(firstRT + unix.Signal(i))
		}
	}
}
