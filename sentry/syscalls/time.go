package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/task"
)

// never is the deadline of a wait without one.
var never time.Time

// eintr is how a call that is not restarted fails when a signal came.
const eintr = task.NotRestarted

const nanosPerSecond = 1_000_000_000

// copyInTimespec reads a struct timespec; ok is false when it is not a valid
// one (negative, or a second and more of nanoseconds).
func copyInTimespec(t *task.Task, addr hostarch.Addr) (ts unix.Timespec, ok bool, err error) {
	var b [16]byte
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return ts, false, err
	}
	ts.Sec = int64(binary.LittleEndian.Uint64(b[0:]))
	ts.Nsec = int64(binary.LittleEndian.Uint64(b[8:]))
	return ts, ts.Sec >= 0 && uint64(ts.Nsec) < nanosPerSecond, nil
}

// maxDuration keeps sums with the present far from overflow: 146 years.
const maxDuration = time.Duration(1 << 62)

func duration(ts unix.Timespec) time.Duration {
	if ts.Sec >= int64(maxDuration/time.Second) {
		return maxDuration
	}
	return time.Duration(ts.Sec)*time.Second + time.Duration(ts.Nsec)
}

// copyInTimeout reads the relative timeout at addr, if addr is not null, as a
// deadline.
func copyInTimeout(t *task.Task, addr hostarch.Addr) (time.Time, error) {
	if addr == 0 {
		return never, nil
	}
	ts, ok, err := copyInTimespec(t, addr)
	if err != nil {
		return never, err
	}
	if !ok {
		return never, unix.EINVAL
	}
	return after(duration(ts)), nil
}

func copyOutTimespec(t *task.Task, addr hostarch.Addr, ns int64) error {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[0:], uint64(ns/nanosPerSecond))
	binary.LittleEndian.PutUint64(b[8:], uint64(ns%nanosPerSecond))
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}

// clockNow reads clock id in nanoseconds: EINVAL for one that is not there.
func clockNow(t *task.Task, id int32) (int64, error) {
	switch id {
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		return int64(t.Process().CPUTime()), nil
	case unix.CLOCK_THREAD_CPUTIME_ID:
		return int64(t.Thread().CPUTime()), nil
	}
	if id < 0 {
		return cpuClock(t, id)
	}
	return t.Kernel().Clock.Read(id)
}

// cpuClock reads the clock of another process or thread, whose id is coded
// into the clock's (clock_getcpuclockid(3)): ^pid<<3 | thread<<2 | which.
func cpuClock(t *task.Task, id int32) (int64, error) {
	pid, thread := int(^(id >> 3)), id&4 != 0
	if id&3 == 3 {
		return 0, unix.EINVAL // a descriptor's clock
	}
	if thread {
		th := t.Thread()
		if pid != 0 {
			th = t.Lookup(pid)
		}
		if th == nil || th.Process() != t.Process() {
			return 0, unix.EINVAL
		}
		return int64(th.CPUTime()), nil
	}
	p := t.Process()
	if pid != 0 {
		p = t.Thread().Namespace().GetProcess(pid)
	}
	if p == nil {
		return 0, unix.EINVAL
	}
	return int64(p.CPUTime()), nil
}

func sysClockGettime(t *task.Task, a *task.Args) (uint64, error) {
	ns, err := clockNow(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	return 0, copyOutTimespec(t, a.Addr(1), ns)
}

// sysClockGetres is clock_getres(2): coarse clocks tick at 4 ms (CONFIG_HZ=250).
func sysClockGetres(t *task.Task, a *task.Args) (uint64, error) {
	if _, err := clockNow(t, a.Int(0)); err != nil {
		return 0, err
	}
	if a[1] == 0 {
		return 0, nil
	}
	res := int64(1)
	switch a.Int(0) {
	case unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE:
		res = 4_000_000
	}
	return 0, copyOutTimespec(t, a.Addr(1), res)
}

func sysGettimeofday(t *task.Task, a *task.Args) (uint64, error) {
	if a[0] != 0 {
		ns, err := t.Kernel().Clock.Read(unix.CLOCK_REALTIME)
		if err != nil {
			return 0, err
		}
		var b [16]byte
		binary.LittleEndian.PutUint64(b[0:], uint64(ns/nanosPerSecond))
		binary.LittleEndian.PutUint64(b[8:], uint64(ns%nanosPerSecond/1000))
		if _, err := t.Memory().Space.CopyOut(a.Addr(0), b[:]); err != nil {
			return 0, err
		}
	}
	if a[1] != 0 { // struct timezone: the kernel's is UTC
		return 0, copyOutUint64(t, a.Addr(1), 0)
	}
	return 0, nil
}

func sysTime(t *task.Task, a *task.Args) (uint64, error) {
	ns, err := t.Kernel().Clock.Read(unix.CLOCK_REALTIME)
	if err != nil {
		return 0, err
	}
	sec := uint64(ns / nanosPerSecond)
	if a[0] != 0 {
		if err := copyOutUint64(t, a.Addr(0), sec); err != nil {
			return 0, err
		}
	}
	return sec, nil
}

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

// sysClockNanosleep is clock_nanosleep(2).
func sysClockNanosleep(t *task.Task, a *task.Args) (uint64, error) {
	id, flags, rem := a.Int(0), a.Int(1), a.Addr(3)
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME, unix.CLOCK_TAI:
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		return 0, unix.EOPNOTSUPP
	default:
		if _, err := clockNow(t, id); err != nil || id == unix.CLOCK_THREAD_CPUTIME_ID {
			return 0, unix.EINVAL
		}
		return 0, unix.EOPNOTSUPP
	}
	ts, ok, err := copyInTimespec(t, a.Addr(2))
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, unix.EINVAL
	}
	if flags&timerAbstime == 0 {
		return sleepUntil(t, after(duration(ts)), rem)
	}
	for {
		now, err := clockNow(t, id)
		if err != nil {
			return 0, err
		}
		left := duration(ts) - time.Duration(now)
		if left <= 0 {
			return 0, nil
		}
		// In pieces, so that a step of the real-time clock is noticed.
		if id == unix.CLOCK_REALTIME {
			left = min(left, time.Second)
		}
		if err := t.Block(nil, after(left)); err != unix.ETIMEDOUT {
			return 0, task.Interrupted(err, task.RestartNoHand)
		}
	}
}

