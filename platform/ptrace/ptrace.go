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
// its tracee are pinned to one core: the hand-off is a context switch there.
// What remains is counted in host calls, which a test holds:
//
//	system call           SYSEMU, wait4, GETREGS, POKEUSER for RAX
//	fault, then a batch   SYSEMU, wait4, GETREGS, GETSIGINFO;
//	of mapping changes    SETREGS, CONT, wait4; SETREGS
//
// Registers move only when they changed, floating-point state stays in the
// tracee. The stub says that a batch is done by a stop that nothing else makes
// (a seccomp event), so that success needs no look at its registers.
//
// ptrace requests must come from the OS thread that attached, so a tracer is a
// worker: a goroutine locked to its thread, with a stub process that it keeps
// for the next guest. Workers are pooled; fork, exec and exit make and destroy
// no host process in the steady state.
//
// # Isolation
//
// Guest code runs under PTRACE_SYSEMU only, which takes every entry (SYSCALL,
// INT 0x80, SYSENTER; x32 and compatibility mode as well) before anything is
// executed, ahead of seccomp. The host would answer calls of the vsyscall page
// by itself: the filter forbids that, and they become faults.
//
// Without a channel, PTRACE_CONT is given to a tracee only with registers that we set, all of
// them, at an entry point of the stub's code. That code is not the guest's to
// change: its page and the command page are read-only there, guests have no
// calls to change that, and what we map for them ends below. It reads no
// register that we did not set and no memory but the command page, uses no
// stack, and ends in a stop; other threads of the process, which run guest code
// meanwhile, have nothing to interfere with. A guest that jumps into the stub's
// page executes it under SYSEMU: its calls are the guest's own, and go to the
// sentry. All it can read there is the list of its own mapping changes.
//
// Host threads that wait, untraced, for a next guest thread sleep in the stub's
// code and are under the filter, which allows what stub code does, with a key that
// guests do not know (filter.go), and nothing that reaches a file. What would have to
// go wrong twice: a guest call that gets past SYSEMU would have to guess the key to
// map other parts of the memory file, that is memory of other guest processes, but
// nothing of the host.
//
// With Config.Channel, patched call sites reach the sentry by memory that both share
// (channel.go, split.go), and mapping changes are made on the way into guest code
// (batch.go). Then guests run under PTRACE_CONT, and it is the filter that takes their
// calls; see package systrap.
//
// # Death
//
// Tracees die with their tracer (PTRACE_O_EXITKILL), untraced stubs with the
// zygote (PR_SET_PDEATHSIG), and the zygote with the sentry. A stub that is
// killed from outside is an error of Run for each of its contexts; their
// workers end, since only the end of a tracer thread surely lets go of dead
// tracees. Pids of stubs stay taken until the zygote buries them, so that no
// call hits a stranger.
//
// # Where it differs from Linux
//
// The kind of access of a fault is known for instruction fetches only. A
// SYSENTER, on processors that have it in 64-bit mode, loses RIP and RSP. GS
// bases in the kernel's half of the address space, which WRGSBASE can set, are
// lost when registers are set.
//
// Lock order:
//
//	space.mu
//	  Ptrace.mu
//	    zygote.mu
//	usage.mu
//	space.mu
//	  meter.mu
package ptrace

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// Config says what the platform works on.
type Config struct {
	// MemoryFD is the memory file.
	MemoryFD int
	// Channel lets patched call sites reach the sentry through shared memory;
	// see package systrap.
	Channel bool
}

// Ptrace implements platform.Platform.
type Ptrace struct {
	zygote   *zygote
	cmdFD    int
	commands []byte
	cores    []int // host processors that we may use
	limit    int   // of workers
	min      hostarch.Addr
	max      hostarch.Addr
	slots    *slotFile // nil: no channel
	key      key

	ownNice   int
	mayRenice func() bool
	niced     atomic.Bool // a context is, or was, nice

	inRun atomic.Int32 // contexts whose tracee runs guest code

	mu       sync.Mutex
	closed   bool
	idle     []*worker
	nworkers int
	pages    []int // free command pages
	nextPg   int
	live     map[*context]struct{}
	stubs    map[*stub]struct{} // all that are not buried
	monitor  bool               // balance.go
	resting  atomic.Bool        // it ended because nobody ran
	workers  sync.WaitGroup
}

const (
	// maxIdle is how many idle workers are kept.
	maxIdle = 16

	userCS   = 0x33
	compatCS = 0x23
	userSS   = 0x2b
)

// New starts the platform. It fails when tracing is not allowed here.
func New(c Config) (*Ptrace, error) {
	muteStops()
	p := &Ptrace{ownNice: ownNiceness(), mayRenice: sync.OnceValue(tryRenice), live: map[*context]struct{}{}, stubs: map[*stub]struct{}{}, limit: workerLimit(), min: minAddress(), max: stubBase, key: newKey()}
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
	if err = unix.Ftruncate(p.cmdFD, commandFilePages*hostarch.PageSize); err == nil {
		p.commands, err = mapCommands(p.cmdFD, commandFilePages)
	}
	if c.Channel {
		p.slots = &slotFile{view: p.commands[maxStubs*hostarch.PageSize:]}
		p.max = slotRegion
	}
	if err == nil {
		p.zygote, err = startZygote(c.MemoryFD, p.cmdFD, p.commands[:hostarch.PageSize], &p.key)
	}
	if err != nil {
		if p.commands != nil {
			unmap(p.commands)
		}
		unix.Close(p.cmdFD)
		return nil, fmt.Errorf("ptrace platform: %w", err)
	}
	return p, nil
}

// Name implements platform.Platform.
func (p *Ptrace) Name() string { return "ptrace" }

// MinAddress implements platform.Platform.
func (p *Ptrace) MinAddress() hostarch.Addr { return p.min }

// MaxAddress implements platform.Platform.
func (p *Ptrace) MaxAddress() hostarch.Addr { return p.max }

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
		s.returnThread(tid)
		return err
	}
	s.contexts.Add(1)
	w.start(job{space: s, tid: tid, fn: fn})
	return nil
}

// takePage and givePage manage the pages of the command file. The caller holds
// p.mu.
func (p *Ptrace) takePage() (int, error) {
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

func (p *Ptrace) givePage(i int) { p.pages = append(p.pages, i) }

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
	for s := range p.stubs {
		unix.Kill(s.pid, unix.SIGKILL)
	}
	p.mu.Unlock()
	for _, w := range idle {
		w.start(job{})
	}
	p.workers.Wait()
	p.zygote.stop()
	unmap(p.commands)
	unix.Close(p.cmdFD)
}
