package procmgr

import (
	"golang.org/x/sys/unix"
)

// WaitKind says which children a Wait is for.
type WaitKind uint8

const (
	WaitAny     WaitKind = iota // any child
	WaitPID                     // the one with the id ID
	WaitPGID                    // those in the process group ID; 0: the caller's
	WaitProcess                 // Process, if it is a child (P_PIDFD)
)

// WaitOptions are wait4(2)'s and waitid(2)'s. Ids are those of the caller's pid
// namespace.
type WaitOptions struct {
	Kind    WaitKind
	ID      int
	Process *Process
	Options int // WNOHANG, WEXITED, WSTOPPED (WUNTRACED), WCONTINUED, WNOWAIT, __WALL, __WCLONE, __WNOTHREAD
}

// WaitResult is what happened to a child. PID 0: nothing yet (WNOHANG).
type WaitResult struct {
	PID        int // in the caller's pid namespace
	UID        uint32
	Code       int32  // CLD_*
	Status     int32  // exit code or signal, as si_status
	WaitStatus uint32 // as wait4(2) stores it
	// Rusage is what the child used, and the children that it waited for.
	Rusage Rusage
}

// waiting is a thread's Wait that goes on. It is under Table.mu.
type waiting struct {
	links links[Thread] // in Process.waiters
	query query
	ch    chan struct{} // made when first used
}

// query is a WaitOptions, looked up.
type query struct {
	kind    WaitKind
	id      *id // of the group
	process *Process
	one     *id // of the one that it is for
	options int
}

func (q *query) has(option int) bool { return q.options&option != 0 }

// Wait waits for a child to end, stop or go on, and collects it (do_wait): it
// takes it from a queue, so that the other children cost nothing. Of several that
// have something to tell, the one that is a child for the longest time comes first.
//
// ECHILD: there is none to wait for. EINVAL: Options names no event. ErrInterrupted: a
// signal came first.
func (t *Thread) Wait(o WaitOptions) (WaitResult, error) {
	if o.Options&(unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED) == 0 {
		return WaitResult{}, unix.EINVAL
	}
	p, tb := t.p, t.p.table
	tb.mu.Lock()
	defer tb.mu.Unlock()
	q, ok := t.lookUp(&o)
	// An interrupted wait looks once more: the signal may be the SIGCHLD of the
	// child that it is for.
	var interrupted error
	for {
		if !ok {
			return WaitResult{}, unix.ECHILD
		}
		if t.p.tracees.first != nil {
			if r, ok := t.takeTracee(&q); ok {
				return r, nil
			}
		}
		if c := t.find(&q); c != nil {
			return t.take(c, &q), nil
		}
		if !t.hasChild(&q) && !t.hasTracee(&q) {
			return WaitResult{}, unix.ECHILD
		}
		if q.has(unix.WNOHANG) {
			return WaitResult{}, nil
		}
		if interrupted != nil {
			return WaitResult{}, interrupted
		}
		if t.wait.ch == nil {
			t.wait.ch = make(chan struct{}, 1)
		}
		t.wait.query = q
		p.waiters.add(t, waiterLinks)
		tb.mu.Unlock()
		interrupted = t.Block(t.wait.ch, noDeadline)
		tb.mu.Lock()
		p.waiters.remove(t, waiterLinks)
	}
}

// Waitpid waits as wait4(2) does, by its own numbers: pid > 0 is a child, -1 any, 0
// those of the caller's process group, below -1 those of group -pid. EINVAL: an
// unknown option. ESRCH: pid is the lowest number there is, which has no opposite.
// Otherwise see Wait.
func (t *Thread) Waitpid(pid, options int) (WaitResult, error) {
	if options&^(unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED|unix.WNOTHREAD|unix.WCLONE|unix.WALL) != 0 {
		return WaitResult{}, unix.EINVAL
	}
	o := WaitOptions{Options: options | unix.WEXITED}
	switch {
	case pid == -1<<31:
		return WaitResult{}, unix.ESRCH
	case pid < -1:
		o.Kind, o.ID = WaitPGID, -pid
	case pid == -1:
	case pid == 0:
		o.Kind = WaitPGID
	default:
		o.Kind, o.ID = WaitPID, pid
	}
	return t.Wait(o)
}

// lookUp finds what the options mean. It reports false if there is no such id: no
// child can ever have it.
func (t *Thread) lookUp(o *WaitOptions) (query, bool) {
	q := query{kind: o.Kind, process: o.Process, options: o.Options}
	ids := &t.Namespace().ids
	switch o.Kind {
	case WaitPID:
		n := ids.get(o.ID)
		if n == nil {
			return q, false
		}
		// A thread that is traced can be waited for, too.
		q.kind, q.process, q.one = WaitProcess, n.process.Load(), n
		return q, q.process != nil || t.p.tracees.first != nil
	case WaitProcess:
		q.one = o.Process.id
		return q, true
	case WaitPGID:
		if o.ID == 0 {
			q.id = t.p.group.id
		} else {
			q.id = ids.get(o.ID)
		}
		return q, q.id != nil
	}
	return q, true
}

