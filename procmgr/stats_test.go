package procmgr

import (
	"testing"
	"time"
)

// metered is a Runner that says what it is told to.
type metered struct {
	nobody
	user, system time.Duration
}

func (m *metered) CPUTimes() (user, system time.Duration) { return m.user, m.system }

// past makes a thread be as old as that, for its meter.
func past(t *Thread, d time.Duration) { t.usage.born = time.Now().Add(-d) }

func TestMeter(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	m := &metered{user: 3 * time.Second, system: time.Second}
	p.usage.measure(m)
	past(p, time.Hour)
	p.AccountUser(10 * time.Second)
	if u := p.Usage(); u.UserTime != 13*time.Second || u.SystemTime != time.Second {
		t.Errorf("%v user, %v system, want 13 s and 1 s", u.UserTime, u.SystemTime)
	}
	m.user += time.Second
	if d := p.p.CPUTime(); d != 15*time.Second {
		t.Errorf("%v in all, want 15 s", d)
	}
	// A figure that shrinks is not believed.
	m.user -= time.Second
	if d := p.CPUTime(); d != 15*time.Second {
		t.Errorf("%v in all, want 15 s", d)
	}
	m.user += 2 * time.Second
	p.ExitGroup(0)
	p.NextWork()
	p.FinishExit()
	// The runner may be another thread's by now.
	m.user += time.Hour
	if u := p.p.Usage(); u.UserTime != 16*time.Second || u.SystemTime != time.Second {
		t.Errorf("%v user, %v system at the end, want 16 s and 1 s", u.UserTime, u.SystemTime)
	}
	r, err := init.Waitpid(-1, 0)
	if err != nil || r.Rusage.UserTime != 16*time.Second || init.p.ChildrenUsage().UserTime != 16*time.Second {
		t.Errorf("waited for: %v, error %v", r.Rusage.UserTime, err)
	}
}

// TestMeterTooFast: a thread takes no more than the time that passes, in the proportion
// of what its runner says.
func TestMeterTooFast(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	m := &metered{}
	p.usage.measure(m)
	past(p, 10*time.Second)
	m.user, m.system = 15*time.Second, 5*time.Second
	near := func(got, want time.Duration) bool { return got >= want && got < want+time.Second }
	u := p.Usage()
	if !near(u.UserTime, 7500*time.Millisecond) || !near(u.SystemTime, 2500*time.Millisecond) {
		t.Errorf("%v user, %v system within 10 s", u.UserTime, u.SystemTime)
	}
	// The rest is nobody's: it does not come later.
	past(p, 20*time.Second)
	if v := p.Usage(); v != u {
		t.Errorf("%v, and later %v, without anything used", u.CPUTime(), v.CPUTime())
	}
	// Waiting is not to be filled up with it.
	p.usage.waits(time.Now().Add(-9*time.Second), time.Now())
	m.user += 9 * time.Second
	if v := p.Usage(); !near(v.CPUTime(), 11*time.Second) {
		t.Errorf("%v within 20 s, of which 9 s were waited", v.CPUTime())
	}
	// While it waits, the time of its wait does not count, either.
	p.usage.waits(time.Now().Add(-time.Second), time.Time{})
	before := p.CPUTime()
	m.user += 5 * time.Second
	if d := p.CPUTime() - before; d > 0 {
		t.Errorf("%v used by a thread that waits", d)
	}
}

func TestPeak(t *testing.T) {
	_, init := newTable(t)
	init.p.AccountRSS(300)
	init.p.AccountRSS(200)
	if n := init.p.PeakRSS(); n != 300 || init.p.Usage().MaxRSS != 300 {
		t.Errorf("peak %d, want 300", n)
	}
	if a := init.p.Age(); a < 0 || a > time.Hour {
		t.Errorf("age %v", a)
	}
}
