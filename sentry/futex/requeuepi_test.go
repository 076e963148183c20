package futex

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// condition is a word that is waited on with p as the lock.
func (p *pi) condition() Key { return Key{p, 100} }

func (p *pi) waitFor(t *testing.T, tid uint32) *Waiter {
	t.Helper()
	w := NewWaiter()
	if err := p.PrepareRequeuePI(w, p.condition(), p.key, tid, always); err != nil {
		t.Fatal(err)
	}
	return w
}

func (p *pi) requeue(nMove int) (int, error) {
	return p.RequeuePI(p.condition(), p.key, nMove, &p.mem, wordAddr, always, p.alive)
}

func (p *pi) doneRequeue(w *Waiter) (locked, moved bool, err error) {
	return p.DoneRequeuePI(w, &p.mem, wordAddr)
}

func TestRequeuePIErrors(t *testing.T) {
	p := newPI()
	if err := p.PrepareRequeuePI(NewWaiter(), p.key, p.key, 1, always); err != unix.EINVAL {
		t.Errorf("one word for both: %v, want EINVAL", err)
	}
	if err := p.PrepareRequeuePI(NewWaiter(), p.condition(), p.key, 1, func() error { return unix.EAGAIN }); err != unix.EAGAIN {
		t.Errorf("another value: %v, want EAGAIN", err)
	}
	if _, err := p.RequeuePI(p.key, p.key, 1, &p.mem, wordAddr, always, p.alive); err != unix.EINVAL {
		t.Errorf("to itself: %v, want EINVAL", err)
	}
	if _, err := p.RequeuePI(p.condition(), p.key, 1, &p.mem, wordAddr, func() error { return unix.EAGAIN }, p.alive); err != unix.EAGAIN {
		t.Errorf("another value: %v, want EAGAIN", err)
	}
	if _, err := p.RequeuePI(p.condition(), p.key, 1, &p.mem, 8, always, p.alive); err != unix.EFAULT {
		t.Errorf("bad address: %v, want EFAULT", err)
	}
	if n, err := p.requeue(5); n != 0 || err != nil {
		t.Errorf("nobody waits: %d, %v", n, err)
	}
	// Who waits plainly, or for another lock, is not moved.
	w := NewWaiter()
	p.Prepare(w, p.condition(), AnyMask, always)
	if _, err := p.requeue(5); err != unix.EINVAL {
		t.Errorf("a plain wait: %v, want EINVAL", err)
	}
	p.Cancel(w)
	p.PrepareRequeuePI(w, p.condition(), Key{"other", 0}, 1, always)
	if _, err := p.requeue(5); err != unix.EINVAL {
		t.Errorf("another lock: %v, want EINVAL", err)
	}
	// A plain wake does not mean it, nor a plain requeue.
	if n := p.Wake(p.condition(), 5, AnyMask); n != 0 {
		t.Errorf("Wake woke %d", n)
	}
	if woken, moved, _ := p.Requeue(p.condition(), Key{"x", 0}, 5, 5, always); woken+moved != 0 {
		t.Errorf("Requeue = %d, %d", woken, moved)
	}
	if locked, moved, err := p.doneRequeue(w); locked || moved || err != nil {
		t.Errorf("= %v, %v, %v, want an early end", locked, moved, err)
	}
	// The same Waiter waits plainly after it.
	p.Prepare(w, p.condition(), AnyMask, always)
	if n := p.Wake(p.condition(), 1, AnyMask); n != 1 {
		t.Errorf("Wake woke %d", n)
	}
	p.clean(t)
}

