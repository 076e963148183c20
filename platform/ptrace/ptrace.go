// Package ptrace runs guest threads as traced threads of host processes.
//
// A guest address space is a stub process: a process that begins as one page
// of code at the top of user space (image.go, stub_amd64.s) and into which
// pieces of the memory file are mapped. A guest thread is a thread of it, the
// tracee, run with PTRACE_SYSEMU: every system call stops it before the host
// executes anything. Mapping changes are system calls that the stub's own code
// executes from a list which the sentry writes and guests can only read.
//
// # Speed
//
// Waking a sleeping thread on another core costs far more than everything else
// (20 µs and more where the machine is virtual). So the thread that traces and
// its tracee are pinned to one core: the hand-off is a context switch there. A
// system call costs five host calls: SYSEMU, wait4, GETREGS, and a POKEUSER
// for RAX. Floating-point state stays in the tracee.
//
// ptrace requests must come from the OS thread that attached, so a tracer is a
// worker: a goroutine locked to its thread, with a stub process that it keeps
// for the next guest. Workers are pooled; fork, exec and exit make and destroy
// no host process in the steady state.
//
// # Isolation
//
// Guest code cannot make a host call: SYSEMU takes every entry (SYSCALL, INT
// 0x80, SYSENTER) away before it is executed, and the seccomp filter below
// allows only what the stub itself needs. The stub's page is mapped read-only
// and the guest cannot map over it, for it cannot make calls. Jumping into it
// reaches SYSCALL instructions that SYSEMU takes just the same. Memory is
// gained only by commands in the command page, which is read-only there.
// What a stub may do is done while the tracer watches, with PTRACE_CONT.
//
// # Death
//
// Tracees die with their tracer (PTRACE_O_EXITKILL), stubs in stock with the
// zygote (PR_SET_PDEATHSIG), and the zygote with the sentry.
//
// Lock order:
//
//	Ptrace.mu
//	space.mu
package ptrace

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// Config says what the platform works on.
type Config struct {
	// MemoryFD is the memory file.
	MemoryFD int
}

// Ptrace implements platform.Platform.
type Ptrace struct {
	zygote   *zygote
	cmdFD    int
	commands []byte
	cores    []int // host processors that we may use

	// Calls counts host calls on the run path, for tests.
	calls atomic.Uint64

	mu      sync.Mutex
	closed  bool
	idle    []*worker
	pages   []int // free command pages
	nextPg  int
	live    map[*context]struct{}
	stubs   map[int]struct{} // pids of all stub processes in use
	workers sync.WaitGroup
	monitor bool
}

const (
	// maxStubs bounds how many stub processes there can be.
	maxStubs = 1 << 15
	// maxIdle is how many idle workers are kept.
	maxIdle = 16

	userCS = 0x33
	userSS = 0x2b
)

// New starts the platform. It fails when tracing is not allowed here.
func New(c Config) (*Ptrace, error) {
	muteStops()
	p := &Ptrace{live: map[*context]struct{}{}, stubs: map[int]struct{}{}}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("asking which processors to use: %w", err)
	}
	for cpu := 0; len(p.cores) < set.Count() && cpu < 1024; cpu++ {
		if set.IsSet(cpu) {
			p.cores = append(p.cores, cpu)
		}
	}
	var err error
	if p.cmdFD, err = unix.MemfdCreate("runsc-lite-commands", unix.MFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("making the command file: %w", err)
	}
	if err = unix.Ftruncate(p.cmdFD, maxStubs*hostarch.PageSize); err == nil {
		p.commands, err = mapCommands(p.cmdFD, maxStubs)
	}
	if err == nil {
		p.zygote, err = startZygote(c.MemoryFD, p.cmdFD)
	}
	if err != nil {
		unix.Close(p.cmdFD)
		return nil, fmt.Errorf("ptrace platform: %w", err)
	}
	return p, nil
}

// Name implements platform.Platform.
func (p *Ptrace) Name() string { return "ptrace" }

// MinAddress implements platform.Platform: Linux's vm.mmap_min_addr.
func (p *Ptrace) MinAddress() hostarch.Addr { return 0x10000 }

// MaxAddress implements platform.Platform.
func (p *Ptrace) MaxAddress() hostarch.Addr { return stubBase }

// NewAddressSpace implements platform.Platform.
func (p *Ptrace) NewAddressSpace() (platform.AddressSpace, error) {
	return &space{p: p}, nil
}

// Spawn implements platform.Platform.
func (p *Ptrace) Spawn(near platform.Context, as platform.AddressSpace, fn func(platform.Context)) error {
	s := as.(*space)
	core, tid := p.cores[0], 0
	if n, ok := near.(*context); ok && n != nil {
		core = int(n.w.core.Load())
		var err error
		if tid, err = s.newThread(n); err != nil {
			return err
		}
	}
	w, err := p.worker(core)
	if err != nil {
		return err
	}
	s.contexts.Add(1)
	w.jobs <- job{space: s, tid: tid, fn: fn}
	return nil
}

// worker returns an idle worker, on the given core.
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
	w := &worker{p: p, want: core, jobs: make(chan job, 1)}
	p.workers.Add(1)
	go w.loop()
	return w, nil
}

