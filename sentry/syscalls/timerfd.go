package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/timerfd"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/timers"
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
	v, err := copyInItimerspec(t, a.Addr(2))
	if err != nil {
		return 0, err
	}
	flags := a.Uint(1)
	if flags&^(unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET) != 0 {
		return 0, unix.EINVAL
	}
	old, err := withTimerfd(t, a, func(tm *timerfd.FD) (timerfd.Value, error) { return tm.Set(timerfd.Value(v), flags) })
	if err != nil || a[3] == 0 {
		return 0, err
	}
	return 0, copyOutItimerspec(t, a.Addr(3), timers.Value(old))
}

// sysTimerfdGettime is timerfd_gettime(2).
func sysTimerfdGettime(t *task.Task, a *task.Args) (uint64, error) {
	v, err := withTimerfd(t, a, func(tm *timerfd.FD) (timerfd.Value, error) { return tm.Get(), nil })
	if err != nil {
		return 0, err
	}
	return 0, copyOutItimerspec(t, a.Addr(1), timers.Value(v))
}