func after(d time.Duration) time.Time { return time.Now().Add(d) }

// sysTimes is times(2), in ticks of 10 ms.
func sysTimes(t *task.Task, a *task.Args) (uint64, error) {
	const tick = int64(10 * time.Millisecond)
	if a[0] != 0 {
		self, children := t.Process().Usage(), t.Process().ChildrenUsage()
		var b [32]byte
		for i, d := range [...]time.Duration{self.UserTime, self.SystemTime, children.UserTime, children.SystemTime} {
			binary.LittleEndian.PutUint64(b[8*i:], uint64(int64(d)/tick))
		}
		if _, err := t.Memory().Space.CopyOut(a.Addr(0), b[:]); err != nil {
			return 0, err
		}
	}
	ns, err := t.Kernel().Clock.Read(unix.CLOCK_MONOTONIC)
	return uint64(ns / tick), err
}

// Interval timers: setitimer(2). Each is a timer of the process.

func sysGetitimer(t *task.Task, a *task.Args) (uint64, error) {
	tm, err := t.Itimer(a.Int(0))
	if err != nil {
		return 0, err
	}
	return 0, copyOutItimerval(t, a.Addr(1), tm.Get())
}

func sysSetitimer(t *task.Task, a *task.Args) (uint64, error) {
	var v task.ItimerValue
	if a[1] != 0 {
		var b [32]byte
		if _, err := t.Memory().Space.CopyIn(a.Addr(1), b[:]); err != nil {
			return 0, err
		}
		var f [4]int64
		for i := range f {
			f[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
		}
		if f[0] < 0 || f[2] < 0 || uint64(f[1]) >= 1e6 || uint64(f[3]) >= 1e6 {
			return 0, unix.EINVAL
		}
		v.Interval = duration(unix.Timespec{Sec: f[0], Nsec: f[1] * 1000})
		v.Left = duration(unix.Timespec{Sec: f[2], Nsec: f[3] * 1000})
	}
	tm, err := t.Itimer(a.Int(0))
	if err != nil {
		return 0, err
	}
	old := tm.Set(v)
	if a[2] == 0 {
		return 0, nil
	}
	return 0, copyOutItimerval(t, a.Addr(2), old)
}

func copyOutItimerval(t *task.Task, addr hostarch.Addr, v task.ItimerValue) error {
	var b [32]byte
	for i, d := range [...]time.Duration{v.Interval, v.Left} {
		us := (d + time.Microsecond - 1) / time.Microsecond
		binary.LittleEndian.PutUint64(b[16*i:], uint64(us/1e6))
		binary.LittleEndian.PutUint64(b[16*i+8:], uint64(us%1e6))
	}
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}

// sysAlarm is alarm(2): seconds, rounded as Linux does (up to at least 1).
func sysAlarm(t *task.Task, a *task.Args) (uint64, error) {
	tm, err := t.Itimer(unix.ITIMER_REAL)
	if err != nil {
		return 0, err
	}
	old := tm.Set(task.ItimerValue{Left: time.Duration(a.Uint(0)) * time.Second})
	left := uint64((old.Left + time.Second/2) / time.Second)
	if left == 0 && old.Left > 0 {
		left = 1
	}
	return left, nil
}
