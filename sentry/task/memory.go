package task

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/platform"
	"runsc-lite/procmgr"
)

// Memory is a guest address space, both sides of it, with the program in it.
type Memory struct {
	Space   *mm.Space
	Guest   platform.AddressSpace
	Program *Program // nil while it is loaded

	refs       atomic.Int32
	membarrier atomic.Uint32 // commands of membarrier(2) that were registered
	calls      patches
}

// memoryLimits are a process's limits as its memory sees them. A thread of it with
// CAP_IPC_LOCK may lock all.
type memoryLimits struct{ th *procmgr.Thread }

// Soft implements mm.Limits.
func (l memoryLimits) Soft(resource int) uint64 {
	if resource == unix.RLIMIT_MEMLOCK && l.th.Credentials().HasCap(unix.CAP_IPC_LOCK) {
		return unix.RLIM_INFINITY
	}
	return l.th.Process().Limits().Soft(resource)
}

// newMemory makes an empty address space with one reference.
func (k *Kernel) newMemory(limits mm.Limits) (*Memory, error) {
	guest, err := k.Platform.NewAddressSpace()
	if err != nil {
		return nil, fmt.Errorf("%w: making an address space: %v", unix.ENOMEM, err)
	}
	m := &Memory{Guest: guest, Space: mm.NewSpace(mm.Config{
		File:   k.Memory,
		Mapper: guest,
		Min:    k.Platform.MinAddress(),
		Max:    k.Platform.MaxAddress(),
		Limits: limits,

		MaxReserve: k.TotalMemory,
	})}
	m.refs.Store(1)
	return m, nil
}

// IncRef adds a task that uses m.
func (m *Memory) IncRef() { m.refs.Add(1) }

// Users returns how many tasks use m.
func (m *Memory) Users() int { return int(m.refs.Load()) }

// DecRef ends one task's use; with the last everything is given back.
func (m *Memory) DecRef() {
	if m.refs.Add(-1) != 0 {
		return
	}
	m.Space.DecUsers()
	if m.Program != nil {
		m.Program.Exe.DecRef()
	}
}

// RegisterMembarrier notes that expedited barriers will be used (membarrier(2)).
func (m *Memory) RegisterMembarrier(cmd uint32) { m.membarrier.Or(cmd) }

// Membarriers returns which were.
func (m *Memory) Membarriers() uint32 { return m.membarrier.Load() }

// cloneMemory returns the memory of a clone of t: shared or copied.
func (t *Task) cloneMemory(flags uint64, limits mm.Limits) (*Memory, error) {
	if flags&unix.CLONE_VM != 0 {
		t.mem.IncRef()
		return t.mem, nil
	}
	guest, err := t.k.Platform.NewAddressSpace()
	if err != nil {
		return nil, unix.ENOMEM
	}
	o := mm.ForkOptions{Mapper: guest, Limits: limits, Hint: hostarch.Addr(t.ctx.Registers().Rsp)}
	if t.mem.Guest.Contexts() > 1 {
		o.Flush = func() error { return t.ctx.Flush(t.mem.Guest) }
	}
	space, err := t.mem.Space.Fork(o)
	if err != nil {
		return nil, unix.ENOMEM
	}
	m := &Memory{Space: space, Guest: guest, Program: t.mem.Program}
	m.refs.Store(1)
	m.membarrier.Store(t.mem.membarrier.Load())
	m.calls.inherit(&t.mem.calls)
	m.Program.Exe.IncRef()
	return m, nil
}

// leaveMemory makes next, or nothing, t's memory. What Linux does when a thread
// leaves an address space (mm_release) comes first: robust futexes are given up,
// and the word of set_tid_address(2) is cleared.
func (t *Task) leaveMemory(next *Memory) {
	old := t.mem
	if old != nil {
		if old.Users() == 1 {
			t.giveUpMemory(old)
		}
		t.releaseFutexes()
		if a := t.clearTID; a != 0 && old.Users() > 1 {
			if old.Space.StoreUint32(a, 0) == nil {
				t.wakeFutex(old, a)
			}
		}
	}
	t.clearTID = 0
	t.mu.Lock()
	t.robustList = 0
	t.mem = next
	t.mu.Unlock()
	t.futexesGone.Store(next == nil)
	if old != nil {
		old.DecRef()
	}
}
