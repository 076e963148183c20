package futex

import (
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// piState is a futex with an owner while threads wait for it, or while one that
// got it from a dead owner has not written that down yet (struct
// futex_pi_state). There is at most one for a key.
type piState struct {
	// Under the bucket's lock.
	waiters int
	fixing  bool     // the owner has yet to write itself into the word
	fixNext *piState // bucket.fixing

	// Under owners.mu, and changed only with the bucket's lock held too.
	key        Key
	owner      uint32
	prev, next *piState // others of that owner
}

// owners finds the states by owner, for its death.
type owners struct {
	mu   sync.Mutex
	m    map[uint32]*piState
	free *piState
}

// get makes a state.
func (o *owners) get(key Key, owner uint32) *piState {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.free
	if s == nil {
		s = &piState{}
	} else {
		o.free = s.next
	}
	*s = piState{key: key}
	o.own(s, owner)
	return s
}

// own makes owner the owner of s; 0: nobody. o.mu is held.
func (o *owners) own(s *piState, owner uint32) {
	if s.owner != 0 {
		if s.next != nil {
			s.next.prev = s.prev
		}
		switch {
		case s.prev != nil:
			s.prev.next = s.next
		case s.next != nil:
			o.m[s.owner] = s.next
		default:
			delete(o.m, s.owner)
		}
	}
	s.owner, s.prev, s.next = owner, nil, nil
	if owner != 0 {
		if s.next = o.m[owner]; s.next != nil {
			s.next.prev = s
		}
		o.m[owner] = s
	}
}

// pass makes owner the owner of s.
func (o *owners) pass(s *piState, owner uint32) {
	o.mu.Lock()
	o.own(s, owner)
	o.mu.Unlock()
}

// drop frees s if nobody needs it. The bucket's lock is held.
func (o *owners) drop(s *piState) {
	if s.waiters != 0 || s.fixing {
		return
	}
	o.mu.Lock()
	o.own(s, 0)
	*s = piState{next: o.free}
	o.free = s
	o.mu.Unlock()
}

// state returns the piState of key, and whether threads wait on key that expect
// no owner.
func (b *bucket) state(key Key) (s *piState, plain bool) {
	for w := b.first; w != nil; w = w.next {
		if w.key == key {
			if w.pi == nil {
				return nil, true
			}
			return w.pi, false
		}
	}
	for s := b.fixing; s != nil; s = s.fixNext {
		if s.key == key {
			return s, false
		}
	}
	return nil, false
}

// fixed ends the fixing of s.
func (b *bucket) fixed(s *piState) {
	for p := &b.fixing; *p != nil; p = &(*p).fixNext {
		if *p == s {
			*p = s.fixNext
			break
		}
	}
	s.fixing, s.fixNext = false, nil
}

// LockPI is FUTEX_LOCK_PI without the waiting, for thread tid and the word at
// addr in mem, which key names. locked: tid owns the futex. Otherwise, without an
// error, w is queued: the caller waits for w.C, or for its deadline, and then
// calls DoneLockPI. With try it is FUTEX_TRYLOCK_PI, which answers EAGAIN instead
// of queueing. alive tells whether a thread can still unlock: ESRCH if the owner
// cannot. EDEADLK: tid owns it already. EINVAL: threads wait on it without an
// owner, or the word does not fit what the owner is known to be.
func (m *Manager) LockPI(w *Waiter, key Key, mem Memory, addr hostarch.Addr, tid uint32, try bool, alive func(uint32) bool) (locked bool, err error) {
	w.reset()
	b := m.bucket(key)
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := m.claim(b, key, mem, addr, tid, try, alive)
	if err != nil || s == nil {
		return err == nil, err
	}
	w.tid = tid
	b.addPI(w, key, s)
	return false, nil
}

// addPI queues w for what s stands for.
func (b *bucket) addPI(w *Waiter, key Key, s *piState) {
	s.waiters++
	w.key, w.mask, w.pi = key, AnyMask, s
	b.add(w)
}

// claim makes tid the owner, or returns the state to wait for
// (futex_lock_pi_atomic). The errors are LockPI's.
func (m *Manager) claim(b *bucket, key Key, mem Memory, addr hostarch.Addr, tid uint32, try bool, alive func(uint32) bool) (*piState, error) {
	for {
		v, err := mem.LoadUint32(addr)
		if err != nil {
			return nil, err
		}
		owner := v & tidMask
		if owner == tid {
			return nil, unix.EDEADLK
		}
		s, plain := b.state(key)
		if plain {
			return nil, unix.EINVAL
		}
		died := owner == 0 && v&flagOwnerDied != 0 // and ReleasePI is yet to come
		if s != nil && !s.fixing && !died && owner != s.owner {
			return nil, unix.EINVAL
		}
		if s == nil && owner == 0 {
			// Free, or its owner died (handle_futex_death): WAITERS is stale.
			was, err := mem.CompareAndSwapUint32(addr, v, v&flagOwnerDied|tid)
			if err != nil {
				return nil, err
			}
			if was == v {
				return nil, nil
			}
			continue
		}
		if s == nil && !alive(owner) {
			if again, err := mem.LoadUint32(addr); err != nil {
				return nil, err
			} else if again != v {
				continue // it unlocked before it went
			}
			return nil, unix.ESRCH
		}
		if try {
			return nil, unix.EAGAIN
		}
		if v&flagWaiters == 0 {
			was, err := mem.CompareAndSwapUint32(addr, v, v|flagWaiters)
			if err != nil {
				return nil, err
			}
			if was != v {
				continue
			}
		}
		if s == nil {
			s = m.owners.get(key, owner)
			// An owner that ended since it was asked may have missed this
			// state in ReleasePI. If it ends from here on, it finds it.
			if !alive(owner) {
				m.owners.drop(s)
				continue
			}
		}
		return s, nil
	}
}

// next returns the oldest waiter for s.
func (b *bucket) next(s *piState) *Waiter {
	for w := b.first; w != nil; w = w.next {
		if w.pi == s {
			return w
		}
	}
	return nil
}

// DoneLockPI ends the wait of a LockPI that queued w: after w.C delivered, or when
// the caller does not want to wait any longer. locked: tid owns the futex, however
// the wait ended. An error is the memory's.
func (m *Manager) DoneLockPI(w *Waiter, mem Memory, addr hostarch.Addr) (locked bool, err error) {
	if woken, _ := m.cancelPI(w); !woken {
		return false, nil
	}
	return m.own(w, mem, addr)
}

// own completes the passing of the lock to w, which was woken for it.
func (m *Manager) own(w *Waiter, mem Memory, addr hostarch.Addr) (locked bool, err error) {
	s := w.pi
	w.pi = nil
	if s == nil {
		return true, nil // who passed it wrote the word
	}
	// The owner died (fixup_pi_state_owner).
	b := m.bucket(s.key)
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		v, err := mem.LoadUint32(addr)
		if err == nil {
			v2 := flagOwnerDied | w.tid
			if s.waiters != 0 {
				v2 |= flagWaiters
			}
			var was uint32
			if was, err = mem.CompareAndSwapUint32(addr, v, v2); err == nil && was != v {
				continue
			}
		}
		b.fixed(s)
		m.owners.drop(s)
		return err == nil, err
	}
}

