package procmgr

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Exit makes the thread exit (_exit(2) of one thread): NextWork says so. status
// is a wait status; it is the process's if this is its last thread.
func (t *Thread) Exit(status uint32) {
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	t.exitCode = status
	t.setPending(pendExit)
	t.leave()
	// What was for this thread to take is for the others now.
	p.retarget(p.queue.set)
}

// ExitGroup makes all threads of the process exit (exit_group(2)). The status of
// the first caller counts.
func (t *Thread) ExitGroup(status uint32) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.p.beginGroupExit(status)
}

// ExitStatus returns the wait status that an exiting thread ends with: its own, or
// the one that its process was ended with.
func (t *Thread) ExitStatus() uint32 {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	if t.p.exiting {
		return t.p.groupCode
	}
	return t.exitCode
}

// ExitStatus returns the wait status of the process, and whether it has ended.
func (p *Process) ExitStatus() (status uint32, ended bool) {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	return p.exitStatus, p.zombie
}

// leave notes that the thread is on its way out. The status of the last one to
// leave is the process's (synchronize_group_exit). p.mu is held.
func (t *Thread) leave() {
	p := t.p
	if t.leaving {
		return
	}
	t.leaving = true
	if p.live--; p.live == 0 && !p.exiting {
		p.exiting, p.groupCode = true, t.exitCode
	}
}

// beginGroupExit makes all threads exit; the first status counts (do_group_exit).
// p.mu is held, and Table.mu if the process may be stopped.
func (p *Process) beginGroupExit(status uint32) {
	if p.exiting {
		return
	}
	p.exiting = true
	p.groupCode = status
	if p.stopped {
		// A stop that the parent did not hear of is no news any more.
		p.report.stopped, p.report.continued = 0, false
		p.unreport()
	}
	p.endStop()
	for _, t := range p.threads {
		t.setPending(pendExit)
		t.leave()
		t.wake()
	}
}

// FinishExit is a thread's last step (do_exit's end): its goroutine calls it when
// everything that the thread held is given back. With the last thread the process
// becomes a zombie, its children are passed on, and its parent is told. It returns
// the wait status of the process, and whether it was the last thread. The init of a
// pid namespace below the root ends last of all there: FinishExit waits for that.
func (t *Thread) FinishExit() (status uint32, last bool) {
	p, tb := t.p, t.p.table
	t.releaseVfork()
	t.usage.settle()
	t.releaseSlot()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if len(p.threads) == 1 && p.id.ns.init == p {
		tb.endNamespace(t)
	}
	p.mu.Lock()
	t.leave()
	t.setState(Zombie)
	t.runner.Store(nil)
	p.remove(t)
	t.endsStop()
	u := t.Usage()
	p.gone.Add(&u)
	n := t.IO()
	p.goneIO.add(&n)
	tb.ended.Add(&u)
	t.queue.removeAll(tb, ^SigSet(0))
	last = len(p.threads) == 0
	if last {
		status = p.groupCode
		p.exitStatus = status
		p.queue.removeAll(tb, ^SigSet(0))
	} else {
		p.retarget(p.queue.set)
		if len(p.threads) == 1 && p.execAlone != nil {
			p.execer.tellOn(p.execAlone)
		}
	}
	leader := p.leader == t
	p.mu.Unlock()

	tb.threads.Add(-1)
	tb.endTracer(t)
	kept := !leader && tb.keepForTracer(t)
	if last {
		tb.endProcess(t)
	} else {
		tb.passOn(t, p.heir())
	}
	if !leader && !kept {
		t.setState(Dead)
		t.release()
	}
	return status, last
}

// heir returns the thread that takes over the children of one that ended: one that
// lives on, if there is one.
func (p *Process) heir() *Thread {
	for _, t := range p.threads {
		if t.pending.Load()&pendExit == 0 && t.State() != New {
			return t
		}
	}
	for _, t := range p.threads {
		if t.State() != New {
			return t
		}
	}
	return nil
}

// reaper returns the thread that p's orphans go to: one of the nearest subreaper
// above, in the same pid namespace, or of the namespace's init (find_new_reaper).
// nil: there is none any more.
func (tb *Table) reaper(p *Process) *Thread {
	ns := p.id.ns
	if tb.subreapers > 0 {
		for a := p.parent; a != nil && a.id.ns == ns; a = a.parent {
			if a.subreaper {
				if t := a.heir(); t != nil {
					return t
				}
			}
		}
	}
	for ; ns != nil; ns = ns.parent {
		if ns.init != nil && ns.init != p {
			if t := ns.init.heir(); t != nil {
				return t
			}
		}
	}
	return nil
}

// passOn gives the children of a thread that ended to another (nil: to nobody), and
// sends the parent death signals that they asked for (forget_original_parent).
func (tb *Table) passOn(from, to *Thread) {
	news := false
	for c := from.children.first; c != nil; c = from.children.first {
		tb.disown(c)
		c.parent, c.parentThread = nil, nil
		if to != nil {
			tb.adopt(c, to)
		}
		tb.tellOfDeath(c, from)
		switch {
		case to != nil && to.p == from.p:
			c.reportAgain()
			continue
		case c.hidden():
		case c.zombie:
			// The new parent is told anew.
			c.setExitSignal(unix.SIGCHLD)
			if tb.tellEnd(c) {
				tb.reap(c)
				continue
			}
		default:
			c.setExitSignal(unix.SIGCHLD)
			c.reportAgain()
		}
		news = news || c.report.queue != nil
		tb.checkOrphaned(c, from.p)
	}
	if news {
		to.p.wakeWaiters(nil)
	}
}

