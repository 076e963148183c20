package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/futex"
	"runsc-lite/sentry/task"
)

// futex(2)'s operations and flags (linux/futex.h).
const (
	futexWait          = 0
	futexWake          = 1
	futexRequeue       = 3
	futexCmpRequeue    = 4
	futexWakeOp        = 5
	futexLockPI        = 6
	futexUnlockPI      = 7
	futexTrylockPI     = 8
	futexWaitBitset    = 9
	futexWakeBitset    = 10
	futexWaitRequeuePI = 11
	futexCmpRequeuePI  = 12
	futexLockPI2       = 13

	futexPrivate  = 128
	futexRealtime = 256
)

// sysFutex is futex(2).
func sysFutex(t *task.Task, a *task.Args) (uint64, error) {
	op := a.Uint(1) &^ (futexPrivate | futexRealtime)
	w := futexWord{addr: a.Addr(0), private: a.Uint(1)&futexPrivate != 0}
	until := forever
	switch op {
	case futexWait, futexWaitBitset, futexLockPI, futexLockPI2, futexWaitRequeuePI:
		if a[3] == 0 {
			break
		}
		ts, ok, err := copyInTimespec(t, a.Addr(3))
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, unix.EINVAL
		}
		switch {
		case op == futexWait:
			until = moment{at: after(duration(ts))}
		case op == futexLockPI || a.Uint(1)&futexRealtime != 0:
			until = realtimeMoment(ts)
		default:
			if until, err = monotonicMoment(t, ts); err != nil {
				return 0, err
			}
		}
	}
	if a.Uint(1)&futexRealtime != 0 && op != futexWaitBitset && op != futexWaitRequeuePI && op != futexLockPI2 {
		return 0, unix.ENOSYS
	}
	val, val2, val3 := a.Int(2), a.Int(3), a.Uint(5)
	other := futexWord{addr: a.Addr(4), private: w.private}
	switch op {
	case futexWait:
		return waitFutex(t, w, uint32(val), futex.AnyMask, until)
	case futexWaitBitset:
		return waitFutex(t, w, uint32(val), val3, until)
	case futexWake:
		return wakeFutex(t, w, int(val), futex.AnyMask)
	case futexWakeBitset:
		return wakeFutex(t, w, int(val), val3)
	case futexRequeue:
		return requeueFutex(t, w, other, val, val2, nil)
	case futexCmpRequeue:
		return requeueFutex(t, w, other, val, val2, &val3)
	case futexWakeOp:
		return wakeOpFutex(t, w, other, int(val), int(val2), val3)
	case futexLockPI, futexLockPI2:
		return lockPI(t, w, until)
	case futexTrylockPI:
		return trylockPI(t, w)
	case futexUnlockPI:
		return unlockPI(t, w)
	case futexWaitRequeuePI:
		return waitRequeuePI(t, w, other, uint32(val), until)
	case futexCmpRequeuePI:
		return requeuePI(t, w, other, val, val2, val3)
	}
	return 0, unix.ENOSYS
}

// futexWord is where a futex is.
type futexWord struct {
	addr    hostarch.Addr
	private bool // of this address space only
}

func (w futexWord) key(t *task.Task) (futex.Key, error) {
	return t.Memory().FutexKey(w.addr, w.private)
}

// equals returns nil while the word has value v, EAGAIN otherwise.
func (w futexWord) equals(t *task.Task, v uint32) error {
	now, err := t.Memory().Space.LoadUint32(w.addr)
	if err == nil && now != v {
		return unix.EAGAIN
	}
	return err
}

// moment is when a wait ends: at a time on CLOCK_MONOTONIC or, in nanoseconds,
// on CLOCK_REALTIME, which may be set meanwhile.
type moment struct {
	at       time.Time // zero: never, or realtime counts
	realtime int64
}

var forever moment

func (m moment) never() bool { return m.at.IsZero() && m.realtime == 0 }

func realtimeMoment(ts unix.Timespec) moment {
	// 0 is long past in any case.
	return moment{realtime: max(1, int64(duration(ts)))}
}

// monotonicMoment is the moment at which the guest's CLOCK_MONOTONIC is ts.
func monotonicMoment(t *task.Task, ts unix.Timespec) (moment, error) {
	now, err := t.Kernel().Clock.Read(unix.CLOCK_MONOTONIC)
	return moment{at: after(duration(ts) - time.Duration(now))}, err
}

// wait waits for ch until m. The errors are Task.Block's.
func (m moment) wait(t *task.Task, ch <-chan struct{}) error {
	if m.realtime == 0 {
		return t.Block(ch, m.at)
	}
	for {
		now, err := t.Kernel().Clock.Read(unix.CLOCK_REALTIME)
		if err != nil {
			return err
		}
		left := time.Duration(m.realtime - now)
		// In pieces, so that a step of the clock is noticed.
		err = t.Block(ch, after(min(left, time.Second)))
		if err != unix.ETIMEDOUT || left <= time.Second {
			return err
		}
	}
}

