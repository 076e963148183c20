package task

import (
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/futex"
)

// FutexKey names a futex word in m.
func (m *Memory) FutexKey(addr hostarch.Addr, private bool) (futex.Key, error) {
	object, off, err := m.Space.FutexKey(addr, private)
	return futex.Key{Object: object, Offset: off}, err
}

// wakeFutex wakes one waiter on the word at addr, by either kind of key: a thread
// library waits for the end of a thread on a shared one.
func (t *Task) wakeFutex(m *Memory, addr hostarch.Addr) {
	if k, err := m.FutexKey(addr, false); err == nil {
		t.k.Futexes.Wake(k, 1, ^uint32(0))
	}
}

// SetRobustList is set_robust_list(2).
func (t *Task) SetRobustList(a hostarch.Addr) { t.robustList = a }

// RobustList is get_robust_list(2).
func (t *Task) RobustList() hostarch.Addr { return t.robustList }

// ClearTID returns what SetClearTID set.
func (t *Task) ClearTID() hostarch.Addr { return t.clearTID }

// releaseRobust gives up the robust futexes that t holds (exit_robust_list).
func (t *Task) releaseRobust() {
	if t.robustList != 0 {
		t.k.Futexes.ReleaseRobust(robustMemory{t.mem}, t.robustList, uint32(t.th.ID()))
	}
}

// robustMemory is how the futex package walks a guest's robust list.
type robustMemory struct{ *Memory }

func (m robustMemory) CopyIn(addr hostarch.Addr, dst []byte) (int, error) {
	return m.Space.CopyIn(addr, dst)
}

func (m robustMemory) CompareAndSwapUint32(addr hostarch.Addr, old, v uint32) (uint32, error) {
	return m.Space.CompareAndSwapUint32(addr, old, v)
}

func (m robustMemory) LoadUint32(addr hostarch.Addr) (uint32, error) { return m.Space.LoadUint32(addr) }

func (m robustMemory) Key(addr hostarch.Addr) (futex.Key, error) { return m.FutexKey(addr, false) }
