package timerfd

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
	"pgregory.net/rapid"

	"runsc-lite/sentry/clock"
	"runsc-lite/sentry/vfs"
)

const (
	ms   = int64(time.Millisecond)
	noon = 1000 * time.Hour // what the clock shows at the beginning
)

func newTimer(t testing.TB, clk clock.Clock, id int32) *FD {
	t.Helper()
	f, err := New(clk, id)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(f *FD) (uint64, error) {
	var b [8]byte
	_, err := f.Read([][]byte{b[:]})
	return binary.LittleEndian.Uint64(b[:]), err
}

func wantTicks(t *testing.T, f *FD, want uint64) {
	t.Helper()
	wantErr := error(nil)
	if want == 0 {
		wantErr = unix.EAGAIN
	}
	if n, err := read(f); n != want || err != wantErr {
		t.Errorf("read = %d, %v, want %d", n, err, want)
	}
}

func set(t *testing.T, f *FD, interval, left int64, flags uint32) Value {
	t.Helper()
	old, err := f.Set(Value{interval, left}, flags)
	if err != nil {
		t.Fatalf("Set: %v", err)
	}
	return old
}

func TestNewFile(t *testing.T) {
	clk := clock.NewFake(noon)
	for _, id := range []int32{-1, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE,
		unix.CLOCK_PROCESS_CPUTIME_ID, unix.CLOCK_THREAD_CPUTIME_ID, unix.CLOCK_TAI, 99} {
		if _, err := NewFile(clk, id, 0); err != unix.EINVAL {
			t.Errorf("clock %d: %v, want EINVAL", id, err)
		}
	}
	for _, id := range []int32{unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME,
		unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM} {
		f, err := NewFile(clk, id, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
		if err != nil {
			t.Errorf("clock %d: %v", id, err)
			continue
		}
		if f.Flags() != unix.O_RDWR|unix.O_NONBLOCK {
			t.Errorf("flags = %#x", f.Flags())
		}
		f.DecRef()
	}
	if _, err := NewFile(clk, unix.CLOCK_MONOTONIC, 1); err != unix.EINVAL {
		t.Errorf("flags: %v, want EINVAL", err)
	}
	f := newTimer(t, clk, unix.CLOCK_MONOTONIC)
	if _, err := f.Set(Value{}, 4); err != unix.EINVAL {
		t.Errorf("Set: flags: %v, want EINVAL", err)
	}
	if _, err := f.Read([][]byte{make([]byte, 3), make([]byte, 4)}); err != unix.EINVAL {
		t.Errorf("short read: %v, want EINVAL", err)
	}
}

func TestOnce(t *testing.T) {
	clk := clock.NewFake(noon)
	f := newTimer(t, clk, unix.CLOCK_MONOTONIC)
	wantTicks(t, f, 0)
	set(t, f, 0, 10*ms, 0)
	entry, ch := waiter.NewChannelEntry(waiter.EventIn)
	f.EventRegister(&entry)
	defer f.EventUnregister(&entry)
	clk.Advance(9 * time.Millisecond)
	if got := f.Get(); got != (Value{0, ms}) {
		t.Errorf("Get = %+v", got)
	}
	if len(ch) != 0 || f.Readiness(waiter.AllEvents) != 0 {
		t.Error("too early")
	}
	clk.Advance(time.Millisecond)
	if len(ch) != 1 || f.Readiness(waiter.AllEvents) != waiter.EventIn {
		t.Error("not told")
	}
	if got := f.Get(); got != (Value{}) {
		t.Errorf("Get = %+v", got)
	}
	clk.Advance(time.Hour)
	wantTicks(t, f, 1)
	wantTicks(t, f, 0)
}

func TestPeriodic(t *testing.T) {
	clk := clock.NewFake(noon)
	f := newTimer(t, clk, unix.CLOCK_BOOTTIME)
	set(t, f, 10*ms, 3*ms, 0)
	clk.Advance(3 * time.Millisecond)
	wantTicks(t, f, 1)
	clk.Advance(35 * time.Millisecond) // at 13, 23, 33
	wantTicks(t, f, 3)
	if got := f.Get(); got != (Value{10 * ms, 5 * ms}) {
		t.Errorf("Get = %+v", got)
	}
	clk.Advance(25 * time.Millisecond) // at 43, 53, 63
	if got := f.Get(); got != (Value{10 * ms, 10 * ms}) {
		t.Errorf("Get = %+v", got)
	}
	clk.Advance(20 * time.Millisecond) // at 73, 83
	wantTicks(t, f, 5)
	// The old setting is what it has come to.
	clk.Advance(14 * time.Millisecond)
	if old := set(t, f, 0, 0, 0); old != (Value{10 * ms, 6 * ms}) {
		t.Errorf("old = %+v", old)
	}
	wantTicks(t, f, 0)
	clk.Advance(time.Hour)
	wantTicks(t, f, 0)
}

func TestAbsolute(t *testing.T) {
	clk := clock.NewFake(noon)
	f := newTimer(t, clk, unix.CLOCK_REALTIME)
	now := int64(noon)
	set(t, f, 0, now+5*ms, unix.TFD_TIMER_ABSTIME)
	if got := f.Get(); got.Left != 5*ms {
		t.Errorf("Get = %+v", got)
	}
	clk.Advance(5 * time.Millisecond)
	wantTicks(t, f, 1)
	set(t, f, 0, 1, unix.TFD_TIMER_ABSTIME)
	wantTicks(t, f, 1)
	now += 5 * ms
	set(t, f, 2*ms, now-9*ms, unix.TFD_TIMER_ABSTIME) // at -9, -7, -5, -3, -1
	wantTicks(t, f, 5)
}

// TestFarAway: the largest values do not overflow.
func TestFarAway(t *testing.T) {
	clk := clock.NewFake(noon)
	const most = 1 << 62
	f := newTimer(t, clk, unix.CLOCK_MONOTONIC)
	set(t, f, most, most, 0)
	if got := f.Get(); got != (Value{most, most}) {
		t.Errorf("Get = %+v", got)
	}
	set(t, f, most, 1, 0)
	clk.Advance(time.Hour)
	wantTicks(t, f, 1)
	if got := f.Get(); got.Left <= 0 {
		t.Errorf("Get = %+v", got)
	}
	set(t, f, 1, 1, 0)
	clk.Advance(1000 * time.Hour)
	wantTicks(t, f, uint64(1000*time.Hour))
	set(t, f, math.MaxInt64, math.MaxInt64, unix.TFD_TIMER_ABSTIME)
	clk.Advance(time.Hour)
	wantTicks(t, f, 0)
}

// steppedClock is a clock whose real time can be set.
type steppedClock struct {
	*clock.Fake
	mu    sync.Mutex
	ahead time.Duration
}

func (c *steppedClock) Read(id int32) (int64, error) {
	ns, err := c.Fake.Read(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == unix.CLOCK_REALTIME {
		ns += int64(c.ahead)
	}
	return ns, err
}

func (c *steppedClock) step(d time.Duration) {
	c.mu.Lock()
	c.ahead += d
	c.mu.Unlock()
}

func TestClockIsSet(t *testing.T) {
	clk := &steppedClock{Fake: clock.NewFake(noon)}
	f := newTimer(t, clk, unix.CLOCK_REALTIME)
	const flags = unix.TFD_TIMER_ABSTIME | unix.TFD_TIMER_CANCEL_ON_SET
	hour := int64(noon + time.Hour)
	entry, ch := waiter.NewChannelEntry(waiter.EventIn)
	f.EventRegister(&entry)
	defer f.EventUnregister(&entry)

	// Small corrections are none.
	set(t, f, 0, hour, flags)
	clk.step(time.Millisecond)
	clk.Advance(2 * time.Second)
	wantTicks(t, f, 0)
	for _, d := range []time.Duration{time.Minute, -2 * time.Minute} {
		clk.step(d)
		clk.Advance(2 * time.Second)
		if len(ch) != 1 || f.Readiness(waiter.AllEvents) != waiter.EventIn {
			t.Errorf("step %v: not told", d)
		}
		if n, err := read(f); n != 0 || err != unix.ECANCELED {
			t.Errorf("step %v: read = %d, %v, want ECANCELED", d, n, err)
		}
		wantTicks(t, f, 0)
		for len(ch) > 0 {
			<-ch
		}
	}
	// A new setting forgets it.
	clk.step(time.Minute)
	clk.Advance(2 * time.Second)
	set(t, f, 0, hour, flags)
	wantTicks(t, f, 0)
	// Without the flag the time counts, when the clock gets there.
	set(t, f, 0, hour, unix.TFD_TIMER_ABSTIME)
	clk.step(2 * time.Hour)
	clk.Advance(2 * time.Second)
	wantTicks(t, f, 1)
	// And a relative one minds the time that passes.
	set(t, f, 0, 10*int64(time.Second), 0)
	clk.step(time.Hour)
	clk.Advance(9 * time.Second)
	wantTicks(t, f, 0)
	clk.Advance(time.Second)
	wantTicks(t, f, 1)
	// With the flag even a timer that is not running hears of it.
	set(t, f, 0, 0, flags)
	clk.step(time.Minute)
	clk.Advance(2 * time.Second)
	if _, err := read(f); err != unix.ECANCELED {
		t.Errorf("read: %v, want ECANCELED", err)
	}
}

// TestModel compares with expirations that are listed one by one.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clk := clock.NewFake(noon)
		f, err := New(clk, rapid.SampledFrom([]int32{unix.CLOCK_MONOTONIC, unix.CLOCK_REALTIME, unix.CLOCK_BOOTTIME}).Draw(t, "clock"))
		if err != nil {
			t.Fatal(err)
		}
		now := int64(noon)
		var due, interval, ticks int64 // due 0: none
		pass := func() {
			for due != 0 && due <= now {
				ticks++
				if interval == 0 {
					due = 0
					break
				}
				due += interval
			}
		}
		value := func() Value {
			v := Value{Interval: interval}
			if due != 0 {
				v.Left = due - now
			}
			return v
		}
		nanos := rapid.Int64Range(0, 50)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				v := Value{nanos.Draw(t, "interval"), nanos.Draw(t, "left")}
				flags := uint32(0)
				want := value()
				ticks, due, interval = 0, 0, v.Interval
				if v.Left != 0 {
					due = now + v.Left
					if rapid.Bool().Draw(t, "absolute") {
						flags = unix.TFD_TIMER_ABSTIME
						v.Left += now - 25
						due = v.Left
					}
				}
				pass()
				old, err := f.Set(v, flags)
				if err != nil || old != want {
					t.Fatalf("Set = %+v, %v, want %+v", old, err, want)
				}
			},
			"get": func(t *rapid.T) {
				if got := f.Get(); got != value() {
					t.Fatalf("Get = %+v, want %+v", got, value())
				}
			},
			"read": func(t *rapid.T) {
				n, err := read(f)
				if int64(n) != ticks || (err == unix.EAGAIN) != (ticks == 0) {
					t.Fatalf("read = %d, %v, want %d", n, err, ticks)
				}
				ticks = 0
			},
			"pass": func(t *rapid.T) {
				d := nanos.Draw(t, "d")
				now += d
				clk.Advance(time.Duration(d))
				pass()
			},
			"": func(t *rapid.T) {
				if got := f.Readiness(waiter.EventIn); (got != 0) != (ticks != 0) {
					t.Fatalf("ready for %#x with %d ticks", got, ticks)
				}
			},
		})
	})
}

