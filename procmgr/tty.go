package procmgr

import (
	"golang.org/x/sys/unix"
)

// Terminal is a terminal as far as sessions and process groups are concerned (the
// ctrl part of Linux's struct tty_struct): whose controlling terminal it is, and
// which group is in its foreground. The zero value is nobody's.
type Terminal struct {
	// Device is the terminal itself. It is for whoever finds the Terminal of a
	// process (/dev/tty); procmgr only keeps it.
	Device any
	// Number is the device number that /proc/PID/stat shows.
	Number uint64

	control *control // nil: nobody's; Table.mu
}

// control ties a session to its controlling terminal, from the time it gets it
// until it loses it. Processes inherit it, and one that is lost stays so: who
// inherited it does not get the terminal back when the session does. It is under
// Table.mu.
type control struct {
	terminal *Terminal // nil: lost
	session  *session
	front    *id // the foreground group, which may be gone; nil: none
}

// setFront changes the foreground group.
func (tb *Table) setFront(c *control, n *id) {
	old := c.front
	c.front = n
	if n != nil {
		n.fronts++
	}
	if old != nil {
		old.fronts--
		old.release()
	}
}

// terminal returns p's controlling terminal (signal_struct.tty).
func (p *Process) terminal() *Terminal {
	if p.control == nil {
		return nil
	}
	return p.control.terminal
}

// lose takes the terminal from the session, all processes of which are without one
// then (session_clear_tty).
func (tb *Table) lose(c *control) {
	c.terminal.control = nil
	c.terminal = nil
	tb.setFront(c, nil)
}

func (tb *Table) gain(p *Process, term *Terminal) {
	c := &control{terminal: term, session: p.group.session}
	term.control, p.control = c, c
	tb.setFront(c, p.group.id)
}

// TerminalOf returns the controlling terminal of p, nil if it has none.
func (tb *Table) TerminalOf(p *Process) *Terminal {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return p.terminal()
}

// TerminalStat returns what /proc/PID/stat shows of p's controlling terminal: the
// number, 0 for none, and the foreground group's id in the root pid namespace, -1 for
// none.
func (tb *Table) TerminalStat(p *Process) (number uint64, foreground int) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	term := p.terminal()
	if term == nil {
		return 0, -1
	}
	if n := p.control.front; n != nil {
		return term.Number, n.nr
	}
	return term.Number, 0
}

// OfferTerminal is an open(2) of a terminal without O_NOCTTY: it becomes p's
// controlling terminal if p leads a session that has none, and it is nobody's
// (tty_open_proc_set_tty).
func (tb *Table) OfferTerminal(p *Process, term *Terminal) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if p.group != nil && p.group.session.leader == p && p.terminal() == nil && term.control == nil {
		tb.gain(p, term)
	}
}

// SetTerminal makes term the controlling terminal of p's session, with p's group in
// the foreground (TIOCSCTTY). steal takes it from the session that has it. EPERM: p
// leads no session, or has another terminal; or somebody else has this one.
func (tb *Table) SetTerminal(p *Process, term *Terminal, steal bool) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	leads := p.group != nil && p.group.session.leader == p
	if leads && term.control != nil && term.control.session == p.group.session {
		return nil
	}
	if !leads || p.terminal() != nil {
		return unix.EPERM
	}
	if term.control != nil {
		if !steal {
			return unix.EPERM
		}
		tb.lose(term.control)
	}
	tb.gain(p, term)
	return nil
}

// LeaveTerminal gives up p's controlling terminal, if it is term (TIOCNOTTY): ENOTTY.
// If p leads the session, the whole session loses it, and the foreground group gets
// SIGHUP and SIGCONT.
func (tb *Table) LeaveTerminal(p *Process, term *Terminal) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if p.terminal() != term {
		return unix.ENOTTY
	}
	c := p.control
	if p.group.session.leader == p {
		if c.front != nil && c.front.group != nil {
			tb.hangUp(c.front.group)
		}
		tb.lose(c)
	}
	p.control = nil
	return nil
}

// leaveSession is the end of a session leader: the foreground group gets SIGHUP, and
// the session loses its terminal (disassociate_ctty).
func (tb *Table) leaveSession(p *Process) {
	s := p.group.session
	if s.leader != p {
		return
	}
	s.leader = nil
	old := p.oldControl
	p.oldControl = nil
	if term := p.terminal(); term != nil {
		if n := p.control.front; n != nil && n.group != nil {
			n.group.signal(unix.SIGHUP)
		}
		tb.lose(p.control)
	} else if old != nil && old.front != nil && old.front.group != nil {
		tb.hangUp(old.front.group)
	}
	if old != nil {
		tb.setFront(old, nil)
	}
}

