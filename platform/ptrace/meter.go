package ptrace

import (
	"sync"
	"time"

	"runsc-lite/hostcall"
)

// Processor time is what the host counts for its threads, read when somebody asks:
// nothing is measured on the way of a call. The guest's own is the tracee's, the
// kernel's on its behalf that of the worker that serves it.
//
// A stub of one thread has the process's clock. Where there are more, that clock
// tells their sum, and a file of /proc what each used. Opening that is dear: a thread
// that lives for a moment only is taken to have used what the stub used meanwhile, at
// most the time that it lived, and what was counted for one is not counted for another:
// the sum is always right. For one that is asked for again the file stays open.

// brief is for how long a thread's time is taken from the stub's.
const brief = 2 * time.Millisecond

// meter measures what a stub process uses. The zero value is that of a process which
// used nothing.
type meter struct {
	mu    sync.Mutex
	pid   int
	given time.Duration // of the process's time, what was counted for contexts
	many  bool          // it has more than one thread
	// left is what threads that wait for a next guest had used when they were left.
	left map[int]time.Duration
}

// skip makes what the stub used so far nobody's.
func (m *meter) skip() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if total, err := hostcall.ProcessCPUTime(m.pid); err == nil {
		m.given = total
	}
}

// share notes that the stub gets a second thread.
func (m *meter) share() {
	m.mu.Lock()
	m.many = true
	m.mu.Unlock()
}

// usage is what a context used.
type usage struct {
	mu     sync.Mutex
	worker int // host thread id; 0: before and after the guest's life
	base   time.Duration
	system time.Duration
	user   time.Duration

	m     *meter // of the stub that the context is in; nil: none
	tid   int
	own   time.Duration // of the tracee, at the last reading
	since time.Time     // when the tracee became the context's; zero: long ago
	total time.Duration // the stub's, then
	there time.Duration // user, then
	asked bool          // for own, before
	clock *hostcall.ThreadClock
}

// begin starts counting for the calling worker.
func (u *usage) begin(tid int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if base, err := hostcall.ThreadCPUTime(tid); err == nil {
		u.worker, u.base = tid, base
	}
}

// end stops it. What was used since the last reading is not counted.
func (u *usage) end() {
	u.mu.Lock()
	u.worker = 0
	u.mu.Unlock()
}

// enter says which tracee the context has.
func (u *usage) enter(m *meter, tid int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	u.m, u.tid, u.there = m, tid, u.user
	u.own, u.total, u.since = m.given, m.given, time.Time{}
	if m.many {
		u.own = m.left[tid]
		delete(m.left, tid)
		u.since = time.Now()
		if total, err := hostcall.ProcessCPUTime(m.pid); err == nil {
			u.total = total
		}
	}
}

// leave ends that. read says whether the tracee ran since the last reading.
func (u *usage) leave(read bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	m := u.m
	if m == nil {
		return
	}
	if read {
		u.readUser()
	}
	u.m = nil
	if u.asked = false; u.clock != nil {
		u.clock.Close()
		u.clock = nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.many {
		if m.left == nil {
			m.left = make(map[int]time.Duration)
		}
		m.left[u.tid] = u.own
	}
}

// readUser adds what the tracee used since the last reading.
func (u *usage) readUser() {
	m := u.m
	m.mu.Lock()
	defer m.mu.Unlock()
	total, err := hostcall.ProcessCPUTime(m.pid)
	if err != nil || total <= m.given {
		return
	}
	d := total - m.given
	if m.many {
		d = min(d, u.part(total))
	}
	u.user += d
	u.own += d
	m.given += d
}

// part is how much of a stub's time is the tracee's, since the last reading.
func (u *usage) part(total time.Duration) time.Duration {
	lived := brief
	if !u.since.IsZero() {
		lived = time.Since(u.since)
	}
	if lived >= brief {
		if own, err := u.readOwn(); err == nil {
			return max(0, own-u.own)
		}
		if u.since.IsZero() {
			return total
		}
	}
	return max(0, min(total-u.total, lived)-(u.user-u.there))
}

// readOwn asks for the tracee's own time.
func (u *usage) readOwn() (time.Duration, error) {
	c := u.clock
	if c == nil {
		var err error
		if c, err = hostcall.OpenThreadClock(u.m.pid, u.tid); err != nil {
			return 0, err
		}
		if u.asked {
			u.clock = c
		} else {
			u.asked = true
			defer c.Close()
		}
	}
	return c.Read()
}

// CPUTimes implements platform.CPUMeter.
func (c *context) CPUTimes() (user, system time.Duration) {
	u := &c.use
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.m != nil {
		u.readUser()
	}
	if u.worker != 0 {
		if now, err := hostcall.ThreadCPUTime(u.worker); err == nil {
			u.system = max(u.system, now-u.base)
		}
	}
	return u.user, u.system
}