// wakeWaiters makes the threads in Wait look again that are concerned by what
// happened to c, or all (nil). Table.mu is held.
func (p *Process) wakeWaiters(c *Process) {
	for t := p.waiters.first; t != nil; t = t.wait.links.next {
		if c == nil || t.eligible(c, &t.wait.query) {
			t.tellOn(t.wait.ch)
		}
	}
}

// eligible reports whether a wait of t's is for c (eligible_child).
func (t *Thread) eligible(c *Process, q *query) bool {
	switch {
	case !c.started || c.parent != t.p,
		q.kind == WaitProcess && c != q.process,
		q.kind == WaitPGID && (c.group == nil || c.group.id != q.id),
		q.has(unix.WNOTHREAD) && c.parentThread != t:
		return false
	}
	if q.has(unix.WALL) {
		return true
	}
	// __WCLONE children are those that do not end with SIGCHLD.
	return (c.exitSignal != unix.SIGCHLD) == q.has(unix.WCLONE)
}

// everyone reports whether the wait is for all children.
func (t *Thread) everyone(q *query) bool {
	return q.kind == WaitAny && !q.has(unix.WNOTHREAD) &&
		(q.has(unix.WALL) || !q.has(unix.WCLONE) && t.p.clones == 0)
}

// hasChild reports whether there is a child that the wait could ever return: one
// that it is for, and not a zombie if it is not for ends.
func (t *Thread) hasChild(q *query) bool {
	could := func(c *Process) bool {
		return t.eligible(c, q) && (!c.zombie || q.has(unix.WEXITED))
	}
	if q.kind == WaitProcess {
		return q.process != nil && could(q.process)
	}
	if t.everyone(q) && q.has(unix.WEXITED) {
		return t.p.children > 0
	}
	if q.kind == WaitPGID {
		g := q.id.group
		if g == nil {
			return false
		}
		if g.size < t.p.children {
			for c := g.members.first; c != nil; c = c.peer.next {
				if could(c) {
					return true
				}
			}
			return false
		}
	}
	for _, o := range t.p.threads {
		for c := o.children.first; c != nil; c = c.sibling.next {
			if could(c) {
				return true
			}
		}
	}
	return false
}

// find returns the child that the wait is to collect, nil if there is none.
func (t *Thread) find(q *query) *Process {
	if c := q.process; q.kind == WaitProcess {
		if c != nil && t.eligible(c, q) && c.hasNews(q) {
			return c
		}
		return nil
	}
	c := t.findIn(&t.p.exits, q)
	if q.has(unix.WSTOPPED | unix.WCONTINUED) {
		if d := t.findIn(&t.p.changes, q); d != nil && (c == nil || d.seq < c.seq) {
			c = d
		}
	}
	return c
}

func (t *Thread) findIn(queue *reportQueue, q *query) *Process {
	if c := queue.first(); c == nil || c.hasNews(q) && t.eligible(c, q) {
		return c
	}
	var found *Process
	for _, c := range queue.items {
		if (found == nil || c.seq < found.seq) && c.hasNews(q) && t.eligible(c, q) {
			found = c
		}
	}
	return found
}

// hasNews reports whether something happened to c that the wait asks for.
func (c *Process) hasNews(q *query) bool {
	if c.zombie {
		return q.has(unix.WEXITED) && !c.hidden()
	}
	return c.report.stopped != 0 && q.has(unix.WSTOPPED) && !c.tracedBy(c.parent) || c.report.continued && q.has(unix.WCONTINUED)
}

// take reports c's end, stop or continuation, and unless it is to stay (WNOWAIT)
// collects it.
func (t *Thread) take(c *Process, q *query) WaitResult {
	keep := q.has(unix.WNOWAIT)
	r := WaitResult{PID: c.id.in(t.Namespace()), UID: c.seenBy(t.p), Rusage: c.Usage()}
	below := c.ChildrenUsage()
	r.Rusage.Add(&below)
	if c.zombie {
		r.WaitStatus = c.exitStatus
		r.Code, r.Status = exitCode(c.exitStatus)
		if !keep {
			t.p.mu.Lock()
			t.p.childUsage.Add(&r.Rusage)
			t.p.mu.Unlock()
			t.p.table.reap(c)
		}
		return r
	}
	if c.report.stopped != 0 && q.has(unix.WSTOPPED) && !c.tracedBy(c.parent) {
		r.WaitStatus = c.report.stopped
		r.Code, r.Status = CLDStopped, int32(c.report.stopped>>8)
		if !keep {
			c.report.stopped = 0
		}
	} else {
		r.WaitStatus = contStatus
		r.Code, r.Status = CLDContinued, int32(unix.SIGCONT)
		if !keep {
			c.report.continued = false
		}
	}
	if c.report.stopped == 0 && !c.report.continued {
		c.unreport()
	}
	return r
}
