package timers

import (
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// How a timer tells that it expired (sigevent(7)).
const (
	SigevSignal   = 0 // a signal to the process
	SigevNone     = 1 // not at all
	SigevThread   = 2 // as SigevSignal: the library's affair
	SigevThreadID = 4 // a signal to one thread
)

// Event is struct sigevent, checked.
type Event struct {
	Notify int32 // Sigev*
	Signo  int32
	Value  uint64
	Thread *procmgr.Thread // SigevThreadID
}

// Value is struct itimerspec, in nanoseconds.
type Value struct {
	Interval int64
	Left     int64 // until the next expiration; with Absolute the time of it. 0: none
}

// Timer is a POSIX timer.
type Timer struct {
	set     *Set
	id      int32
	event   Event
	base    Base
	release func()

	// queued says that a signal of it is in a queue, of the setting signal.
	queued atomic.Bool

	mu       sync.Mutex
	on       Base // what due is on
	alarm    alarm
	state    state
	due      int64
	interval int64
	setting  uint64 // counts the settings
	signal   uint64
	deleted  bool
	// overrun counts expirations since the signal before, less the one that a
	// signal tells of; told is what it was when that was taken.
	overrun, told int64
}

// Create makes a timer for thread t and returns its id (timer_create(2)). value, if ev
// is nil, is SIGALRM with the id. EAGAIN: RLIMIT_SIGPENDING, or no more ids.
func (s *Set) Create(th *procmgr.Thread, base Base, ev *Event) (int32, error) {
	release, err := th.ChargeTimer()
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		release()
		return 0, unix.EAGAIN
	}
	for s.timers[s.next] != nil { // there are far fewer than ids
		s.next = s.next + 1&math.MaxInt32
	}
	t := &Timer{set: s, id: s.next, base: base, on: base, release: release, overrun: -1}
	if ev != nil {
		t.event = *ev
	} else {
		t.event = Event{Signo: int32(unix.SIGALRM), Value: uint64(t.id)}
	}
	t.alarm.set = s
	s.timers[t.id] = t
	s.next = (s.next + 1) & math.MaxInt32
	return t.id, nil
}

// Timer returns a timer: EINVAL if there is none.
func (s *Set) Timer(id int32) (*Timer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.timers[id]; t != nil {
		return t, nil
	}
	return nil, unix.EINVAL
}

// Delete ends a timer (timer_delete(2)): EINVAL if there is none. A signal of it that
// is pending is void.
func (s *Set) Delete(id int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.timers[id]
	if t == nil {
		return unix.EINVAL
	}
	delete(s.timers, id)
	t.delete()
	return nil
}

func (t *Timer) delete() {
	t.mu.Lock()
	t.deleted, t.state = true, off
	t.alarm.stop()
	t.mu.Unlock()
	t.release()
}

func (t *Timer) silent() bool { return t.event.Notify == SigevNone }

// Set replaces the setting and returns the old one (timer_settime(2)): absolute says
// that v.Left is a time, not a span. A signal that is pending is void. EINVAL: the timer
// was deleted.
func (t *Timer) Set(v Value, absolute bool) (Value, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deleted {
		return Value{}, unix.EINVAL
	}
	old := t.get()
	t.alarm.stop()
	t.setting++
	t.state, t.interval, t.due = off, 0, 0
	t.overrun, t.told = -1, 0
	if v.Left == 0 {
		return old, nil
	}
	t.interval, t.due, t.on = v.Interval, v.Left, t.base
	if !absolute && t.base.CPU == nil && t.base.ID == unix.CLOCK_REALTIME {
		t.on.ID = unix.CLOCK_MONOTONIC // a span does not change when the clock is set
	}
	now := t.on.now(t.set.Clock)
	if !absolute {
		t.due = later(now, v.Left)
	}
	if !t.silent() {
		t.arm(now)
	}
	return old, nil
}

// arm waits for due.
func (t *Timer) arm(now int64) {
	t.state = armed
	t.alarm.wait(&t.on, now, t.due-now, t.look)
}

// Get returns what is left (timer_gettime(2)).
func (t *Timer) Get() Value {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.get()
}

// get is common_timer_get.
func (t *Timer) get() Value {
	v := Value{Interval: t.interval}
	if t.due == 0 || t.state == off && !t.silent() {
		return v
	}
	now := t.on.now(t.set.Clock)
	if t.interval != 0 && t.state != armed {
		t.forward(now)
	}
	if v.Left = t.due - now; v.Left <= 0 {
		v.Left = 1 // about to expire
		if t.silent() {
			v.Left = 0
		}
	}
	return v
}

// forward advances a periodic timer to its first expiration after now, and counts.
func (t *Timer) forward(now int64) {
	if now < t.due {
		return
	}
	n := 1 + (now-t.due)/t.interval
	t.due = later(t.due, n*t.interval)
	t.overrun = later(t.overrun, n)
}

// look is what the alarm calls.
func (t *Timer) look() {
	if !t.expire() {
		return
	}
	info := procmgr.SigInfo{Signo: t.event.Signo, Code: procmgr.SITimer, Timer: t.id, Value: t.event.Value}
	if t.set.Process.SendTimer(info, t.event.Thread, t) {
		return
	}
	t.queued.Store(false)
	t.ignored()
}

// expire reports whether the timer has expired and its signal is to be queued. One that
// is queued still, of an earlier setting, is of this one from now on.
func (t *Timer) expire() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != armed {
		return false
	}
	now := t.on.now(t.set.Clock)
	if now < t.due {
		t.alarm.wait(&t.on, now, t.due-now, t.look)
		return false
	}
	t.state = off
	if t.interval != 0 {
		t.state = rests
	}
	t.signal = t.setting
	return !t.queued.Swap(true)
}

// ignored lets a timer go on whose signal nobody takes, but no more than once a tick:
// the disposition may change.
func (t *Timer) ignored() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != rests || t.event.Thread != nil && t.event.Thread.State() >= procmgr.Zombie {
		return
	}
	now := t.on.now(t.set.Clock)
	t.forward(now)
	t.overrun = -1
	t.state = armed
	t.alarm.wait(&t.on, now, max(t.due-now, int64(ignoredTick)), t.look)
}

// Taken implements procmgr.TimerSignal (posixtimer_deliver_signal).
func (t *Timer) Taken(info *procmgr.SigInfo) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queued.Store(false) // not earlier: see expire
	if t.deleted || t.signal != t.setting {
		return false
	}
	if t.state == rests {
		now := t.on.now(t.set.Clock)
		t.forward(now)
		t.told, t.overrun = t.overrun, -1
		t.arm(now)
	}
	info.Overrun = int32(min(t.told, math.MaxInt32))
	return true
}

// Dropped implements procmgr.TimerSignal.
func (t *Timer) Dropped() { t.queued.Store(false) }

// Overrun returns how often the timer expired, beyond once, up to the signal that was
// taken last (timer_getoverrun(2)).
func (t *Timer) Overrun() int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int32(min(t.told, math.MaxInt32))
}
