package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/timers"
)

// sysGetitimer is getitimer(2).
func sysGetitimer(t *task.Task, a *task.Args) (uint64, error) {
	tm, err := t.Timers().Itimer(a.Int(0))
	if err != nil {
		return 0, err
	}
	return 0, copyOutItimerval(t, a.Addr(1), tm.Get())
}

// sysSetitimer is setitimer(2).
func sysSetitimer(t *task.Task, a *task.Args) (uint64, error) {
	var v timers.ItimerValue
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
	tm, err := t.Timers().Itimer(a.Int(0))
	if err != nil {
		return 0, err
	}
	old := tm.Set(v)
	if a[2] == 0 {
		return 0, nil
	}
	return 0, copyOutItimerval(t, a.Addr(2), old)
}

func copyOutItimerval(t *task.Task, addr hostarch.Addr, v timers.ItimerValue) error {
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
	tm, err := t.Timers().Itimer(unix.ITIMER_REAL)
	if err != nil {
		return 0, err
	}
	old := tm.Set(timers.ItimerValue{Left: time.Duration(a.Uint(0)) * time.Second})
	left := uint64((old.Left + time.Second/2) / time.Second)
	if left == 0 && old.Left > 0 {
		left = 1
	}
	return left, nil
}

// sigeventSize is sizeof(struct sigevent).
const sigeventSize = 64

// copyInSigevent reads and checks a struct sigevent (good_sigevent): EINVAL.
func copyInSigevent(t *task.Task, b *[sigeventSize]byte) (*timers.Event, error) {
	le := binary.LittleEndian
	ev := &timers.Event{Value: le.Uint64(b[0:]), Signo: int32(le.Uint32(b[8:])), Notify: int32(le.Uint32(b[12:]))}
	switch ev.Notify {
	case timers.SigevNone:
		return ev, nil
	case timers.SigevThreadID, timers.SigevThreadID | timers.SigevThread:
		th := t.Thread().Namespace().GetThread(int(int32(le.Uint32(b[16:]))))
		if th == nil || th.Process() != t.Process() {
			return nil, unix.EINVAL
		}
		ev.Thread = th
	case timers.SigevSignal, timers.SigevThread:
	default:
		return nil, unix.EINVAL
	}
	if ev.Signo <= 0 || ev.Signo > procmgr.NumSignals {
		return nil, unix.EINVAL
	}
	return ev, nil
}

// sysTimerCreate is timer_create(2). EINVAL: no such clock, or an event that is none.
// EOPNOTSUPP: a clock without timers. EAGAIN: RLIMIT_SIGPENDING.
func sysTimerCreate(t *task.Task, a *task.Args) (uint64, error) {
	var b [sigeventSize]byte
	if a[1] != 0 {
		if _, err := t.Memory().Space.CopyIn(a.Addr(1), b[:]); err != nil {
			return 0, err
		}
	}
	base, err := findClock(t, a.Int(0), forTimer)
	if err != nil && (err != unix.EINVAL || a.Int(0) >= 0) {
		return 0, err
	}
	var ev *timers.Event
	if a[1] != 0 {
		var bad error
		if ev, bad = copyInSigevent(t, &b); bad != nil {
			return 0, bad
		}
	}
	if err != nil {
		return 0, err
	}
	id, err := t.Timers().Create(t.Thread(), base, ev)
	if err != nil {
		return 0, err
	}
	if err := t.Memory().Space.StoreUint32(a.Addr(2), uint32(id)); err != nil {
		t.Timers().Delete(id)
		return 0, unix.EFAULT
	}
	return 0, nil
}

// copyInItimerspec reads a struct itimerspec: EINVAL unless both times are valid.
func copyInItimerspec(t *task.Task, addr hostarch.Addr) (timers.Value, error) {
	var b [itimerspecSize]byte
	if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
		return timers.Value{}, err
	}
	var f [4]int64
	for i := range f {
		f[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	if f[0] < 0 || f[2] < 0 || uint64(f[1]) >= nanosPerSecond || uint64(f[3]) >= nanosPerSecond {
		return timers.Value{}, unix.EINVAL
	}
	return timers.Value{
		Interval: int64(duration(unix.Timespec{Sec: f[0], Nsec: f[1]})),
		Left:     int64(duration(unix.Timespec{Sec: f[2], Nsec: f[3]})),
	}, nil
}

func copyOutItimerspec(t *task.Task, addr hostarch.Addr, v timers.Value) error {
	var b [itimerspecSize]byte
	for i, ns := range [...]int64{v.Interval, v.Left} {
		binary.LittleEndian.PutUint64(b[16*i:], uint64(ns/nanosPerSecond))
		binary.LittleEndian.PutUint64(b[16*i+8:], uint64(ns%nanosPerSecond))
	}
	_, err := t.Memory().Space.CopyOut(addr, b[:])
	return err
}

// sysTimerSettime is timer_settime(2). Flags other than TIMER_ABSTIME mean nothing.
func sysTimerSettime(t *task.Task, a *task.Args) (uint64, error) {
	if a[2] == 0 {
		return 0, unix.EINVAL
	}
	v, err := copyInItimerspec(t, a.Addr(2))
	if err != nil {
		return 0, err
	}
	tm, err := t.Timers().Timer(a.Int(0))
	if err != nil {
		return 0, err
	}
	old, err := tm.Set(v, a.Int(1)&timerAbstime != 0)
	if err != nil || a[3] == 0 {
		return 0, err
	}
	return 0, copyOutItimerspec(t, a.Addr(3), old)
}

// sysTimerGettime is timer_gettime(2).
func sysTimerGettime(t *task.Task, a *task.Args) (uint64, error) {
	tm, err := t.Timers().Timer(a.Int(0))
	if err != nil {
		return 0, err
	}
	return 0, copyOutItimerspec(t, a.Addr(1), tm.Get())
}

// sysTimerGetoverrun is timer_getoverrun(2).
func sysTimerGetoverrun(t *task.Task, a *task.Args) (uint64, error) {
	tm, err := t.Timers().Timer(a.Int(0))
	if err != nil {
		return 0, err
	}
	return uint64(tm.Overrun()), nil
}

// sysTimerDelete is timer_delete(2).
func sysTimerDelete(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Timers().Delete(a.Int(0))
}
