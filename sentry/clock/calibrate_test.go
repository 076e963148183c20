package clock

import (
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestLine(t *testing.T) {
	const one = 1 << MultShift
	for _, tt := range []struct {
		l          Line
		since, tsc uint64
		want       int64
	}{
		{Line{NS: 5, Mult: one}, 100, 100, 5},
		{Line{NS: 5, Mult: one}, 100, 107, 12},
		{Line{NS: 5, Mult: one / 2}, 100, 107, 8}, // rounded down
		{Line{NS: 5, Mult: one}, 100, 99, 5},      // not before the beginning
		{Line{NS: -5, Mult: 3 * one}, 0, 4, 7},
		{Line{NS: 0, Mult: one / 3}, 0, 3e18, 1e18 - 1}, // 30 years at 3 GHz
		{Line{NS: 0, Mult: one}, 0, math.MaxInt64, math.MaxInt64},
	} {
		got := tt.l.At(tt.since, tt.tsc)
		if d := got - tt.want; d < -4000 || d > 4000 || tt.tsc < 1e9 && d != 0 {
			t.Errorf("%+v since %d, at %d: %d, want %d", tt.l, tt.since, tt.tsc, got, tt.want)
		}
	}
	if l := (Line{NS: 7, Mult: 9}).coarse(); l.Tick != CoarseTick || l.NS != 7 || l.Mult != 9 {
		t.Errorf("%+v", l)
	}
}

// TestRateLine gives a line readings of a host's clock as they may come: late by
// some, at a rate that changes a little. What is published never goes back, never
// stands still, and comes to agree.
func TestRateLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(0.2, 2).Draw(t, "ns per tick")
		var l rateLine
		tsc, ns := uint64(1e6), float64(rapid.Int64Range(1, 1e18).Draw(t, "time"))
		since := uint64(0)
		noise := rapid.Int64Range(0, 900)
		for i := range 40 {
			// Often at first, as the rate is known from a short time only.
			gap := min(time.Millisecond<<i, time.Second)
			ticks := uint64(float64(gap) / rate)
			tsc += ticks
			ns += float64(ticks) * rate
			late := noise.Draw(t, "late")
			if !l.add(reading{tsc, tsc + uint64(float64(late)/rate), int64(ns) + late}) {
				t.Fatalf("reading %d makes no sense", i)
			}
			rate *= 1 + float64(rapid.IntRange(-20, 20).Draw(t, "drift"))*1e-9
			if l.rate == 0 {
				continue
			}
			now := tsc + 100
			shown := l.published.At(since, now)
			first := since == 0
			l.publish(since, now, min(2*gap, time.Second))
			since = now
			got := l.published.At(since, now)
			if !first && got < shown {
				t.Fatalf("the clock goes back from %d to %d", shown, got)
			}
			if per := float64(l.published.Mult) / (1 << MultShift); per < l.rate*0.49 || per > l.rate*1.01 {
				t.Fatalf("%v ns per tick, want %v", per, l.rate)
			}
			truth := ns + 100*rate
			if d := float64(got) - truth; d < -1000 || d > 10_000 {
				t.Fatalf("after %d readings it is %v ns off", i, d)
			}
		}
	})
}

// TestRateLineRefuses gives a line readings that no counter gives.
func TestRateLineRefuses(t *testing.T) {
	for name, second := range map[string]reading{
		"counter stands still": {1000, 1001, 2000},
		"counter goes back":    {900, 901, 2000},
		"time stands still":    {2000, 2001, 1000},
		"time goes back":       {2000, 2001, 500},
		"far too fast":         {1001, 1002, 1 << 40},
		"far too slow":         {1 << 50, 1<<50 + 1, 1001},
	} {
		var l rateLine
		if !l.add(reading{1000, 1001, 1000}) {
			t.Error("the first reading makes no sense")
		}
		if l.add(second) {
			t.Errorf("%s: rate %v", name, l.rate)
		}
	}
	// A counter that was stopped for a while (the machine slept).
	var l rateLine
	l.add(reading{1e9, 1e9, 1e9})
	l.add(reading{2e9, 2e9, 2e9})
	if l.add(reading{3e9, 3e9, 60e9}) {
		t.Errorf("a jump of a minute: rate %v", l.rate)
	}
}

func TestByCounter(t *testing.T) {
	for source, want := range map[string]bool{
		"tsc": true, "kvm-clock": true, "": true, "hpet": false, "acpi_pm": false, "hyperv_clocksource_msr": false, "jiffies": false,
	} {
		if got := byCounter(source); got != want {
			t.Errorf("%q: %v", source, got)
		}
	}
}

// TestCalibrator calibrates by the host's clocks.
func TestCalibrator(t *testing.T) {
	if NewCalibrator(NewFake(0)) != nil {
		t.Error("a fake clock's time is told from the counter")
	}
	c := NewCalibrator(NewHost())
	if c == nil {
		t.Skip("this machine's counter cannot be relied upon")
	}
	var p Params
	var last [Clocks]int64
	commits := 0
	for range 50 {
		ready, usable := c.Sample()
		if !usable {
			t.Fatal("the counter is of no use")
		}
		if !ready {
			continue
		}
		c.Commit(&p, time.Millisecond)
		commits++
		for _, id := range ids {
			l := &p.Lines[id]
			if id == unix.CLOCK_REALTIME_ALARM || id == unix.CLOCK_BOOTTIME_ALARM {
				if l.Valid {
					t.Errorf("clock %d is told from the counter", id)
				}
				continue
			}
			got := l.At(p.TSC, rdtsc())
			ns, _ := NewHost().Read(id)
			limit := int64(time.Millisecond)
			if l.Tick != 0 {
				limit += int64(l.Tick)
			}
			if d := got - ns; !l.Valid || got < last[id] || d > limit {
				t.Errorf("clock %d: %+v, %d ns ahead, %d since the last", id, *l, d, got-last[id])
			}
			last[id] = got
		}
		for _, id := range []int{unix.CLOCK_PROCESS_CPUTIME_ID, unix.CLOCK_THREAD_CPUTIME_ID, 10} {
			if p.Lines[id].Valid {
				t.Errorf("clock %d is told from the counter", id)
			}
		}
		time.Sleep(time.Millisecond)
	}
	if commits < 30 {
		t.Errorf("only %d of 50 samples were of use", commits)
	}
}
