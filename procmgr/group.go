package procmgr

import (
	"golang.org/x/sys/unix"
)

// Group is a process group. It is under Table.mu.
type Group struct {
	id      *id
	session *Session
	members memberList
}

// Session is a session: process groups that share a controlling terminal. It is
// under Table.mu.
type Session struct {
	id     *id
	leader *Process // nil once it is gone
	groups int
}

func (tb *Table) newGroup(n *id, s *Session) *Group {
	g := &Group{id: n, session: s}
	n.group = g
	s.groups++
	return g
}

func (tb *Table) joinGroup(p *Process, g *Group) {
	p.group = g
	g.members.add(p)
}

func (tb *Table) leaveGroup(p *Process) {
	g := p.group
	if g == nil {
		return
	}
	g.members.remove(p)
	p.group = nil
	if g.members.first != nil {
		return
	}
	s := g.session
	g.id.group = nil
	if s.groups--; s.groups == 0 {
		s.id.session = nil
	}
	tb.ids.release(g.id)
	if s.groups == 0 && s.id != g.id {
		tb.ids.release(s.id)
	}
}

// group returns the group with an id.
func (tb *Table) group(pgid int) *Group {
	if n := tb.ids.get(pgid); n != nil {
		return n.group
	}
	return nil
}

func (g *Group) processes() (out []*Process) {
	for p := g.members.first; p != nil; p = p.peer.next {
		if p.started {
			out = append(out, p)
		}
	}
	return out
}

// GroupID returns the id of the process group.
func (p *Process) GroupID() int {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	if p.group == nil {
		return 0
	}
	return p.group.id.nr
}

// SessionID returns the id of the session.
func (p *Process) SessionID() int {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	if p.group == nil {
		return 0
	}
	return p.group.session.id.nr
}

// target finds the process that a call of caller's means: 0 is itself.
func (tb *Table) target(caller *Process, pid int) *Process {
	if pid == 0 {
		return caller
	}
	if th := tb.GetThread(pid); th != nil && th.p.started {
		return th.p
	}
	return nil
}

// Getpgid is getpgid(2); pid 0 is the caller. ESRCH.
func (tb *Table) Getpgid(caller *Process, pid int) (int, error) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	p := tb.target(caller, pid)
	if p == nil || p.group == nil {
		return 0, unix.ESRCH
	}
	return p.group.id.nr, nil
}

// Getsid is getsid(2); pid 0 is the caller. ESRCH.
func (tb *Table) Getsid(caller *Process, pid int) (int, error) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	p := tb.target(caller, pid)
	if p == nil || p.group == nil {
		return 0, unix.ESRCH
	}
	return p.group.session.id.nr, nil
}

// Setpgid is setpgid(2): it moves a process (0: the caller) into a group of its
// session, a new one if pgid is its own id, or 0. EINVAL, ESRCH: neither the caller
// nor a child. EACCES: a child that executed a program. EPERM: a session leader, or
// another session.
func (tb *Table) Setpgid(caller *Process, pid, pgid int) error {
	if pgid < 0 {
		return unix.EINVAL
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	p := caller
	if pid != 0 && pid != caller.ID() {
		th := tb.GetThread(pid)
		if th == nil || !th.p.started || th.p.group == nil {
			return unix.ESRCH
		}
		if th.p.ID() != pid {
			return unix.EINVAL // a thread, not a process
		}
		p = th.p
		if p.parent != caller {
			return unix.ESRCH
		}
		if p.group.session != caller.group.session {
			return unix.EPERM
		}
		if p.hadExec {
			return unix.EACCES
		}
	}
	s := p.group.session
	if s.leader == p {
		return unix.EPERM
	}
	if pgid == 0 {
		pgid = p.ID()
	}
	g := tb.group(pgid)
	if pgid != p.ID() {
		if g == nil || g.session != caller.group.session {
			return unix.EPERM
		}
	}
	if g == nil {
		g = tb.newGroup(p.leader.id.Load(), s)
	}
	if g == p.group {
		return nil
	}
	tb.leaveGroup(p)
	tb.joinGroup(p, g)
	return nil
}

// Setsid is setsid(2): p leads a new session and a new group, without a terminal.
// EPERM: a group with its id exists.
func (tb *Table) Setsid(p *Process) (int, error) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	n := p.leader.id.Load()
	if p.group.session.leader == p || n.group != nil {
		return 0, unix.EPERM
	}
	s := &Session{id: n, leader: p}
	n.session = s
	g := tb.newGroup(n, s)
	tb.leaveGroup(p)
	tb.joinGroup(p, g)
	p.control = nil
	return n.nr, nil
}

func (tb *Table) hangUp(g *Group) {
	for _, p := range g.processes() {
		p.send(SigInfo{Signo: int32(unix.SIGHUP), Code: SIKernel}, nil)
		p.send(SigInfo{Signo: int32(unix.SIGCONT), Code: SIKernel}, nil)
	}
}

// orphaned reports whether no member but without has a parent in another group of
// the session, who could continue it (will_become_orphaned_pgrp). Init is no such
// parent, unless it stands for one (ActAsShell).
func (g *Group) orphaned(without *Process) bool {
	for p := g.members.first; p != nil; p = p.peer.next {
		if p == without || p.zombie || p.parent == nil || p.parent.unkillable && !p.parent.shell {
			continue
		}
		if q := p.parent.group; !p.parent.zombie && q != nil && q != g && q.session == g.session {
			return false
		}
	}
	return true
}

// checkOrphaned sends SIGHUP and SIGCONT to a group that exiting's end orphans, if
// one of its processes is stopped (kill_orphaned_pgrp).
func (tb *Table) checkOrphaned(g *Group, exiting *Process) {
	if g == nil || !g.orphaned(exiting) {
		return
	}
	// It was not orphaned before only if exiting made the difference.
	link := exiting.parent != nil && exiting.group == g && exiting.parent.group != g &&
		exiting.parent.group != nil && exiting.parent.group.session == g.session
	if exiting.group != g {
		link = exiting.group != nil && exiting.group.session == g.session
	}
	if !link {
		return
	}
	for p := g.members.first; p != nil; p = p.peer.next {
		p.mu.Lock()
		stopped := p.stopped
		p.mu.Unlock()
		if stopped && p != exiting {
			tb.hangUp(g)
			return
		}
	}
}
