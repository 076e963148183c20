package timers

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// realtimeLimit sees to RLIMIT_RTTIME, the processor time that a thread with a real-time
// policy may use without waiting once: SIGXCPU at the soft limit and each second after
// it, SIGKILL at the hard one (check_thread_timers).
type realtimeLimit struct {
	p *procmgr.Process

	mu    sync.Mutex
	alarm alarm
	off   bool
}

// RealtimeChanged says that RLIMIT_RTTIME was set, or that a thread has a real-time
// policy now.
func (s *Set) RealtimeChanged() { s.realtime.look() }

func (l *realtimeLimit) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.off = true
	l.alarm.stop()
}

// look sends what is due, and waits for what comes next.
func (l *realtimeLimit) look() {
	if th, sig := l.check(); sig != 0 {
		th.SendSignal(procmgr.SigInfo{Signo: int32(sig), Code: procmgr.SIKernel})
		if sig != unix.SIGKILL {
			l.look() // for the other threads
		}
	}
}

func (l *realtimeLimit) check() (*procmgr.Thread, unix.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.p.Limits().Get(procmgr.LimitRTTime)
	if l.off || limit.Cur == procmgr.Infinity {
		return nil, 0
	}
	soft, hard := micros(limit.Cur), micros(limit.Max)
	most, some := int64(0), false
	for _, th := range l.p.Threads() {
		d, ok := th.RealtimeUsed()
		if !ok {
			continue
		}
		used := int64(d)
		switch {
		case used >= hard:
			return th, unix.SIGKILL
		case used >= soft:
			l.p.Limits().Raise(procmgr.LimitRTTime, limit.Cur, uint64(time.Second/time.Microsecond))
			return th, unix.SIGXCPU
		}
		most, some = max(most, used), true
	}
	if some {
		base := Base{CPU: l.p.CPUTime, Ended: l.p.Ended}
		l.alarm.wait(&base, int64(l.p.CPUTime()), min(soft, hard)-most, l.look)
	}
	return nil, 0
}

// micros turns microseconds into nanoseconds.
func micros(n uint64) int64 {
	if n > math.MaxInt64/uint64(time.Microsecond) {
		return math.MaxInt64
	}
	return int64(n) * int64(time.Microsecond)
}
