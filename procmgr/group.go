package procmgr

import (
	"golang.org/x/sys/unix"
)

// group is a process group: it lives as long as it has members, zombies included. It
// is under Table.mu.
type group struct {
	id      *id
	session *session
	members list[Process]
	size    int
}

// session is a session: process groups that share a controlling terminal. It is
// under Table.mu.
type session struct {
	id     *id
	leader *Process // nil once it is gone
	groups int
}

func (tb *Table) newGroup(n *id, s *session) *group {
	g := &group{id: n, session: s}
	n.group = g
	s.groups++
	return g
}

func (tb *Table) joinGroup(p *Process, g *group) {
	p.group = g
	g.members.add(p, peer)
	g.size++
}

func (tb *Table) leaveGroup(p *Process) {
	g := p.group
	if g == nil {
		return
	}
	g.members.remove(p, peer)
	g.size--
	p.group = nil
	if g.members.first != nil {
		return
	}
	s := g.session
	g.id.group = nil
	if s.groups--; s.groups == 0 {
		s.id.session = nil
	}
	g.id.release()
	if s.groups == 0 && s.id != g.id {
		s.id.release()
	}
}

// group returns the group with an id.
func (ns *PIDNamespace) group(pgid int) *group {
	if n := ns.ids.get(pgid); n != nil {
		return n.group
	}
	return nil
}

// processes returns the members that are started.
func (g *group) processes() []*Process {
	out := make([]*Process, 0, g.size)
	for p := g.members.first; p != nil; p = p.peer.next {
		if p.started {
			out = append(out, p)
		}
	}
	return out
}

// GroupID returns the id of the process group in the root namespace, 0 once the
// process is gone.
func (p *Process) GroupID() int { return p.GroupIDIn(&p.table.root) }

// GroupIDIn returns the id of the process group in a namespace, 0 if it is not
// visible there.
func (p *Process) GroupIDIn(ns *PIDNamespace) int {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	if p.group == nil {
		return 0
	}
	return p.group.id.in(ns)
}

// SessionID returns the id of the session in the root namespace, 0 once the process
// is gone.
func (p *Process) SessionID() int { return p.SessionIDIn(&p.table.root) }

// SessionIDIn returns the id of the session in a namespace, 0 if it is not visible
// there.
func (p *Process) SessionIDIn(ns *PIDNamespace) int {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	if p.group == nil {
		return 0
	}
	return p.group.session.id.in(ns)
}

// target finds the process that a call of caller's means: 0 is itself. nil: there is
// none.
func (tb *Table) target(caller *Process, pid int) *Process {
	p := caller
	if pid != 0 {
		th := caller.id.ns.GetThread(pid)
		if th == nil {
			return nil
		}
		p = th.p
	}
	if p.group == nil {
		return nil
	}
	return p
}

// Getpgid is getpgid(2); pid 0 is the caller. Ids are those of its pid namespace.
// ESRCH.
func (tb *Table) Getpgid(caller *Process, pid int) (int, error) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	p := tb.target(caller, pid)
	if p == nil {
		return 0, unix.ESRCH
	}
	return p.group.id.in(caller.id.ns), nil
}

// Getsid is getsid(2); pid 0 is the caller. Ids are those of its pid namespace.
// ESRCH.
func (tb *Table) Getsid(caller *Process, pid int) (int, error) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	p := tb.target(caller, pid)
	if p == nil {
		return 0, unix.ESRCH
	}
	return p.group.session.id.in(caller.id.ns), nil
}

// Setpgid is setpgid(2): it moves a process (0: the caller) into a group of its
// session, a new one if pgid is its own id, or 0. Ids are those of the caller's pid
// namespace. EINVAL: no such id can be, or pid is a thread. ESRCH: neither the caller
// nor a child. EACCES: a child that executed a program. EPERM: a session leader, or
// another session.
func (tb *Table) Setpgid(caller *Process, pid, pgid int) error {
	if pgid == 0 {
		pgid = pid
	}
	if pgid < 0 {
		return unix.EINVAL
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	ns := caller.id.ns
	p := tb.target(caller, pid)
	switch {
	case p == nil:
		return unix.ESRCH
	case pid != 0 && ns.ids.get(pid) != p.id:
		return unix.EINVAL // a thread, not a process
	case p == caller:
	case p.parent != caller:
		return unix.ESRCH
	case p.group.session != caller.group.session:
		return unix.EPERM
	case p.hadExec:
		return unix.EACCES
	}
	s := p.group.session
	if s.leader == p {
		return unix.EPERM
	}
	g := p.id.group
	if pgid != 0 && pgid != p.id.in(ns) {
		if g = ns.group(pgid); g == nil || g.session != caller.group.session {
			return unix.EPERM
		}
	}
	if g == nil {
		g = tb.newGroup(p.id, s)
	}
	if g != p.group {
		tb.leaveGroup(p)
		tb.joinGroup(p, g)
	}
	return nil
}

// Setsid is setsid(2): p leads a new session and a new group, without a terminal.
// It returns the id in p's pid namespace. EPERM: p leads a session, or a group with its
// id exists.
func (tb *Table) Setsid(p *Process) (int, error) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	n := p.id
	if p.group.session.leader == p || n.group != nil {
		return 0, unix.EPERM
	}
	s := &session{id: n, leader: p}
	n.session = s
	g := tb.newGroup(n, s)
	tb.leaveGroup(p)
	tb.joinGroup(p, g)
	p.control = nil
	return n.own(), nil
}

// hangUp tells a group that nobody can continue it any more.
func (tb *Table) hangUp(g *group) {
	g.signal(unix.SIGHUP)
	g.signal(unix.SIGCONT)
}

// orphaned reports whether no member but without has a parent in another group of
// the session, who could continue it (will_become_orphaned_pgrp). Init is no such
// parent, unless it stands for one (ActAsShell).
func (g *group) orphaned(without *Process) bool {
	for p := g.members.first; p != nil; p = p.peer.next {
		if p == without || p.zombie || p.parent == nil || p.parent == p.table.root.init && !p.parent.shell {
			continue
		}
		if q := p.parent.group; !p.parent.zombie && q != nil && q != g && q.session == g.session {
			return false
		}
	}
	return true
}

// checkOrphaned sends SIGHUP and SIGCONT to p's group, if it is orphaned from now on
// and one of its processes is stopped (kill_orphaned_pgrp). Either p has ended, and
// the others have no other link to the rest of the session (parent is nil), or p's
// parent has.
func (tb *Table) checkOrphaned(p, parent *Process) {
	g, without := p.group, (*Process)(nil)
	if parent == nil {
		parent, without = p.parent, p
	}
	if g == nil || parent == nil || parent.group == nil || parent.group == g || parent.group.session != g.session {
		return
	}
	if !g.orphaned(without) {
		return
	}
	for m := g.members.first; m != nil; m = m.peer.next {
		m.mu.Lock()
		stopped := m.stopped
		m.mu.Unlock()
		if stopped {
			tb.hangUp(g)
			return
		}
	}
}