// cancelPI is Cancel, and gives w's share of its state up. waited: w had one.
func (m *Manager) cancelPI(w *Waiter) (woken, waited bool) {
	for {
		b := w.bucket.Load()
		if b == nil {
			return true, false
		}
		b.mu.Lock()
		if w.bucket.Load() == b {
			s := w.pi
			w.pi = nil
			b.remove(w)
			if s != nil {
				s.waiters--
				m.owners.drop(s)
			}
			b.mu.Unlock()
			return false, s != nil
		}
		b.mu.Unlock()
	}
}

// UnlockPI is FUTEX_UNLOCK_PI by thread tid: the oldest waiter owns the futex
// then. EPERM: tid does not own it. EINVAL: threads wait on it without an owner,
// or it is known to be another's.
func (m *Manager) UnlockPI(key Key, mem Memory, addr hostarch.Addr, tid uint32) error {
	b := m.bucket(key)
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		v, err := mem.LoadUint32(addr)
		if err != nil {
			return err
		}
		if v&tidMask != tid {
			return unix.EPERM
		}
		s, plain := b.state(key)
		if plain || s != nil && s.owner != tid {
			return unix.EINVAL
		}
		v2, w := uint32(0), (*Waiter)(nil)
		if s != nil {
			w = b.next(s)
			v2 = w.tid | flagWaiters
		}
		was, err := mem.CompareAndSwapUint32(addr, v, v2)
		if err != nil {
			return err
		}
		if was != v {
			continue
		}
		if w != nil {
			s.waiters--
			w.pi = nil
			m.owners.pass(s, w.tid)
			m.owners.drop(s)
			b.wake(w)
		}
		return nil
	}
}

// ReleasePI gives the futexes that thread tid owns, and for which others wait, to
// the oldest waiter of each (exit_pi_state_list). It comes after ReleaseRobust,
// when tid is no longer alive for LockPI.
func (m *Manager) ReleasePI(tid uint32) {
	o := &m.owners
	for {
		o.mu.Lock()
		s := o.m[tid]
		var key Key
		if s != nil {
			key = s.key
		}
		o.mu.Unlock()
		if s == nil {
			return
		}
		b := m.bucket(key)
		b.mu.Lock()
		o.mu.Lock()
		same := s.key == key && s.owner == tid
		o.mu.Unlock()
		if same {
			b.fixed(s)
			if w := b.next(s); w != nil {
				s.waiters--
				s.fixing, s.fixNext, b.fixing = true, b.fixing, s
				o.pass(s, w.tid)
				b.wake(w) // w.pi stays: the word is for the waiter to write
			} else {
				m.owners.drop(s)
			}
		}
		b.mu.Unlock()
	}
}
