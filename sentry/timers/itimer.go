package timers

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// ItimerValue is struct itimerval.
type ItimerValue struct{ Interval, Left time.Duration }

// Itimer is an interval timer: of real time, of time in guest code, or of processor
// time (setitimer(2)).
type Itimer struct {
	p    *procmgr.Process
	sig  unix.Signal
	base Base
	real bool

	mu       sync.Mutex
	alarm    alarm
	state    state
	interval int64
	due      int64 // on the clock, unless it is off
}

// state is what a timer does.
type state uint8

const (
	off   state = iota
	armed       // it will expire
	rests       // it has expired, and goes on when its signal is taken
)

func (s *Set) initItimers() {
	p := s.Process
	for which, c := range [...]struct {
		sig  unix.Signal
		base Base
	}{
		unix.ITIMER_REAL:    {unix.SIGALRM, Base{ID: unix.CLOCK_MONOTONIC}},
		unix.ITIMER_VIRTUAL: {unix.SIGVTALRM, Base{CPU: func() time.Duration { return p.Usage().UserTime }}},
		unix.ITIMER_PROF:    {unix.SIGPROF, Base{CPU: p.CPUTime}},
	} {
		i := &s.itimers[which]
		i.p, i.sig, i.base, i.real = p, c.sig, c.base, which == unix.ITIMER_REAL
		i.alarm.set = s
	}
	p.OnAlarm(s.itimers[unix.ITIMER_REAL].goOn)
}

// Itimer returns an interval timer: EINVAL for a number that is none.
func (s *Set) Itimer(which int32) (*Itimer, error) {
	if which < 0 || int(which) >= len(s.itimers) {
		return nil, unix.EINVAL
	}
	return &s.itimers[which], nil
}

func (i *Itimer) now() int64 { return i.base.now(i.alarm.set.Clock) }

// Get returns what is left (getitimer(2)).
func (i *Itimer) Get() ItimerValue {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.get()
}

func (i *Itimer) get() ItimerValue {
	v := ItimerValue{Interval: time.Duration(i.interval)}
	if i.state == armed {
		// A timer that is about to fire is not shown as stopped.
		v.Left = time.Duration(max(i.due-i.now(), int64(time.Microsecond)))
	}
	return v
}

// Set replaces the setting and returns the old one. Left 0 stops the timer.
func (i *Itimer) Set(v ItimerValue) ItimerValue {
	i.mu.Lock()
	defer i.mu.Unlock()
	old := i.get()
	i.alarm.stop()
	i.interval, i.state = int64(v.Interval), off
	if v.Left > 0 {
		now := i.now()
		i.state, i.due = armed, later(now, int64(v.Left))
		i.alarm.wait(&i.base, now, int64(v.Left), i.look)
	}
	return old
}

// look is what the alarm calls.
func (i *Itimer) look() {
	if i.expire() {
		i.p.SendSignal(procmgr.SigInfo{Signo: int32(i.sig), Code: procmgr.SIKernel})
	}
}

// expire reports whether the timer has expired.
func (i *Itimer) expire() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.state != armed {
		return false
	}
	now := i.now()
	switch {
	case now < i.due:
		i.alarm.wait(&i.base, now, i.due-now, i.look)
		return false
	case i.interval == 0:
		i.state = off
	case i.real:
		i.state = rests
	default:
		i.advance(now)
	}
	return true
}

// advance goes on to the first expiration after now.
func (i *Itimer) advance(now int64) {
	i.state, i.due = armed, later(i.due, i.interval*(1+max(0, now-i.due)/i.interval))
	i.alarm.wait(&i.base, now, i.due-now, i.look)
}

// goOn is called when a SIGALRM was taken. One that is ignored never is, and the timer
// has fired for the last time: so it is in Linux.
func (i *Itimer) goOn() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.state == rests {
		i.advance(i.now())
	}
}
