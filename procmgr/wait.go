package procmgr

import (
	"golang.org/x/sys/unix"
)

// WaitKind says which children a Wait is for.
type WaitKind uint8

const (
	WaitAny  WaitKind = iota // any child
	WaitPID                  // the one with the id
	WaitPGID                 // those in the process group
)

// WaitOptions are wait4(2)'s and waitid(2)'s.
type WaitOptions struct {
	Kind    WaitKind
	ID      int
	Options int // WNOHANG, WEXITED, WSTOPPED (WUNTRACED), WCONTINUED, WNOWAIT, __WALL, __WCLONE, __WNOTHREAD
}

// WaitResult is what happened to a child. PID 0: nothing yet (WNOHANG).
type WaitResult struct {
	PID        int
	UID        uint32
	Code       int32  // CLD_*
	Status     int32  // exit code or signal, as si_status
	WaitStatus uint32 // as wait4(2) stores it
	Rusage     Rusage
}

// Wait waits for a child to end, stop or go on, and collects it (do_wait): it
// takes it from a queue, so that the other children cost nothing. ECHILD: there is
// none to wait for. ErrInterrupted: a signal came first.
func (t *Thread) Wait(o WaitOptions) (WaitResult, error) {
	p, tb := t.p, t.p.table
	if o.Options&(unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED) == 0 {
		return WaitResult{}, unix.EINVAL
	}
	if t.waitCh == nil {
		t.waitCh = make(chan struct{}, 1)
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	// An interrupted wait looks once more: the signal may be the SIGCHLD of the
	// child that it is for.
	var interrupted error
	for {
		if r, ok := t.collect(&o); ok {
			return r, nil
		}
		if !t.hasChild(&o) {
			return WaitResult{}, unix.ECHILD
		}
		if o.Options&unix.WNOHANG != 0 {
			return WaitResult{}, nil
		}
		if interrupted != nil {
			return WaitResult{}, interrupted
		}
		if p.waiters == nil {
			p.waiters = make(map[*Thread]struct{})
		}
		p.waiters[t] = struct{}{}
		tb.mu.Unlock()
		interrupted = t.Block(t.waitCh, noDeadline)
		tb.mu.Lock()
		delete(p.waiters, t)
	}
}

// Waitpid is wait4(2) by its own numbers for pid.
func (t *Thread) Waitpid(pid, options int) (WaitResult, error) {
	o := WaitOptions{Options: options | unix.WEXITED}
	switch {
	case pid < -1:
		o.Kind, o.ID = WaitPGID, -pid
	case pid == -1:
	case pid == 0:
		o.Kind, o.ID = WaitPGID, t.p.GroupID()
	default:
		o.Kind, o.ID = WaitPID, pid
	}
	return t.Wait(o)
}

// wakeWaiters makes all threads in Wait look again. Table.mu is held.
func (p *Process) wakeWaiters() {
	for t := range p.waiters {
		notify(t.waitCh)
	}
}

// eligible reports whether a wait of t's is for c (eligible_child).
func (t *Thread) eligible(c *Process, o *WaitOptions) bool {
	if !c.started {
		return false
	}
	switch o.Kind {
	case WaitPID:
		if c.ID() != o.ID {
			return false
		}
	case WaitPGID:
		if c.group == nil || c.group.id.nr != o.ID {
			return false
		}
	}
	if o.Options&unix.WNOTHREAD != 0 && c.parentThread != t {
		return false
	}
	if o.Options&unix.WALL != 0 {
		return true
	}
	// __WCLONE children are those that do not end with SIGCHLD.
	return (c.exitSignal != unix.SIGCHLD) == (o.Options&unix.WCLONE != 0)
}

// hasChild reports whether there is a child that the wait could ever return.
func (t *Thread) hasChild(o *WaitOptions) bool {
	if o.Kind == WaitPID {
		c := t.child(o.ID)
		return c != nil && t.eligible(c, o)
	}
	for c := t.p.children.first; c != nil; c = c.sibling.next {
		if t.eligible(c, o) {
			return true
		}
	}
	return false
}

// child returns the child with an id.
func (t *Thread) child(pid int) *Process {
	n := t.p.table.ids.get(pid)
	if n == nil {
		return nil
	}
	th := n.thread.Load()
	if th == nil || th.p.parent != t.p || th.p.ID() != pid {
		return nil
	}
	return th.p
}

// collect takes what there is to report.
func (t *Thread) collect(o *WaitOptions) (WaitResult, bool) {
	if o.Kind == WaitPID {
		if c := t.child(o.ID); c != nil && c.report.queued && t.eligible(c, o) {
			return t.take(c, o)
		}
		return WaitResult{}, false
	}
	for c := t.p.ready.first; c != nil; c = c.report.next {
		if t.eligible(c, o) {
			if r, ok := t.take(c, o); ok {
				return r, true
			}
		}
	}
	return WaitResult{}, false
}

// take reports c's end, stop or continuation, if the wait asks for it.
func (t *Thread) take(c *Process, o *WaitOptions) (WaitResult, bool) {
	keep := o.Options&unix.WNOWAIT != 0
	r := WaitResult{PID: c.ID(), UID: c.leader.Credentials().RUID}
	switch {
	case c.zombie && o.Options&unix.WEXITED != 0:
		r.WaitStatus = c.exitStatus
		r.Code, r.Status = exitCode(c.exitStatus)
		r.Rusage = c.Usage()
		if !keep {
			below := c.ChildrenUsage()
			total := r.Rusage
			total.Add(&below)
			t.p.mu.Lock()
			t.p.childUsage.Add(&total)
			t.p.mu.Unlock()
			t.p.table.reap(c)
		}
		return r, true
	case c.zombie:
		return r, false
	case c.report.stopped != 0 && o.Options&unix.WSTOPPED != 0:
		r.WaitStatus = c.report.stopped
		r.Code, r.Status = CLDStopped, int32(c.report.stopped>>8)
		if !keep {
			c.report.stopped = 0
		}
	case c.report.continued && o.Options&unix.WCONTINUED != 0:
		r.WaitStatus = contStatus
		r.Code, r.Status = CLDContinued, int32(unix.SIGCONT)
		if !keep {
			c.report.continued = false
		}
	default:
		return r, false
	}
	r.Rusage = c.Usage()
	if c.report.stopped == 0 && !c.report.continued {
		t.p.ready.remove(c)
	}
	return r, true
}
