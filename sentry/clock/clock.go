// Package clock is what tells the time in a sandbox.
//
// The kernel's clocks are the host's. Tests have a Fake, which moves when it is
// told to.
package clock

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
)

// Clock reads clocks and sets timers.
type Clock interface {
	// Read returns a clock's time in nanoseconds. id is CLOCK_REALTIME,
	// CLOCK_MONOTONIC or another that is the system's, not a process's: EINVAL.
	Read(id int32) (int64, error)
	// AfterFunc calls f on a goroutine of its own once d has passed on
	// CLOCK_MONOTONIC.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending AfterFunc. *time.Timer is one, and says what the methods
// mean.
type Timer interface {
	Stop() bool
	Reset(d time.Duration) bool
}

// known reports whether id is a clock of the system.
func known(id int32) bool {
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE,
		unix.CLOCK_MONOTONIC_COARSE, unix.CLOCK_BOOTTIME, unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM, unix.CLOCK_TAI:
		return true
	}
	return false
}

// Host is the host's clock.
type Host struct{}

// NewHost returns the host's clock.
func NewHost() *Host { return &Host{} }

// Read implements Clock.
func (*Host) Read(id int32) (int64, error) {
	if !known(id) {
		return 0, unix.EINVAL
	}
	switch id {
	case unix.CLOCK_REALTIME_COARSE:
		id = unix.CLOCK_REALTIME
	case unix.CLOCK_MONOTONIC_COARSE:
		id = unix.CLOCK_MONOTONIC
	default:
		return hostcall.ClockGettime(id)
	}
	// The ticks are the vDSO's, whatever the host's are: a program may ask for
	// the time either way.
	ns, err := hostcall.ClockGettime(id)
	return ns - ns%CoarseTick, err
}

// AfterFunc implements Clock.
func (*Host) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// Fake is a clock for tests: all clocks show the same time, which Advance moves.
type Fake struct {
	mu     sync.Mutex
	now    time.Duration
	timers map[*fakeTimer]struct{}
	set    uint64 // how many timers were set
}

// NewFake returns a clock that shows start.
func NewFake(start time.Duration) *Fake {
	return &Fake{now: start, timers: map[*fakeTimer]struct{}{}}
}

// Read implements Clock.
func (c *Fake) Read(id int32) (int64, error) {
	if !known(id) {
		return 0, unix.EINVAL
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(c.now), nil
}

// Advance moves the clock, and runs what is due before it returns: in order, and
// at one time in the order in which it was set.
func (c *Fake) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now + d
	for {
		var first *fakeTimer
		for t := range c.timers {
			if t.due <= end && (first == nil || t.due < first.due || t.due == first.due && t.seq < first.seq) {
				first = t
			}
		}
		if first == nil {
			break
		}
		delete(c.timers, first)
		c.now = max(c.now, first.due)
		c.mu.Unlock()
		first.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

type fakeTimer struct {
	c   *Fake
	f   func()
	due time.Duration
	seq uint64
}

// AfterFunc implements Clock.
func (c *Fake) AfterFunc(d time.Duration, f func()) Timer {
	t := &fakeTimer{c: c, f: f}
	t.Reset(d)
	return t
}

func (t *fakeTimer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	_, was := t.c.timers[t]
	delete(t.c.timers, t)
	return was
}

func (t *fakeTimer) Reset(d time.Duration) bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	_, was := t.c.timers[t]
	t.c.set++
	t.due, t.seq = t.c.now+d, t.c.set
	t.c.timers[t] = struct{}{}
	return was
}
