package task

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// group is what the threads of a process share beyond procmgr's: its timers.
type group struct {
	calls  atomic.Uint64 // system calls that came to the sentry
	p      *procmgr.Process
	itimer [3]Itimer
}

func newGroup(p *procmgr.Process) *group {
	g := &group{p: p}
	for i, c := range [...]struct {
		sig unix.Signal
		cpu func() time.Duration
	}{
		unix.ITIMER_REAL:    {unix.SIGALRM, nil},
		unix.ITIMER_VIRTUAL: {unix.SIGVTALRM, func() time.Duration { return p.Usage().UserTime }},
		unix.ITIMER_PROF:    {unix.SIGPROF, p.CPUTime},
	} {
		g.itimer[i] = Itimer{p: p, sig: c.sig, cpu: c.cpu}
	}
	return g
}

// exec is what execve(2) does to timers: interval timers stay.
func (g *group) exec() {}

// stop ends all timers.
func (g *group) stop() {
	for i := range g.itimer {
		g.itimer[i].Set(ItimerValue{})
	}
}

// ItimerValue is struct itimerval.
type ItimerValue struct{ Interval, Left time.Duration }

// Itimer is an interval timer (setitimer(2)): of real time, or of the processor
// time that cpu tells.
type Itimer struct {
	p   *procmgr.Process
	sig unix.Signal
	cpu func() time.Duration

	mu       sync.Mutex
	timer    *time.Timer
	gen      uint64 // of the setting that timer is for
	interval time.Duration
	due      time.Duration // on the timer's clock
	armed    bool
}

var epoch = time.Now()

func (i *Itimer) now() time.Duration {
	if i.cpu != nil {
		return i.cpu()
	}
	return time.Since(epoch)
}

// Itimer returns a timer of the process: EINVAL for a number that is none.
func (t *Task) Itimer(which int32) (*Itimer, error) {
	if which < 0 || int(which) >= len(t.group.itimer) {
		return nil, unix.EINVAL
	}
	return &t.group.itimer[which], nil
}

// Get returns what is left.
func (i *Itimer) Get() ItimerValue {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.get()
}

func (i *Itimer) get() ItimerValue {
	v := ItimerValue{Interval: i.interval}
	if i.armed {
		// A timer that is about to fire is not shown as stopped.
		v.Left = max(i.due-i.now(), time.Microsecond)
	}
	return v
}

// Set replaces the setting and returns the old one. Left 0 stops the timer.
func (i *Itimer) Set(v ItimerValue) ItimerValue {
	i.mu.Lock()
	defer i.mu.Unlock()
	old := i.get()
	i.gen++
	if i.timer != nil {
		i.timer.Stop()
		i.timer = nil
	}
	i.interval, i.armed = v.Interval, v.Left > 0
	if i.armed {
		i.due = i.now() + v.Left
		i.arm(v.Left)
	}
	return old
}

// arm sets the host's timer. Processor time passes no faster than the threads
// can use it, so that a timer of it looks again after a while.
func (i *Itimer) arm(left time.Duration) {
	if i.cpu != nil {
		left = max(left/time.Duration(max(1, len(i.p.Threads()))), time.Millisecond)
	}
	gen := i.gen
	i.timer = time.AfterFunc(left, func() { i.fire(gen) })
}

func (i *Itimer) fire(gen uint64) {
	i.mu.Lock()
	if gen != i.gen || !i.armed {
		i.mu.Unlock()
		return
	}
	now := i.now()
	if now < i.due {
		i.arm(i.due - now)
		i.mu.Unlock()
		return
	}
	if i.interval > 0 {
		// Expirations that were missed count once, as one pending signal.
		i.due += i.interval * (1 + (now-i.due)/i.interval)
		i.arm(i.due - now)
	} else {
		i.armed = false
	}
	i.mu.Unlock()
	i.p.SendSignal(procmgr.SigInfo{Signo: int32(i.sig), Code: procmgr.SIKernel})
}
