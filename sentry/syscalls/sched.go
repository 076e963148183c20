package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// Scheduling policies (sched(7)).
const (
	schedOther       = procmgr.SchedOther
	schedFIFO        = procmgr.SchedFIFO
	schedRR          = procmgr.SchedRR
	schedBatch       = procmgr.SchedBatch
	schedIdle        = procmgr.SchedIdle
	schedDeadline    = 6 // not here: nothing is reserved for anybody
	schedResetOnFork = 0x40000000

	// Time slices in nanoseconds.
	otherSlice = 3_000_000
	rrSlice    = 100_000_000
)

func sysSchedYield(t *task.Task, a *task.Args) (uint64, error) {
	t.Yield()
	return 0, nil
}

func sysSchedGetPriorityMax(t *task.Task, a *task.Args) (uint64, error) {
	switch a.Int(0) {
	case schedFIFO, schedRR:
		return 99, nil
	case schedOther, schedBatch, schedIdle, schedDeadline:
		return 0, nil
	}
	return 0, unix.EINVAL
}

func sysSchedGetPriorityMin(t *task.Task, a *task.Args) (uint64, error) {
	switch a.Int(0) {
	case schedFIFO, schedRR:
		return 1, nil
	case schedOther, schedBatch, schedIdle, schedDeadline:
		return 0, nil
	}
	return 0, unix.EINVAL
}

// sysSchedRrGetInterval is sched_rr_get_interval(2): the time slice, 0 for none.
func sysSchedRrGetInterval(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int(0) < 0 {
		return 0, unix.EINVAL
	}
	o, err := schedTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	slice := int64(otherSlice)
	switch policy, _, _ := o.Scheduler(); policy {
	case schedFIFO:
		slice = 0
	case schedRR:
		slice = rrSlice
	}
	return 0, copyOutTimespec(t, a.Addr(1), slice)
}

// schedTarget finds the thread that a sched_* call means: 0 is the caller.
func schedTarget(t *task.Task, tid int32) (*procmgr.Thread, error) {
	if tid < 0 {
		return nil, unix.EINVAL
	}
	if tid == 0 {
		return t.Thread(), nil
	}
	th := t.Lookup(int(tid))
	if th == nil {
		return nil, unix.ESRCH
	}
	return th, nil
}

// affinityTarget is schedTarget for calls about processors; only a task has any.
func affinityTarget(t *task.Task, tid int32) (*task.Task, error) {
	th, err := schedTarget(t, tid)
	if err == unix.EINVAL {
		err = unix.ESRCH // sched_getaffinity(2) and its opposite look for it first
	}
	if err != nil {
		return nil, err
	}
	o := task.Of(th)
	if o == nil {
		return nil, unix.ESRCH
	}
	return o, nil
}

func sysSchedGetparam(t *task.Task, a *task.Args) (uint64, error) {
	if a[1] == 0 {
		return 0, unix.EINVAL
	}
	o, err := schedTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	_, prio, _ := o.Scheduler()
	return 0, t.Memory().Space.StoreUint32(a.Addr(1), uint32(prio))
}

func sysSchedSetparam(t *task.Task, a *task.Args) (uint64, error) {
	if a[1] == 0 || a.Int(0) < 0 {
		return 0, unix.EINVAL
	}
	prio, err := t.Memory().Space.LoadUint32(a.Addr(1))
	if err != nil {
		return 0, err
	}
	o, err := schedTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	policy, _, reset := o.Scheduler()
	return 0, setScheduler(t, o, procmgr.SchedAttr{Policy: policy, Priority: int(int32(prio)), Nice: o.Nice(), ResetOnFork: reset})
}

// setScheduler changes a policy. RLIMIT_RTTIME counts from now on, if it is real-time.
func setScheduler(t *task.Task, o *procmgr.Thread, s procmgr.SchedAttr) error {
	err := t.Kernel().Procs.SetSchedAttr(t.Thread(), o, s)
	if of := task.Of(o); err == nil && s.Priority > 0 && of != nil {
		of.RealtimeChanged()
	}
	return err
}

func sysSchedGetscheduler(t *task.Task, a *task.Args) (uint64, error) {
	o, err := schedTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	policy, _, reset := o.Scheduler()
	if reset {
		policy |= schedResetOnFork
	}
	return uint64(policy), nil
}

// sysSchedSetscheduler is sched_setscheduler(2).
func sysSchedSetscheduler(t *task.Task, a *task.Args) (uint64, error) {
	if a[2] == 0 || a.Int(0) < 0 || a.Int(1) < 0 {
		return 0, unix.EINVAL
	}
	prio, err := t.Memory().Space.LoadUint32(a.Addr(2))
	if err != nil {
		return 0, err
	}
	o, err := schedTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	policy, reset := a.Int(1)&^schedResetOnFork, a.Int(1)&schedResetOnFork != 0
	return 0, setScheduler(t, o, procmgr.SchedAttr{Policy: int(policy), Priority: int(int32(prio)), Nice: o.Nice(), ResetOnFork: reset})
}

// sysSchedGetaffinity is sched_getaffinity(2): it returns the bytes written.
func sysSchedGetaffinity(t *task.Task, a *task.Args) (uint64, error) {
	const word = 8
	cpus := t.Kernel().CPUs
	size := (cpus + 63) / 64 * word
	if a[1] < uint64((cpus+7)/8) || a[1]%word != 0 {
		return 0, unix.EINVAL
	}
	o, err := affinityTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	mask := make([]byte, size)
	for i, w := range o.Affinity() {
		binary.LittleEndian.PutUint64(mask[i*word:], w)
	}
	size = min(size, int(min(a[1], 1<<12)))
	if _, err := t.Memory().Space.CopyOut(a.Addr(2), mask[:size]); err != nil {
		return 0, err
	}
	return uint64(size), nil
}

// sysSchedSetaffinity is sched_setaffinity(2): EINVAL when no processor of the
// sandbox is in the mask.
func sysSchedSetaffinity(t *task.Task, a *task.Args) (uint64, error) {
	cpus := t.Kernel().CPUs
	mask := make([]byte, (cpus+63)/64*8)
	n := min(uint64(len(mask)), a[1]&0xffffffff)
	if _, err := t.Memory().Space.CopyIn(a.Addr(2), mask[:n]); err != nil {
		return 0, err
	}
	o, err := affinityTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	if err := procmgr.MaySchedule(t.Thread(), o.Thread()); err != nil {
		return 0, err
	}
	set := make([]uint64, len(mask)/8)
	some := false
	for i := range set {
		set[i] = binary.LittleEndian.Uint64(mask[i*8:])
		if left := cpus - i*64; left < 64 {
			set[i] &= 1<<left - 1
		}
		some = some || set[i] != 0
	}
	if !some {
		return 0, unix.EINVAL
	}
	o.SetAffinity(set)
	return 0, nil
}

// sysGetcpu is getcpu(2): one node; the processor is the one that the sentry
// runs on.
func sysGetcpu(t *task.Task, a *task.Args) (uint64, error) {
	cpu := t.CPU()
	if a[0] != 0 {
		if err := t.Memory().Space.StoreUint32(a.Addr(0), uint32(cpu)); err != nil {
			return 0, err
		}
	}
	if a[1] != 0 {
		if err := t.Memory().Space.StoreUint32(a.Addr(1), 0); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
