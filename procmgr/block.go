package procmgr

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInterrupted is what a wait returns when the thread has something to do
// first: a signal to deliver, a stop, its own end.
var ErrInterrupted = errors.New("interrupted by a signal")

// Block waits until ch delivers (nil never does) or the deadline is past (the
// zero Time never is): nil, unix.ETIMEDOUT, or ErrInterrupted. Only the thread's
// own goroutine calls it; it is the only way in which a guest thread waits. Who
// sends to ch, which has a buffer, calls Unpark then.
func (t *Thread) Block(ch <-chan struct{}, deadline time.Time) error {
	return t.block(ch, deadline, pendSignal|pendStop|pendExit)
}

// block is Block, interrupted only by the given bits of pending.
func (t *Thread) block(ch <-chan struct{}, deadline time.Time, bits uint32) error {
	select {
	case <-ch:
		return nil
	default:
	}
	if t.pending.Load()&bits != 0 {
		return ErrInterrupted
	}
	if !deadline.IsZero() && time.Until(deadline) <= 0 {
		return unix.ETIMEDOUT
	}
	t.setState(Blocked)
	t.releaseSlot()
	begin := time.Now()
	t.usage.waits(begin, time.Time{})
	defer func() {
		t.resume()
		t.usage.waits(begin, time.Now())
		if realtime(t.schedParam().policy) {
			t.restartRealtime()
		}
		t.usage.voluntary.Add(1)
		if t.follow != nil {
			t.follow.Waited(Blocked, begin)
		}
	}()
	if p := t.parker(); p != nil {
		return t.blockParked(p, ch, deadline, bits)
	}
	return t.blockSelected(ch, deadline, bits)
}

// blockParked is block by the thread's Parker.
func (t *Thread) blockParked(p Parker, ch <-chan struct{}, deadline time.Time, bits uint32) error {
	for {
		select {
		case <-ch:
			return nil
		default:
		}
		if t.pending.Load()&bits != 0 {
			return ErrInterrupted
		}
		left := time.Duration(-1)
		if !deadline.IsZero() {
			if left = time.Until(deadline); left <= 0 {
				return unix.ETIMEDOUT
			}
		}
		p.Park(left)
	}
}

// blockSelected is block by the Go scheduler.
func (t *Thread) blockSelected(ch <-chan struct{}, deadline time.Time, bits uint32) error {
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		if t.timer == nil {
			t.timer = time.NewTimer(time.Until(deadline))
		} else {
			t.timer.Reset(time.Until(deadline))
		}
		timeout = t.timer.C
		defer t.timer.Stop()
	}
	for {
		select {
		case <-ch:
			return nil
		case <-timeout:
			return unix.ETIMEDOUT
		case <-t.kick:
			if t.pending.Load()&bits != 0 {
				return ErrInterrupted
			}
		}
	}
}

// wake makes the thread look at its pending bits, wherever it is. p.mu is held, so
// that the runner is there.
func (t *Thread) wake() {
	t.Unpark()
	// Who is blocked looks at pending once more before it runs guest code: the bit
	// was set before the state is read here.
	if s := t.State(); s == Blocked || s == Stopped || s == Tracing {
		return
	}
	if r := t.runner.Load(); r != nil {
		(*r).Interrupt()
	}
}

// Interrupt makes the thread come back from guest code soon, if it is in any.
func (t *Thread) Interrupt() {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.wake()
}

// Unpark makes Block look at its channel, and at what is pending.
func (t *Thread) Unpark() {
	if p := t.parker(); p != nil {
		p.Unpark()
		return
	}
	notify(t.kick)
}

// parker returns the Runner as a Parker, nil if it is none.
func (t *Thread) parker() Parker {
	if r := t.runner.Load(); r != nil {
		p, _ := (*r).(Parker)
		return p
	}
	return nil
}

// tellOn puts a token into ch, which the thread waits for in Block.
func (t *Thread) tellOn(ch chan struct{}) {
	notify(ch)
	t.Unpark()
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// SetRunner says what runs the thread, which has been started, and is Running from
// now on.
func (t *Thread) SetRunner(r Runner) {
	t.runner.Store(&r)
	t.usage.measure(r)
	if t.Nice() != 0 || t.schedParam().policy == SchedIdle {
		t.tellNice()
	}
	t.acquireSlot()
	t.setState(Running)
	if t.Pending() {
		t.p.mu.Lock()
		t.wake()
		t.p.mu.Unlock()
	}
}

// Pending reports whether NextWork has something to do. It takes no lock.
func (t *Thread) Pending() bool { return t.pending.Load() != 0 }

func (t *Thread) setPending(bits uint32)   { t.pending.Or(bits) }
func (t *Thread) clearPending(bits uint32) { t.pending.And(^bits) }

// Killed reports whether the thread has to exit.
func (t *Thread) Killed() bool { return t.pending.Load()&pendExit != 0 }
