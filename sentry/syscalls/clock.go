package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/clock"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/timers"
)

// Clock ids below zero mean processor time of a process or thread: its id is coded
// into them (clock_getcpuclockid(3)): ^pid<<3 | cpuPerThread | cpuProf and so on. With
// the last three bits clockFD it is a descriptor of a clock device, which there is none
// of.
const (
	cpuProf      = 0 // user and system time
	cpuVirt      = 1 // user time
	cpuSched     = 2 // both, exactly
	cpuPerThread = 4
	clockFD      = 3

	maxClock = unix.CLOCK_TAI // the highest id of a system clock
)

// clockUse says what a clock is to be found for: not all clocks can be had for all.
type clockUse uint8

const (
	toRead clockUse = iota
	forTimer
	forSleep
)

// findClock returns clock id. EINVAL: there is none. EOPNOTSUPP: there is, but not for
// this. EPERM: an alarm clock, without CAP_WAKE_ALARM.
func findClock(t *task.Task, id int32, use clockUse) (timers.Base, error) {
	switch {
	case id < 0 && id&7 == clockFD:
		if use == toRead {
			return timers.Base{}, unix.EINVAL
		}
		return timers.Base{}, unix.EOPNOTSUPP
	case id < 0:
		return findCPUClock(t, id, use)
	case id == unix.CLOCK_PROCESS_CPUTIME_ID:
		return processClock(t.Process(), cpuSched), nil
	case id == unix.CLOCK_THREAD_CPUTIME_ID:
		if use == forSleep {
			return timers.Base{}, unix.EOPNOTSUPP
		}
		return threadClock(t.Thread(), cpuSched), nil
	}
	if _, err := t.Kernel().Clock.Read(id); err != nil {
		return timers.Base{}, err
	}
	if use == toRead {
		return timers.Base{ID: id}, nil
	}
	switch id {
	case unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE:
		return timers.Base{}, unix.EOPNOTSUPP
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		if !t.Thread().Credentials().HasCap(unix.CAP_WAKE_ALARM) {
			return timers.Base{}, unix.EPERM
		}
		// Nothing here suspends the machine.
		if id == unix.CLOCK_REALTIME_ALARM {
			return timers.Base{ID: unix.CLOCK_REALTIME}, nil
		}
		return timers.Base{ID: unix.CLOCK_BOOTTIME}, nil
	}
	return timers.Base{ID: id}, nil
}

// findCPUClock finds the clock of a process or thread (pid_for_clock): a thread's is
// there for its own process only, a process's for everybody.
func findCPUClock(t *task.Task, id int32, use clockUse) (timers.Base, error) {
	pid, which := int(^(id >> 3)), id&3
	if which > cpuSched {
		return timers.Base{}, unix.EINVAL
	}
	self := t.Thread()
	ns := self.Namespace()
	if id&cpuPerThread != 0 {
		th := self
		if pid != 0 {
			th = ns.GetThread(pid)
		}
		if th == nil || th.Process() != t.Process() || use == forSleep && th == self {
			return timers.Base{}, unix.EINVAL
		}
		return threadClock(th, which), nil
	}
	p := t.Process()
	if pid != 0 && (use != toRead || pid != self.IDIn(ns)) {
		p = ns.GetProcess(pid)
	}
	if p == nil {
		return timers.Base{}, unix.EINVAL
	}
	return processClock(p, which), nil
}

func processClock(p *procmgr.Process, which int32) timers.Base {
	read := p.CPUTime
	if which == cpuVirt {
		read = func() time.Duration { return p.Usage().UserTime }
	}
	return timers.Base{CPU: read, Ended: p.Ended}
}

func threadClock(th *procmgr.Thread, which int32) timers.Base {
	read := th.CPUTime
	if which == cpuVirt {
		read = func() time.Duration { return th.Usage().UserTime }
	}
	return timers.Base{CPU: read, Ended: func() bool { return th.State() >= procmgr.Zombie }}
}

// readClock reads a clock, in nanoseconds.
func readClock(t *task.Task, b *timers.Base) (int64, error) {
	if b.CPU != nil {
		return int64(b.CPU()), nil
	}
	return t.Kernel().Clock.Read(b.ID)
}

// sysClockGettime is clock_gettime(2).
func sysClockGettime(t *task.Task, a *task.Args) (uint64, error) {
	id := a.Int(0)
	if id >= 0 && id != unix.CLOCK_PROCESS_CPUTIME_ID && id != unix.CLOCK_THREAD_CPUTIME_ID {
		ns, err := t.Kernel().Clock.Read(id)
		if err != nil {
			return 0, err
		}
		return 0, copyOutTimespec(t, a.Addr(1), ns)
	}
	b, err := findClock(t, id, toRead)
	if err != nil {
		return 0, err
	}
	return 0, copyOutTimespec(t, a.Addr(1), int64(b.CPU()))
}

