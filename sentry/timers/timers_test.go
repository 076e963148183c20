package timers

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/clock"
)

// world is a process on a clock that moves when it is told to.
type world struct {
	*clock.Fake
	th  *procmgr.Thread
	set *Set
	cpu atomic.Int64
}

type runner struct{}

func (runner) Interrupt() {}

const start = 1000 * time.Second

func newWorld(t testing.TB) *world {
	tb := procmgr.NewTable(procmgr.Config{MaxPID: 1000})
	init, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tb.CreateProcess(init, "p", 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Fake: clock.NewFake(start), th: p.Leader()}
	w.th.SetRunner(runner{})
	w.th.SetSignalMask(procmgr.SetOf(unix.SIGUSR1, unix.SIGALRM, unix.SIGXCPU, unix.SIGPROF, unix.SIGVTALRM))
	w.set = New(Config{Process: p, Clock: w, CPUs: 2})
	t.Cleanup(w.set.Close)
	return w
}

var monotonic = Base{ID: unix.CLOCK_MONOTONIC}

func (w *world) create(t testing.TB, b Base, ev *Event) *Timer {
	t.Helper()
	id, err := w.set.Create(w.th, b, ev)
	if err != nil {
		t.Fatal(err)
	}
	tm, err := w.set.Timer(id)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

// take takes a signal; ok is false if none is pending.
func (w *world) take(sig unix.Signal) (info procmgr.SigInfo, ok bool) {
	return w.th.Dequeue(procmgr.SetOf(sig))
}

var usr1 = &Event{Signo: int32(unix.SIGUSR1), Value: 42}

func set(t testing.TB, tm *Timer, left, interval time.Duration) Value {
	t.Helper()
	old, err := tm.Set(Value{Left: int64(left), Interval: int64(interval)}, false)
	if err != nil {
		t.Fatal(err)
	}
	return old
}

func TestOneShot(t *testing.T) {
	w := newWorld(t)
	tm := w.create(t, monotonic, usr1)
	set(t, tm, time.Second, 0)
	w.Advance(time.Second - 1)
	if _, ok := w.take(unix.SIGUSR1); ok || tm.Get().Left != 1 {
		t.Errorf("a nanosecond early: signal %v, left %d", ok, tm.Get().Left)
	}
	w.Advance(1)
	info, ok := w.take(unix.SIGUSR1)
	if !ok || info.Code != procmgr.SITimer || info.Value != 42 || info.Timer != tm.id || info.Overrun != 0 {
		t.Errorf("signal %v: %+v", ok, info)
	}
	w.Advance(time.Hour)
	if _, ok := w.take(unix.SIGUSR1); ok || tm.Get() != (Value{}) {
		t.Errorf("it goes on: %+v", tm.Get())
	}
}

// TestPeriodic: no expiration is lost, whenever the signal is taken, and none is counted
// twice.
func TestPeriodic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		defer w.set.Close()
		tm := w.create(t, monotonic, usr1)
		first := time.Duration(rapid.Int64Range(1, 50).Draw(rt, "first"))
		interval := time.Duration(rapid.Int64Range(1, 20).Draw(rt, "interval"))
		set(t, tm, first, interval)
		var passed time.Duration
		counted := int64(0)
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			d := time.Duration(rapid.Int64Range(0, 100).Draw(rt, "step"))
			w.Advance(d)
			passed += d
			if rapid.Bool().Draw(rt, "look") {
				left := tm.Get().Left
				if left < 1 || left > int64(max(interval, first)) {
					rt.Fatalf("%d left", left)
				}
			}
			if !rapid.Bool().Draw(rt, "take") {
				continue
			}
			want := int64(0)
			if passed >= first {
				want = 1 + int64((passed-first)/interval)
			}
			info, ok := w.take(unix.SIGUSR1)
			if ok != (want > counted) {
				rt.Fatalf("signal %v after %d of %d expirations", ok, counted, want)
			}
			if ok {
				counted += 1 + int64(info.Overrun)
				if info.Overrun != tm.Overrun() {
					rt.Fatalf("overrun %d, and %d", info.Overrun, tm.Overrun())
				}
			}
			if counted != want {
				rt.Fatalf("%d expirations were told of, want %d", counted, want)
			}
			if _, again := w.take(unix.SIGUSR1); again {
				rt.Fatal("a second signal")
			}
		}
	})
}

