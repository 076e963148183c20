package procmgr

import (
	"golang.org/x/sys/unix"
)

// CloneOptions are clone(2)'s, as far as the process manager is concerned.
type CloneOptions struct {
	Flags      uint64      // CLONE_*
	ExitSignal unix.Signal // what is no signal sends none, and is not SIGCHLD for Wait either
	SetTID     []int       // clone3(2): wanted ids, innermost namespace first
}

const cloneClearSighand = 0x100000000

// check finds flags that do not go together (copy_process).
func (o *CloneOptions) check(t *Thread) error {
	has := func(bit uint64) bool { return o.Flags&bit != 0 }
	switch {
	case has(unix.CLONE_THREAD) && !has(unix.CLONE_SIGHAND),
		has(unix.CLONE_SIGHAND) && !has(unix.CLONE_VM),
		has(cloneClearSighand) && has(unix.CLONE_SIGHAND),
		has(unix.CLONE_FS) && has(unix.CLONE_NEWNS|unix.CLONE_NEWUSER),
		has(unix.CLONE_PARENT) && t.p.isUnkillable(),
		has(unix.CLONE_THREAD) && (has(unix.CLONE_NEWUSER|unix.CLONE_NEWPID) || t.childNamespace() != t.Namespace()),
		has(unix.CLONE_NEWPID) && t.childNamespace() != t.Namespace():
		return unix.EINVAL
	}
	return nil
}

// Fork makes a thread like t in t's process (CLONE_THREAD) or in a new one
// (copy_process). The new thread is in state New: Start or Abort it.
//
// ErrInterrupted: a signal, a stop or t's end is due first; the call is to begin
// anew after that, so that a signal to a process group reaches each process that
// ever comes from it. EINVAL: flags that do not go together. EAGAIN: RLIMIT_NPROC,
// LimitTasks, or no ids left. EEXIST: a wanted id is taken. EPERM: ids may not be chosen, or no
// namespace made. ENOSPC: pid namespaces nested too deep. ENOMEM: the init of the
// namespace has ended.
func (tb *Table) Fork(t *Thread, o CloneOptions) (*Thread, error) {
	return tb.fork(t, o, pendSignal|pendStop|pendExit)
}