// sysClockGetres is clock_getres(2). Coarse clocks go on by ticks, and so does what is
// asked for as user time, or as user and system time.
func sysClockGetres(t *task.Task, a *task.Args) (uint64, error) {
	id := a.Int(0)
	if _, err := findClock(t, id, toRead); err != nil {
		return 0, err
	}
	if a[1] == 0 {
		return 0, nil
	}
	res := int64(1)
	switch {
	case id == unix.CLOCK_REALTIME_COARSE, id == unix.CLOCK_MONOTONIC_COARSE, id < 0 && id&3 != cpuSched:
		res = clock.CoarseTick
	}
	return 0, copyOutTimespec(t, a.Addr(1), res)
}

// Setting clocks is for whoever has the machine: the sandbox's root has not
// CAP_SYS_TIME. What is wrong with the arguments is said first, as by Linux.

// maxSettable is the latest time that a clock can be set to, in seconds
// (TIME_SETTOD_SEC_MAX): it leaves 30 years.
const maxSettable = (1<<63-1)/nanosPerSecond - 30*365*24*3600

func settable(sec, nsec int64) bool {
	return sec >= 0 && sec < maxSettable && nsec >= 0 && nsec < nanosPerSecond
}

// sysClockSettime is clock_settime(2), without the privilege. EINVAL: a clock that
// cannot be set, or not a time.
func sysClockSettime(t *task.Task, a *task.Args) (uint64, error) {
	id := a.Int(0)
	switch {
	case id == unix.CLOCK_REALTIME, id < 0:
	default:
		return 0, unix.EINVAL
	}
	ts, _, err := copyInTimespec(t, a.Addr(1))
	if err != nil {
		return 0, err
	}
	if id < 0 {
		if _, err := findClock(t, id, toRead); err != nil {
			return 0, err
		}
	} else if !settable(ts.Sec, ts.Nsec) {
		return 0, unix.EINVAL
	}
	return 0, unix.EPERM
}

// sysSettimeofday is settimeofday(2), without the privilege.
func sysSettimeofday(t *task.Task, a *task.Args) (uint64, error) {
	var b [16]byte
	sec, usec := int64(0), int64(0)
	if a[0] != 0 {
		if _, err := t.Memory().Space.CopyIn(a.Addr(0), b[:]); err != nil {
			return 0, err
		}
		sec, usec = int64(binary.LittleEndian.Uint64(b[0:])), int64(binary.LittleEndian.Uint64(b[8:]))
		if usec < 0 || usec > 1_000_000 {
			return 0, unix.EINVAL
		}
	}
	if a[1] != 0 {
		if _, err := t.Memory().Space.CopyIn(a.Addr(1), b[:8]); err != nil {
			return 0, err
		}
	}
	if a[0] != 0 && !settable(sec, usec*1000) {
		return 0, unix.EINVAL
	}
	return 0, unix.EPERM
}

// Bits of struct timex's modes (adjtimex(2)).
const (
	adjOffset   = 0x0001
	adjReadonly = 0x2000
	adjAdjtime  = 0x8000
)

// sysAdjtimex is adjtimex(2): it tells how the clock is corrected, and changes nothing.
func sysAdjtimex(t *task.Task, a *task.Args) (uint64, error) {
	return adjust(t, &task.Args{unix.CLOCK_REALTIME, a[0]})
}

// sysClockAdjtime is clock_adjtime(2): for CLOCK_REALTIME, as adjtimex(2). EINVAL,
// EOPNOTSUPP: there is no such clock, or it cannot be adjusted.
func sysClockAdjtime(t *task.Task, a *task.Args) (uint64, error) { return adjust(t, a) }

func adjust(t *task.Task, a *task.Args) (uint64, error) {
	var b [clock.TimexSize]byte
	if _, err := t.Memory().Space.CopyIn(a.Addr(1), b[:]); err != nil {
		return 0, err
	}
	switch id := a.Int(0); {
	case id == unix.CLOCK_REALTIME:
	case id < 0 && id&7 == clockFD, id > maxClock, id == clockSGI:
		return 0, unix.EINVAL
	default:
		return 0, unix.EOPNOTSUPP
	}
	switch modes := binary.LittleEndian.Uint32(b[:]); {
	case modes&adjAdjtime != 0 && modes&adjOffset == 0:
		return 0, unix.EINVAL
	case modes != 0 && modes != adjAdjtime|adjReadonly|adjOffset:
		return 0, unix.EPERM
	}
	state, err := clock.Adjustment(&b)
	if err != nil {
		return 0, err
	}
	_, err = t.Memory().Space.CopyOut(a.Addr(1), b[:])
	return uint64(state), err
}

// clockSGI is a number that was a clock once.
const clockSGI = 10
