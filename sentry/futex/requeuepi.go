package futex

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// A condition variable of a mutex with an owner: threads wait on one word without
// an owner, and are moved to the mutex's, which has one.

// PrepareRequeuePI is Prepare for thread tid, which RequeuePI is to move to the
// futex that to names (FUTEX_WAIT_REQUEUE_PI). The caller waits and then calls
// DoneRequeuePI. EINVAL: both are the same.
func (m *Manager) PrepareRequeuePI(w *Waiter, key, to Key, tid uint32, check func() error) error {
	if key == to {
		return unix.EINVAL
	}
	w.reset()
	return m.prepare(w, key, AnyMask, func() error {
		if err := check(); err != nil {
			return err
		}
		w.tid, w.moves, w.to = tid, true, to
		return nil
	})
}

// DoneRequeuePI ends the wait of a PrepareRequeuePI, for whatever reason. locked:
// the thread owns the futex, whose word is at addr. moved: it was waiting for it.
// An error is the memory's.
func (m *Manager) DoneRequeuePI(w *Waiter, mem Memory, addr hostarch.Addr) (locked, moved bool, err error) {
	woken, moved := m.cancelPI(w)
	if !woken {
		return false, moved, nil
	}
	locked, err = m.own(w, mem, addr)
	return locked, true, err
}

// RequeuePI moves threads of PrepareRequeuePI from the word that from names to the
// futex that to names, whose word is at addr, if check succeeds: the first one,
// which becomes its owner if there is none, and up to nMove more
// (FUTEX_CMP_REQUEUE_PI). It returns how many. EINVAL: both are the same, or
// somebody waits who is not to go there. The other errors are LockPI's.
func (m *Manager) RequeuePI(from, to Key, nMove int, mem Memory, addr hostarch.Addr, check func() error, alive func(uint32) bool) (int, error) {
	if from == to {
		return 0, unix.EINVAL
	}
	b1, b2 := m.lock(from, to)
	defer unlock(b1, b2)
	b1.count.Add(1) // as in prepare
	defer b1.count.Add(-1)
	b2.count.Add(1)
	defer b2.count.Add(-1)
	if err := check(); err != nil {
		return 0, err
	}
	if _, err := mem.LoadUint32(addr); err != nil {
		return 0, err
	}
	n := 0
	for w := b1.first; w != nil && n <= nMove; {
		next := w.next
		if w.key == from {
			if !w.moves || w.to != to {
				return 0, unix.EINVAL
			}
			s, err := m.claim(b2, to, mem, addr, w.tid, false, alive)
			switch {
			case err != nil:
				return 0, err
			case s == nil:
				b1.wake(w)
			default:
				b1.unlink(w)
				w.moves, w.to = false, Key{}
				b2.addPI(w, to, s)
			}
			n++
		}
		w = next
	}
	return n, nil
}