// TestRests: while its signal is pending, a timer needs no timer of the host's.
func TestRests(t *testing.T) {
	w := newWorld(t)
	tm := w.create(t, monotonic, usr1)
	set(t, tm, 1, 1)
	i, _ := w.set.Itimer(unix.ITIMER_REAL)
	i.Set(ItimerValue{Interval: 1, Left: 1})
	done := make(chan struct{})
	go func() { w.Advance(time.Hour); close(done) }() // it would expire 3,600,000,000,000 times
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not rest")
	}
	if info, ok := w.take(unix.SIGUSR1); !ok || info.Overrun != math.MaxInt32 {
		t.Errorf("signal %v, overrun %d", ok, info.Overrun)
	}
}

func TestVoid(t *testing.T) {
	w := newWorld(t)
	tm := w.create(t, monotonic, usr1)
	set(t, tm, 1, 0)
	w.Advance(1)
	set(t, tm, time.Second, 0)
	if _, ok := w.take(unix.SIGUSR1); ok {
		t.Error("a signal of the setting before")
	}
	// One that is queued still is the next setting's, once that expires.
	set(t, tm, 1, 0)
	w.Advance(1)
	set(t, tm, 1, 0)
	w.Advance(1)
	if _, ok := w.take(unix.SIGUSR1); !ok {
		t.Error("no signal")
	}
	if _, ok := w.take(unix.SIGUSR1); ok {
		t.Error("two signals")
	}
	set(t, tm, 1, 1)
	w.Advance(1)
	if err := w.set.Delete(tm.id); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.take(unix.SIGUSR1); ok {
		t.Error("a signal of a timer that was deleted")
	}
	if _, err := tm.Set(Value{Left: 1}, false); err != unix.EINVAL {
		t.Errorf("setting it: %v", err)
	}
	if err := w.set.Delete(tm.id); err != unix.EINVAL {
		t.Errorf("deleting it again: %v", err)
	}
}

func TestIgnoredGoesOn(t *testing.T) {
	w := newWorld(t)
	w.th.SetSignalMask(0)
	p := w.th.Process()
	if _, err := p.SetAction(unix.SIGUSR1, &procmgr.SigAction{Handler: procmgr.SigIgn}); err != nil {
		t.Fatal(err)
	}
	tm := w.create(t, monotonic, usr1)
	set(t, tm, time.Millisecond, time.Millisecond)
	w.Advance(time.Second)
	w.th.SetSignalMask(procmgr.SetOf(unix.SIGUSR1))
	if _, ok := w.take(unix.SIGUSR1); ok {
		t.Error("an ignored signal was queued")
	}
	w.Advance(10 * time.Millisecond)
	if _, ok := w.take(unix.SIGUSR1); !ok {
		t.Error("the timer has stopped")
	}
}

func TestSilent(t *testing.T) {
	w := newWorld(t)
	tm := w.create(t, monotonic, &Event{Notify: SigevNone})
	set(t, tm, 10, 0)
	w.Advance(4)
	if v := tm.Get(); v.Left != 6 {
		t.Errorf("left %d, want 6", v.Left)
	}
	w.Advance(10)
	if v := tm.Get(); v.Left != 0 {
		t.Errorf("left %d, want 0", v.Left)
	}
	set(t, tm, 10, 7)
	w.Advance(12)
	if v := tm.Get(); v != (Value{Interval: 7, Left: 5}) {
		t.Errorf("%+v", v)
	}
}

