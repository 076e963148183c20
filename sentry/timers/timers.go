// Package timers is what a process has of timers: interval timers (setitimer(2)),
// POSIX timers (timer_create(2)), and the limit on its processor time (RLIMIT_CPU).
//
// A Set holds them for a process; what they send goes by procmgr. Timers of time that
// passes rest on the host's timers. As in Linux, one whose signal is pending rests
// until that is taken, and reckons then what expired meanwhile: a short interval and a
// blocked signal cost nothing.
//
// Processor time is read, not announced. Who waits for it looks again when it can have
// passed at the earliest, that is if all processors worked for it, and less and less
// often while none does. It is late by a tick (1 ms) or two, as Linux is.
//
// Lock order:
//
//	Set.mu
//	  Timer.mu, Itimer.mu, cpuLimit.mu, realtimeLimit.mu
//	    procmgr's locks, the clock's
package timers

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/clock"
)

// Config is what a Set is made of.
type Config struct {
	Process *procmgr.Process
	Clock   clock.Clock
	CPUs    int // that can work for a process at a time
}

// Set is the timers of a process.
type Set struct {
	Config

	itimers [3]Itimer
	limit   cpuLimit

	realtime realtimeLimit

	mu     sync.Mutex
	timers map[int32]*Timer
	next   int32 // the id that is tried first
	closed bool
}

// New makes the timers of a process: none is set, but RLIMIT_CPU is in force.
func New(c Config) *Set {
	s := &Set{Config: c, timers: make(map[int32]*Timer)}
	s.initItimers()
	s.limit.init(s)
	s.realtime.p, s.realtime.alarm.set = c.Process, s
	s.realtime.look()
	return s
}

// Close ends all timers.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.deleteAll()
	for i := range s.itimers {
		s.itimers[i].Set(ItimerValue{})
	}
	s.limit.stop()
	s.realtime.stop()
}

// Exec is what execve(2) does: POSIX timers are deleted, interval timers go on.
func (s *Set) Exec() { s.deleteAll() }

func (s *Set) deleteAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.timers {
		t.delete()
		delete(s.timers, id)
	}
}

// Base is a clock that timers are on.
type Base struct {
	ID int32 // a clock of the system
	// CPU, if not nil, reads processor time, and ID means nothing. Ended says that
	// it stands still for good.
	CPU   func() time.Duration
	Ended func() bool
}

// now reads the clock, in nanoseconds.
func (b *Base) now(c clock.Clock) int64 {
	if b.CPU != nil {
		return int64(b.CPU())
	}
	ns, err := c.Read(b.ID)
	if err != nil {
		return 0 // whoever made the Base has read it
	}
	return ns
}

const (
	// piece is how often the real-time clock is looked at, in case it was set.
	piece = time.Second
	// tick is how often processor time is looked at, at most.
	tick = time.Millisecond
	// ignoredTick is how often a timer whose signal is ignored expires at most.
	ignoredTick = 4 * time.Millisecond
	// doze is how many times as long it may take while none passes.
	doze = 32
)

// Pacer says when to look at a clock again.
type Pacer struct {
	last int64 // what it showed
	idle int64 // ticks to wait while it stands still
}

// Next returns how long to wait for what is left on a clock that shows now. cpus is how
// many processors can work for a process at a time.
func (p *Pacer) Next(b *Base, now, left int64, cpus int) time.Duration {
	left = max(left, 0)
	switch {
	case b.CPU == nil && b.ID == unix.CLOCK_REALTIME:
		return min(time.Duration(left), piece)
	case b.CPU == nil:
		return time.Duration(left)
	}
	if now != p.last {
		p.idle = 1
	} else {
		p.idle = min(max(p.idle, 1)*2, doze)
	}
	p.last = now
	return max(time.Duration(left/int64(max(cpus, 1))), time.Duration(p.idle)*tick)
}

// alarm calls a function when a time on a clock may have come.
type alarm struct {
	set   *Set
	timer clock.Timer // nil until it is needed
	pace  Pacer
}

// wait makes the alarm call look when left nanoseconds of b, which shows now, may have
// passed: perhaps too early, and perhaps once more after stop.
func (a *alarm) wait(b *Base, now, left int64, look func()) {
	if b.Ended != nil && b.Ended() {
		return
	}
	d := a.pace.Next(b, now, left, a.set.CPUs)
	if a.timer == nil {
		a.timer = a.set.Clock.AfterFunc(d, look)
	} else {
		a.timer.Reset(d)
	}
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}

// later adds without overflow; b is not negative.
func later(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
