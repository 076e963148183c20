package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/fs/timerfd"
	"runsc-lite/sentry/task"
)

// itimerspecSize is the size of struct itimerspec: interval, then value.
const itimerspecSize = 32

// sysTimerfdCreate is timerfd_create(2). EPERM: an alarm clock, without
// CAP_WAKE_ALARM.
func sysTimerfdCreate(t *task.Task, a *task.Args) (uint64, error) {
	id, flags := a.Int(0), a.Uint(1)
	switch id {
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		if flags&^(unix.TFD_CLOEXEC|unix.TFD_NONBLOCK) == 0 && !t.Thread().Credentials().HasCap(unix.CAP_WAKE_ALARM) {
			return 0, unix.EPERM
		}
	}
	f, err := timerfd.NewFile(t.Kernel().Clock, id, flags)
	if err != nil {
		return 0, err
	}
	return install(t, f, flags&unix.TFD_CLOEXEC != 0)
}

// withTimerfd runs fn on the timer behind a descriptor: EBADF, EINVAL if it is
// none.
func withTimerfd(t *task.Task, a *task.Args, fn func(*timerfd.FD) (timerfd.Value, error)) (timerfd.Value, error) {
	f, err := t.File(a.Int(0))
	if err != nil {
		return timerfd.Value{}, err
	}
	defer f.DecRef()
	tm, ok := f.Ops().(*timerfd.FD)
	if !ok {
		return timerfd.Value{}, unix.EINVAL
	}
	return fn(tm)
}

// sysTimerfdSettime is timerfd_settime(2).
func sysTimerfdSettime(t *task.Task, a *task.Args) (uint64, error) {
	var b [itimerspecSize]byte
	if _, err := t.Memory().Space.CopyIn(a.Addr(2), b[:]); err != nil {
		return 0, err
	}
	var f [4]int64
	for i := range f {
		f[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	flags := a.Uint(1)
	if f[0] < 0 || f[2] < 0 || uint64(f[1]) >= nanosPerSecond || uint64(f[3]) >= nanosPerSecond ||
		flags&^(unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET) != 0 {
		return 0, unix.EINVAL
	}
	v := timerfd.Value{
		Interval: int64(duration(unix.Timespec{Sec: f[0], Nsec: f[1]})),
		Left:     int64(duration(unix.Timespec{Sec: f[2], Nsec: f[3]})),
	}
	old, err := withTimerfd(t, a, func(tm *timerfd.FD) (timerfd.Value, error) { return tm.Set(v, flags) })
	if err != nil || a[3] == 0 {
		return 0, err
	}
	return 0, copyOutTimerValue(t, a.Addr(3), old)
}

// sysTimerfdGettime is timerfd_gettime(2).
func sysTimerfdGettime(t *task.Task, a *task.Args) (uint64, error) {
	v, err := withTimerfd(t, a, func(tm *timerfd.FD) (timerfd.Value, error) { return tm.Get(), nil })
	if err != nil {
		return 0, err
	}
	return 0, copyOutTimerValue(t, a.Addr(1), v)
}

func copyOutTimerValue(t *task.Task, addr hostarch.Addr, v timerfd.Value) error {
	var b [itimerspecSize]byte
	for i, ns := range [...]int64{v.Interval, v.Left} {
		binary.LittleEndian.PutUint64(b[16*i:], uint64(ns/nanosPerSecond))
		binary.LittleEndian.PutUint64(b[16*i+8:], uint64(ns%nanosPerSecond))
	}
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}