func TestAbsolute(t *testing.T) {
	w := newWorld(t)
	tm := w.create(t, Base{ID: unix.CLOCK_REALTIME}, usr1)
	if _, err := tm.Set(Value{Left: int64(start + 10*time.Second)}, true); err != nil {
		t.Fatal(err)
	}
	w.Advance(10*time.Second - 1)
	if v := tm.Get(); v.Left != 1 {
		t.Errorf("left %d, want 1", v.Left)
	}
	w.Advance(1)
	if _, ok := w.take(unix.SIGUSR1); !ok {
		t.Error("no signal")
	}
	// In the past.
	tm.Set(Value{Left: int64(start), Interval: int64(time.Second)}, true)
	w.Advance(0)
	if info, ok := w.take(unix.SIGUSR1); !ok || info.Overrun != 10 {
		t.Errorf("signal %v, overrun %d", ok, info.Overrun)
	}
	for _, far := range []int64{math.MaxInt64, 1 << 62} {
		tm.Set(Value{Left: far, Interval: far}, far > 1<<62)
		w.Advance(time.Hour)
		if _, ok := w.take(unix.SIGUSR1); ok || tm.Get().Left <= 0 {
			t.Errorf("%d: signal %v, left %d", far, ok, tm.Get().Left)
		}
	}
}

func TestIDs(t *testing.T) {
	w := newWorld(t)
	a, b := w.create(t, monotonic, nil), w.create(t, monotonic, nil)
	if a.id != 0 || b.id != 1 {
		t.Errorf("ids %d and %d", a.id, b.id)
	}
	set(t, b, 1, 0)
	w.Advance(1)
	if info, ok := w.take(unix.SIGALRM); !ok || info.Value != 1 {
		t.Errorf("signal %v with value %d, want the id", ok, info.Value)
	}
	w.set.next = math.MaxInt32
	if c := w.create(t, monotonic, nil); c.id != math.MaxInt32 {
		t.Errorf("id %d", c.id)
	}
	if d := w.create(t, monotonic, nil); d.id != 2 {
		t.Errorf("after the highest, with 0 and 1 in use: %d", d.id)
	}
	w.set.Exec()
	if _, err := w.set.Timer(0); err != unix.EINVAL {
		t.Errorf("after exec: %v", err)
	}
	if n := w.th.Process().Table().PendingSignals(0); n != 0 {
		t.Errorf("%d timers are charged after exec", n)
	}
	w.set.Close()
	if _, err := w.set.Create(w.th, monotonic, nil); err != unix.EAGAIN {
		t.Errorf("after the end: %v", err)
	}
}

// used is processor time that a test says passed.
func (w *world) used() Base {
	return Base{CPU: func() time.Duration { return time.Duration(w.cpu.Load()) }}
}

// compute lets time pass, a millisecond at a time, of which share is processor time.
func (w *world) compute(d time.Duration, share float64) {
	for ; d > 0; d -= time.Millisecond {
		w.cpu.Add(int64(share * float64(time.Millisecond)))
		w.Advance(time.Millisecond)
	}
}

func TestProcessorTime(t *testing.T) {
	w := newWorld(t)
	tm := w.create(t, w.used(), usr1)
	set(t, tm, 100*time.Millisecond, 0)
	w.compute(10*time.Second, 0)
	if _, ok := w.take(unix.SIGUSR1); ok {
		t.Error("it expired while nobody computed")
	}
	w.compute(99*time.Millisecond, 1)
	if _, ok := w.take(unix.SIGUSR1); ok {
		t.Error("early")
	}
	w.compute(doze*time.Millisecond, 1)
	if _, ok := w.take(unix.SIGUSR1); !ok {
		t.Error("late")
	}
	// On two processors at once.
	set(t, tm, 100*time.Millisecond, 0)
	w.compute(52*time.Millisecond, 2)
	if _, ok := w.take(unix.SIGUSR1); !ok {
		t.Errorf("late with two processors: %v left", time.Duration(tm.Get().Left))
	}
}

