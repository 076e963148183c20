package procmgr

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Process is a process control block: what its threads have in common.
type Process struct {
	table     *Table
	id        *id // the leader's, for the whole life
	startTime time.Duration
	limits    LimitSet
	dumpable  atomic.Int32
	isEnded   atomic.Bool

	onAlarm atomic.Pointer[func()]

	oomScoreAdj    atomic.Int32
	oomScoreAdjMin atomic.Int32 // what somebody privileged set

	ended   waiter.Queue // pidfd
	signals waiter.Queue // signalfd

	// Under Table.mu.

	parent       *Process // nil: init, or gone
	parentThread *Thread  // of parent: the one that forked it, or who stands in for that
	sibling      links[Process]
	seq          uint64 // order among children
	group        *group
	peer         links[Process]
	control      *control // what it has of a controlling terminal; see Terminal
	oldControl   *control // of a session leader whose terminal hung up
	shell        bool     // init: stands for a shell; see ActAsShell
	exitSignal   unix.Signal
	execs        uint64 // how often it executed a program, and how often its
	parentExecs  uint64 // parent had at the fork
	subreaper    bool
	hadExec      bool // since fork; see Setpgid
	started      bool
	zombie       bool
	exitStatus   uint32 // wait status, once zombie
	report       report // what the parent has to hear of this process

	// The same, of its children.

	children int         // that are started
	clones   int         // among them, those with an exit signal other than SIGCHLD
	exits    reportQueue // zombies
	changes  reportQueue // those that stopped or went on
	waiters  list[Thread]
	tracees  list[Thread] // of any of its threads; see tracing
	corpses  []*Thread    // that have ended, and wait for their tracer

	// Under mu. What the list of threads and the pointers to a thread are, changes
	// under Table.mu only, so that either lock is enough to read them.

	mu         sync.Mutex
	hand       *sigHand
	queue      sigQueue
	leader     *Thread
	threads    []*Thread
	live       int         // threads that are not on their way out
	stopping   unix.Signal // a group stop is under way or complete; 0: none
	toStop     int         // threads that have not stopped yet
	stopped    bool        // all have
	exiting    bool        // group exit
	groupCode  uint32      // its wait status
	execer     *Thread     // runs BeginExec
	execAlone  chan struct{}
	unkillable bool   // init: no default action ends it
	gone       Rusage // of threads that have ended
	goneIO     IO
	childUsage Rusage

	first Thread     // these two spare allocations
	alone [1]*Thread // the memory of threads while there is one
}

// Thread is a thread of a process, the unit that runs.
type Thread struct {
	p  *Process
	id atomic.Pointer[id]

	state     atomic.Uint32
	pending   atomic.Uint32 // pend* bits
	creds     atomic.Pointer[Credentials]
	data      atomic.Value
	runner    atomic.Pointer[Runner]
	nice      atomic.Int32
	policy    atomic.Uint32 // schedParam
	ioprio    ioPriority
	name      atomic.Pointer[string]
	startTime atomic.Int64 // on the table's clock, ns
	usage     counters

	realtimeFrom atomic.Int64 // see RealtimeUsed; ns

	files ioCounters

	turn  turn
	kick  chan struct{} // ends Block early
	timer *time.Timer   // the thread's own, for Block

	// Under Table.mu.

	children list[Process] // that it forked
	wait     waiting

	// Under Process.mu.

	queue     sigQueue
	mask      SigSet
	savedMask SigSet
	saved     bool
	waitSet   SigSet        // Sigtimedwait
	sigCh     chan struct{} // its wake-up; made when first used
	deathSig  unix.Signal
	follow    Follower // nil: nobody
	exitCode  uint32
	leaving   bool // not in Process.live any more
	stopDue   bool // counted in Process.toStop
	stopTaken bool // took a stop signal, and no SIGCONT came since

	user *user // whom it is charged to

	childPIDNS atomic.Pointer[PIDNamespace] // of children; nil: its own
	overNproc  bool                         // set*uid(2) went over RLIMIT_NPROC; its own goroutine's
	vforkDone  chan struct{}
	vforkOnce  sync.Once

	vforkParent *Thread // who waits for vforkDone

	trace     *tracing // nil: nobody traces it; see there
	traceMode atomic.Uint32
}

// Bits of Thread.pending.
const (
	pendSignal = 1 << iota
	pendStop
	pendExit
	pendSaved // a saved mask is to be restored
	pendYield // the run slot is to be given up
)

// Runner is what runs a thread's guest code.
type Runner interface {
	// Interrupt makes the thread come back from guest code soon. It must not
	// block, nor call this package: locks are held.
	Interrupt()
}

// Parker is a Runner that suspends its thread by itself: where switching between
// threads by the Go scheduler would cost more. Park waits for a token and takes it,
// or reports false after the timeout (negative: none); Unpark, from any goroutine,
// gives one, and there is at most one. Neither calls this package.
type Parker interface {
	Park(timeout time.Duration) bool
	Unpark()
}

// newThread makes a thread of p. Table.mu is held, and p.mu unless p is new.
func (p *Process) newThread(n *id, u *user) *Thread {
	t := &p.first
	if len(p.threads) > 0 {
		t = new(Thread)
	} else {
		p.threads = p.alone[:0]
		p.table.processes.Add(1)
		p.leader = t
		p.id = n
		p.startTime = p.table.now()
	}
	t.p = p
	t.kick = make(chan struct{}, 1)
	t.id.Store(n)
	t.user = u
	t.startTime.Store(int64(p.table.now()))
	p.threads = append(p.threads, t)
	p.live++
	n.attach(t)
	p.table.threads.Add(1)
	return t
}

