package clock

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var ids = []int32{
	unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE,
	unix.CLOCK_BOOTTIME, unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM, unix.CLOCK_TAI,
}

// others are no clocks of the system's: the processes' and threads', one that
// Linux took away, and numbers that there never were.
var others = []int32{
	unix.CLOCK_PROCESS_CPUTIME_ID, unix.CLOCK_THREAD_CPUTIME_ID, 10, 12, 16, 1 << 30, -1, -6, -1 << 31,
}

func TestHost(t *testing.T) {
	h := NewHost()
	for _, id := range ids {
		var ts unix.Timespec
		want := unix.ClockGettime(id, &ts)
		ns, err := h.Read(id)
		if err != want {
			t.Errorf("clock %d: %v, want %v", id, err, want)
		}
		if err != nil {
			continue // no such device here
		}
		if d := ns - ts.Nano(); d < -int64(CoarseTick) || d > int64(time.Second) {
			t.Errorf("clock %d is %v off", id, time.Duration(d))
		}
		coarse := id == unix.CLOCK_REALTIME_COARSE || id == unix.CLOCK_MONOTONIC_COARSE
		for range 1000 {
			next, err := h.Read(id)
			if err != nil || next < ns || coarse && next%CoarseTick != 0 {
				t.Fatalf("clock %d shows %d after %d, %v", id, next, ns, err)
			}
			ns = next
		}
	}
	for _, id := range others {
		if _, err := h.Read(id); err != unix.EINVAL {
			t.Errorf("clock %d: %v", id, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { h.Read(unix.CLOCK_MONOTONIC) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	fired := make(chan bool)
	begin := time.Now()
	timer := h.AfterFunc(time.Millisecond, func() { fired <- true })
	if <-fired; time.Since(begin) < time.Millisecond {
		t.Error("a timer is early")
	}
	if timer.Stop() {
		t.Error("a timer that has fired is stopped")
	}
}

func TestFakeRead(t *testing.T) {
	f := NewFake(time.Hour)
	for _, id := range ids {
		if ns, err := f.Read(id); ns != int64(time.Hour) || err != nil {
			t.Errorf("clock %d: %d, %v", id, ns, err)
		}
	}
	for _, id := range others {
		if _, err := f.Read(id); err != unix.EINVAL {
			t.Errorf("clock %d: %v", id, err)
		}
	}
	f.Advance(time.Minute)
	if ns, _ := f.Read(unix.CLOCK_REALTIME); ns != int64(time.Hour+time.Minute) {
		t.Errorf("%v", time.Duration(ns))
	}
}

// TestFakeTimers sets timers and moves the clock; each writes down when it ran.
func TestFakeTimers(t *testing.T) {
	f := NewFake(0)
	var log []string
	note := func(name string) func() {
		return func() {
			now, _ := f.Read(unix.CLOCK_MONOTONIC)
			log = append(log, fmt.Sprint(name, now))
		}
	}
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(log, want) {
			t.Errorf("%v, want %v", log, want)
		}
		log = nil
	}
	f.AfterFunc(30, note("c"))
	a := f.AfterFunc(10, note("a"))
	f.AfterFunc(10, note("b"))
	d := f.AfterFunc(40, note("d"))
	f.AfterFunc(0, note("now"))
	expect() // not before the clock is moved
	f.Advance(0)
	expect("now0")
	f.Advance(9)
	expect()
	f.Advance(25)
	expect("a10", "b10", "c30")
	if a.Stop() || !d.Stop() || d.Stop() {
		t.Error("Stop does not say whether the timer was pending")
	}
	f.Advance(100)
	expect()
	// It is 134. A timer that was stopped or has run can be set again.
	if d.Reset(5) || !d.Reset(7) || a.Reset(7) {
		t.Error("Reset does not say whether the timer was pending")
	}
	f.Advance(6)
	expect()
	f.Advance(1)
	expect("d141", "a141")
	f.AfterFunc(-5, note("past"))
	f.Advance(1)
	expect("past141")

	// One that sets itself again, and others, from its function.
	n := 0
	var tick Timer
	tick = f.AfterFunc(10, func() {
		note("tick")()
		if n++; n < 3 {
			tick.Reset(10)
			f.AfterFunc(3, note("after"))
		}
	})
	f.Advance(100)
	expect("tick152", "after155", "tick162", "after165", "tick172")
	if now, _ := f.Read(unix.CLOCK_TAI); now != 242 {
		t.Errorf("it is %d", now)
	}
}

// TestFakeConcurrent uses a Fake from several goroutines, for the race detector.
func TestFakeConcurrent(t *testing.T) {
	f := NewFake(0)
	done := make(chan int)
	for range 4 {
		go func() {
			for range 200 {
				timer := f.AfterFunc(5, func() {})
				f.Read(unix.CLOCK_MONOTONIC)
				timer.Stop()
				timer.Reset(3)
			}
			done <- 1
		}()
	}
	for n := 0; n < 4; {
		select {
		case <-done:
			n++
		default:
			f.Advance(1)
		}
	}
	f.Advance(10)
	if len(f.timers) != 0 {
		t.Errorf("%d timers are left", len(f.timers))
	}
}