// TestPacer: a wait for processor time looks often enough, and not too often.
func TestPacer(t *testing.T) {
	cpu := Base{CPU: func() time.Duration { return 0 }}
	var p Pacer
	looks, slept := 0, time.Duration(0)
	for ; slept < 10*time.Second; looks++ {
		slept += p.Next(&cpu, 5, int64(time.Millisecond), 2)
	}
	if looks > 400 {
		t.Errorf("%d looks in %v while no time passed", looks, slept)
	}
	// An hour that a process computes through: a few dozen looks.
	looks = 0
	for now := int64(0); now < int64(time.Hour); looks++ {
		d := int64(p.Next(&cpu, now, int64(time.Hour)-now, 2))
		if d <= 0 {
			t.Fatalf("waits for %d", d)
		}
		now += d
	}
	if looks > 50 {
		t.Errorf("%d looks in an hour", looks)
	}
	if d := p.Next(&Base{ID: unix.CLOCK_REALTIME}, 0, int64(time.Hour), 2); d != piece {
		t.Errorf("the real-time clock is looked at after %v", d)
	}
	if d := p.Next(&monotonic, 0, int64(time.Hour), 2); d != time.Hour {
		t.Errorf("the monotonic clock is looked at after %v", d)
	}
	if d := p.Next(&monotonic, 10, -5, 2); d != 0 {
		t.Errorf("what is past is waited for: %v", d)
	}
}

func TestItimerReal(t *testing.T) {
	w := newWorld(t)
	i, err := w.set.Itimer(unix.ITIMER_REAL)
	if err != nil {
		t.Fatal(err)
	}
	i.Set(ItimerValue{Interval: 10 * time.Millisecond, Left: 30 * time.Millisecond})
	w.Advance(20 * time.Millisecond)
	if v := i.Get(); v != (ItimerValue{10 * time.Millisecond, 10 * time.Millisecond}) {
		t.Errorf("%+v", v)
	}
	w.Advance(95 * time.Millisecond)
	if v := i.Get(); v != (ItimerValue{Interval: 10 * time.Millisecond}) {
		t.Errorf("with its signal pending: %+v", v)
	}
	if _, ok := w.take(unix.SIGALRM); !ok {
		t.Error("no signal")
	}
	// It keeps its beat.
	if v := i.Get(); v.Left != 5*time.Millisecond {
		t.Errorf("with its signal taken: %+v", v)
	}
	if old := i.Set(ItimerValue{}); old.Left != 5*time.Millisecond || old.Interval != 10*time.Millisecond {
		t.Errorf("old value %+v", old)
	}
	w.Advance(time.Hour)
	if _, ok := w.take(unix.SIGALRM); ok {
		t.Error("a timer that was stopped has expired")
	}
	for _, which := range []int32{-1, 3} {
		if _, err := w.set.Itimer(which); err != unix.EINVAL {
			t.Errorf("timer %d: %v", which, err)
		}
	}
}

func TestProfile(t *testing.T) {
	for which, sig := range map[int32]unix.Signal{unix.ITIMER_VIRTUAL: unix.SIGVTALRM, unix.ITIMER_PROF: unix.SIGPROF} {
		w := newWorld(t)
		i, _ := w.set.Itimer(which)
		i.Set(ItimerValue{Interval: 10 * time.Millisecond, Left: 10 * time.Millisecond})
		seen := 0
		for range 200 {
			w.th.AccountUser(time.Millisecond)
			w.th.AccountSystem(time.Millisecond) // counts for ITIMER_PROF only
			w.Advance(time.Millisecond)
			if _, ok := w.take(sig); ok {
				seen++
			}
		}
		want := 20
		if which == unix.ITIMER_PROF {
			want = 40
		}
		if seen < want-2 || seen > want {
			t.Errorf("timer %d: %d signals, want %d", which, seen, want)
		}
	}
}

func TestCPULimit(t *testing.T) {
	w := newWorld(t)
	p := w.th.Process()
	run := func(d time.Duration) {
		for ; d > 0; d -= 100 * time.Millisecond {
			w.th.AccountUser(100 * time.Millisecond)
			w.Advance(100 * time.Millisecond)
		}
	}
	run(2 * time.Second)
	if _, err := p.Table().Prlimit(w.th, 0, unix.RLIMIT_CPU, &procmgr.Limit{Cur: 4, Max: 7}); err != nil {
		t.Fatal(err)
	}
	w.set.LimitChanged()
	run(1900 * time.Millisecond)
	if _, ok := w.take(unix.SIGXCPU); ok {
		t.Error("early")
	}
	for n := uint64(5); n <= 7; n++ {
		run(time.Second)
		if n == 7 {
			break
		}
		if _, ok := w.take(unix.SIGXCPU); !ok {
			t.Errorf("no signal in second %d", n)
		}
		if l := p.Limits().Get(unix.RLIMIT_CPU); l.Cur != n || l.Max != 7 {
			t.Errorf("limits %+v, want the soft one at %d", l, n)
		}
	}
	if w.th.Killed() {
		t.Error("killed early")
	}
	run(200 * time.Millisecond)
	if !w.th.Killed() {
		t.Error("not killed at the hard limit")
	}
}

