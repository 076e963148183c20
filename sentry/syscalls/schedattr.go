package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

// Sizes of struct sched_attr over time, and its flags (sched_setattr(2)).
const (
	schedAttrVer0 = 48
	schedAttrVer1 = 56

	schedFlagReset     = 1 << 0
	schedFlagReclaim   = 1 << 1
	schedFlagOverrun   = 1 << 2
	schedFlagPolicy    = 1 << 3 // keep it
	schedFlagParams    = 1 << 4 // likewise
	schedFlagUtilClamp = 1<<5 | 1<<6
)

// sysSchedSetattr is sched_setattr(2). There is no processor time to be set aside for
// SCHED_DEADLINE, which is EBUSY; utilization clamps are those of a kernel without.
func sysSchedSetattr(t *task.Task, a *task.Args) (uint64, error) {
	if a[1] == 0 || a.Int(0) < 0 || a.Uint(2) != 0 {
		return 0, unix.EINVAL
	}
	b, err := copyInSchedAttr(t, a.Addr(1))
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	next := procmgr.SchedAttr{
		Policy: int(int32(le.Uint32(b[4:]))), Nice: int(int32(le.Uint32(b[16:]))), Priority: int(le.Uint32(b[20:])),
	}
	flags := le.Uint64(b[8:])
	if next.Policy < 0 {
		return 0, unix.EINVAL
	}
	o, err := schedTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	policy, priority, reset := o.Scheduler()
	next.ResetOnFork = flags&schedFlagReset != 0
	if flags&schedFlagPolicy != 0 {
		next.Policy, next.ResetOnFork = policy, reset
	}
	if flags&schedFlagParams != 0 {
		next.Priority, next.Nice, next.Keep = priority, o.Nice(), true
	}
	const all = schedFlagReset | schedFlagReclaim | schedFlagOverrun | schedFlagPolicy | schedFlagParams | schedFlagUtilClamp
	if flags&^all != 0 {
		return 0, unix.EINVAL
	}
	if next.Policy == schedDeadline {
		return 0, mayHaveDeadline(t, b)
	}
	if flags&schedFlagUtilClamp != 0 {
		return 0, unix.EOPNOTSUPP
	}
	return 0, setScheduler(t, o, next)
}

// mayHaveDeadline says why a thread cannot have SCHED_DEADLINE: parameters that are none
// (__checkparam_dl), no privilege, no room.
func mayHaveDeadline(t *task.Task, b []byte) error {
	le := binary.LittleEndian
	runtime, deadline, period := le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint64(b[40:])
	if period == 0 {
		period = deadline
	}
	const least, signs = 1 << 10, 1 << 63
	const shortest, longest = 100_000, (1 << 22) * 1000 // nanoseconds (sched_deadline_period_min_us, _max_us)
	switch {
	case le.Uint32(b[20:]) != 0, deadline == 0, runtime < least, (deadline|period)&signs != 0,
		period < deadline || deadline < runtime, period < shortest || period > longest:
		return unix.EINVAL
	case !t.Thread().Credentials().HasCap(unix.CAP_SYS_NICE):
		return unix.EPERM
	}
	return unix.EBUSY
}

// copyInSchedAttr reads a struct sched_attr of any age (sched_copy_attr): what is too
// large is E2BIG, and tells the size that is known.
func copyInSchedAttr(t *task.Task, addr hostarch.Addr) ([]byte, error) {
	size, err := t.Memory().Space.LoadUint32(addr)
	if err != nil {
		return nil, unix.EFAULT
	}
	if size == 0 {
		size = schedAttrVer0
	}
	tooBig := func() ([]byte, error) {
		if t.Memory().Space.StoreUint32(addr, schedAttrVer1) != nil {
			return nil, unix.EFAULT
		}
		return nil, unix.E2BIG
	}
	if size < schedAttrVer0 || size > hostarch.PageSize {
		return tooBig()
	}
	b := make([]byte, max(size, schedAttrVer1))
	if _, err := t.Memory().Space.CopyIn(addr, b[:size]); err != nil {
		return nil, err
	}
	for _, x := range b[schedAttrVer1:] {
		if x != 0 {
			return tooBig()
		}
	}
	if binary.LittleEndian.Uint64(b[8:])&schedFlagUtilClamp != 0 && size < schedAttrVer1 {
		return nil, unix.EINVAL
	}
	return b, nil
}

// sysSchedGetattr is sched_getattr(2).
func sysSchedGetattr(t *task.Task, a *task.Args) (uint64, error) {
	size := a.Uint(2)
	if a[1] == 0 || a.Int(0) < 0 || size > hostarch.PageSize || size < schedAttrVer0 || a.Uint(3) != 0 {
		return 0, unix.EINVAL
	}
	o, err := schedTarget(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	size = min(size, schedAttrVer1)
	policy, priority, reset := o.Scheduler()
	b := make([]byte, schedAttrVer1)
	le := binary.LittleEndian
	le.PutUint32(b[0:], size)
	le.PutUint32(b[4:], uint32(policy))
	if reset {
		le.PutUint64(b[8:], schedFlagReset)
	}
	if priority > 0 {
		le.PutUint32(b[20:], uint32(priority))
	} else {
		le.PutUint32(b[16:], uint32(o.Nice()))
		le.PutUint64(b[24:], otherSlice)
	}
	_, err = t.Memory().Space.CopyOut(a.Addr(1), b[:size])
	return 0, err
}
