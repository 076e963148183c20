package task

import (
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/mm"
	"runsc-lite/platform"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/futex"
	"runsc-lite/sentry/ipc/sem"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/vfs"
)

// Linux's SA_* flags.
const (
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
	saNoDefer  = 0x40000000
	saRestorer = 0x04000000
)

// Task is a guest thread.
type Task struct {
	k  *Kernel
	th *procmgr.Thread

	group    *group                       // shared with the process's other threads
	affinity atomic.Value                 // []uint64
	slack    atomic.Uint64                // of timers, in nanoseconds
	slack0   atomic.Uint64                // what 0 sets slack to: the parent's
	persona  atomic.Uint32                // personality(2)
	seccomp  atomic.Pointer[seccompState] // nil: all calls are allowed

	namespaces atomic.Pointer[namespaces.Set] // nil once given back

	// mu guards the pointers below against readers that are not this task's
	// goroutine; the goroutine itself reads them without it.
	mu  sync.Mutex
	mem *Memory
	fds *fdtable.Table
	fs  *vfs.FSContext

	robustList  hostarch.Addr // set_robust_list(2); under mu
	futexesGone atomic.Bool   // between giving up futexes and new memory
	unpublished atomic.Bool   // what publish says has changed
	inGuest     atomic.Bool   // in guest code, or about to be: see quiet.go

	// The rest belongs to the task's goroutine.

	ctx  platform.Context
	init startState

	sysno     uint64 // number of the call being serviced
	args      Args   // and its arguments
	restart   Restart
	restartFn Handler
	noResult  bool         // the call replaced the registers itself
	tracer    ThreadTracer // nil for none
	watched   bool         // traced, and its calls are not to be answered elsewhere
	stepping  bool         // by single instructions
	debug     debugRegs

	sigStack SigStack
	fault    faultInfo
	frame    []byte // for signal frames and floating-point states, reused
	faults   mm.FaultState

	clearTID    hostarch.Addr // set_tid_address(2)
	futexWaiter *futex.Waiter // nil until it is needed
	nextCount   time.Time     // when memory may be counted again; see measureMemory

	frames       int    // of signal handlers that have not returned
	patchVersion uint32 // of the address space's code, when t looked last

	semUndo     atomic.Pointer[sem.List] // nil until it is needed; others compare it
	memPolicy   MemoryPolicy
	caller      vfs.Caller // cached; see Caller
	callerCreds *procmgr.Credentials

	entry    waiter.Entry // for one wait at a time
	ready    chan struct{}
	notifier waiter.EventListener // on ready
}

// startState is what a new task begins with.
type startState struct {
	regs   platform.Registers
	fp     []byte        // nil: as in a fresh program
	setTID hostarch.Addr // CLONE_CHILD_SETTID
}

// Kernel returns the kernel that t belongs to.
func (t *Task) Kernel() *Kernel { return t.k }

// Thread returns t's entry in the process table.
func (t *Task) Thread() *procmgr.Thread { return t.th }

// Process returns the process that t is a thread of.
func (t *Task) Process() *procmgr.Process { return t.th.Process() }

// PID and TID are the ids of t's process and thread in its own pid namespace.
func (t *Task) PID() int { return t.k.Procs.Getpid(t.th) }

// TID returns t's id.
func (t *Task) TID() int { return t.k.Procs.Gettid(t.th) }

// Lookup returns the thread with an id in t's pid namespace, nil if there is none.
func (t *Task) Lookup(tid int) *procmgr.Thread { return t.th.Namespace().GetThread(tid) }

// Memory returns the address space.
func (t *Task) Memory() *Memory { return t.mem }

// Namespaces returns the uts, ipc, net and cgroup namespaces that t is in. It is for
// any goroutine, which gets nil once t has given them back.
func (t *Task) Namespaces() *namespaces.Set { return t.namespaces.Load() }

// SetNamespaces puts t into others, whose reference it takes over.
func (t *Task) SetNamespaces(s *namespaces.Set) { t.namespaces.Swap(s).Release() }

// FDs returns the descriptor table.
func (t *Task) FDs() *fdtable.Table { return t.fds }

// FS returns root, working directory, umask and credentials for path walks.
func (t *Task) FS() *vfs.FSContext { return t.fs }

// Context returns the platform context. Only t's goroutine may use it.
func (t *Task) Context() platform.Context { return t.ctx }

// SetClearTID sets the word that is cleared, and woken, when t exits.
func (t *Task) SetClearTID(a hostarch.Addr) { t.clearTID = a }

// Of returns the task of a thread, nil if it has none (the init of a sandbox
// without one).
func Of(th *procmgr.Thread) *Task {
	if th == nil {
		return nil
	}
	t, _ := th.Data().(*Task)
	return t
}
