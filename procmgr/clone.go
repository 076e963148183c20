package procmgr

import (
	"golang.org/x/sys/unix"
)

// CloneOptions are clone(2)'s, as far as the process manager is concerned.
type CloneOptions struct {
	Flags      uint64 // CLONE_*
	ExitSignal unix.Signal
	SetTID     []int // clone3(2): wanted ids, innermost namespace first
}

const cloneClearSighand = 0x100000000

// Fork makes a thread like t in t's process (CLONE_THREAD) or in a new one
// (copy_process). The new thread is in state New: Start or Abort it. EINVAL: flags
// that do not go together. EAGAIN: RLIMIT_NPROC, or no ids left. EEXIST: a wanted
// id is taken. EPERM: ids may not be chosen.
func (tb *Table) Fork(t *Thread, o CloneOptions) (*Thread, error) {
	f := o.Flags
	has := func(bit uint64) bool { return f&bit != 0 }
	switch {
	case has(unix.CLONE_THREAD) && !has(unix.CLONE_SIGHAND),
		has(unix.CLONE_SIGHAND) && !has(unix.CLONE_VM),
		has(cloneClearSighand) && has(unix.CLONE_SIGHAND),
		has(unix.CLONE_PARENT) && t.p.unkillable,
		!validSignal(o.ExitSignal),
		len(o.SetTID) > 1:
		return nil, unix.EINVAL
	}
	creds := t.Credentials()
	want := 0
	if len(o.SetTID) == 1 {
		if o.SetTID[0] <= 0 {
			return nil, unix.EINVAL
		}
		if !creds.HasCap(unix.CAP_SYS_ADMIN) && !creds.HasCap(unix.CAP_CHECKPOINT_RESTORE) {
			return nil, unix.EPERM
		}
		want = o.SetTID[0]
	}
	n := uint64(tb.chargeThread(creds.RUID, 1))
	if n > t.p.limits.Soft(unix.RLIMIT_NPROC) && creds.RUID != 0 &&
		!creds.HasCap(unix.CAP_SYS_RESOURCE) && !creds.HasCap(unix.CAP_SYS_ADMIN) {
		tb.chargeThread(creds.RUID, -1)
		return nil, unix.EAGAIN
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	nr, err := tb.ids.alloc(want)
	if err != nil {
		tb.chargeThread(creds.RUID, -1)
		return nil, err
	}
	th, err := tb.makeThread(t, nr, &o)
	if err != nil {
		tb.ids.release(nr)
		tb.chargeThread(creds.RUID, -1)
		return nil, err
	}
	tb.forks.Add(1)
	return th, nil
}

func (tb *Table) makeThread(t *Thread, nr *id, o *CloneOptions) (*Thread, error) {
	p := t.p
	if o.Flags&unix.CLONE_THREAD == 0 {
		p = tb.makeProcess(t, nr, o)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exiting || p.execer != nil {
		return nil, unix.EAGAIN // the caller is about to end
	}
	th := p.newThread(nr)
	th.creds.Store(t.Credentials())
	th.name.Store(t.name.Load())
	th.nice.Store(t.nice.Load())
	if p == t.p {
		th.mask = t.mask
	} else {
		t.p.mu.Lock()
		th.mask = t.mask
		t.p.mu.Unlock()
	}
	if t.saved {
		th.mask = t.savedMask
	}
	if o.Flags&unix.CLONE_VFORK != 0 {
		th.vforkDone = make(chan struct{})
	}
	if p.leader == nil {
		p.leader = th
	} else if p.stopping != 0 {
		p.toStop++
		th.setPending(pendStop)
	}
	return th, nil
}

func (tb *Table) makeProcess(t *Thread, nr *id, o *CloneOptions) *Process {
	from := t.p
	p := &Process{table: tb, exitSignal: o.ExitSignal, limits: from.limits.copy()}
	p.id.Store(int64(nr.nr))
	p.dumpable.Store(from.dumpable.Load())
	p.oomScoreAdj.Store(from.oomScoreAdj.Load())
	p.oomScoreAdjMin.Store(from.oomScoreAdjMin.Load())
	switch {
	case o.Flags&unix.CLONE_SIGHAND != 0:
		p.hand = from.hand.share()
	default:
		p.hand = from.hand.copy()
		if o.Flags&cloneClearSighand != 0 {
			p.hand.flush(false)
		}
	}
	p.parent, p.parentThread = from, t
	if o.Flags&unix.CLONE_PARENT != 0 {
		p.parent, p.parentThread = from.parent, from.parentThread
		p.exitSignal = from.exitSignal
	}
	p.parent.children.add(p)
	tb.joinGroup(p, from.group)
	p.control = from.control
	return p
}

// Start makes a new thread live: it can be found, signalled and waited for.
// Starting one that lives already has no effect.
func (t *Thread) Start() {
	tb := t.p.table
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if t.State() != New {
		return
	}
	t.p.started = true
	t.setState(Ready)
}

// Abort undoes Fork before Start.
func (t *Thread) Abort() {
	p, tb := t.p, t.p.table
	tb.mu.Lock()
	defer tb.mu.Unlock()
	t.setState(Dead)
	p.mu.Lock()
	p.remove(t)
	last := len(p.threads) == 0
	alone := p.execAlone
	if len(p.threads) == 1 && alone != nil {
		notify(alone)
	}
	p.mu.Unlock()
	tb.threads.Add(-1)
	tb.chargeThread(t.Credentials().RUID, -1)
	n := t.id.Load()
	n.thread.Store(nil)
	if last {
		tb.processes.Add(-1)
		p.parent.children.remove(p)
		tb.leaveGroup(p)
		p.hand.drop()
	}
	tb.ids.release(n)
}

// WaitVfork waits until child, made with CLONE_VFORK, has executed a program or
// ended. Only death ends the wait early.
func (t *Thread) WaitVfork(child *Thread) {
	t.blockKillable(child.vforkDone)
}

// blockKillable waits for ch through signals and stops; ErrInterrupted only when
// the thread has to exit.
func (t *Thread) blockKillable(ch <-chan struct{}) error {
	return t.block(ch, noDeadline, pendExit)
}

func (t *Thread) releaseVfork() {
	if t.vforkDone != nil {
		t.vforkOnce.Do(func() { close(t.vforkDone) })
	}
}
