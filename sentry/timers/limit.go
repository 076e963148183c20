package timers

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// cpuLimit sees to RLIMIT_CPU: SIGXCPU at the soft limit and each second after it,
// SIGKILL at the hard one (check_process_timers).
type cpuLimit struct {
	p    *procmgr.Process
	base Base

	mu    sync.Mutex
	alarm alarm
	off   bool
}

func (l *cpuLimit) init(s *Set) {
	l.p = s.Process
	l.base = Base{CPU: l.p.CPUTime, Ended: l.p.Ended}
	l.alarm.set = s
	l.look()
}

// LimitChanged says that RLIMIT_CPU was set.
func (s *Set) LimitChanged() { s.limit.look() }

func (l *cpuLimit) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.off = true
	l.alarm.stop()
}

// look sends what is due, and waits for what comes next.
func (l *cpuLimit) look() {
	if sig := l.check(); sig != 0 {
		l.p.SendSignal(procmgr.SigInfo{Signo: int32(sig), Code: procmgr.SIKernel})
	}
}

func (l *cpuLimit) check() (sig unix.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.p.Limits().Get(unix.RLIMIT_CPU)
	if l.off || limit.Cur == procmgr.Infinity {
		return 0
	}
	used := int64(l.p.CPUTime())
	if used >= nanos(limit.Max) {
		return unix.SIGKILL
	}
	soft := nanos(limit.Cur)
	if used >= soft {
		// As in Linux, the soft limit itself moves on.
		sig = unix.SIGXCPU
		l.p.Limits().Raise(unix.RLIMIT_CPU, limit.Cur, 1)
		soft = later(soft, int64(time.Second))
	}
	l.alarm.wait(&l.base, used, min(soft, nanos(limit.Max))-used, l.look)
	return sig
}

// nanos turns seconds into nanoseconds.
func nanos(seconds uint64) int64 {
	if seconds > math.MaxInt64/uint64(time.Second) {
		return math.MaxInt64
	}
	return int64(seconds) * int64(time.Second)
}
