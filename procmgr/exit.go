package procmgr

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Exit makes the thread exit (_exit(2) of one thread): NextWork says so. status
// is a wait status; it is the process's if this is its last thread.
func (t *Thread) Exit(status uint32) {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.exitCode = status
	t.setPending(pendExit)
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

// FinishExit is a thread's last step (do_exit's end): its goroutine calls it when
// everything that the thread held is given back. With the last thread the process
// becomes a zombie, its children are passed on, and its parent is told. It returns
// the wait status of the process, and whether it was the last thread.
func (t *Thread) FinishExit() (status uint32, last bool) {
	p, tb := t.p, t.p.table
	t.releaseVfork()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	p.mu.Lock()
	t.setState(Zombie)
	if p.stopping != 0 && !t.stopSeen {
		p.countStopped()
	}
	p.remove(t)
	u := t.Usage()
	p.gone.Add(&u)
	n := t.IO()
	p.goneIO.add(&n)
	tb.ended.Add(&u)
	t.queue.removeAll(tb, ^SigSet(0))
	last = len(p.threads) == 0
	if last {
		status = t.exitCode
		if p.exiting {
			status = p.groupCode
		}
		p.exitStatus = status
		p.queue.removeAll(tb, ^SigSet(0))
	} else {
		// Signals that only this thread would have taken go to the others.
		if left := p.queue.set &^ t.mask; left != 0 {
			p.retarget(left)
		}
		if len(p.threads) == 1 && p.execAlone != nil {
			notify(p.execAlone)
		}
	}
	leader := p.leader == t
	p.mu.Unlock()

	tb.threads.Add(-1)
	tb.chargeThread(t.Credentials().RUID, -1)
	tb.forgetParentThread(t)
	if !leader {
		t.setState(Dead)
		n := t.id.Load()
		n.thread.Store(nil)
		tb.ids.release(n)
	}
	if last {
		tb.endProcess(p)
	}
	return status, last
}

// forgetParentThread is the end of t as a parent: children that asked for it are
// told, and belong to another thread of the process.
func (tb *Table) forgetParentThread(t *Thread) {
	for c := t.p.children.first; c != nil; c = c.sibling.next {
		if c.parentThread != t {
			continue
		}
		c.parentThread = nil
		tb.tellOfDeath(c)
	}
}

// tellOfDeath sends the parent death signals of c's threads.
func (tb *Table) tellOfDeath(c *Process) {
	for _, o := range c.Threads() {
		if sig := o.ParentDeathSignal(); sig != 0 && c.started {
			c.send(SigInfo{Signo: int32(sig), Code: SIKernel}, nil)
		}
	}
}

// endProcess makes p, which has no thread left, a zombie (exit_notify). Table.mu
// is held.
func (tb *Table) endProcess(p *Process) {
	p.zombie = true
	p.isEnded.Store(true)
	if p == tb.init {
		tb.killAll()
		return
	}
	tb.reparent(p)
	tb.leaveSession(p)
	// Groups that p's end orphans, its own among them, are told if they are
	// stopped.
	tb.checkOrphaned(p.group, p)

	parent := p.parent
	ignored := false
	if p.exitSignal == unix.SIGCHLD {
		act := parent.hand.get(unix.SIGCHLD)
		ignored = act.Handler == SigIgn || act.Flags&saNoCldWait != 0
	}
	p.ended.Notify(waiter.EventIn | waiter.EventHUp)
	if p.exitSignal != 0 {
		code, value := exitCode(p.exitStatus)
		u := p.Usage()
		parent.send(p.childInfo(p.exitSignal, code, value, &u), nil)
	}
	if ignored {
		tb.reap(p)
		parent.wakeWaiters() // ECHILD may be due
		return
	}
	parent.ready.add(p)
	parent.wakeWaiters()
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

// reparent passes p's children on to the nearest subreaper above, or to init
// (forget_original_parent).
func (tb *Table) reparent(p *Process) {
	if p.children.first == nil {
		return
	}
	to := tb.init
	for a := p.parent; a != nil; a = a.parent {
		if a.subreaper && !a.zombie {
			to = a
			break
		}
	}
	woken := false
	for c := p.children.first; c != nil; c = p.children.first {
		p.children.remove(c)
		p.ready.remove(c)
		if c.parentThread != nil {
			c.parentThread = nil
		}
		c.parent = to
		to.children.add(c)
		tb.tellOfDeath(c)
		if c.group != p.group {
			tb.checkOrphaned(c.group, p)
		}
		if !c.zombie {
			if c.report.stopped != 0 || c.report.continued {
				to.ready.add(c)
			}
			continue
		}
		// A zombie's new parent is told anew, with SIGCHLD.
		c.exitSignal = unix.SIGCHLD
		act := to.hand.get(unix.SIGCHLD)
		if act.Handler == SigIgn || act.Flags&saNoCldWait != 0 {
			tb.reap(c)
			continue
		}
		code, value := exitCode(c.exitStatus)
		u := c.Usage()
		to.ready.add(c)
		to.send(c.childInfo(unix.SIGCHLD, code, value, &u), nil)
		woken = true
	}
	if woken {
		to.wakeWaiters()
	}
}

// reap removes a zombie for good. Table.mu is held.
func (tb *Table) reap(p *Process) {
	p.leader.setState(Dead)
	p.parent.children.remove(p)
	p.parent.ready.remove(p)
	n := p.leader.id.Load()
	tb.leaveGroup(p)
	n.thread.Store(nil)
	tb.ids.release(n)
	tb.processes.Add(-1)
	p.hand.drop()
}

// killAll ends everything, as the end of a pid namespace's init does.
func (tb *Table) killAll() {
	all := []*Process{tb.init}
	for i := 0; i < len(all); i++ {
		for c := all[i].children.first; c != nil; c = c.sibling.next {
			all = append(all, c)
		}
	}
	for _, p := range all {
		p.mu.Lock()
		p.beginGroupExit(SignalStatus(unix.SIGKILL))
		p.mu.Unlock()
	}
}

// KillAll ends all processes; init itself is left to its owner.
func (tb *Table) KillAll() {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if tb.init != nil {
		tb.killAll()
	}
}