// reportAgain puts c into the queue of a new parent that it belongs into.
func (c *Process) reportAgain() {
	switch {
	case c.parent == nil:
	case c.hidden():
	case c.zombie:
		c.parent.exits.add(c)
	case c.report.stopped != 0 || c.report.continued:
		c.parent.changes.add(c)
	}
}

// tellOfDeath sends the parent death signals of c's threads: their parent has ended
// (PR_SET_PDEATHSIG). The signal comes from it.
func (tb *Table) tellOfDeath(c *Process, parent *Thread) {
	for _, o := range c.threads {
		c.mu.Lock()
		sig := o.deathSig
		c.mu.Unlock()
		if sig != 0 && parent.mayKill(o, sig) {
			c.sendFrom(parent, userInfo(parent, sig, SIUser), nil)
		}
	}
}

// endProcess makes p, the last thread of which is t, a zombie (exit_notify).
// Table.mu is held.
func (tb *Table) endProcess(t *Thread) {
	p := t.p
	p.zombie = true
	p.setSubreaper(false)
	p.isEnded.Store(true)
	if p == tb.root.init {
		tb.root.dying = true
		tb.killAll(&tb.root)
	}
	tb.leaveSession(p)
	tb.passOn(t, tb.reaper(p))
	tb.checkOrphaned(p, nil)
	p.ended.Notify(waiter.EventIn | waiter.EventHUp)
	switch {
	case p == tb.root.init: // its owner knows
	case p.hidden():
		tb.tellTracerEnd(p)
	case p.parent == nil:
		tb.reap(p)
	case tb.tellEnd(p):
		p.parent.wakeWaiters(p) // ECHILD may be due
		tb.reap(p)
	default:
		p.parent.wakeWaiters(p)
	}
}

// tellEnd tells the parent that p has ended: by a signal, and for Wait. It reports
// whether the parent does not want to hear of it, so that p is to be reaped at once
// (do_notify_parent).
func (tb *Table) tellEnd(p *Process) (ignored bool) {
	parent := p.parent
	if parent == nil || parent.id.ns.dying && parent.id.ns.init == parent {
		return true
	}
	sig := p.exitSignal
	// A program that the parent executed since did not ask for another signal.
	if sig != unix.SIGCHLD && p.parentExecs != parent.execs {
		sig = unix.SIGCHLD
	}
	if sig == unix.SIGCHLD {
		act := parent.hand.get(unix.SIGCHLD)
		ignored = act.Handler == SigIgn || act.Flags&saNoCldWait != 0
		if act.Handler == SigIgn {
			sig = 0
		}
	}
	if sig != 0 && validSignal(sig) {
		code, value := exitCode(p.exitStatus)
		u := p.Usage()
		parent.send(p.childInfo(sig, code, value, &u), nil)
	}
	if !ignored {
		parent.exits.add(p)
	}
	return ignored
}

// release gives back the id of a thread that has ended, and its place among those of
// the user: a zombie has both.
func (t *Thread) release() {
	t.p.table.chargeThread(t.user, -1)
	t.id.Load().detach()
}

// exitCode turns a wait status into si_code and si_status.
func exitCode(status uint32) (code, value int32) {
	if sig := status & 0x7f; sig != 0 {
		if status&0x80 != 0 {
			return CLDDumped, int32(sig)
		}
		return CLDKilled, int32(sig)
	}
	return CLDExited, int32(status >> 8 & 0xff)
}

// reap removes a zombie for good (release_task). Table.mu is held.
func (tb *Table) reap(p *Process) {
	p.untrace()
	p.leader.setState(Dead)
	tb.disown(p)
	p.parent, p.parentThread = nil, nil
	tb.leaveGroup(p)
	p.leader.release()
	tb.processes.Add(-1)
	p.hand.drop()
}

// endNamespace ends everything in the pid namespace of init, whose last thread t is,
// and waits until it is gone (zap_pid_ns_processes). Table.mu is held, but not
// meanwhile. The root's end is not waited for: its owner does that.
func (tb *Table) endNamespace(t *Thread) {
	ns := t.p.id.ns
	if ns == &tb.root {
		return
	}
	ns.dying = true
	tb.killAll(ns)
	for c := t.p.exits.first(); c != nil; c = t.p.exits.first() {
		tb.reap(c)
	}
	own := 1
	if t != t.p.leader {
		own = 2 // the leader has ended, and keeps its id
	}
	t.setState(Blocked)
	for ns.threads > own {
		tb.mu.Unlock()
		<-ns.fewer
		tb.mu.Lock()
	}
	t.setState(Ready)
	t.setState(Running)
}

// killAll ends all processes of a pid namespace. Table.mu is held.
func (tb *Table) killAll(ns *PIDNamespace) {
	ns.ids.each(func(n *id) {
		if t := n.thread.Load(); t != nil && t.p.id == n {
			t.p.mu.Lock()
			t.p.beginGroupExit(SignalStatus(unix.SIGKILL))
			t.p.mu.Unlock()
		}
	})
}

// KillAll ends all processes, init as well.
func (tb *Table) KillAll() {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.killAll(&tb.root)
}
