// Package futex is fast user-space mutexes, as in Linux's kernel/futex: queues of
// waiting threads, by the word of memory that they wait on.
//
// A wait has two halves, so that the caller does the blocking: Prepare puts a
// Waiter in the queue, if check still finds the word as expected; C tells of the
// wake-up; Cancel takes the Waiter out again. check runs under the queue's lock,
// and a waker changes the word before it takes that lock: no wake-up is lost.
//
// Futexes with an owner (FUTEX_LOCK_PI and its like) are in pi.go. They share the
// queues. Priorities are not inherited: the sandbox has none.
//
// Lock order:
//
//	bucket.mu (of two: the one with the lower index first)
//	  what check and op need: the address space's locks
//	  owners.mu
package futex

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Key names a word of memory: threads that mean the same one have equal Keys.
// Object is comparable.
type Key struct {
	Object any
	Offset uint64
}

// AnyMask matches every wait (FUTEX_BITSET_MATCH_ANY).
const AnyMask = ^uint32(0)

const buckets = 256

// Manager holds the queues. Its methods are safe from any goroutine.
type Manager struct {
	seed    maphash.Seed
	buckets [buckets]bucket
	owners  owners
}

// bucket is the waits on all words whose keys have one hash, oldest first.
type bucket struct {
	mu          sync.Mutex
	first, last *Waiter
	// count is how many there are. A Wake that finds none needs no lock; see
	// there.
	count  atomic.Int32
	fixing *piState // under mu
}

// Waiter is one thread's place in a queue. It is reused for the thread's next
// wait.
type Waiter struct {
	// Wake, if it is not nil, is called after c got a token.
	Wake func()

	c chan struct{}

	// bucket is where the Waiter is queued; nil: nowhere. It changes under that
	// bucket's lock, and becomes nil only after c got its token, so that who
	// sees nil can take that.
	bucket atomic.Pointer[bucket]

	// Under the bucket's lock.
	key        Key
	mask       uint32
	prev, next *Waiter

	pi  *piState // what is waited for has an owner
	tid uint32   // with pi or moves: who waits
	// moves says that the wait is to go on at the futex with an owner that to
	// names; see RequeuePI.
	moves bool
	to    Key
}

// NewManager makes a Manager.
func NewManager() *Manager {
	return &Manager{seed: maphash.MakeSeed(), owners: owners{m: map[uint32]*piState{}}}
}

// NewWaiter makes a Waiter.
func NewWaiter() *Waiter { return &Waiter{c: make(chan struct{}, 1)} }

// NewWaiters makes n Waiters with one channel, for PrepareAll.
func NewWaiters(n int) []*Waiter {
	c := make(chan struct{}, 1)
	ws := make([]*Waiter, n)
	for i := range ws {
		ws[i] = &Waiter{c: c}
	}
	return ws
}

// C delivers when the Waiter was woken.
func (w *Waiter) C() <-chan struct{} { return w.c }

func (m *Manager) index(k Key) int {
	return int(maphash.Comparable(m.seed, k) % buckets)
}

func (m *Manager) bucket(k Key) *bucket { return &m.buckets[m.index(k)] }

func (b *bucket) add(w *Waiter) {
	w.prev, w.next = b.last, nil
	if b.last != nil {
		b.last.next = w
	} else {
		b.first = w
	}
	b.last = w
	b.count.Add(1)
	w.bucket.Store(b)
}

// unlink takes w out of the list and leaves w.bucket alone.
func (b *bucket) unlink(w *Waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		b.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		b.last = w.prev
	}
	w.prev, w.next = nil, nil
	b.count.Add(-1)
}

// remove takes w out without a wake-up.
func (b *bucket) remove(w *Waiter) {
	b.unlink(w)
	w.forget()
	w.bucket.Store(nil)
}

// wake removes w and tells it.
func (b *bucket) wake(w *Waiter) {
	b.unlink(w)
	w.forget()
	select {
	case w.c <- struct{}{}:
	default: // another Waiter of a PrepareAll was woken first
	}
	wake := w.Wake
	w.bucket.Store(nil)
	if wake != nil {
		wake()
	}
}

// forget keeps no address space alive.
func (w *Waiter) forget() { w.key, w.to, w.moves = Key{}, Key{}, false }

// settle waits until whoever has the lock is done.
func (b *bucket) settle() {
	b.mu.Lock()
	defer b.mu.Unlock()
}

// reset makes w ready for the next wait. A token that nobody waited for goes away.
func (w *Waiter) reset() {
	// A waker that sent the token is not done with w before its lock is free.
	if b := w.bucket.Load(); b != nil {
		b.settle()
	}
	select {
	case <-w.c:
	default:
	}
}

// Prepare queues w for key if check succeeds, and returns its error otherwise.
// mask is compared with a waker's (FUTEX_WAIT_BITSET). w is in no queue.
func (m *Manager) Prepare(w *Waiter, key Key, mask uint32, check func() error) error {
	w.reset()
	return m.prepare(w, key, mask, check)
}

