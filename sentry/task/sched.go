package task

import (
	"math/bits"
	"slices"

	"runsc-lite/hostcall"
)

// defaultSlack is Linux's default timer slack, in nanoseconds.
const defaultSlack = 50_000

// TimerSlack returns prctl(2)'s PR_GET_TIMERSLACK.
func (t *Task) TimerSlack() uint64 { return t.slack.Load() }

// SetTimerSlack sets it; 0 is the default. Timers fire when they are due, which
// any slack allows.
func (t *Task) SetTimerSlack(ns uint64) {
	if ns == 0 {
		ns = t.slack0.Load()
	}
	t.slack.Store(ns)
}

// SchedPolicy returns the scheduling policy (sched(7)).
func (t *Task) SchedPolicy() uint32 {
	policy, _, _ := t.th.Scheduler()
	return uint32(policy)
}

func allCPUs(n int) []uint64 {
	set := make([]uint64, (n+63)/64)
	for i := range n {
		set[i/64] |= 1 << (i % 64)
	}
	return set
}

// Affinity returns the processors that t may run on, a bit for each.
func (t *Task) Affinity() []uint64 { return t.affinity.Load().([]uint64) }

// SetAffinity replaces them.
func (t *Task) SetAffinity(set []uint64) {
	t.affinity.Store(set)
	if !slices.Equal(set, allCPUs(t.k.CPUs)) {
		t.k.VDSO.AskForCPU()
	}
}

// CPU returns the processor that t is on: the sentry's, or if it may not be
// there the first one that it may use.
func (t *Task) CPU() int {
	set := t.Affinity()
	if cpu := hostcall.CPU(); cpu/64 < len(set) && set[cpu/64]>>(cpu%64)&1 != 0 {
		return cpu
	}
	for i, w := range set {
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return 0
}

// Yield lets others run (sched_yield(2)).
func (t *Task) Yield() {
	if !t.th.Yield() {
		hostcall.Yield()
	}
}

// Barrier makes all threads of the sandbox pass a memory barrier.
func (k *Kernel) Barrier() error { return hostcall.MemoryBarrier() }

// MemoryTotal returns how much memory the sandbox can use and how much of it is
// free, in bytes.
func (k *Kernel) MemoryTotal() (total, free uint64) {
	total = k.TotalMemory
	used, err := k.Memory.Usage()
	if err != nil || used > total {
		used = total
	}
	return total, total - used
}