// retire takes a worker without a job: it reports false when the worker is to
// end.
func (p *Ptrace) retire(w *worker) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, w)
	return true
}

// takePage and givePage manage the pages of the command file.
func (p *Ptrace) takePage() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.pages); n > 0 {
		i := p.pages[n-1]
		p.pages = p.pages[:n-1]
		return i, nil
	}
	if p.nextPg == maxStubs {
		return 0, unix.EAGAIN
	}
	p.nextPg++
	return p.nextPg - 1, nil
}

func (p *Ptrace) givePage(i int) {
	p.mu.Lock()
	p.pages = append(p.pages, i)
	p.mu.Unlock()
}

// Close implements platform.Platform.
func (p *Ptrace) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	idle := p.idle
	p.idle = nil
	for pid := range p.stubs {
		unix.Kill(pid, unix.SIGKILL)
	}
	p.mu.Unlock()
	for _, w := range idle {
		close(w.jobs)
	}
	p.workers.Wait()
	p.zygote.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	// The stubs are the zygote's children or init's now; they are dying.
	for pid := range p.stubs {
		for range 1000 {
			if unix.Kill(pid, 0) != nil {
				break
			}
			time.Sleep(200 * time.Microsecond)
		}
	}
	unmap(p.commands)
	unix.Close(p.cmdFD)
}

// job is what a worker is to run.
type job struct {
	space *space
	tid   int // a waiting thread of the space's stub; 0: the space has none yet
	fn    func(platform.Context)
}

// worker is a tracer thread.
type worker struct {
	p    *Ptrace
	jobs chan job
	core atomic.Int32 // where it and its tracees are pinned
	want int          // core for the next job; set before the job is sent
	tid  int          // host thread id

	spare *stub // a clean stub, attached, for the next space
}

func (w *worker) loop() {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	defer w.p.workers.Done()
	w.tid = unix.Gettid()
	w.pin(w.want)
	for j := range w.jobs {
		if w.want != int(w.core.Load()) {
			w.pin(w.want)
		}
		c := &context{w: w, newTID: j.tid, cur: j.space}
		w.p.enter(c)
		j.fn(c)
		c.leave()
		w.p.leave(c)
		if !w.p.retire(w) {
			break
		}
	}
	if w.spare != nil {
		w.spare.kill()
		w.spare = nil
	}
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
	p    *Ptrace
	pid  int
	page int      // of the command file
	cmds []uint64 // that page

	threads int   // host threads in it, of any kind; guarded by space.mu
	waiting []int // those that wait to be seized; guarded by space.mu
	dirty   bool  // maps what an earlier space left
}

// newStub seizes a stub process from stock for the calling worker.
func (w *worker) newStub() (*stub, error) {
	if s := w.spare; s != nil {
		w.spare = nil
		return s, nil
	}
	pid, ok := <-w.p.zygote.stubs
	if !ok {
		return nil, errGone
	}
	page, err := w.p.takePage()
	if err != nil {
		unix.Kill(pid, unix.SIGKILL)
		return nil, err
	}
	s := &stub{p: w.p, pid: pid, page: page, threads: 1}
	s.cmds = words(w.p.commands[page*hostarch.PageSize:][:hostarch.PageSize])
	w.p.mu.Lock()
	closed := w.p.closed
	if !closed {
		w.p.stubs[pid] = struct{}{}
	}
	w.p.mu.Unlock()
	if closed {
		unix.Kill(pid, unix.SIGKILL)
		return nil, errGone
	}
	if err := w.seize(pid); err != nil {
		s.forget()
		return nil, err
	}
	ret, err := inject(pid, entrySyscall, unix.SYS_MMAP, commandPage, hostarch.PageSize,
		unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED, commandFD, uint64(page)*hostarch.PageSize)
	if err == nil && failure(ret) != 0 {
		err = failure(ret)
	}
	if err != nil {
		s.kill()
		return nil, fmt.Errorf("setting up a stub process: %w", err)
	}
	return s, nil
}

// seize makes the calling worker the tracer of a waiting host thread.
func (w *worker) seize(tid int) error {
	var set unix.CPUSet
	set.Set(int(w.core.Load()))
	setAffinity(tid, &set)
	if e := request(unix.PTRACE_SEIZE, tid, 0, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACESYSGOOD); e != 0 {
		return traceError(e)
	}
	if e := request(unix.PTRACE_INTERRUPT, tid, 0, 0); e != 0 {
		return lostError(e)
	}
	ws, e := wait(tid)
	if e != 0 {
		return lostError(e)
	}
	if !ws.Stopped() {
		return errGone
	}
	return nil
}

// kill ends a stub whose main thread the caller traces and which is stopped.
// Nobody waits: the zygote ignores SIGCHLD.
func (s *stub) kill() {
	request(unix.PTRACE_DETACH, s.pid, 0, uintptr(unix.SIGKILL))
	unix.Kill(s.pid, unix.SIGKILL)
	s.forget()
}

func (s *stub) forget() {
	s.p.mu.Lock()
	delete(s.p.stubs, s.pid)
	s.p.mu.Unlock()
	s.p.givePage(s.page)
}
