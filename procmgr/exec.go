package procmgr

import (
	"time"

	"golang.org/x/sys/unix"
)

var noDeadline time.Time

// MayExec is execve(2)'s check of RLIMIT_NPROC: EAGAIN if the thread changed to a
// user who has more threads than the limit allows, and still has.
func (t *Thread) MayExec() error {
	if t.overNproc && t.p.table.threadsOf(t.user) > t.p.limits.Soft(unix.RLIMIT_NPROC) {
		return unix.EAGAIN
	}
	t.overNproc = false
	return nil
}

// BeginExec makes t the only thread of its process, with the process's id
// (de_thread). The others are told to exit, and gone when it returns.
// ErrInterrupted: another thread was first, or the process is ending; t itself has
// to exit then. Before BeginExec, execve may still fail with an error; after it, it
// can only end the process.
func (t *Thread) BeginExec() error {
	p, tb := t.p, t.p.table
	p.mu.Lock()
	if p.exiting || p.execer != nil {
		p.mu.Unlock()
		return ErrInterrupted
	}
	if len(p.threads) == 1 && p.leader == t {
		p.mu.Unlock()
		return nil
	}
	p.execer = t
	p.execAlone = make(chan struct{}, 1)
	alone := p.execAlone
	p.endStop() // a stop that is not complete has no effect (zap_other_threads)
	for _, o := range p.threads {
		if o != t {
			o.setPending(pendExit)
			o.leave()
			o.wake()
		}
	}
	p.mu.Unlock()
	for p.ThreadCount() > 1 {
		if err := t.BlockKillable(alone); err != nil {
			p.mu.Lock()
			p.execer, p.execAlone = nil, nil
			p.mu.Unlock()
			return err
		}
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.leader; old != t {
		// t becomes the leader, under the leader's id; its own is free.
		own := t.id.Load()
		old.setState(Dead)
		if old.trace != nil {
			old.unlink()
		}
		p.id.thread.Store(t)
		t.id.Store(p.id)
		own.detach() // p.id stays attached, to t now
		tb.chargeThread(old.user, -1)
		t.startTime.Store(old.startTime.Load())
		p.leader = t
	}
	p.execer, p.execAlone = nil, nil
	return nil
}

// Exec makes the thread run another program, if there is nothing to do between
// BeginExec and CompleteExec: the errors are the former's.
func (t *Thread) Exec(n NewProgram) error {
	if err := t.BeginExec(); err != nil {
		return err
	}
	t.CompleteExec(n)
	return nil
}

// NewProgram is what CompleteExec is told of the program.
type NewProgram struct {
	Name string // comm; cut to 15 bytes
	// Credentials as Credentials.ForExec made them; nil: the thread keeps its own.
	Credentials *Credentials
	// Secure: the program has privileges that its caller lacks (AT_SECURE).
	Secure bool
	// Unreadable: the caller may not read the program's file, so that its
	// memory is not for others to read either.
	Unreadable bool
}

// CompleteExec makes t the first thread of a new program (begin_new_exec):
// dispositions that were caught go back to the default, a shared table of them is
// shared no more, the exit signal is SIGCHLD, and a vfork(2) parent goes on. BeginExec
// came before it.
func (t *Thread) CompleteExec(n NewProgram) {
	p, tb := t.p, t.p.table
	tb.mu.Lock()
	p.setExitSignal(unix.SIGCHLD)
	p.hadExec = true
	p.execs++
	p.mu.Lock()
	p.hand = p.hand.unshare()
	p.hand.flush()
	if n.Secure {
		t.deathSig = 0
	}
	p.mu.Unlock()
	tb.mu.Unlock()
	t.SetName(n.Name)
	old := t.Credentials()
	if n.Unreadable || old.EUID != old.RUID || old.EGID != old.RGID {
		p.SetDumpable(0)
	} else {
		p.SetDumpable(1)
	}
	if n.Credentials != nil && n.Credentials != old {
		t.SetCredentials(n.Credentials)
	}
	t.releaseVfork()
}
