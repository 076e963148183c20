package procmgr

import (
	"golang.org/x/sys/unix"
)

// mayKill is kill(2)'s permission check (kill_ok_by_cred, and SIGCONT within a
// session). Table.mu is held.
func (t *Thread) mayKill(p *Process, sig unix.Signal) bool {
	if t == nil || p == t.p {
		return true
	}
	c, o := t.Credentials(), p.leader.Credentials()
	if c.EUID == o.SUID || c.EUID == o.RUID || c.RUID == o.SUID || c.RUID == o.RUID || c.HasCap(unix.CAP_KILL) {
		return true
	}
	return sig == unix.SIGCONT && p.group.session == t.p.group.session
}

func validSignal(sig unix.Signal) bool { return sig >= 0 && sig <= NumSignals }

// Kill is kill(2): pid > 0 is a process, 0 the caller's group, -1 all but init
// and the caller, below that a group. Signal 0 only checks. A nil sender is the
// kernel, which may do everything. EINVAL, ESRCH, EPERM.
func (tb *Table) Kill(sender *Thread, pid int, sig unix.Signal) error {
	if !validSignal(sig) {
		return unix.EINVAL
	}
	info := SigInfo{Signo: int32(sig), Code: SIKernel}
	if sender != nil {
		info.Code, info.PID, info.UID = SIUser, int32(sender.p.ID()), sender.Credentials().RUID
	}
	return tb.killInfo(sender, pid, info)
}

func (tb *Table) killInfo(sender *Thread, pid int, info SigInfo) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	var targets []*Process
	switch {
	case pid > 0:
		th := tb.GetThread(pid)
		if th == nil || !th.p.started {
			return unix.ESRCH
		}
		targets = []*Process{th.p}
	case pid == -1:
		all := []*Process{tb.init}
		for i := 0; i < len(all); i++ {
			for c := all[i].children.first; c != nil; c = c.sibling.next {
				all = append(all, c)
				if c.started && (sender == nil || c != sender.p) {
					targets = append(targets, c)
				}
			}
		}
	default:
		var g *Group
		if pid == 0 {
			g = sender.p.group
		} else {
			g = tb.group(-pid)
		}
		if g != nil {
			targets = g.processes()
		}
	}
	if len(targets) == 0 {
		return unix.ESRCH
	}
	// One success is a success; otherwise the last failure counts.
	err, sent := error(nil), false
	for _, p := range targets {
		e := tb.killOne(sender, p, info)
		if e == nil {
			sent = true
		} else if pid != -1 || e != unix.EPERM {
			err = e
		}
	}
	if sent || pid == -1 {
		return nil
	}
	return err
}

func (tb *Table) killOne(sender *Thread, p *Process, info SigInfo) error {
	if !sender.mayKill(p, unix.Signal(info.Signo)) {
		return unix.EPERM
	}
	if info.Signo == 0 {
		return nil
	}
	return p.send(info, nil)
}

// Tgkill is tgkill(2); tgid -1 means any process, as tkill(2) does.
func (tb *Table) Tgkill(sender *Thread, tgid, tid int, sig unix.Signal) error {
	if !validSignal(sig) {
		return unix.EINVAL
	}
	return tb.sendThread(sender, tgid, tid, SigInfo{
		Signo: int32(sig), Code: SITkill, PID: int32(sender.p.ID()), UID: sender.Credentials().RUID,
	})
}

func (tb *Table) sendThread(sender *Thread, tgid, tid int, info SigInfo) error {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	th := tb.GetThread(tid)
	if th == nil || tgid != -1 && th.p.ID() != tgid {
		return unix.ESRCH
	}
	if !sender.mayKill(th.p, unix.Signal(info.Signo)) {
		return unix.EPERM
	}
	if info.Signo == 0 {
		return nil
	}
	return th.p.send(info, th)
}

// Sigqueue sends info as it is, to a process or, if tid is not 0, to one of its
// threads (rt_sigqueueinfo(2), rt_tgsigqueueinfo(2)). EAGAIN: the receiver's queue
// is full.
func (tb *Table) Sigqueue(sender *Thread, pid, tid int, info SigInfo) error {
	if !validSignal(unix.Signal(info.Signo)) {
		return unix.EINVAL
	}
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