func TestRequeuePIToFreeLock(t *testing.T) {
	p := newPI()
	ws := []*Waiter{p.waitFor(t, 1), p.waitFor(t, 2), p.waitFor(t, 3), p.waitFor(t, 4)}
	if n, err := p.requeue(2); n != 3 || err != nil {
		t.Fatalf("= %d, %v, want 3", n, err)
	}
	wait(t, ws[0])
	if locked, _, err := p.doneRequeue(ws[0]); !locked || err != nil {
		t.Errorf("the first has no lock: %v", err)
	}
	if got := p.mem.Load(); got != 1|flagWaiters {
		t.Errorf("word = %#x", got)
	}
	p.unlock(1)
	wait(t, ws[1])
	if locked, moved, err := p.doneRequeue(ws[1]); !locked || !moved || err != nil {
		t.Errorf("the second: %v, %v, %v", locked, moved, err)
	}
	// The third does not want to wait any longer; the fourth was not moved.
	if locked, moved, err := p.doneRequeue(ws[2]); locked || !moved || err != nil {
		t.Errorf("the third: %v, %v, %v", locked, moved, err)
	}
	if locked, moved, err := p.doneRequeue(ws[3]); locked || moved || err != nil {
		t.Errorf("the fourth: %v, %v, %v", locked, moved, err)
	}
	if err := p.unlock(2); err != nil {
		t.Error(err)
	}
	p.clean(t)
}

func TestRequeuePIToHeldLock(t *testing.T) {
	p := newPI()
	mustLock(t, p, 9)
	w1, w2 := p.waitFor(t, 1), p.waitFor(t, 2)
	if n, err := p.requeue(0); n != 1 || err != nil {
		t.Errorf("= %d, %v, want 1", n, err)
	}
	if awake(w1) {
		t.Error("woken, and the lock is held")
	}
	p.die(9)
	wait(t, w1)
	if locked, _, err := p.doneRequeue(w1); !locked || err != nil {
		t.Errorf("after the owner's end: %v, %v", locked, err)
	}
	if got := p.mem.Load(); got != 1|flagOwnerDied {
		t.Errorf("word = %#x", got)
	}
	// The owner itself cannot be made to wait for itself.
	w := p.waitFor(t, 1)
	p.doneRequeue(w2)
	if _, err := p.requeue(0); err != unix.EDEADLK {
		t.Errorf("%v, want EDEADLK", err)
	}
	p.doneRequeue(w)
	p.unlock(1)
	p.clean(t)
}

// TestConditionVariable is one made of these calls: a counter that threads wait
// for, and nobody waits forever.
func TestConditionVariable(t *testing.T) {
	const threads, rounds = 6, 200
	p := newPI()
	var sequence atomic.Uint32
	var turn, inside int
	var held atomic.Int32
	lock := func(w *Waiter, tid uint32) {
		if p.mem.CompareAndSwap(0, tid) {
			return
		}
		locked, err := p.lock(w, tid, false)
		if err == nil && !locked {
			<-w.C()
			locked, err = p.done(w)
		}
		if !locked || err != nil {
			t.Errorf("lock: %v, %v", locked, err)
		}
	}
	unlock := func(tid uint32) {
		if !p.mem.CompareAndSwap(tid, 0) {
			if err := p.unlock(tid); err != nil {
				t.Errorf("unlock: %v", err)
			}
		}
	}
	var all sync.WaitGroup
	for i := range uint32(threads) {
		all.Go(func() {
			w, tid := NewWaiter(), i+1
			for r := range rounds {
				lock(w, tid)
				if n := held.Add(1); n != 1 {
					t.Errorf("%d have the lock", n)
				}
				for turn != int(i) {
					seen := sequence.Load()
					held.Add(-1)
					unlock(tid)
					err := p.PrepareRequeuePI(w, p.condition(), p.key, tid, func() error {
						if sequence.Load() != seen {
							return unix.EAGAIN
						}
						return nil
					})
					locked := false
					if err == nil {
						if r%4 == 0 {
							select {
							case <-w.C():
							case <-time.After(20 * time.Microsecond):
							}
						} else {
							<-w.C()
						}
						if locked, _, err = p.doneRequeue(w); err != nil {
							t.Errorf("DoneRequeuePI: %v", err)
						}
					}
					if !locked {
						lock(w, tid)
					}
					if n := held.Add(1); n != 1 {
						t.Errorf("%d have the lock", n)
					}
				}
				inside++
				turn = (turn + 1) % threads
				sequence.Add(1)
				if _, err := p.requeue(threads); err != nil {
					t.Errorf("RequeuePI: %v", err)
				}
				held.Add(-1)
				unlock(tid)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("stuck: word %#x", p.mem.Load())
	}
	if inside != threads*rounds {
		t.Errorf("%d turns, want %d", inside, threads*rounds)
	}
	p.clean(t)
}
