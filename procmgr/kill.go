package procmgr

import (
	"golang.org/x/sys/unix"
)

// mayKill is kill(2)'s permission check (kill_ok_by_cred, and SIGCONT within a
// session). A nil sender is the kernel. Table.mu is held.
func (t *Thread) mayKill(target *Thread, sig unix.Signal) bool {
	if t == nil || target.p == t.p {
		return true
	}
	c, o := t.Credentials(), target.Credentials()
	if c.EUID == o.SUID || c.EUID == o.RUID || c.RUID == o.SUID || c.RUID == o.RUID || c.HasCapIn(o.UserNS, unix.CAP_KILL) {
		return true
	}
	g := target.p.group // nil: it is gone, but for a thread that a tracer has
	return sig == unix.SIGCONT && g != nil && g.session == t.p.group.session
}

func validSignal(sig unix.Signal) bool { return sig >= 0 && sig <= NumSignals }

// userInfo says that a thread sent a signal.
func userInfo(sender *Thread, sig unix.Signal, code int32) SigInfo {
	return SigInfo{Signo: int32(sig), Code: code, PID: int32(sender.p.id.own()), UID: sender.Credentials().RUID}
}

// Kill is kill(2): pid > 0 is a process, 0 the caller's group, -1 all but init
// and the caller, below that a group. Ids are those of the sender's pid namespace.
// Signal 0 only checks. A nil sender is the kernel, which may do everything. EINVAL,
// ESRCH, EPERM.
func (tb *Table) Kill(sender *Thread, pid int, sig unix.Signal) error {
	if sender == nil {
		return tb.killInfo(nil, pid, SigInfo{Signo: int32(sig), Code: SIKernel})
	}
	return tb.killInfo(sender, pid, userInfo(sender, sig, SIUser))
}

func (tb *Table) killInfo(sender *Thread, pid int, info SigInfo) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	ns := &tb.root
	if sender != nil {
		ns = sender.Namespace()
	}
	switch {
	case pid > 0:
		th := ns.GetThread(pid)
		if th == nil {
			return unix.ESRCH
		}
		return tb.sendChecked(sender, th, info, nil)
	case pid == -1:
		return tb.killEveryone(sender, ns, info)
	case pid == 0 && sender != nil:
		return tb.killGroup(sender, sender.p.group, info)
	}
	return tb.killGroup(sender, ns.group(-pid), info)
}

// killGroup sends a signal to all members of a group. One success is a success;
// otherwise the last failure counts (__kill_pgrp_info).
func (tb *Table) killGroup(sender *Thread, g *group, info SigInfo) error {
	if g == nil {
		return unix.ESRCH
	}
	err, sent := error(unix.ESRCH), false
	for p := g.members.first; p != nil; p = p.peer.next {
		if err = tb.sendChecked(sender, p.leader, info, nil); err == nil {
			sent = true
		}
	}
	if sent {
		return nil
	}
	return err
}

// killEveryone is kill(-1): EPERM of one does not count (kill_something_info).
func (tb *Table) killEveryone(sender *Thread, ns *PIDNamespace, info SigInfo) error {
	err, some := error(nil), false
	ns.ids.each(func(n *id) {
		th := n.thread.Load()
		if th == nil || th.p.id != n || n.in(ns) == 1 || sender != nil && th.p == sender.p {
			return
		}
		some = true
		if e := tb.sendChecked(sender, th, info, nil); e != unix.EPERM {
			err = e
		}
	})
	if !some {
		return unix.ESRCH
	}
	return err
}

// sendChecked sends a signal to a process, or to one thread of it (target), if the
// sender may do that (check_kill_permission): whether there is such a signal is asked
// only here, when the receiver is found.
func (tb *Table) sendChecked(sender, to *Thread, info SigInfo, target *Thread) error {
	switch {
	case !validSignal(unix.Signal(info.Signo)):
		return unix.EINVAL
	case !sender.mayKill(to, unix.Signal(info.Signo)):
		return unix.EPERM
	case info.Signo == 0:
		return nil
	case sender == nil:
		return to.p.send(info, target)
	}
	return to.p.sendFrom(sender, info, target)
}

// KillProcess is kill(2) of a process that the sender has hold of
// (pidfd_send_signal(2)). ESRCH: it has ended and was waited for. EINVAL, EPERM.
func (tb *Table) KillProcess(sender *Thread, p *Process, sig unix.Signal) error {
	return tb.SigqueueProcess(sender, p, userInfo(sender, sig, SIUser))
}

// SigqueueProcess is KillProcess with info as it is.
func (tb *Table) SigqueueProcess(sender *Thread, p *Process, info SigInfo) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if p.leader.State() == Dead {
		return unix.ESRCH
	}
	return tb.sendChecked(sender, p.leader, info, nil)
}

// Tgkill is tgkill(2): a signal to one thread. tgid -1 means any process, as tkill(2)
// does. EINVAL, ESRCH, EPERM; EAGAIN: see Sigqueue.
func (tb *Table) Tgkill(sender *Thread, tgid, tid int, sig unix.Signal) error {
	return tb.sendThread(sender, tgid, tid, userInfo(sender, sig, SITkill))
}

func (tb *Table) sendThread(sender *Thread, tgid, tid int, info SigInfo) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	ns := sender.Namespace()
	th := ns.GetThread(tid)
	if th == nil || tgid != -1 && th.p.id.in(ns) != tgid {
		return unix.ESRCH
	}
	return tb.sendChecked(sender, th, info, th)
}

// Sigqueue sends info as it is, to a process or, if tid is not 0, to one of its
// threads (rt_sigqueueinfo(2), rt_tgsigqueueinfo(2)). EAGAIN: a real-time signal, and
// the receiver has reached RLIMIT_SIGPENDING. EINVAL, ESRCH, EPERM.
func (tb *Table) Sigqueue(sender *Thread, pid, tid int, info SigInfo) error {
	if tid != 0 {
		return tb.sendThread(sender, pid, tid, info)
	}
	if pid <= 0 {
		return unix.ESRCH
	}
	return tb.killInfo(sender, pid, info)
}

// SignalGroup sends a signal from the kernel to a process group: what a terminal
// does. ESRCH.
func (tb *Table) SignalGroup(pgid int, info SigInfo) error {
	return tb.killInfo(nil, -pgid, info)
}
