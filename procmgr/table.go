package procmgr

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config is what a Table is made with; the zero value is fine.
type Config struct {
	// MaxPID is one more than the highest id. 0: 32768, Linux's default on
	// small machines.
	MaxPID int
	// Limits are what init starts with; nil: DefaultLimits.
	Limits *[NumLimits]Limit
	// Now reads a monotonic clock, for start times. nil: time since NewTable.
	Now func() time.Duration
}

// Table holds the processes of one pid namespace. Its methods are safe from any
// goroutine.
type Table struct {
	now    func() time.Duration
	limits [NumLimits]Limit

	mu        sync.Mutex
	ids       idTable
	init      *Process
	ended     Rusage       // of all threads that have ended
	processes atomic.Int64 // live and zombie
	threads   atomic.Int64
	forks     atomic.Uint64
	lastPID   atomic.Int64

	userMu sync.Mutex
	users  map[uint32]*user
}

// user counts what a user's processes hold, for RLIMIT_NPROC and
// RLIMIT_SIGPENDING.
type user struct {
	threads int
	pending int
}

// NewTable makes an empty Table.
func NewTable(c Config) *Table {
	tb := &Table{now: c.Now, users: make(map[uint32]*user)}
	if tb.now == nil {
		start := time.Now()
		tb.now = func() time.Duration { return time.Since(start) }
	}
	tb.ids.max = c.MaxPID
	if tb.ids.max <= 0 || tb.ids.max > MaxPID {
		tb.ids.max = 32768
	}
	tb.limits = DefaultLimits()
	if c.Limits != nil {
		tb.limits = *c.Limits
	}
	return tb
}

// CreateProcess makes a started process: init, which has id 1, without a
// parent; otherwise a child of parent as fork(2) makes it. prio is its nice
// value, -20 to 19. EAGAIN: no ids left, or the user's limit is reached.
func (tb *Table) CreateProcess(parent *Process, name string, prio int) (*Process, error) {
	if parent != nil {
		th, err := tb.Fork(parent.Leader(), CloneOptions{ExitSignal: unix.SIGCHLD})
		if err != nil {
			return nil, err
		}
		th.SetName(name)
		th.nice.Store(int32(clampNice(prio)))
		th.Start()
		return th.Process(), nil
	}
	tb.mu.Lock()
	if tb.init != nil {
		tb.mu.Unlock()
		return nil, unix.EEXIST
	}
	n, err := tb.ids.alloc(1)
	if err != nil {
		tb.mu.Unlock()
		return nil, err
	}
	p := &Process{table: tb, hand: newSigHand(), limits: &LimitSet{limits: tb.limits}, unkillable: true}
	p.dumpable.Store(1)
	th := p.newThread(n)
	th.creds.Store(RootCredentials())
	th.SetName(name)
	th.nice.Store(int32(clampNice(prio)))
	p.leader = th
	p.id.Store(1)
	tb.init = p
	s := &Session{id: n, leader: p}
	n.session = s
	tb.joinGroup(p, tb.newGroup(n, s))
	tb.mu.Unlock()
	tb.chargeThread(th.Credentials().RUID, 1)
	th.Start()
	return p, nil
}

func clampNice(n int) int { return max(-20, min(19, n)) }

// Init returns the root of the hierarchy, nil before there is one.
func (tb *Table) Init() *Process {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return tb.init
}

// GetThread returns the thread with an id, nil if there is none (or if it is not
// started yet).
func (tb *Table) GetThread(tid int) *Thread {
	n := tb.ids.get(tid)
	if n == nil {
		return nil
	}
	th := n.thread.Load()
	if th == nil || th.State() == New {
		return nil
	}
	return th
}

// GetProcess returns the process with an id, zombies included; nil if there is
// none.
func (tb *Table) GetProcess(pid int) *Process {
	th := tb.GetThread(pid)
	if th == nil || th.p.ID() != pid {
		return nil
	}
	return th.p
}

// Getpid returns the caller's process id (getpid(2)).
func (tb *Table) Getpid(t *Thread) int { return t.p.ID() }

// Getppid returns the id of the caller's parent (getppid(2)).
func (tb *Table) Getppid(t *Thread) int { return t.p.ParentID() }

// ProcessCount returns how many processes there are, zombies included.
func (tb *Table) ProcessCount() int { return int(tb.processes.Load()) }

// ThreadCount returns how many threads there are.
func (tb *Table) ThreadCount() int { return int(tb.threads.Load()) }

// Forks returns how many processes and threads were made so far.
func (tb *Table) Forks() uint64 { return tb.forks.Load() }

// LastPID returns the id that was given last.
func (tb *Table) LastPID() int { return int(tb.lastPID.Load()) }

// Info is a process in a listing.
type Info struct {
	PID, Parent, Group, Session int
	Name                        string
	State                       State
	Priority                    int // nice value
	Threads                     int
}

// ListProcesses returns all processes by id.
func (tb *Table) ListProcesses() []Info {
	var out []Info
	tb.ForEach(func(p *Process) {
		out = append(out, Info{
			PID: p.ID(), Parent: p.ParentID(), Group: p.GroupID(), Session: p.SessionID(),
			Name: p.Leader().Name(), State: p.State(), Priority: p.Leader().Nice(), Threads: len(p.Threads()),
		})
	})
	return out
}

// ForEach calls fn for all processes by id, without a lock held: some may have
// ended meanwhile.
func (tb *Table) ForEach(fn func(*Process)) {
	tb.mu.Lock()
	var all []*Process
	if tb.init != nil {
		all = append(all, tb.init)
		for i := 0; i < len(all); i++ {
			for c := all[i].children.first; c != nil; c = c.sibling.next {
				if c.started {
					all = append(all, c)
				}
			}
		}
	}
	tb.mu.Unlock()
	sort.Slice(all, func(i, j int) bool { return all[i].ID() < all[j].ID() })
	for _, p := range all {
		fn(p)
	}
}

// chargeThread counts a thread of a user.
func (tb *Table) chargeThread(uid uint32, n int) int {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	u := tb.user(uid)
	u.threads += n
	return u.threads
}

// chargePending counts a queued signal of a user, unless that makes more than
// limit.
func (tb *Table) chargePending(uid uint32, limit uint64) bool {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	u := tb.user(uid)
	if uint64(u.pending) >= limit {
		return false
	}
	u.pending++
	return true
}

func (tb *Table) dischargePending(uid uint32) {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	tb.user(uid).pending--
}

func (tb *Table) user(uid uint32) *user {
	u := tb.users[uid]
	if u == nil {
		u = new(user)
		tb.users[uid] = u
	}
	return u
}
