package kvm

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"runsc-lite/hostcall"
)

// rdtsc is the RDTSC instruction.
func rdtsc() uint64

// While a context has a lease its goroutine stays on one host thread: that is the
// thread that kicks are for, and what the host counts for it is the context's.
// Guest code is told from the kernel's by the time stamp counter, read around
// each KVM_RUN: two instructions. While a context waits, its goroutine is one for
// the Go scheduler to move.

// meter measures the processor time of a context.
type meter struct {
	ticker *ticker

	ticks   atomic.Uint64 // of the time stamp counter, in the guest, up to the last exit
	entered atomic.Uint64 // when it entered the guest; 0: it is not there

	mu    sync.Mutex
	tid   int           // host thread, while it has one; 0: none
	clock time.Duration // of that thread, when it was looked at last
	// What is accounted for.
	seen         uint64 // ticks
	user, system time.Duration
}

// attach binds the context's goroutine, which calls it, to its thread.
func (c *context) attach() {
	if c.attached {
		return
	}
	runtime.LockOSThread()
	c.attached = true
	c.tid = gettid()
	m := &c.meter
	m.mu.Lock()
	m.tid = int(c.tid)
	m.clock, _ = hostcall.ThreadCPUTime(m.tid)
	m.mu.Unlock()
}

// detach lets the goroutine go where the Go scheduler wants it.
func (c *context) detach() {
	if !c.attached {
		return
	}
	m := &c.meter
	m.mu.Lock()
	m.look()
	m.tid = 0
	m.mu.Unlock()
	c.attached = false
	runtime.UnlockOSThread()
}

// look accounts for what the thread used since the last time. A guest whose
// thread the host did not let run has not used the time that passed. The lock is
// held.
func (m *meter) look() {
	ticks := m.ticks.Load()
	if since := m.entered.Load(); since != 0 {
		ticks += rdtsc() - since
	}
	guest := time.Duration(0)
	if ticks > m.seen {
		guest = m.ticker.duration(ticks - m.seen)
		m.seen = ticks
	}
	now, err := hostcall.ThreadCPUTime(m.tid)
	if m.tid == 0 || err != nil {
		return
	}
	used := max(0, now-m.clock)
	m.clock = now
	guest = min(guest, used)
	m.user += guest
	m.system += used - guest
}

// CPUTimes implements platform.CPUMeter.
func (c *context) CPUTimes() (user, system time.Duration) {
	m := &c.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tid != 0 {
		m.look()
	}
	return m.user, m.system
}

// ticker tells how fast the time stamp counter goes.
type ticker struct {
	ticks uint64 // a moment, by both clocks
	time  time.Time
}

func newTicker() ticker { return ticker{rdtsc(), time.Now()} }

// duration converts a difference of the counter.
func (t *ticker) duration(ticks uint64) time.Duration {
	passed, all := time.Since(t.time), rdtsc()-t.ticks
	if all == 0 {
		return 0
	}
	return time.Duration(float64(ticks) * float64(passed) / float64(all))
}
