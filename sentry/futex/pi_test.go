package futex

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// wordMemory is one word, at address 4, as the guest and the kernel see it.
type wordMemory struct{ atomic.Uint32 }

const wordAddr = hostarch.Addr(4)

func (m *wordMemory) CopyIn(hostarch.Addr, []byte) (int, error) { return 0, unix.EFAULT }

func (m *wordMemory) LoadUint32(a hostarch.Addr) (uint32, error) {
	if a != wordAddr {
		return 0, unix.EFAULT
	}
	return m.Load(), nil
}

func (m *wordMemory) CompareAndSwapUint32(a hostarch.Addr, old, v uint32) (uint32, error) {
	if a != wordAddr {
		return 0, unix.EFAULT
	}
	for {
		if was := m.Load(); was != old || m.CompareAndSwap(old, v) {
			return was, nil
		}
	}
}

func (m *wordMemory) Key(a hostarch.Addr) (Key, error) { return Key{m, uint64(a)}, nil }

// pi is a futex with an owner, and the threads that there are.
type pi struct {
	*Manager
	mem  wordMemory
	key  Key
	dead sync.Map // tid → true
}

func newPI() *pi {
	p := &pi{Manager: NewManager()}
	p.key, _ = p.mem.Key(wordAddr)
	return p
}

func (p *pi) alive(tid uint32) bool {
	_, dead := p.dead.Load(tid)
	return !dead && tid < 1000
}

func (p *pi) lock(w *Waiter, tid uint32, try bool) (bool, error) {
	return p.LockPI(w, p.key, &p.mem, wordAddr, tid, try, p.alive)
}

func (p *pi) done(w *Waiter) (bool, error) { return p.DoneLockPI(w, &p.mem, wordAddr) }
func (p *pi) unlock(tid uint32) error      { return p.UnlockPI(p.key, &p.mem, wordAddr, tid) }

// die is the end of a thread without a robust list.
func (p *pi) die(tid uint32) {
	p.dead.Store(tid, true)
	p.ReleasePI(tid)
}

// clean checks that nothing is left of the futex in the kernel.
func (p *pi) clean(t *testing.T) {
	t.Helper()
	if n := queued(t, p.Manager); n != 0 {
		t.Errorf("%d are queued", n)
	}
	if n := len(p.owners.m); n != 0 {
		t.Errorf("%d threads own states", n)
	}
}

func mustLock(t *testing.T, p *pi, tid uint32) {
	t.Helper()
	if locked, err := p.lock(NewWaiter(), tid, false); !locked || err != nil {
		t.Fatalf("thread %d: LockPI = %v, %v", tid, locked, err)
	}
}

// mustWait makes a thread wait for the lock.
func mustWait(t *testing.T, p *pi, tid uint32) *Waiter {
	t.Helper()
	w := NewWaiter()
	if locked, err := p.lock(w, tid, false); locked || err != nil {
		t.Fatalf("thread %d: LockPI = %v, %v; want to wait", tid, locked, err)
	}
	return w
}

// mustGet ends the wait of a thread that has been given the lock.
func mustGet(t *testing.T, p *pi, w *Waiter) {
	t.Helper()
	wait(t, w)
	if locked, err := p.done(w); !locked || err != nil {
		t.Fatalf("DoneLockPI = %v, %v", locked, err)
	}
}