// fork is Fork, interrupted only by the given bits of pending.
func (tb *Table) fork(t *Thread, o CloneOptions, interrupt uint32) (*Thread, error) {
	if err := o.check(t); err != nil {
		return nil, err
	}
	creds := t.Credentials()
	u, err := tb.chargeFork(t, creds)
	if err != nil {
		return nil, err
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if limit := tb.maxTasks.Load(); limit > 0 && int64(tb.root.threads) >= limit {
		tb.chargeThread(u, -1)
		return nil, unix.EAGAIN
	}
	th, err := tb.forkCharged(t, u, creds, &o, interrupt)
	if err != nil {
		tb.chargeThread(u, -1)
		return nil, err
	}
	tb.forks.Add(1)
	return th, nil
}

// chargeFork counts a new thread of t's user: EAGAIN when RLIMIT_NPROC is reached.
func (tb *Table) chargeFork(t *Thread, creds *Credentials) (*user, error) {
	u, n := tb.chargeUser(creds.RUID)
	if n > t.p.limits.Soft(unix.RLIMIT_NPROC) && creds.RUID != 0 &&
		!creds.HasCap(unix.CAP_SYS_RESOURCE) && !creds.HasCap(unix.CAP_SYS_ADMIN) {
		tb.chargeThread(u, -1)
		return nil, unix.EAGAIN
	}
	t.overNproc = false
	return u, nil
}

func (tb *Table) forkCharged(t *Thread, u *user, creds *Credentials, o *CloneOptions, interrupt uint32) (*Thread, error) {
	// From here on signals wait for Table.mu: they find the child, or were here first.
	if t.pending.Load()&interrupt != 0 {
		return nil, ErrInterrupted
	}
	var err error
	if o.Flags&unix.CLONE_NEWUSER != 0 {
		if creds, err = tb.NewUserNamespace(creds); err != nil {
			return nil, err
		}
	}
	ns := t.childNamespace()
	if o.Flags&unix.CLONE_NEWPID != 0 {
		if ns, err = tb.newNamespace(ns, creds); err != nil {
			return nil, err
		}
	}
	if err := checkSetTID(o.SetTID, ns, creds); err != nil {
		return nil, err
	}
	nr, err := ns.newID(o.SetTID)
	if err != nil {
		return nil, err
	}
	tb.lastPID.Store(int64(nr.nr))
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	p := t.p
	if o.Flags&unix.CLONE_THREAD == 0 {
		p = tb.makeProcess(t, nr, o)
	}
	th := p.newThread(nr, u)
	th.creds.Store(creds)
	th.name.Store(t.name.Load())
	th.inheritSched(t)
	if o.Flags&unix.CLONE_IO != 0 {
		th.ioprio.share(&t.ioprio)
	}
	th.mask = t.mask
	if t.saved {
		th.mask = t.savedMask
	}
	if o.Flags&unix.CLONE_VFORK != 0 {
		th.vforkDone = make(chan struct{})
		th.vforkParent = t
	}
	t.traceChild(th, o)
	return th, nil
}

// checkSetTID says whether ids may be chosen (clone3(2), set_tid): EINVAL, EPERM.
func checkSetTID(ids []int, ns *PIDNamespace, creds *Credentials) error {
	if len(ids) == 0 {
		return nil
	}
	if len(ids) > ns.level+1 {
		return unix.EINVAL
	}
	for _, id := range ids {
		if id <= 0 || id >= ns.ids.max {
			return unix.EINVAL
		}
	}
	if !creds.HasCapIn(ns.owner, unix.CAP_SYS_ADMIN) && !creds.HasCapIn(ns.owner, unix.CAP_CHECKPOINT_RESTORE) {
		return unix.EPERM
	}
	return nil
}

// makeProcess makes a process like t's, without threads yet. Table.mu and t.p.mu are
// held.
func (tb *Table) makeProcess(t *Thread, nr *id, o *CloneOptions) *Process {
	from := t.p
	p := &Process{table: tb, exitSignal: o.ExitSignal}
	p.limits.limits.Store(from.limits.limits.Load())
	p.dumpable.Store(from.dumpable.Load())
	p.oomScoreAdj.Store(from.oomScoreAdj.Load())
	p.oomScoreAdjMin.Store(from.oomScoreAdjMin.Load())
	switch {
	case o.Flags&unix.CLONE_SIGHAND != 0:
		p.hand = from.hand.share()
	default:
		p.hand = from.hand.copy()
		if o.Flags&cloneClearSighand != 0 {
			p.hand.flush()
		}
	}
	p.parent, p.parentThread, p.parentExecs = from, t, from.execs
	if o.Flags&unix.CLONE_PARENT != 0 {
		p.parent, p.parentThread, p.parentExecs = from.parent, from.parentThread, from.parentExecs
		p.exitSignal = from.exitSignal
	}
	tb.adopt(p, p.parentThread)
	tb.joinGroup(p, from.group)
	p.control = from.control
	if nr.ns.init == nil {
		nr.ns.init, p.unkillable = p, true
	}
	return p
}

// adopt makes p the last child of a thread. Table.mu is held.
func (tb *Table) adopt(p *Process, parent *Thread) {
	tb.seq++
	p.seq = tb.seq
	p.parent, p.parentThread = parent.p, parent
	parent.children.add(p, sibling)
	if p.started {
		parent.p.countChild(p, 1)
	}
}

// disown is the opposite of adopt.
func (tb *Table) disown(p *Process) {
	if p.parent == nil {
		return
	}
	p.unreport()
	p.parentThread.children.remove(p, sibling)
	if p.started {
		p.parent.countChild(p, -1)
	}
}

func (p *Process) countChild(c *Process, n int) {
	p.children += n
	if c.exitSignal != unix.SIGCHLD {
		p.clones += n
	}
}

// setExitSignal changes what p's parent is sent when p ends.
func (p *Process) setExitSignal(sig unix.Signal) {
	if p.parent != nil && p.started {
		p.parent.countChild(p, -1)
		defer p.parent.countChild(p, 1)
	}
	p.exitSignal = sig
}

// Start makes a new thread live: it can be found, signalled and waited for. It is
// Ready. Starting one that lives already has no effect.
func (t *Thread) Start() {
	p, tb := t.p, t.p.table
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if t.State() != New {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started {
		p.started = true
		p.id.process.Store(p)
		if p.parent != nil {
			p.parent.countChild(p, 1)
		}
	}
	t.setState(Ready)
	// What came for the process since Fork is for this thread, too.
	switch {
	case p.exiting || p.execer != nil && p.execer != t:
		t.setPending(pendExit)
		t.leave()
	case p.stopping != 0:
		// task_join_group_stop
		t.setPending(pendStop)
		if !p.stopped {
			t.stopDue = true
			p.toStop++
		}
	}
	t.recalc()
}

// Abort undoes Fork before Start.
func (t *Thread) Abort() {
	p, tb := t.p, t.p.table
	tb.mu.Lock()
	defer tb.mu.Unlock()
	p.mu.Lock()
	t.setState(Dead)
	if t.trace != nil {
		t.unlink()
	}
	t.leave()
	p.remove(t)
	t.queue.removeAll(tb, ^SigSet(0))
	last := len(p.threads) == 0
	if last {
		p.queue.removeAll(tb, ^SigSet(0))
		p.hand.drop()
	} else if len(p.threads) == 1 && p.execAlone != nil {
		p.execer.tellOn(p.execAlone)
	}
	p.mu.Unlock()
	tb.threads.Add(-1)
	tb.chargeThread(t.user, -1)
	if last {
		tb.processes.Add(-1)
		tb.disown(p)
		tb.leaveGroup(p)
		if ns := p.id.ns; ns.init == p {
			ns.init = nil
		}
	}
	t.id.Load().detach()
}

// WaitVfork waits until child, made with CLONE_VFORK, has executed a program or
// ended. Only death ends the wait early.
func (t *Thread) WaitVfork(child *Thread) {
	t.BlockKillable(child.vforkDone)
}

// BlockKillable is Block without a deadline, through signals and stops: ErrInterrupted
// only when the thread has to exit.
func (t *Thread) BlockKillable(ch <-chan struct{}) error {
	return t.block(ch, noDeadline, pendExit)
}

func (t *Thread) releaseVfork() {
	if t.vforkDone != nil {
		t.vforkOnce.Do(func() {
			close(t.vforkDone)
			t.vforkParent.Unpark()
		})
	}
}
