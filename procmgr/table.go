package procmgr

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config is what a Table is made with; the zero value is fine.
type Config struct {
	// MaxPID is one more than the highest id, MaxPID at most. 0: 32768, Linux's
	// default on small machines.
	MaxPID int
	// Limits are what init starts with; nil: DefaultLimits.
	Limits *[NumLimits]Limit
	// Slots is how many threads may be Running at a time: the others are Ready, and
	// wait for their turn by priority and fairness. 0: all may, and who gets a
	// processor is for the host to say.
	Slots int
	// Now reads a monotonic clock, for start times. nil: time since NewTable.
	Now func() time.Duration
}

// Table holds the processes of a sandbox: a root pid namespace, and what is below
// it. Its methods are safe from any goroutine.
type Table struct {
	now    func() time.Duration
	limits [NumLimits]Limit
	sched  *scheduler // nil: run slots are not limited

	mu         sync.Mutex
	root       PIDNamespace
	seq        uint64 // of children
	subreapers int
	ended      Rusage // of all threads that have ended
	namespaces uint64 // made so far

	load loadAverage

	processes atomic.Int64 // live and zombie
	threads   atomic.Int64
	forks     atomic.Uint64

	userNamespaces atomic.Uint64 // that were made

	lastPID  atomic.Int64
	maxTasks atomic.Int64 // 0: as many as there are ids

	userMu sync.Mutex
	users  map[uint32]*user
}

// NewTable makes an empty Table.
func NewTable(c Config) *Table {
	tb := &Table{now: c.Now, users: make(map[uint32]*user)}
	if tb.now == nil {
		start := time.Now()
		tb.now = func() time.Duration { return time.Since(start) }
	}
	if c.MaxPID <= 1 || c.MaxPID > MaxPID {
		c.MaxPID = 32768
	}
	if c.Slots > 0 {
		tb.sched = newScheduler(c.Slots, tb.now)
	}
	tb.root.table = tb
	tb.root.ids.init(c.MaxPID)
	tb.limits = DefaultLimits()
	if c.Limits != nil {
		tb.limits = *c.Limits
	}
	return tb
}

// Root returns the pid namespace that all processes are visible in.
func (tb *Table) Root() *PIDNamespace { return &tb.root }

// CreateProcess makes a started process: init, which has id 1 and root's
// credentials, without a parent; otherwise a child of parent as fork(2) makes it.
// name is its comm, cut to 15 bytes; prio its nice value, -20 to 19. EEXIST: there is
// an init already. ESRCH: parent has ended. EAGAIN: no ids left, or the user's limit
// is reached.
func (tb *Table) CreateProcess(parent *Process, name string, prio int) (*Process, error) {
	if parent == nil {
		return tb.createInit(name, prio)
	}
	from := parent.alive()
	if from == nil {
		return nil, unix.ESRCH
	}
	th, err := tb.fork(from, CloneOptions{ExitSignal: unix.SIGCHLD}, pendExit)
	if err == ErrInterrupted {
		return nil, unix.ESRCH
	}
	if err != nil {
		return nil, err
	}
	th.SetName(name)
	th.setNice(prio)
	th.Start()
	return th.Process(), nil
}

func (tb *Table) createInit(name string, prio int) (*Process, error) {
	tb.mu.Lock()
	if tb.root.init != nil {
		tb.mu.Unlock()
		return nil, unix.EEXIST
	}
	n, err := tb.root.newID([]int{1})
	if err != nil {
		tb.mu.Unlock()
		return nil, err
	}
	tb.root.ids.last = n.nr
	tb.lastPID.Store(int64(n.nr))
	creds := RootCredentials()
	u, _ := tb.chargeUser(creds.RUID)
	p := &Process{table: tb, hand: newSigHand(), unkillable: true}
	p.limits.limits.Store(&tb.limits)
	p.dumpable.Store(1)
	th := p.newThread(n, u)
	th.creds.Store(creds)
	th.SetName(name)
	th.setNice(prio)
	tb.root.init = p
	s := &session{id: n, leader: p}
	n.session = s
	tb.joinGroup(p, tb.newGroup(n, s))
	tb.mu.Unlock()
	th.Start()
	return p, nil
}

// alive returns a thread that has not ended, the leader if it can be; nil if there
// is none.
func (p *Process) alive() *Thread {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found *Thread
	for _, t := range p.threads {
		if !t.leaving && (t == p.leader || found == nil) {
			found = t
		}
	}
	return found
}

// Init returns the root of the hierarchy, nil before there is one.
func (tb *Table) Init() *Process { return tb.root.Init() }

// GetThread returns the thread with an id, nil if there is none (or if it is not
// started yet).
func (tb *Table) GetThread(tid int) *Thread { return tb.root.GetThread(tid) }

// GetProcess returns the process with an id, zombies included; nil if there is
// none. It takes constant time and no lock.
func (tb *Table) GetProcess(pid int) *Process { return tb.root.GetProcess(pid) }

// Getpid returns the caller's process id in its own pid namespace (getpid(2)).
func (tb *Table) Getpid(t *Thread) int { return t.p.id.own() }

// Gettid returns the caller's thread id in its own pid namespace (gettid(2)).
func (tb *Table) Gettid(t *Thread) int { return t.id.Load().own() }

// Getppid returns the id of the caller's parent in the caller's pid namespace, 0 if
// the parent is outside of it (getppid(2)).
func (tb *Table) Getppid(t *Thread) int { return t.p.ParentIDIn(t.Namespace()) }

// ProcessCount returns how many processes there are, zombies included.
func (tb *Table) ProcessCount() int { return int(tb.processes.Load()) }

// ThreadCount returns how many threads there are.
func (tb *Table) ThreadCount() int { return int(tb.threads.Load()) }

// LimitTasks bounds how many threads there may be at once, those that nobody has waited
// for included (Linux's pids controller); 0: as many as there are ids. What is above a
// new limit stays.
func (tb *Table) LimitTasks(n int64) { tb.maxTasks.Store(n) }

// Forks returns how many processes and threads were made so far.
func (tb *Table) Forks() uint64 { return tb.forks.Load() }

// LastPID returns the id that was given last.
func (tb *Table) LastPID() int { return int(tb.lastPID.Load()) }

// Info is a process in a listing. Ids are those of the root namespace.
type Info struct {
	PID, Parent, Group, Session int
	Name                        string
	State                       State
	Priority                    int // nice value
	Threads                     int
}

// Info describes the process in one go.
func (p *Process) Info() Info {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	p.mu.Lock()
	i := Info{
		PID: p.ID(), Name: p.leader.Name(), State: p.leader.State(), Priority: p.leader.Nice(), Threads: len(p.threads),
	}
	if p.stopped {
		i.State = Stopped
	}
	p.mu.Unlock()
	if p.parent != nil {
		i.Parent = p.parent.ID()
	}
	if p.group != nil {
		i.Group, i.Session = p.group.id.nr, p.group.session.id.nr
	}
	return i
}

// ListProcesses returns all processes by id, in linear time.
func (tb *Table) ListProcesses() []Info {
	out := make([]Info, 0, tb.ProcessCount())
	tb.ForEach(func(p *Process) { out = append(out, p.Info()) })
	return out
}

// ForEach calls fn for all processes by id, without a lock held: some may have
// ended meanwhile.
func (tb *Table) ForEach(fn func(*Process)) { tb.root.ForEach(fn) }
