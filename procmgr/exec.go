package procmgr

import (
	"time"

	"golang.org/x/sys/unix"
)

var noDeadline time.Time

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
	alone := make(chan struct{}, 1)
	p.execAlone = alone
	for _, o := range p.threads {
		if o != t {
			o.setPending(pendExit)
			o.wake()
		}
	}
	p.mu.Unlock()
	for {
		p.mu.Lock()
		n := len(p.threads)
		p.mu.Unlock()
		if n == 1 {
			break
		}
		if err := t.blockKillable(alone); err != nil {
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
		n := old.id.Load()
		if old.State() == Zombie {
			old.setState(Dead)
		}
		own.thread.Store(nil)
		n.thread.Store(t)
		t.id.Store(n)
		tb.ids.release(own)
		t.startTime = old.startTime
		p.leader = t
	}
	p.execer, p.execAlone = nil, nil
	return nil
}

// CompleteExec makes t the first thread of a new program: dispositions that were
// caught go back to the default, a shared table of them is shared no more, the exit
// signal is SIGCHLD, and a vfork(2) parent goes on. BeginExec came before it.
func (t *Thread) CompleteExec(name string) {
	p, tb := t.p, t.p.table
	tb.mu.Lock()
	p.exitSignal = unix.SIGCHLD
	p.hadExec = true
	p.mu.Lock()
	if p.hand.refs > 1 {
		old := p.hand
		p.hand = old.copy()
		old.drop()
	}
	p.hand.flush(false)
	t.deathSig = 0
	p.mu.Unlock()
	tb.mu.Unlock()
	t.SetName(name)
	p.SetDumpable(1)
	t.releaseVfork()
}