func (m *Manager) prepare(w *Waiter, key Key, mask uint32, check func() error) error {
	b := m.bucket(key)
	b.mu.Lock()
	// Before the word is looked at: a waker that misses this count has changed
	// the word already.
	b.count.Add(1)
	err := check()
	if err == nil {
		w.key, w.mask = key, mask
		b.add(w)
	}
	b.count.Add(-1)
	b.mu.Unlock()
	return err
}

// Cancel takes w out of its queue. It reports whether w had been woken already,
// or was in no queue.
func (m *Manager) Cancel(w *Waiter) (woken bool) {
	for {
		b := w.bucket.Load()
		if b == nil {
			return true
		}
		b.mu.Lock()
		if w.bucket.Load() == b {
			b.remove(w)
			b.mu.Unlock()
			return false
		}
		b.mu.Unlock() // it was requeued or woken meanwhile
	}
}

// PrepareAll queues Waiters from NewWaiters for the keys at the same index
// (futex_waitv(2)). check(i) looks at the i-th word. If an earlier one was woken
// meanwhile, woken is its index, otherwise -1; then, or with an error, none is
// queued any more.
func (m *Manager) PrepareAll(ws []*Waiter, keys []Key, check func(i int) error) (woken int, err error) {
	if len(ws) == 0 {
		return -1, nil
	}
	ws[0].reset()
	for i, w := range ws {
		if err := m.prepare(w, keys[i], AnyMask, func() error { return check(i) }); err != nil {
			if woken = m.CancelAll(ws[:i]); woken >= 0 {
				return woken, nil
			}
			return -1, err
		}
	}
	return -1, nil
}

// CancelAll takes the Waiters out of their queues. It returns the index of one
// that had been woken, the last such, or -1.
func (m *Manager) CancelAll(ws []*Waiter) (woken int) {
	woken = -1
	for i, w := range ws {
		if m.Cancel(w) {
			woken = i
		}
	}
	return woken
}

// Wake wakes up to n waits on key whose mask shares a bit with mask, and returns
// how many (FUTEX_WAKE_BITSET). As on Linux, it wakes one if n is less.
func (m *Manager) Wake(key Key, n int, mask uint32) int {
	b := m.bucket(key)
	// The caller changed the word before. Who is about to wait counts itself
	// before it reads the word (Prepare): either it is seen here, or it sees
	// the change (futex_hb_waiters_pending).
	if b.count.Load() == 0 {
		return 0
	}
	b.mu.Lock()
	woken := b.wakeSome(key, max(n, 1), mask)
	b.mu.Unlock()
	return woken
}

// plain reports whether the wait has to do with no owner.
func (w *Waiter) plain() bool { return w.pi == nil && !w.moves }

// wakeSome wakes up to n. A wait for an owner ends otherwise; see UnlockPI.
func (b *bucket) wakeSome(key Key, n int, mask uint32) (woken int) {
	for w := b.first; w != nil && woken < n; {
		next := w.next
		if w.key == key && w.mask&mask != 0 && w.plain() {
			b.wake(w)
			woken++
		}
		w = next
	}
	return woken
}

// lock takes the locks of both keys' buckets.
func (m *Manager) lock(k1, k2 Key) (b1, b2 *bucket) {
	i, j := m.index(k1), m.index(k2)
	b1, b2 = &m.buckets[i], &m.buckets[j]
	m.buckets[min(i, j)].mu.Lock()
	if i != j {
		m.buckets[max(i, j)].mu.Lock()
	}
	return b1, b2
}

func unlock(b1, b2 *bucket) {
	b1.mu.Unlock()
	if b1 != b2 {
		b2.mu.Unlock()
	}
}

// Requeue wakes up to nWake waits on from and moves up to nMove of the rest to
// to, if check succeeds (FUTEX_CMP_REQUEUE; FUTEX_REQUEUE with a check that
// always does).
func (m *Manager) Requeue(from, to Key, nWake, nMove int, check func() error) (woken, moved int, err error) {
	b1, b2 := m.lock(from, to)
	defer unlock(b1, b2)
	b1.count.Add(1) // as in prepare
	defer b1.count.Add(-1)
	b2.count.Add(1)
	defer b2.count.Add(-1)
	if err := check(); err != nil {
		return 0, 0, err
	}
	woken = b1.wakeSome(from, nWake, AnyMask)
	for w := b1.first; w != nil && moved < nMove; {
		next := w.next
		if w.key == from && w.plain() {
			if from != to {
				b1.unlink(w)
				w.key = to
				b2.add(w)
			}
			moved++
		}
		w = next
	}
	return woken, moved, nil
}

// WakeOp lets op change the second word and, under both locks, wakes n1 waits on
// k1 and, if op's comparison held, n2 on k2 (FUTEX_WAKE_OP). Of either at least
// one, as on Linux.
func (m *Manager) WakeOp(k1, k2 Key, n1, n2 int, op func() (bool, error)) (int, error) {
	b1, b2 := m.lock(k1, k2)
	defer unlock(b1, b2)
	also, err := op()
	if err != nil {
		return 0, err
	}
	woken := b1.wakeSome(k1, max(n1, 1), AnyMask)
	if also {
		woken += b2.wakeSome(k2, max(n2, 1), AnyMask)
	}
	return woken, nil
}