func TestPIErrors(t *testing.T) {
	p := newPI()
	for _, c := range []struct {
		name string
		word uint32
		try  bool
		want error
	}{
		{"mine", 7, false, unix.EDEADLK},
		{"mine, waited for", 7 | flagWaiters, true, unix.EDEADLK},
		{"nobody's", 2000, false, unix.ESRCH},
		{"nobody's, and waited for", 2000 | flagWaiters, true, unix.ESRCH},
		{"another's", 8, true, unix.EAGAIN},
	} {
		p.mem.Store(c.word)
		if locked, err := p.lock(NewWaiter(), 7, c.try); locked || err != c.want {
			t.Errorf("%s: = %v, %v, want %v", c.name, locked, err, c.want)
		}
		if got := p.mem.Load(); got != c.word {
			t.Errorf("%s: the word became %#x", c.name, got)
		}
	}
	if _, err := p.LockPI(NewWaiter(), p.key, &p.mem, 8, 7, false, p.alive); err != unix.EFAULT {
		t.Errorf("bad address: %v, want EFAULT", err)
	}
	p.mem.Store(8)
	if err := p.unlock(7); err != unix.EPERM {
		t.Errorf("unlock another's: %v, want EPERM", err)
	}
	// Who waits without an owner keeps others from having one.
	p.mem.Store(8)
	w := NewWaiter()
	p.Prepare(w, p.key, AnyMask, always)
	if _, err := p.lock(NewWaiter(), 7, false); err != unix.EINVAL {
		t.Errorf("mixed: %v, want EINVAL", err)
	}
	if err := p.unlock(8); err != unix.EINVAL {
		t.Errorf("mixed: unlock: %v, want EINVAL", err)
	}
	p.Cancel(w)
	p.clean(t)
}

func TestPIInTurn(t *testing.T) {
	p := newPI()
	mustLock(t, p, 1)
	w2, w3 := mustWait(t, p, 2), mustWait(t, p, 3)
	if got := p.mem.Load(); got != 1|flagWaiters {
		t.Errorf("word = %#x", got)
	}
	// A plain wake, and a requeue, mean others.
	if n := p.Wake(p.key, 5, AnyMask); n != 0 {
		t.Errorf("Wake woke %d", n)
	}
	if n, moved, _ := p.Requeue(p.key, Key{"x", 0}, 5, 5, always); n+moved != 0 {
		t.Errorf("Requeue = %d, %d", n, moved)
	}
	// A word that names another than the kernel knows is the guest's mistake.
	p.mem.Store(9 | flagWaiters)
	if _, err := p.lock(NewWaiter(), 4, false); err != unix.EINVAL {
		t.Errorf("another owner: %v, want EINVAL", err)
	}
	if err := p.unlock(9); err != unix.EINVAL {
		t.Errorf("unlock by another owner: %v, want EINVAL", err)
	}
	p.mem.Store(1 | flagWaiters)
	if err := p.unlock(1); err != nil {
		t.Fatal(err)
	}
	mustGet(t, p, w2)
	if got := p.mem.Load(); got != 2|flagWaiters {
		t.Errorf("word = %#x, want 2 and waiters", got)
	}
	if awake(w3) {
		t.Error("both were woken")
	}
	if err := p.unlock(2); err != nil {
		t.Fatal(err)
	}
	mustGet(t, p, w3)
	if err := p.unlock(3); err != nil {
		t.Fatal(err)
	}
	if got := p.mem.Load(); got != 0 {
		t.Errorf("word = %#x, want 0", got)
	}
	p.clean(t)
}

func TestPIGivesUp(t *testing.T) {
	p := newPI()
	mustLock(t, p, 1)
	w2, w3 := mustWait(t, p, 2), mustWait(t, p, 3)
	if locked, err := p.done(w2); locked || err != nil {
		t.Errorf("DoneLockPI = %v, %v, want not locked", locked, err)
	}
	p.unlock(1)
	mustGet(t, p, w3)
	// The unlock may come first; then the lock is there, deadline or not.
	w4 := mustWait(t, p, 4)
	p.unlock(3)
	if locked, err := p.done(w4); !locked || err != nil {
		t.Errorf("DoneLockPI = %v, %v, want locked", locked, err)
	}
	p.unlock(4)
	p.clean(t)
}

func TestPIOwnerDies(t *testing.T) {
	p := newPI()
	mustLock(t, p, 1)
	w2, w3 := mustWait(t, p, 2), mustWait(t, p, 3)
	p.die(1)
	// Between the two halves: the word names the dead, and others know better.
	if got := p.mem.Load(); got != 1|flagWaiters {
		t.Errorf("word = %#x", got)
	}
	w4 := mustWait(t, p, 4)
	mustGet(t, p, w2)
	if got := p.mem.Load(); got != 2|flagOwnerDied|flagWaiters {
		t.Errorf("word = %#x, want thread 2, owner died, waiters", got)
	}
	p.unlock(2)
	mustGet(t, p, w3)
	p.unlock(3)
	mustGet(t, p, w4)
	// Nobody waits: the next one finds a dead owner.
	p.die(4)
	if _, err := p.lock(NewWaiter(), 5, false); err != unix.ESRCH {
		t.Errorf("%v, want ESRCH", err)
	}
	p.clean(t)
}

