package ptrace

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/hostcall"
	"runsc-lite/platform"
)

// job is what a worker is to run.
type job struct {
	space *space
	tid   int // a waiting thread of the space's stub; 0: the space has none yet
	fn    func(platform.Context)
}

// worker is a tracer thread.
type worker struct {
	tracer
	p    *Ptrace
	job  job // next; fn is nil: end
	wake hostcall.Parker
	core atomic.Int32 // where it and its tracees are pinned
	want int          // core for the next job; set before the job is sent
	tid  int          // host thread id

	spare  *stub // a clean stub, attached, for the next space
	broken bool  // has dead tracees, which its end lets go of
}

// worker returns an idle worker, for the given core.
func (p *Ptrace) worker(core int) (*worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, unix.ESRCH
	}
	if n := len(p.idle); n > 0 {
		// One that is on the core already, else the last.
		at := n - 1
		for i := n - 1; i >= 0; i-- {
			if int(p.idle[i].core.Load()) == core {
				at = i
				break
			}
		}
		w := p.idle[at]
		p.idle = append(p.idle[:at], p.idle[at+1:]...)
		w.want = core
		return w, nil
	}
	if p.nworkers >= p.limit || p.zygote.refuses() {
		return nil, unix.EAGAIN
	}
	p.nworkers++
	p.workers.Add(1)
	w := &worker{tracer: tracer{key: &p.key}, p: p, want: core}
	w.core.Store(-1)
	go onThread(w.loop)
	return w, nil
}

// start gives a worker that worker returned its job.
func (w *worker) start(j job) {
	w.job = j
	w.wake.Unpark()
}

// retire takes a worker without a job: it reports false when the worker is to
// end.
func (p *Ptrace) retire(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || w.broken || len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, w)
	return true
}

func (w *worker) loop() {
	defer w.p.workers.Done()
	w.tid = unix.Gettid()
	for {
		w.wake.Park(-1)
		j := w.job
		w.job = job{}
		if j.fn == nil {
			break
		}
		if w.want != int(w.core.Load()) {
			w.pin(w.want)
		}
		c := &context{w: w, newTID: j.tid, cur: j.space}
		c.use.begin(w.tid)
		c.nice.begin(w)
		w.p.enter(c)
		j.fn(c)
		w.p.leave(c)
		c.use.end()
		c.unbind()
		c.nice.end(w)
		if !w.p.retire(w) {
			break
		}
	}
	if w.spare != nil {
		w.release(w.spare)
	}
	w.p.mu.Lock()
	w.p.nworkers--
	w.p.mu.Unlock()
}

// pin moves the worker, and its spare stub, to a core.
func (w *worker) pin(core int) {
	w.core.Store(int32(core))
	var set unix.CPUSet
	set.Set(core)
	setAffinity(w.tid, &set)
	if w.spare != nil {
		setAffinity(w.spare.pid, &set)
	}
}

// stub is a stub process.
type stub struct {
	pid  int
	page int      // of the command file
	cmds []uint64 // that page

	threads int   // host threads in it, of any kind; guarded by space.mu
	waiting []int // those that wait to be seized; guarded by space.mu
	dirty   bool  // maps what an earlier space left; likewise
	slots   stubSlots
	meter   meter
	buried  bool // guarded by Ptrace.mu
}

// newStub returns a stub process that the calling worker traces.
func (w *worker) newStub() (*stub, error) {
	if s := w.spare; s != nil {
		w.spare = nil
		return s, nil
	}
	for try := 0; ; try++ {
		s, err := w.newStubOnce()
		switch {
		case err == errGone && w.p.zygote.lost():
			w.p.abandon()
		case err != nil && errors.Is(err, errDead) && try < 2*readyStubs:
			continue // killed from outside while it was in stock
		}
		return s, err
	}
}

func (w *worker) newStubOnce() (*stub, error) {
	pid, err := w.p.zygote.take()
	if err != nil {
		return nil, err
	}
	s := &stub{pid: pid, threads: 1, meter: meter{pid: pid}}
	if err := w.p.adopt(s); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		w.p.zygote.bury(pid)
		return nil, err
	}
	err = w.seize(pid)
	if err == nil {
		_, err = w.call(pid, entryCall, unix.SYS_MMAP, commandPage, hostarch.PageSize,
			unix.PROT_READ, mapFlags, commandFD, uint64(s.page)*hostarch.PageSize)
	}
	if err != nil {
		w.release(s)
		return nil, fmt.Errorf("%w: %w", errDead, err)
	}
	s.meter.skip()
	return s, nil
}

// errDead: a stub process cannot be used, most likely because it was killed
// while it was in stock. (Attaching to a zombie is EPERM, as where tracing is
// forbidden.)
var errDead = errors.New("setting up a stub process")

// abandon ends all guests: the zygote was killed, so that there will be no more
// stubs, and no one to bury those that there are.
func (p *Ptrace) abandon() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.stubs {
		unix.Kill(s.pid, unix.SIGKILL)
	}
}

// adopt adds a stub to the set, with a command page.
func (p *Ptrace) adopt(s *stub) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errGone
	}
	page, err := p.takePage()
	if err != nil {
		return err
	}
	s.page = page
	s.cmds = words(p.commands[page*hostarch.PageSize:][:hostarch.PageSize])
	clear(s.cmds)
	p.stubs[s] = struct{}{}
	return nil
}

// bury kills a stub and forgets it. Nobody uses it any more, but its threads may
// be traced still, by workers that are about to detach or to end.
func (p *Ptrace) bury(s *stub) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.buried {
		return
	}
	s.buried = true
	unix.Kill(s.pid, unix.SIGKILL)
	delete(p.stubs, s)
	p.givePage(s.page)
	if p.slots != nil {
		p.slots.give(s.slots.pages)
	}
	p.zygote.bury(s.pid)
}

// seize makes the calling worker the tracer of a waiting host thread.
func (w *worker) seize(tid int) error {
	var set unix.CPUSet
	set.Set(int(w.core.Load()))
	setAffinity(tid, &set)
	if e := w.request(unix.PTRACE_SEIZE, tid, seizeOptions); e == unix.ESRCH {
		return errGone
	} else if e != 0 {
		return traceError(e)
	}
	if e := w.request(unix.PTRACE_INTERRUPT, tid, 0); e != 0 {
		return lostError(e)
	}
	ws, e := w.wait(tid)
	if e != 0 {
		return lostError(e)
	}
	if !ws.Stopped() {
		return errGone
	}
	return nil
}

// release ends a stub whose main thread the caller traces.
func (w *worker) release(s *stub) {
	if w.request(unix.PTRACE_DETACH, s.pid, uintptr(unix.SIGKILL)) != 0 {
		w.broken = true
	}
	w.p.bury(s)
}