func TestRealtimeLimit(t *testing.T) {
	w := newWorld(t)
	p := w.th.Process()
	run := func(d time.Duration) {
		for ; d > 0; d -= 10 * time.Millisecond {
			w.th.AccountUser(10 * time.Millisecond)
			w.Advance(10 * time.Millisecond)
		}
	}
	limit := procmgr.Limit{Cur: 500_000, Max: 1_700_000}
	if _, err := p.Table().Prlimit(w.th, 0, procmgr.LimitRTTime, &limit); err != nil {
		t.Fatal(err)
	}
	w.set.RealtimeChanged()
	run(time.Second)
	if _, ok := w.take(unix.SIGXCPU); ok || w.th.Killed() {
		t.Error("SCHED_OTHER is limited")
	}
	if err := p.Table().SetScheduler(w.th, w.th, procmgr.SchedRR, 1, false); err != nil {
		t.Fatal(err)
	}
	w.set.RealtimeChanged()
	run(490 * time.Millisecond)
	if _, ok := w.take(unix.SIGXCPU); ok {
		t.Error("early")
	}
	run(100 * time.Millisecond)
	if _, ok := w.take(unix.SIGXCPU); !ok {
		t.Error("no signal at the soft limit")
	}
	if l := p.Limits().Get(procmgr.LimitRTTime); l.Cur != 1_500_000 || l.Max != limit.Max {
		t.Errorf("limits %+v", l)
	}
	// Who waits begins anew.
	if err := w.th.Block(nil, time.Now().Add(time.Millisecond)); err != unix.ETIMEDOUT {
		t.Fatal(err)
	}
	run(1400 * time.Millisecond)
	if _, ok := w.take(unix.SIGXCPU); ok {
		t.Error("what was before the wait counts")
	}
	run(200 * time.Millisecond)
	if _, ok := w.take(unix.SIGXCPU); !ok || w.th.Killed() {
		t.Error("no signal at the next soft limit")
	}
	run(200 * time.Millisecond)
	if !w.th.Killed() {
		t.Error("not killed at the hard limit")
	}
}

// TestConcurrent: settings, signals and deletion at the same time, on real time.
func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	s := New(Config{Process: w.th.Process(), Clock: clock.NewHost(), CPUs: 2})
	defer s.Close()
	stop := time.Now().Add(200 * time.Millisecond)
	done := make(chan struct{})
	for range 3 {
		go func() {
			defer func() { done <- struct{}{} }()
			for time.Now().Before(stop) {
				id, err := s.Create(w.th, w.used(), usr1)
				if err != nil {
					t.Error(err)
					return
				}
				tm, _ := s.Timer(id)
				for _, left := range []int64{1, 1000, 0, 1} {
					tm.Set(Value{Left: left, Interval: 1000}, false)
					tm.Get()
					w.cpu.Add(500)
				}
				i, _ := s.Itimer(unix.ITIMER_REAL)
				i.Set(ItimerValue{Left: time.Microsecond, Interval: time.Microsecond})
				i.Get()
				if s.Delete(id) != nil {
					t.Error("it is gone")
				}
			}
		}()
	}
	for time.Now().Before(stop) {
		w.take(unix.SIGUSR1)
		w.take(unix.SIGALRM)
	}
	for range 3 {
		<-done
	}
	s.Close()
	for range 2 {
		w.take(unix.SIGUSR1)
		w.take(unix.SIGALRM)
	}
	if n := w.th.Process().Table().PendingSignals(0); n != 0 {
		t.Errorf("%d signals are charged at the end", n)
	}
}