// TestPIHeirDies: the one who was given the lock of a dead owner dies, too, before
// or after it wrote that down.
func TestPIHeirDies(t *testing.T) {
	for _, first := range []bool{true, false} {
		p := newPI()
		mustLock(t, p, 1)
		w2, w3 := mustWait(t, p, 2), mustWait(t, p, 3)
		p.die(1)
		if first {
			// Death interrupts the wait; the lock is its own all the same.
			mustGet(t, p, w2)
			p.die(2)
		} else {
			p.die(2)
			if locked, _ := p.done(w2); !locked {
				t.Error("not locked")
			}
		}
		mustGet(t, p, w3)
		if got := p.mem.Load() &^ flagWaiters; got != 3|flagOwnerDied {
			t.Errorf("first %v: word = %#x", first, got)
		}
		if err := p.unlock(3); err != nil {
			t.Error(err)
		}
		p.clean(t)
	}
}

func TestPIMemoryGone(t *testing.T) {
	p := newPI()
	mustLock(t, p, 1)
	w2 := mustWait(t, p, 2)
	p.die(1)
	wait(t, w2)
	if locked, err := p.DoneLockPI(w2, &p.mem, 8); locked || err != unix.EFAULT {
		t.Errorf("DoneLockPI = %v, %v, want EFAULT", locked, err)
	}
	p.clean(t)
}

// TestPIOwnerEndsMeanwhile: the owner ends between the question whether it is
// alive and the moment when the state is there to be found.
func TestPIOwnerEndsMeanwhile(t *testing.T) {
	p := newPI()
	p.mem.Store(1)
	asked := 0
	_, err := p.LockPI(NewWaiter(), p.key, &p.mem, wordAddr, 2, false, func(uint32) bool {
		asked++
		if asked == 1 {
			// ReleasePI finds nothing, for there is no state yet.
			p.die(1)
			return true
		}
		return p.alive(1)
	})
	if err != unix.ESRCH {
		t.Errorf("%v, want ESRCH", err)
	}
	p.clean(t)
}

// TestPIExcludes runs threads that lock, wait with and without patience, unlock
// and die with the lock in hand. At no time do two have it.
func TestPIExcludes(t *testing.T) {
	const threads, rounds = 8, 150
	p := newPI()
	var inside atomic.Int32
	var last atomic.Uint32
	last.Store(threads)
	var all sync.WaitGroup
	for i := range uint32(threads) {
		all.Go(func() {
			w, tid := NewWaiter(), i+1
			for r := range rounds {
				// As in user space: the lock is taken without the kernel if it
				// is free.
				if !p.mem.CompareAndSwap(0, tid) {
					locked, err := p.lock(w, tid, false)
					if err == unix.ESRCH {
						p.mem.CompareAndSwap(p.mem.Load(), 0) // a dead one's, and nobody waited
						continue
					}
					if err != nil {
						t.Errorf("LockPI: %v", err)
						return
					}
					if !locked {
						if r%3 == 0 {
							select {
							case <-w.C():
							case <-time.After(20 * time.Microsecond):
							}
						} else {
							<-w.C()
						}
						if locked, err = p.done(w); err != nil {
							t.Errorf("DoneLockPI: %v", err)
							return
						}
						if !locked {
							continue
						}
					}
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d have the lock", n)
				}
				if got := p.mem.Load() & tidMask; got != tid {
					t.Errorf("thread %d has the lock, the word says %d", tid, got)
				}
				inside.Add(-1)
				if r%16 == 7 && last.Load() < 900 {
					p.die(tid)
					tid = last.Add(1) // and another thread begins
					continue
				}
				if !p.mem.CompareAndSwap(tid, 0) {
					if err := p.unlock(tid); err != nil {
						t.Errorf("UnlockPI: %v", err)
						return
					}
				}
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
	p.clean(t)
}
