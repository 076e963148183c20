package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
)

func copyOutRlimit(t *task.Task, addr hostarch.Addr, l procmgr.Limit) error {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[0:], l.Cur)
	binary.LittleEndian.PutUint64(b[8:], l.Max)
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}

func copyInRlimit(t *task.Task, addr hostarch.Addr) (*procmgr.Limit, error) {
	var b [16]byte
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return nil, err
	}
	return &procmgr.Limit{Cur: binary.LittleEndian.Uint64(b[0:]), Max: binary.LittleEndian.Uint64(b[8:])}, nil
}

// prlimit reads and sets a limit, of the caller's process if pid is 0.
func prlimit(t *task.Task, pid, resource int32, next *procmgr.Limit) (procmgr.Limit, error) {
	old, err := t.Kernel().Procs.Prlimit(t.Thread(), int(pid), int(resource), next)
	if err == nil && next != nil && (resource == unix.RLIMIT_CPU || resource == procmgr.LimitRTTime) {
		th := t.Thread()
		if pid != 0 {
			th = th.Namespace().GetThread(int(pid))
		}
		if of := task.Of(th); of != nil {
			if resource == unix.RLIMIT_CPU {
				of.CPULimitChanged()
			} else {
				of.RealtimeChanged()
			}
		}
	}
	return old, err
}

func sysGetrlimit(t *task.Task, a *task.Args) (uint64, error) {
	old, err := prlimit(t, 0, a.Int(0), nil)
	if err != nil {
		return 0, err
	}
	return 0, copyOutRlimit(t, a.Addr(1), old)
}

func sysSetrlimit(t *task.Task, a *task.Args) (uint64, error) {
	l, err := copyInRlimit(t, a.Addr(1))
	if err != nil {
		return 0, err
	}
	_, err = prlimit(t, 0, a.Int(0), l)
	return 0, err
}

// sysPrlimit64 is prlimit(2).
func sysPrlimit64(t *task.Task, a *task.Args) (uint64, error) {
	var l *procmgr.Limit
	var err error
	if a[2] != 0 {
		if l, err = copyInRlimit(t, a.Addr(2)); err != nil {
			return 0, err
		}
	}
	old, err := prlimit(t, a.Int(0), a.Int(1), l)
	if err != nil {
		return 0, err
	}
	if a[3] != 0 {
		return 0, copyOutRlimit(t, a.Addr(3), old)
	}
	return 0, nil
}

// rusageSize is sizeof(struct rusage).
const rusageSize = 144

func copyOutRusage(t *task.Task, addr hostarch.Addr, u *procmgr.Rusage) error {
	var b [rusageSize]byte
	le := binary.LittleEndian
	for i, d := range [...]time.Duration{u.UserTime, u.SystemTime} {
		le.PutUint64(b[16*i:], uint64(d/time.Second))
		le.PutUint64(b[16*i+8:], uint64(d%time.Second/time.Microsecond))
	}
	le.PutUint64(b[32:], uint64(u.MaxRSS/1024))
	le.PutUint64(b[64:], uint64(u.MinorFaults))
	le.PutUint64(b[72:], uint64(u.MajorFaults))
	le.PutUint64(b[88:], uint64(u.InBlocks))
	le.PutUint64(b[96:], uint64(u.OutBlocks))
	le.PutUint64(b[128:], uint64(u.VoluntarySwitches))
	le.PutUint64(b[136:], uint64(u.InvoluntarySwitches))
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}

func sysGetrusage(t *task.Task, a *task.Args) (uint64, error) {
	var u procmgr.Rusage
	switch a.Int(0) {
	case unix.RUSAGE_SELF:
		u = t.Usage()
	case unix.RUSAGE_CHILDREN:
		u = t.Process().ChildrenUsage()
	case unix.RUSAGE_THREAD:
		u = t.ThreadUsage()
	default:
		return 0, unix.EINVAL
	}
	return 0, copyOutRusage(t, a.Addr(1), &u)
}

// niceToRaw makes getpriority(2)'s raw result, 40…1 for nice -20…19.
func niceToRaw(nice int) uint64 { return uint64(20 - nice) }

func sysGetpriority(t *task.Task, a *task.Args) (uint64, error) {
	nice, err := t.Kernel().Procs.Getpriority(t.Thread(), int(a.Int(0)), int(a.Int(1)))
	if err != nil {
		return 0, err
	}
	return niceToRaw(nice), nil
}

// sysIoprioGet is ioprio_get(2).
func sysIoprioGet(t *task.Task, a *task.Args) (uint64, error) {
	p, err := t.Kernel().Procs.IOPriority(t.Thread(), int(a.Int(0)), int(a.Int(1)))
	return uint64(p), err
}

// sysIoprioSet is ioprio_set(2).
func sysIoprioSet(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Kernel().Procs.SetIOPriority(t.Thread(), int(a.Int(0)), int(a.Int(1)), int(a.Int(2)))
}

func sysSetpriority(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Kernel().Procs.Setpriority(t.Thread(), int(a.Int(0)), int(a.Int(1)), int(a.Int(2)))
}