// ID returns the process id (Linux's tgid) in the root namespace.
func (p *Process) ID() int { return p.id.nr }

// IDIn returns the process id in a namespace, 0 if the process is not visible
// there.
func (p *Process) IDIn(ns *PIDNamespace) int { return p.id.in(ns) }

// IDs returns the process ids from the root namespace to the process's own (NStgid
// in /proc/PID/status).
func (p *Process) IDs() []int { return append([]int{p.id.nr}, p.id.inner...) }

// Namespace returns the pid namespace that the process is in.
func (p *Process) Namespace() *PIDNamespace { return p.id.ns }

// Table returns the table that holds the process.
func (p *Process) Table() *Table { return p.table }

// ParentID returns the id of the parent in the root namespace, 0 if there is none.
func (p *Process) ParentID() int { return p.ParentIDIn(&p.table.root) }

// ParentIDIn returns the id of the parent in a namespace, 0 if there is none.
func (p *Process) ParentIDIn(ns *PIDNamespace) int {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	if p.parent == nil {
		return 0
	}
	return p.parent.id.in(ns)
}

// Parent returns the parent, nil if there is none.
func (p *Process) Parent() *Process {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	return p.parent
}

// Leader returns the thread whose id is the process's.
func (p *Process) Leader() *Thread {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leader
}

// Threads returns the threads that have not ended.
func (p *Process) Threads() []*Thread {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*Thread(nil), p.threads...)
}

// ThreadCount returns how many threads have not ended.
func (p *Process) ThreadCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.threads)
}

// State returns the state of the process: Zombie when it has ended, Stopped when
// job control holds it, its leader's otherwise.
func (p *Process) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.isEnded.Load():
		return p.leader.State() // Zombie or Dead
	case p.stopped:
		return Stopped
	}
	return p.leader.State()
}

// StartTime returns when the process was made, on the table's clock.
func (p *Process) StartTime() time.Duration { return p.startTime }

// ExitSignal returns what the parent is sent when the process ends.
func (p *Process) ExitSignal() unix.Signal {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	return p.exitSignal
}

// Ended reports whether the process is a zombie or gone. EndedQueue tells of it
// (pidfd_open(2)).
func (p *Process) Ended() bool { return p.isEnded.Load() }

// EndedQueue is notified (EventIn) when the process ends. Listeners must not call
// this package: locks are held.
func (p *Process) EndedQueue() *waiter.Queue { return &p.ended }

// SignalQueue is notified (EventIn) when a signal is queued for the process or one
// of its threads (signalfd(2)). Listeners must not call this package: locks are held.
func (p *Process) SignalQueue() *waiter.Queue { return &p.signals }

// Limits returns the resource limits.
func (p *Process) Limits() *LimitSet { return &p.limits }

// SetDumpable and Dumpable are prctl(2)'s PR_SET_DUMPABLE and PR_GET_DUMPABLE.
func (p *Process) SetDumpable(v int) { p.dumpable.Store(int32(v)) }

// Dumpable returns what SetDumpable set; 1 at first.
func (p *Process) Dumpable() int { return int(p.dumpable.Load()) }

// SetChildSubreaper makes the process the parent of orphans below it
// (PR_SET_CHILD_SUBREAPER).
func (p *Process) SetChildSubreaper(on bool) {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	p.setSubreaper(on)
}

func (p *Process) setSubreaper(on bool) {
	if p.subreaper == on {
		return
	}
	p.subreaper = on
	if on {
		p.table.subreapers++
	} else {
		p.table.subreapers--
	}
}

// ChildSubreaper returns what SetChildSubreaper set.
func (p *Process) ChildSubreaper() bool {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	return p.subreaper
}

// ID returns the thread id in the root namespace.
func (t *Thread) ID() int { return t.id.Load().nr }

// IDIn returns the thread id in a namespace, 0 if the thread is not visible there.
func (t *Thread) IDIn(ns *PIDNamespace) int { return t.id.Load().in(ns) }

// Namespace returns the pid namespace that t is in: the one whose ids its system
// calls are about.
func (t *Thread) Namespace() *PIDNamespace { return t.p.id.ns }

// Process returns the process that t belongs to.
func (t *Thread) Process() *Process { return t.p }

// SetData attaches the caller's own object. It is always of one type.
func (t *Thread) SetData(v any) { t.data.Store(v) }

// Data returns what SetData attached, nil if nothing was.
func (t *Thread) Data() any { return t.data.Load() }

// Name returns the thread's name (comm).
func (t *Thread) Name() string { return *t.name.Load() }

// SetName sets it, cut to 15 bytes (PR_SET_NAME).
func (t *Thread) SetName(s string) {
	if len(s) > 15 {
		s = s[:15]
	}
	t.name.Store(&s)
}

// SetParentDeathSignal is PR_SET_PDEATHSIG.
func (t *Thread) SetParentDeathSignal(sig unix.Signal) {
	t.p.mu.Lock()
	t.deathSig = sig
	t.p.mu.Unlock()
}

// ParentDeathSignal is PR_GET_PDEATHSIG.
func (t *Thread) ParentDeathSignal() unix.Signal {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return t.deathSig
}

// StartTime returns when the thread was made, on the table's clock.
func (t *Thread) StartTime() time.Duration { return time.Duration(t.startTime.Load()) }

func (p *Process) isUnkillable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unkillable
}