// HangUp is the end of a terminal's connection: its session loses it, the session's
// leader gets SIGHUP and SIGCONT (tty_signal_session_leader). The foreground group
// gets them when the leader ends.
func (tb *Table) HangUp(term *Terminal) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	c := term.control
	if c == nil {
		return
	}
	front := c.front
	if front != nil {
		front.fronts++ // so that lose does not release it
	}
	tb.lose(c)
	if p := c.session.leader; p != nil && p.control == c {
		p.signal(unix.SIGHUP)
		p.signal(unix.SIGCONT)
		if p.oldControl != nil {
			tb.setFront(p.oldControl, nil)
		}
		p.control, p.oldControl = nil, c
		tb.setFront(c, front)
	}
	if front != nil {
		front.fronts--
		front.release()
	}
}

// Foreground returns the id of the terminal's foreground group in a pid namespace, 0 if
// there is none.
func (ns *PIDNamespace) Foreground(term *Terminal) int {
	ns.table.mu.Lock()
	defer ns.table.mu.Unlock()
	if c := term.control; c != nil && c.front != nil {
		return c.front.in(ns)
	}
	return 0
}

// Foreground returns the id of the terminal's foreground group, 0 if there is none.
func (tb *Table) Foreground(term *Terminal) int { return tb.root.Foreground(term) }

// TerminalSession returns the id of the session that term controls in a pid namespace
// (TIOCGSID), 0 if there is none.
func (ns *PIDNamespace) TerminalSession(term *Terminal) int {
	ns.table.mu.Lock()
	defer ns.table.mu.Unlock()
	if c := term.control; c != nil {
		return c.session.id.in(ns)
	}
	return 0
}

// TerminalSession returns the id of the session that term controls, 0 if there is
// none.
func (tb *Table) TerminalSession(term *Terminal) int { return tb.root.TerminalSession(term) }

// SetForeground puts a group of p's session into the foreground of its controlling
// terminal (TIOCSPGRP). EINVAL, ESRCH: no group or process has this id. ENOTTY: term
// is not p's controlling terminal. EPERM: a group of another session.
func (tb *Table) SetForeground(p *Process, term *Terminal, pgid int) error {
	if pgid < 0 {
		return unix.EINVAL
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if p.terminal() != term || p.control.session != p.group.session {
		return unix.ENOTTY
	}
	n := p.id.ns.ids.get(pgid)
	if n == nil {
		return unix.ESRCH
	}
	g := n.group
	if g == nil {
		// "session_of_pgrp": a process that could lead a group will do.
		if th := n.thread.Load(); th != nil {
			g = th.p.group
		}
	}
	if g == nil || g.session != p.group.session {
		return unix.EPERM
	}
	tb.setFront(p.control, n)
	return nil
}

// CheckTerminal is asked before t changes its controlling terminal (sig is SIGTTOU),
// writes to it with TOSTOP (SIGTTOU), or reads from it (SIGTTIN). If t is not in the
// foreground group, its own group gets sig, and the answer is ErrInterrupted: the
// call is to begin anew once that is dealt with. A signal that t blocks or ignores is
// not sent: then a read answers EIO, and anything else is allowed. EIO, too, if the
// group is orphaned, so that nobody could ever continue it (__tty_check_change). A
// terminal that is not t's controlling one may be used by anybody.
func (tb *Table) CheckTerminal(t *Thread, term *Terminal, sig unix.Signal) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	p := t.p
	if !p.inBackground(term) {
		return nil
	}
	p.mu.Lock()
	ignored := t.mask.Has(sig) || p.hand.get(sig).Handler == SigIgn
	p.mu.Unlock()
	switch {
	case ignored && sig == unix.SIGTTIN:
		return unix.EIO
	case ignored:
		return nil
	case p.group.orphaned(nil):
		return unix.EIO
	}
	p.group.signal(sig)
	// Another thread may take the signal; this one has to begin anew all the same.
	p.mu.Lock()
	t.setPending(pendSignal)
	p.mu.Unlock()
	return ErrInterrupted
}

// InBackground reports whether term is t's controlling terminal, and another group in
// its foreground.
func (tb *Table) InBackground(t *Thread, term *Terminal) bool {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return t.p.inBackground(term)
}

func (p *Process) inBackground(term *Terminal) bool {
	return p.terminal() == term && p.control.front != nil && p.group != nil && p.control.front != p.group.id
}

// SignalForeground sends a signal from the kernel to the foreground group of term.
func (tb *Table) SignalForeground(term *Terminal, sig unix.Signal) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if c := term.control; c != nil && c.front != nil && c.front.group != nil {
		c.front.group.signal(sig)
	}
}

// ActAsShell says whether init stands for a shell outside that can continue the
// sandbox's jobs: groups of its session that are its children are not orphaned then.
func (tb *Table) ActAsShell(init *Process, on bool) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	init.shell = on
}

// signal sends a signal from the kernel. Table.mu is held.
func (p *Process) signal(sig unix.Signal) {
	p.send(SigInfo{Signo: int32(sig), Code: SIKernel}, nil)
}

// signal sends a signal from the kernel to all processes of the group.
func (g *group) signal(sig unix.Signal) {
	for p := g.members.first; p != nil; p = p.peer.next {
		p.signal(sig)
	}
}
