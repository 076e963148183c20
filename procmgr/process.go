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
	table *Table
	id    atomic.Int64

	// Under Table.mu.

	parent       *Process
	parentThread *Thread // that forked it; nil if that is gone
	children     childList
	sibling      links
	group        *Group
	peer         links2   // in group
	control      *control // what it has of a controlling terminal; see Terminal
	oldControl   *control // of a session leader whose terminal hung up
	shell        bool     // init: stands for a shell; see ActAsShell
	exitSignal   unix.Signal
	subreaper    bool
	hadExec      bool // since fork; see Setpgid
	started      bool
	zombie       bool
	exitStatus   uint32 // wait status, once zombie
	ready        childQueue
	report       report // what the parent has to hear of this process
	waiters      map[*Thread]struct{}

	// Under mu.

	mu         sync.Mutex
	hand       *sigHand
	queue      sigQueue
	leader     *Thread
	threads    []*Thread
	stopping   unix.Signal // a group stop is under way or complete; 0: none
	toStop     int         // threads that have not stopped yet
	stopped    bool        // all have
	exiting    bool        // group exit
	groupCode  uint32      // its wait status
	execer     *Thread     // runs BeginExec
	execAlone  chan struct{}
	unkillable bool // init: no default action ends it
	gone       Rusage
	goneIO     IO
	childUsage Rusage

	oomScoreAdj    atomic.Int32
	oomScoreAdjMin atomic.Int32 // what somebody privileged set

	limits   *LimitSet
	dumpable atomic.Int32
	signals  waiter.Queue // signalfd

	// ended is closed when the process is a zombie (pidfd).
	ended     waiter.Queue
	isEnded   atomic.Bool
	startTime time.Duration
}

// Thread is a thread of a process, the unit that runs.
type Thread struct {
	p  *Process
	id atomic.Pointer[id]

	state   atomic.Uint32
	pending atomic.Uint32 // pend* bits
	creds   atomic.Pointer[Credentials]
	data    atomic.Value
	runner  atomic.Pointer[Runner]
	nice    atomic.Int32
	name    atomic.Pointer[string]

	kick  chan struct{} // ends Block early
	timer *time.Timer   // the thread's own, for Block

	// Under Process.mu.

	queue     sigQueue
	mask      SigSet
	savedMask SigSet
	saved     bool
	waitSet   SigSet // Sigtimedwait
	sigCh     chan struct{}
	stopSeen  bool // counted in Process.toStop
	exitCode  uint32
	deathSig  unix.Signal
	follow    func(*SigInfo)

	waitCh    chan struct{}
	vforkDone chan struct{}
	vforkOnce sync.Once

	usage     counters
	files     ioCounters
	startTime time.Duration
}

// Bits of Thread.pending.
const (
	pendSignal = 1 << iota
	pendStop
	pendExit
	pendSaved // a saved mask is to be restored
)

// Runner is what runs a thread's guest code.
type Runner interface {
	// Interrupt makes the thread come back from guest code soon.
	Interrupt()
}

func (p *Process) newThread(n *id) *Thread {
	t := &Thread{
		p:     p,
		kick:  make(chan struct{}, 1),
		sigCh: make(chan struct{}, 1),
	}
	t.id.Store(n)
	t.startTime = p.table.now()
	p.threads = append(p.threads, t)
	n.thread.Store(t)
	p.table.threads.Add(1)
	p.table.lastPID.Store(int64(n.nr))
	if len(p.threads) == 1 {
		p.table.processes.Add(1)
		p.startTime = t.startTime
	}
	return t
}

// ID returns the process id (Linux's tgid).
func (p *Process) ID() int { return int(p.id.Load()) }

// Table returns the table that holds the process.
func (p *Process) Table() *Table { return p.table }

// ParentID returns the id of the parent, 0 if there is none.
func (p *Process) ParentID() int {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	if p.parent == nil {
		return 0
	}
	return p.parent.ID()
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

// State returns the state of the process: Zombie when it has ended, Stopped when
// job control holds it, its leader's otherwise.
func (p *Process) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.isEnded.Load():
		return Zombie
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

// EndedQueue is notified (EventIn) when the process ends.
func (p *Process) EndedQueue() *waiter.Queue { return &p.ended }

// SignalQueue is notified (EventIn) when a signal is queued for the process or one
// of its threads (signalfd(2)).
func (p *Process) SignalQueue() *waiter.Queue { return &p.signals }

// Limits returns the resource limits.
func (p *Process) Limits() *LimitSet { return p.limits }

// SetDumpable and Dumpable are prctl(2)'s PR_SET_DUMPABLE and PR_GET_DUMPABLE.
func (p *Process) SetDumpable(v int) { p.dumpable.Store(int32(v)) }

// Dumpable returns what SetDumpable set; 1 at first.
func (p *Process) Dumpable() int { return int(p.dumpable.Load()) }

// SetChildSubreaper makes the process the parent of orphans below it
// (PR_SET_CHILD_SUBREAPER).
func (p *Process) SetChildSubreaper(on bool) {
	p.table.mu.Lock()
	p.subreaper = on
	p.table.mu.Unlock()
}

// ChildSubreaper returns what SetChildSubreaper set.
func (p *Process) ChildSubreaper() bool {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	return p.subreaper
}

// ID returns the thread id.
func (t *Thread) ID() int { return t.id.Load().nr }

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

// Credentials returns the thread's credentials, which do not change.
func (t *Thread) Credentials() *Credentials { return t.creds.Load() }

// SetCredentials replaces them.
func (t *Thread) SetCredentials(c *Credentials) {
	old := t.creds.Swap(c)
	if old != nil && old.RUID != c.RUID {
		t.p.table.chargeThread(old.RUID, -1)
		t.p.table.chargeThread(c.RUID, 1)
	}
	if old != nil && (old.EUID != c.EUID || old.EGID != c.EGID || old.FSUID != c.FSUID || old.FSGID != c.FSGID) {
		// commit_creds: a change of identity ends core dumps and the signal.
		t.p.SetDumpable(0)
		t.SetParentDeathSignal(0)
	}
}

// StartTime returns when the thread was made, on the table's clock.
func (t *Thread) StartTime() time.Duration { return t.startTime }
