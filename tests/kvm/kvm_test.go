// Package kvm runs what is about KVM: guest programs that lean on the platform, what
// operations cost in exits, and how its virtual processors are shared. All else runs
// on KVM too, if RUNSC_LITE_PLATFORMS says so; this is what runs each time.
package kvm

import (
	"slices"
	"testing"

	"runsc-lite/tests/harness"
)

// programs are guest programs whose tests the platform has a part in: system calls,
// faults, mappings, processes and threads, signals, registers, clocks.
var programs = []string{
	"badcall", "clock", "clone", "cow", "cputime", "efault", "exec", "fault", "fork", "futex", "futexpi",
	"memcalls", "mmap", "odd", "pipe", "ptrace", "ptraceregs", "sched", "schedattr", "seccomp", "signal", "system", "sysv",
	"thread", "timers", "wait",
}

func TestGuests(t *testing.T) {
	target := harness.KVM(t)
	found := make(map[string]bool)
	harness.CompareGuests(t, []harness.Target{target}, nil, func(g harness.GuestTest) bool {
		found[g.Program] = true
		return slices.Contains(programs, g.Program) && (!testing.Short() || g.Index == 0)
	})
	for _, p := range programs {
		if !found[p] {
			t.Errorf("there is no guest program %s", p)
		}
	}
}