// waitFutex is futex_wait. Interrupted, it starts anew; with a timeout by
// restart_syscall(2), for it must not begin to count again.
func waitFutex(t *task.Task, w futexWord, v, mask uint32, until moment) (uint64, error) {
	err := waitFutexOnce(t, w, v, mask, until)
	if err != procmgr.ErrInterrupted {
		return 0, err
	}
	if until.never() {
		return 0, task.RestartSys
	}
	return 0, t.SetRestartBlock(func(t *task.Task, _ *task.Args) (uint64, error) {
		return waitFutex(t, w, v, mask, until)
	})
}

// waitFutexOnce waits until it is woken, or fails. EAGAIN: the word is not v.
func waitFutexOnce(t *task.Task, w futexWord, v, mask uint32, until moment) error {
	if mask == 0 {
		return unix.EINVAL
	}
	key, err := w.key(t)
	if err != nil {
		return err
	}
	m, q := t.Kernel().Futexes, t.FutexWaiter()
	if err := m.Prepare(q, key, mask, func() error { return w.equals(t, v) }); err != nil {
		return err
	}
	err = until.wait(t, q.C())
	if err != nil && m.Cancel(q) {
		return nil // it was woken all the same
	}
	return err
}

// wakeFutex is futex_wake.
func wakeFutex(t *task.Task, w futexWord, n int, mask uint32) (uint64, error) {
	if mask == 0 {
		return 0, unix.EINVAL
	}
	key, err := w.key(t)
	if err != nil {
		return 0, err
	}
	return uint64(t.Kernel().Futexes.Wake(key, n, mask)), nil
}

// requeueFutex is futex_requeue; v is what the first word has to be, nil for
// anything.
func requeueFutex(t *task.Task, from, to futexWord, nWake, nMove int32, v *uint32) (uint64, error) {
	if nWake < 0 || nMove < 0 {
		return 0, unix.EINVAL
	}
	k1, err := from.key(t)
	if err != nil {
		return 0, err
	}
	k2, err := to.key(t)
	if err != nil {
		return 0, err
	}
	woken, moved, err := t.Kernel().Futexes.Requeue(k1, k2, int(nWake), int(nMove), func() error {
		if v == nil {
			return nil
		}
		return from.equals(t, *v)
	})
	return uint64(woken + moved), err
}

// wakeOpFutex is futex_wake_op; code says what is done to the second word.
func wakeOpFutex(t *task.Task, w1, w2 futexWord, n1, n2 int, code uint32) (uint64, error) {
	k1, err := w1.key(t)
	if err != nil {
		return 0, err
	}
	k2, err := w2.key(t)
	if err != nil {
		return 0, err
	}
	op, cmp := decodeWakeOp(code)
	if op == nil {
		return 0, unix.ENOSYS
	}
	n, err := t.Kernel().Futexes.WakeOp(k1, k2, n1, n2, func() (bool, error) {
		was, err := t.Memory().Space.UpdateUint32(w2.addr, op)
		if err != nil {
			return false, err
		}
		if cmp == nil {
			return false, unix.ENOSYS // and the word is changed
		}
		return cmp(int32(was)), nil
	})
	return uint64(n), err
}

// decodeWakeOp takes FUTEX_OP()'s code apart: four bits of operation, four of
// comparison, and twelve, signed, for the argument of either. nil: there is no
// such one.
func decodeWakeOp(code uint32) (op func(uint32) uint32, cmp func(int32) bool) {
	const shift = 8 // FUTEX_OP_OPARG_SHIFT: the argument is a power of two
	arg := uint32(int32(code<<8) >> 20)
	against := int32(code<<20) >> 20
	if code>>28&shift != 0 {
		arg = 1 << (arg & 31)
	}
	switch code >> 28 &^ shift {
	case 0:
		op = func(uint32) uint32 { return arg }
	case 1:
		op = func(v uint32) uint32 { return v + arg }
	case 2:
		op = func(v uint32) uint32 { return v | arg }
	case 3:
		op = func(v uint32) uint32 { return v &^ arg }
	case 4:
		op = func(v uint32) uint32 { return v ^ arg }
	}
	switch code >> 24 & 15 {
	case 0:
		cmp = func(v int32) bool { return v == against }
	case 1:
		cmp = func(v int32) bool { return v != against }
	case 2:
		cmp = func(v int32) bool { return v < against }
	case 3:
		cmp = func(v int32) bool { return v <= against }
	case 4:
		cmp = func(v int32) bool { return v > against }
	case 5:
		cmp = func(v int32) bool { return v >= against }
	}
	return op, cmp
}

