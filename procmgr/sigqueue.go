package procmgr

import (
	"math/bits"
	"slices"

	"golang.org/x/sys/unix"
)

// firstRT is the first real-time signal, which queues.
const firstRT = 32

// sigQueue holds pending signals (struct sigpending): each standard one at most
// once, real-time ones as often as they were sent, in order.
type sigQueue struct {
	set      SigSet
	standard []queued
	realtime *[NumSignals - firstRT + 1]fifo // made when first used
}

// queued is a pending signal. A signal that is in the set only has lost what else
// was known of it.
type queued struct {
	info SigInfo
	user *user // whom it is charged to; nil: nobody
}

// fifo is a queue of signals of one number.
type fifo struct {
	list []queued
	head int
}

func (f *fifo) put(e queued) { f.list = append(f.list, e) }

func (f *fifo) get() queued {
	e := f.list[f.head]
	f.list[f.head] = queued{}
	if f.head++; f.head == len(f.list) && cap(f.list) > 64 {
		*f = fifo{}
	} else if f.head == len(f.list) {
		f.list, f.head = f.list[:0], 0
	} else if f.head >= 64 && f.head*2 >= len(f.list) {
		f.list = append([]queued(nil), f.list[f.head:]...)
		f.head = 0
	}
	return e
}

func (f *fifo) len() int { return len(f.list) - f.head }

// add queues a signal for t, or for the process if that is nil. RLIMIT_SIGPENDING
// counts them for each user (__send_signal_locked): when it is reached, standard
// signals that the kernel or kill(2) sent are queued all the same, others lose their
// details, and add reports false for a real-time signal that sigqueue(3) or a timer
// sent.
func (q *sigQueue) add(p *Process, t *Thread, info SigInfo) bool {
	sig := unix.Signal(info.Signo)
	if sig < firstRT && q.set.Has(sig) {
		return true
	}
	limit := p.limits.Soft(rlimitSigPending)
	if sig < firstRT && info.Code >= 0 {
		limit = Infinity
	}
	u := p.payer(t)
	if !p.table.chargePending(u, limit) {
		if sig >= firstRT && info.Code != SIUser && info.Code != SIKernel {
			return false
		}
		q.set |= SetOf(sig)
		return true
	}
	q.put(queued{info, u})
	return true
}

// put queues a signal, unconditionally.
func (q *sigQueue) put(e queued) {
	sig := unix.Signal(e.info.Signo)
	q.set |= SetOf(sig)
	if sig < firstRT {
		q.standard = append(q.standard, e)
		return
	}
	if q.realtime == nil {
		q.realtime = new([NumSignals - firstRT + 1]fifo)
	}
	q.realtime[sig-firstRT].put(e)
}

// payer returns the user that a signal for t, or for any thread, is charged to.
func (p *Process) payer(t *Thread) *user {
	switch {
	case t != nil:
		return t.user
	case !p.leader.leaving:
		return p.leader.user
	}
	return p.threads[0].user
}

// take removes the signal that is due among those in want: synchronous ones
// first, then by number.
func (q *sigQueue) take(tb *Table, want SigSet) (SigInfo, bool) {
	set := q.set & want
	if set == 0 {
		return SigInfo{}, false
	}
	if s := set & synchronous; s != 0 {
		set = s
	}
	sig := unix.Signal(bits.TrailingZeros64(uint64(set)) + 1)
	e := queued{info: SigInfo{Signo: int32(sig)}}
	more := false
	if sig < firstRT {
		if i := q.find(sig); i >= 0 {
			e = q.standard[i]
			q.standard = slices.Delete(q.standard, i, i+1)
			more = q.find(sig) >= 0 // of timers
		}
	} else if q.realtime != nil {
		if f := &q.realtime[sig-firstRT]; f.len() > 0 {
			e = f.get()
			more = f.len() > 0
		}
	}
	if !more {
		q.set &^= SetOf(sig)
	}
	if e.user != nil {
		tb.dischargePending(e.user)
	}
	return e.info, true
}

// find returns the place of a standard signal, -1 if it is not there.
func (q *sigQueue) find(sig unix.Signal) int {
	return slices.IndexFunc(q.standard, func(e queued) bool { return e.info.Signo == int32(sig) })
}

// remove throws away a standard signal.
func (q *sigQueue) remove(tb *Table, i int) {
	e := q.standard[i]
	q.standard = slices.Delete(q.standard, i, i+1)
	if sig := unix.Signal(e.info.Signo); q.find(sig) < 0 {
		q.set &^= SetOf(sig)
	}
	e.drop(tb)
}

// drop is the end of a signal that is not delivered.
func (e *queued) drop(tb *Table) {
	if e.user != nil {
		tb.dischargePending(e.user)
	}
	if e.info.timer != nil {
		e.info.timer.Dropped()
	}
}

// removeAll throws away what is pending of a set.
func (q *sigQueue) removeAll(tb *Table, set SigSet) {
	for q.set&set != 0 {
		if info, _ := q.take(tb, set); info.timer != nil {
			info.timer.Dropped()
		}
	}
}
