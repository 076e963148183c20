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

// FutexWaiter returns the task's place in a queue of waiters, for one wait at a
// time.
func (t *Task) FutexWaiter() *futex.Waiter {
	if t.futexWaiter == nil {
		t.futexWaiter = futex.NewWaiter()
		t.futexWaiter.Wake = t.th.Unpark
	}
	return t.futexWaiter
}

// SetRobustList is set_robust_list(2).
func (t *Task) SetRobustList(a hostarch.Addr) {
	t.mu.Lock()
	t.robustList = a
	t.mu.Unlock()
}

// RobustList is get_robust_list(2). Any goroutine may ask.
func (t *Task) RobustList() hostarch.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.robustList
}

// ClearTID returns what SetClearTID set.
func (t *Task) ClearTID() hostarch.Addr { return t.clearTID }

// OwnsFutexes reports whether a thread with this id can still unlock what it
// owns: futex.Manager asks before it lets somebody wait for the thread.
func (k *Kernel) OwnsFutexes(tid uint32) bool {
	t := Of(k.Procs.GetThread(int(tid)))
	return t != nil && !t.futexesGone.Load()
}

// releaseFutexes gives up what t holds of futexes when it leaves its memory
// (futex_exit_release, futex_exec_release).
func (t *Task) releaseFutexes() {
	tid := uint32(t.th.ID())
	if t.robustList != 0 {
		t.k.Futexes.ReleaseRobust(futexMemory{t.mem}, t.robustList, tid)
	}
	t.futexesGone.Store(true)
	t.k.Futexes.ReleasePI(tid)
}

// Futexes returns m as the futex package sees it.
func (m *Memory) Futexes() futex.Memory { return futexMemory{m} }

// futexMemory is the words that futexes are, and robust lists.
type futexMemory struct{ *Memory }

func (m futexMemory) CopyIn(addr hostarch.Addr, dst []byte) (int, error) {
	return m.Space.CopyIn(addr, dst)
}

func (m futexMemory) CompareAndSwapUint32(addr hostarch.Addr, old, v uint32) (uint32, error) {
	return m.Space.CompareAndSwapUint32(addr, old, v)
}

func (m futexMemory) LoadUint32(addr hostarch.Addr) (uint32, error) { return m.Space.LoadUint32(addr) }

func (m futexMemory) Key(addr hostarch.Addr) (futex.Key, error) { return m.FutexKey(addr, false) }