// Futexes with an owner.

// lockPI is futex_lock_pi.
func lockPI(t *task.Task, w futexWord, until moment) (uint64, error) {
	key, err := w.key(t)
	if err != nil {
		return 0, err
	}
	k, mem, q := t.Kernel(), t.Memory().Futexes(), t.FutexWaiter()
	locked, err := k.Futexes.LockPI(q, key, mem, w.addr, uint32(t.Thread().ID()), false, k.OwnsFutexes)
	if err != nil || locked {
		return 0, err
	}
	ended := until.wait(t, q.C())
	locked, err = k.Futexes.DoneLockPI(q, mem, w.addr)
	if err != nil || locked {
		return 0, err
	}
	return 0, task.Interrupted(ended, task.RestartNoIntr)
}

// trylockPI is futex_lock_pi that does not wait.
func trylockPI(t *task.Task, w futexWord) (uint64, error) {
	key, err := w.key(t)
	if err != nil {
		return 0, err
	}
	k := t.Kernel()
	_, err = k.Futexes.LockPI(t.FutexWaiter(), key, t.Memory().Futexes(), w.addr, uint32(t.Thread().ID()), true, k.OwnsFutexes)
	return 0, err
}

// unlockPI is futex_unlock_pi.
func unlockPI(t *task.Task, w futexWord) (uint64, error) {
	key, err := w.key(t)
	if err != nil {
		return 0, err
	}
	return 0, t.Kernel().Futexes.UnlockPI(key, t.Memory().Futexes(), w.addr, uint32(t.Thread().ID()))
}

// waitRequeuePI is futex_wait_requeue_pi: it waits on w until it is moved to the
// lock, and has that when it returns without an error.
func waitRequeuePI(t *task.Task, w, lock futexWord, v uint32, until moment) (uint64, error) {
	if w.addr == lock.addr {
		return 0, unix.EINVAL
	}
	to, err := lock.key(t)
	if err != nil {
		return 0, err
	}
	key, err := w.key(t)
	if err != nil {
		return 0, err
	}
	m, q := t.Kernel().Futexes, t.FutexWaiter()
	err = m.PrepareRequeuePI(q, key, to, uint32(t.Thread().ID()), func() error { return w.equals(t, v) })
	if err != nil {
		return 0, err
	}
	ended := until.wait(t, q.C())
	locked, moved, err := m.DoneRequeuePI(q, t.Memory().Futexes(), lock.addr)
	if err != nil || locked {
		return 0, err
	}
	if moved && ended == procmgr.ErrInterrupted {
		// It cannot be waited for by a new futex_wait_requeue_pi: w has
		// changed. "Save the overhead of the restart."
		return 0, unix.EAGAIN
	}
	return 0, task.Interrupted(ended, task.RestartNoIntr)
}

// requeuePI is futex_requeue with requeue_pi.
func requeuePI(t *task.Task, from, to futexWord, nWake, nMove int32, v uint32) (uint64, error) {
	if nWake < 0 || nMove < 0 || from.addr == to.addr || nWake != 1 {
		return 0, unix.EINVAL
	}
	k1, err := from.key(t)
	if err != nil {
		return 0, err
	}
	k2, err := to.key(t)
	if err != nil {
		return 0, err
	}
	k := t.Kernel()
	n, err := k.Futexes.RequeuePI(k1, k2, int(nMove), t.Memory().Futexes(), to.addr,
		func() error { return from.equals(t, v) }, k.OwnsFutexes)
	return uint64(n), err
}

// The calls of futex2: what futex(2) does, with a flag word of its own.
const (
	futex2SizeMask = 3
	futex2SizeU32  = 2
	futex2Private  = 128

	maxFutexWaitv = 128 // FUTEX_WAITV_MAX
	futexWaitvLen = 24  // struct futex_waitv
)

// futex2Word checks flags (futex_flags_valid) and the values that belong to
// the word: only words of 32 bits are there, as on Linux.
func futex2Word(addr hostarch.Addr, flags uint64, values ...uint64) (futexWord, error) {
	if flags&^(futex2SizeMask|futex2Private) != 0 || flags&futex2SizeMask != futex2SizeU32 {
		return futexWord{}, unix.EINVAL
	}
	for _, v := range values {
		if v>>32 != 0 {
			return futexWord{}, unix.EINVAL
		}
	}
	return futexWord{addr: addr, private: flags&futex2Private != 0}, nil
}

