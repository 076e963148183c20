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