// TestRestsUntilRead: nobody reads a fast timer, and so it costs nothing.
func TestRestsUntilRead(t *testing.T) {
	clk := clock.NewFake(noon)
	f := newTimer(t, clk, unix.CLOCK_MONOTONIC)
	told := 0
	entry := waiter.NewFunctionEntry(waiter.EventIn, func(waiter.EventMask) { told++ })
	f.EventRegister(&entry)
	defer f.EventUnregister(&entry)
	set(t, f, ms, ms, 0)
	clk.Advance(time.Second)
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	wantTicks(t, f, 1000)
	clk.Advance(time.Second)
	if told != 2 {
		t.Errorf("told %d times", told)
	}
}

func TestReleased(t *testing.T) {
	clk := clock.NewFake(noon)
	file, err := NewFile(clk, unix.CLOCK_REALTIME, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := file.Ops().(*FD)
	set(t, f, ms, ms, 0)
	told := 0
	entry := waiter.NewFunctionEntry(waiter.EventIn, func(waiter.EventMask) { told++ })
	f.EventRegister(&entry)
	file.DecRef()
	clk.Advance(time.Second)
	if told != 0 {
		t.Error("a timer goes on after its end")
	}
}

// TestRace sets, reads and asks a timer of the host's clock from many sides.
func TestRace(t *testing.T) {
	file, err := NewFile(clock.NewHost(), unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	f := file.Ops().(*FD)
	var all sync.WaitGroup
	for g := range 3 {
		all.Go(func() {
			for i := range 300 {
				switch (i + g) % 4 {
				case 0:
					f.Set(Value{int64(i % 3 * 1000), int64(1 + i%5*1000)}, 0)
				case 1:
					f.Get()
				case 2:
					read(f)
				case 3:
					f.Readiness(waiter.EventIn)
				}
			}
		})
	}
	all.Wait()
	waitTick(t, file)
	file.DecRef()
}

// waitTick waits for an event of a setting that is made now.
func waitTick(t *testing.T, file *vfs.File) {
	t.Helper()
	f := file.Ops().(*FD)
	entry, ch := waiter.NewChannelEntry(waiter.EventIn)
	set(t, f, 0, 2*ms, 0)
	file.EventRegister(&entry)
	defer file.EventUnregister(&entry)
	for {
		if n, err := read(f); err == nil {
			if n != 1 {
				t.Errorf("%d ticks", n)
			}
			return
		}
		select {
		case <-ch:
		case <-time.After(10 * time.Second):
			t.Fatal("no tick")
		}
	}
}

func TestFDInfo(t *testing.T) {
	clk := clock.NewFake(noon)
	f := newTimer(t, clk, unix.CLOCK_REALTIME_ALARM)
	set(t, f, 3*int64(time.Second)+4, int64(noon)+2*int64(time.Second)+5, unix.TFD_TIMER_ABSTIME)
	clk.Advance(time.Second)
	var b bytes.Buffer
	f.FDInfo(&b)
	const want = "clockid: 8\nticks: 0\nsettime flags: 01\nit_value: (1, 5)\nit_interval: (3, 4)\n"
	if got := b.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