// futex2Timeout reads an absolute timeout (futex2_setup_timeout).
func futex2Timeout(t *task.Task, addr hostarch.Addr, clock int32) (moment, error) {
	if addr == 0 {
		return forever, nil
	}
	if clock != unix.CLOCK_REALTIME && clock != unix.CLOCK_MONOTONIC {
		return forever, unix.EINVAL
	}
	ts, ok, err := copyInTimespec(t, addr)
	if err != nil {
		return forever, err
	}
	if !ok {
		return forever, unix.EINVAL
	}
	if clock == unix.CLOCK_REALTIME {
		return realtimeMoment(ts), nil
	}
	return monotonicMoment(t, ts)
}

// sysFutexWake is futex_wake(uaddr, mask, nr, flags). Unlike FUTEX_WAKE, it
// wakes nobody if nr is 0.
func sysFutexWake(t *task.Task, a *task.Args) (uint64, error) {
	w, err := futex2Word(a.Addr(0), uint64(a.Uint(3)), a[1])
	if err != nil {
		return 0, err
	}
	if a.Int(2) == 0 && a[1] != 0 {
		_, err := w.key(t)
		return 0, err
	}
	return wakeFutex(t, w, int(a.Int(2)), uint32(a[1]))
}

// sysFutexWait is futex_wait(uaddr, val, mask, flags, timeout, clockid).
func sysFutexWait(t *task.Task, a *task.Args) (uint64, error) {
	w, err := futex2Word(a.Addr(0), uint64(a.Uint(3)), a[1], a[2])
	if err != nil {
		return 0, err
	}
	until, err := futex2Timeout(t, a.Addr(4), a.Int(5))
	if err != nil {
		return 0, err
	}
	err = waitFutexOnce(t, w, uint32(a[1]), uint32(a[2]), until)
	return 0, task.Interrupted(err, task.RestartSys)
}

// waitvWord is one struct futex_waitv.
type waitvWord struct {
	futexWord
	val uint32
}

// copyInWaitv reads n structs futex_waitv (futex_parse_waitv).
func copyInWaitv(t *task.Task, addr hostarch.Addr, n int) ([]waitvWord, error) {
	raw := make([]byte, futexWaitvLen*n)
	if _, err := t.Memory().Space.CopyIn(addr, raw); err != nil {
		return nil, err
	}
	words := make([]waitvWord, n)
	le := binary.LittleEndian
	for i := range words {
		b := raw[futexWaitvLen*i:]
		val, flags, reserved := le.Uint64(b[0:]), le.Uint32(b[16:]), le.Uint32(b[20:])
		w, err := futex2Word(hostarch.Addr(le.Uint64(b[8:])), uint64(flags), val)
		if err != nil {
			return nil, err
		}
		if reserved != 0 {
			return nil, unix.EINVAL
		}
		words[i] = waitvWord{w, uint32(val)}
	}
	return words, nil
}

// sysFutexWaitv is futex_waitv(waiters, nr, flags, timeout, clockid): it
// returns the index of one that was woken.
func sysFutexWaitv(t *task.Task, a *task.Args) (uint64, error) {
	n := a.Uint(1)
	if a.Uint(2) != 0 || n == 0 || n > maxFutexWaitv || a[0] == 0 {
		return 0, unix.EINVAL
	}
	until, err := futex2Timeout(t, a.Addr(3), a.Int(4))
	if err != nil {
		return 0, err
	}
	words, err := copyInWaitv(t, a.Addr(0), int(n))
	if err != nil {
		return 0, err
	}
	keys := make([]futex.Key, n)
	for i := range words {
		if keys[i], err = words[i].key(t); err != nil {
			return 0, err
		}
	}
	m, ws := t.Kernel().Futexes, futex.NewWaiters(int(n))
	for _, w := range ws {
		w.Wake = t.Thread().Unpark
	}
	woken, err := m.PrepareAll(ws, keys, func(i int) error { return words[i].equals(t, words[i].val) })
	if err != nil {
		return 0, err
	}
	if woken >= 0 {
		return uint64(woken), nil
	}
	err = until.wait(t, ws[0].C())
	if woken := m.CancelAll(ws); woken >= 0 {
		return uint64(woken), nil
	}
	return 0, task.Interrupted(err, task.RestartSys)
}

// sysFutexRequeue is futex_requeue(waiters, flags, nr_wake, nr_requeue):
// FUTEX_CMP_REQUEUE from the first of two words to the second.
func sysFutexRequeue(t *task.Task, a *task.Args) (uint64, error) {
	if a.Uint(1) != 0 || a[0] == 0 {
		return 0, unix.EINVAL
	}
	w, err := copyInWaitv(t, a.Addr(0), 2)
	if err != nil {
		return 0, err
	}
	return requeueFutex(t, w[0].futexWord, w[1].futexWord, a.Int(2), a.Int(3), &w[0].val)
}
