package kvm

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"runsc-lite/tests/harness"
)

// counted is what the platform says it has counted, by name.
type counted map[string]float64

// ops runs the program of operations, with its output.
func ops(t *testing.T, target harness.Target, args ...string) (string, counted) {
	t.Helper()
	program := harness.Program(t, "RUNSC_LITE_KVM_OPS", "tests/kvm/ops/ops.c")
	r, err := target.Run(harness.Spec{Args: append([]string{program}, args...), Flags: []string{"--debug"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 0 || r.TimedOut {
		t.Fatalf("ops %s: status %d\n%s", strings.Join(args, " "), r.Status, r.Stderr)
	}
	c := counted{}
	for line := range strings.Lines(string(r.Stderr)) {
		if !strings.Contains(line, `msg="kvm has counted"`) {
			continue
		}
		for _, m := range regexp.MustCompile(`(\w+)=(\d+)`).FindAllStringSubmatch(line, -1) {
			c[m[1]], _ = strconv.ParseFloat(m[2], 64)
		}
	}
	if c["runs"] == 0 {
		t.Fatalf("the platform says nothing of what it counted:\n%s", r.Stderr)
	}
	// What a signal of the host's ended, or kept from beginning, is not the
	// operation's.
	c["exits"] = c["runs"] - c["interrupts"]
	return string(r.Stdout), c
}

// per is what one operation costs: the difference between many and more, so that the
// program's beginning and end do not count.
func per(t *testing.T, target harness.Target, op string, many, more int) counted {
	t.Helper()
	outA, a := ops(t, target, op, strconv.Itoa(many))
	outB, b := ops(t, target, op, strconv.Itoa(more))
	c := counted{}
	for name := range b {
		c[name] = (b[name] - a[name]) / float64(more-many)
	}
	printed := func(s string) float64 { v, _ := strconv.ParseFloat(strings.TrimSpace(s), 64); return v }
	c["printed"] = (printed(outB) - printed(outA)) / float64(more-many)
	return c
}

// TestCosts holds what operations of a program cost, whole: what the sentry makes of
// them is in it. The counts of the platform by itself are in its own tests.
func TestCosts(t *testing.T) {
	target := harness.KVM(t)
	most := func(what string, got, want float64) {
		t.Helper()
		t.Logf("%s: %.4f", what, got)
		if got > want {
			t.Errorf("%s: %.4f, want %.4f at most", what, got, want)
		}
	}
	const few = 0.01 // whatever else goes on in the sandbox

	c := per(t, target, "null", 1000, 5000)
	most("exits of a null system call", c["exits"], 1+few)
	most("host calls besides", c["ioctls"], few)

	c = per(t, target, "touch", 4096, 16384)
	most("exits of a page touched after another", c["exits"], 1./16)
	most("host calls besides", c["ioctls"], few)

	// fork, exit and wait; the child's faults are those that it is told of.
	c = per(t, target, "fork", 20, 120)
	most("exits of a fork, beyond the child's faults", c["exits"]-c["printed"], 10)
	if c["printed"] == 0 {
		t.Error("the child has no faults")
	}
}

// TestSwitchCosts: on one virtual processor, a turn from one process to the other is
// nothing but the calls that they make: write and read.
func TestSwitchCosts(t *testing.T) {
	target := harness.KVM(t)
	oneProcessor(t)
	c := per(t, target, "turns", 200, 1200)
	t.Logf("for a turn there and back: %.3f calls, %.3f exits, %.3f loads of CR3, %.3f kicks", c["calls"], c["exits"], c["switches"], c["kicks"])
	if c["calls"] < 3.99 || c["calls"] > 4.01 {
		t.Errorf("%.3f calls", c["calls"])
	}
	if more := c["exits"] - c["calls"]; more > 0.01 {
		t.Errorf("%.3f exits more than calls", more)
	}
	if c["kicks"] > 0.02 {
		t.Errorf("%.3f kicks", c["kicks"])
	}
}
