package procmgr

import (
	"math/bits"

	"golang.org/x/sys/unix"
)

// firstRT is the first real-time signal, which queues.
const firstRT = 32

// sigQueue holds pending signals (struct sigpending): each standard one at most
// once, real-time ones in order.
type sigQueue struct {
	set  SigSet
	list []queued
}

type queued struct {
	info    SigInfo
	uid     uint32 // whom it is charged to
	charged bool
}

// add queues a signal. It reports false when a real-time signal sent by
// sigqueue(3) finds the user's limit reached; other signals lose their details
// then, as in Linux's __send_signal_locked.
func (q *sigQueue) add(p *Process, info SigInfo) bool {
	sig := unix.Signal(info.Signo)
	if sig < firstRT && q.set.Has(sig) {
		return true
	}
	uid := p.leader.Credentials().RUID
	charged := p.table.chargePending(uid, p.limits.Soft(rlimitSigPending))
	if !charged {
		if sig >= firstRT && info.Code != SIUser && info.Code != SIKernel {
			return false
		}
		if q.set.Has(sig) {
			return true
		}
		info = SigInfo{Signo: info.Signo}
	}
	q.set |= SetOf(sig)
	q.list = append(q.list, queued{info, uid, charged})
	return true
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
	found := -1
	more := false
	for i := range q.list {
		if q.list[i].info.Signo == int32(sig) {
			if found >= 0 {
				more = true
				break
			}
			found = i
		}
	}
	e := q.list[found]
	q.list = append(q.list[:found], q.list[found+1:]...)
	if !more {
		q.set &^= SetOf(sig)
	}
	if e.charged {
		tb.dischargePending(e.uid)
	}
	return e.info, true
}

// removeAll throws away what is pending of a set.
func (q *sigQueue) removeAll(tb *Table, set SigSet) {
	if q.set&set == 0 {
		return
	}
	kept := q.list[:0]
	for _, e := range q.list {
		if set.Has(unix.Signal(e.info.Signo)) {
			if e.charged {
				tb.dischargePending(e.uid)
			}
			continue
		}
		kept = append(kept, e)
	}
	q.list = kept
	q.set &^= set
}
