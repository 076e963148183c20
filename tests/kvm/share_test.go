package kvm

import (
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/tests/harness"
)

// confine lets this test, and what it starts, run on n of the processors that it has.
func confine(t *testing.T, n int) {
	t.Helper()
	runtime.LockOSThread() // children inherit the thread's
	t.Cleanup(runtime.UnlockOSThread)
	var all, some unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; n > 0 && cpu < 1024; cpu++ {
		if all.IsSet(cpu) {
			some.Set(cpu)
			n--
		}
	}
	if n > 0 {
		t.Skipf("NOT TESTED: there are %d processors too few", n)
	}
	if err := unix.SchedSetaffinity(0, &some); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.SchedSetaffinity(0, &all); err != nil {
			t.Error(err)
		}
	})
}

func oneProcessor(t *testing.T) { t.Helper(); confine(t, 1) }

// progress runs four threads in each of four processes, which have these nice values,
// on two virtual processors, and returns how far each thread got. How long that takes
// is for the host to say; they are compared with each other.
func progress(t *testing.T, target harness.Target, nice ...int) (got [][]float64) {
	t.Helper()
	program := harness.Program(t, "RUNSC_LITE_KVM_OPS", "tests/kvm/ops/ops.c")
	args := []string{program, "share"}
	for _, n := range nice {
		args = append(args, strconv.Itoa(n))
	}
	r, err := target.Run(harness.Spec{Args: args, Limit: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(r.Stdout))
	if r.Status != 0 || r.TimedOut || len(lines) != 16 {
		t.Fatalf("status %d, %d lines\n%s", r.Status, len(lines), r.Stderr)
	}
	for i, line := range lines {
		v, err := strconv.ParseFloat(line, 64)
		if err != nil {
			t.Fatal(err)
		}
		if i%4 == 0 {
			got = append(got, nil)
		}
		got[i/4] = append(got[i/4], v)
	}
	return got
}

func mean(v []float64) (sum float64) {
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// even checks that threads got equally far, within 20 percent.
func even(t *testing.T, what string, v []float64) {
	t.Helper()
	spread := (slices.Max(v) - slices.Min(v)) / mean(v)
	t.Logf("%s: a spread of %.1f %% over %d threads", what, 100*spread, len(v))
	if spread >= 0.2 {
		t.Errorf("%s: progress of %v, a spread of %.1f %%", what, v, 100*spread)
	}
}

// TestFairness: 16 threads in 4 processes on 2 virtual processors get equally far.
func TestFairness(t *testing.T) {
	target := harness.KVM(t)
	confine(t, 2)
	even(t, "equals", slices.Concat(progress(t, target, 0, 0, 0, 0)...))
}

// TestNice: with other nice values they get as far as these weigh: 1024 to 335.
func TestNice(t *testing.T) {
	target := harness.KVM(t)
	confine(t, 2)
	got := progress(t, target, 0, 5, 0, 5)
	first, second := slices.Concat(got[0], got[2]), slices.Concat(got[1], got[3])
	even(t, "nice 0", first)
	even(t, "nice 5", second)
	if ratio, want := mean(first)/mean(second), 1024./335; ratio < 0.8*want || ratio > 1.2*want {
		t.Errorf("nice 0 has %.2f times of what nice 5 has, want %.2f", ratio, want)
	}
}
