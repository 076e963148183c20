package syscalls

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/task"
	"runsc-lite/sentry/timers"
)

// sysNanosleep is nanosleep(2), on CLOCK_MONOTONIC.
func sysNanosleep(t *task.Task, a *task.Args) (uint64, error) {
	ts, ok, err := copyInTimespec(t, a.Addr(0))
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, unix.EINVAL
	}
	return sleepUntil(t, after(duration(ts)), a.Addr(1))
}

// sleepUntil sleeps to deadline; interrupted, it stores what is left at rem
// and can be taken up again by restart_syscall(2).
func sleepUntil(t *task.Task, deadline time.Time, rem hostarch.Addr) (uint64, error) {
	err := t.Block(nil, deadline)
	if err == unix.ETIMEDOUT {
		return 0, nil
	}
	if rem != 0 {
		if err := copyOutTimespec(t, rem, max(0, int64(time.Until(deadline)))); err != nil {
			return 0, err
		}
	}
	return 0, t.SetRestartBlock(func(t *task.Task, _ *task.Args) (uint64, error) {
		return sleepUntil(t, deadline, rem)
	})
}

const timerAbstime = 1

// sysClockNanosleep is clock_nanosleep(2). EINVAL: no such clock, the caller's own
// processor time, or not a time. EOPNOTSUPP: a clock that nobody can sleep on.
func sysClockNanosleep(t *task.Task, a *task.Args) (uint64, error) {
	flags, rem := a.Int(1), a.Addr(3)
	b, err := findClock(t, a.Int(0), forSleep)
	// Of a processor-time clock Linux looks at the rest first.
	late := a.Int(0) < 0 && err == unix.EINVAL
	if err != nil && !late {
		return 0, err
	}
	ts, ok, bad := copyInTimespec(t, a.Addr(2))
	switch {
	case bad != nil:
		return 0, bad
	case !ok:
		return 0, unix.EINVAL
	case late:
		return 0, err
	}
	absolute := flags&timerAbstime != 0
	if !absolute && b.CPU == nil {
		return sleepUntil(t, after(duration(ts)), rem)
	}
	until := int64(duration(ts))
	if absolute {
		return 0, task.Interrupted(sleepOn(t, b, until), task.RestartNoHand)
	}
	return sleepOnCPU(t, b, int64(b.CPU())+until, rem)
}

// sleepOnCPU is sleepUntil on a clock of processor time.
func sleepOnCPU(t *task.Task, b timers.Base, until int64, rem hostarch.Addr) (uint64, error) {
	err := sleepOn(t, b, until)
	if err == nil {
		return 0, nil
	}
	if rem != 0 {
		if err := copyOutTimespec(t, rem, max(0, until-int64(b.CPU()))); err != nil {
			return 0, err
		}
	}
	return 0, t.SetRestartBlock(func(t *task.Task, _ *task.Args) (uint64, error) {
		return sleepOnCPU(t, b, until, rem)
	})
}

// sleepOn waits until a clock shows a time. Clocks may be set, and processor time
// passes when somebody uses it: it looks now and again.
func sleepOn(t *task.Task, b timers.Base, until int64) error {
	var pace timers.Pacer
	for {
		now, err := readClock(t, &b)
		if err != nil {
			return err
		}
		if now >= until {
			return nil
		}
		err = t.Block(nil, after(pace.Next(&b, now, until-now, t.Kernel().CPUs)))
		if err != unix.ETIMEDOUT {
			return err
		}
	}
}
