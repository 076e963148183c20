package ptrace

import (
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Nice values of guest threads become those of their tracees and tracers, relative to
// the sentry's own, where the host lets us take that back: without CAP_SYS_NICE a thread
// that was made nicer once would stay so, and serve other guest threads after this one.

// niceness is how nice a context is.
type niceness struct {
	mu     sync.Mutex // of who changes host threads
	n      atomic.Int32
	worker int // host thread ids; 0: there is none
	tid    int
}

// SetNice implements platform.Nicer.
func (c *context) SetNice(n int) {
	p := c.w.p
	n = min(max(n, 0), 19)
	if n == 0 && !p.niced.Load() || !p.mayRenice() {
		return
	}
	p.niced.Store(true)
	c.nice.mu.Lock()
	defer c.nice.mu.Unlock()
	c.nice.n.Store(int32(n))
	c.nice.apply(p)
}

// apply sets the nice values of both threads. mu is held.
func (x *niceness) apply(p *Ptrace) {
	for _, tid := range [...]int{x.worker, x.tid} {
		if tid != 0 {
			p.renice(tid, int(x.n.Load()))
		}
	}
}

// begin says that a worker serves the context.
func (x *niceness) begin(w *worker) {
	x.mu.Lock()
	x.worker = w.tid
	x.mu.Unlock()
}

// end says that it does not any more.
func (x *niceness) end(w *worker) {
	x.mu.Lock()
	x.worker = 0
	x.mu.Unlock()
	if x.n.Load() != 0 {
		w.p.renice(w.tid, 0)
	}
}

// tracee says which tracee the context has, 0 for none. One that served another, or was
// made by another, may have any nice value.
func (x *niceness) tracee(c *context, tid int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tid = tid
	if p := c.w.p; tid != 0 && p.niced.Load() {
		p.renice(tid, int(x.n.Load()))
	}
}

// renice makes a host thread n steps nicer than the sentry.
func (p *Ptrace) renice(tid, n int) { unix.Setpriority(unix.PRIO_PROCESS, tid, min(p.ownNice+n, 19)) }

// ownNiceness returns the nice value of the calling thread.
func ownNiceness() int {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return 20 - raw // the system call's own result
}

// tryRenice finds out whether a thread that was made nicer can be brought back.
func tryRenice() bool {
	may := make(chan bool)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		n := ownNiceness()
		may <- n < 19 && unix.Setpriority(unix.PRIO_PROCESS, 0, n+1) == nil && unix.Setpriority(unix.PRIO_PROCESS, 0, n) == nil
	}()
	return <-may
}

// share is how much a context that is in Run weighs as load, of full: a step of
// niceness is a fifth less (sched_prio_to_weight).
func (x *niceness) share() int { return full >> (x.n.Load() / 3) }
