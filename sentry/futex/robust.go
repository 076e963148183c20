package futex

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/hostarch"
)

// Memory is the guest memory that a robust list lies in.
type Memory interface {
	CopyIn(addr hostarch.Addr, dst []byte) (int, error)
	LoadUint32(addr hostarch.Addr) (uint32, error)
	CompareAndSwapUint32(addr hostarch.Addr, old, v uint32) (was uint32, err error)
	Key(addr hostarch.Addr) (Key, error)
}

// The bits of the word of a futex with an owner (linux/futex.h).
const (
	flagWaiters   = 0x80000000
	flagOwnerDied = 0x40000000
	tidMask       = 0x3fffffff
)

// maxRobust bounds how long a list is followed (ROBUST_LIST_LIMIT).
const maxRobust = 2048

// ReleaseRobust gives up the futexes in the list at head that thread tid owns: it
// marks them FUTEX_OWNER_DIED and wakes one waiter of each (exit_robust_list). The
// list is the guest's; a broken one ends the walk.
func (m *Manager) ReleaseRobust(mem Memory, head hostarch.Addr, tid uint32) {
	var h [24]byte // struct robust_list_head: list, futex_offset, list_op_pending
	if _, err := mem.CopyIn(head, h[:]); err != nil {
		return
	}
	le := binary.LittleEndian
	offset := le.Uint64(h[8:])
	pending := le.Uint64(h[16:]) &^ 1
	next := le.Uint64(h[0:])
	for range maxRobust {
		// Bit 0 marks a PI futex.
		entry, pi := next&^1, next&1 != 0
		if entry == uint64(head) {
			break
		}
		var b [8]byte
		_, err := mem.CopyIn(hostarch.Addr(entry), b[:])
		if entry != pending {
			if !m.ownerDied(mem, hostarch.Addr(entry+offset), tid, pi, false) {
				return
			}
		}
		if err != nil {
			return
		}
		next = le.Uint64(b[:])
	}
	if pending != 0 {
		m.ownerDied(mem, hostarch.Addr(pending+offset), tid, le.Uint64(h[16:])&1 != 0, true)
	}
}

// ownerDied handles one futex (handle_futex_death). false: it cannot be reached.
func (m *Manager) ownerDied(mem Memory, addr hostarch.Addr, tid uint32, pi, pending bool) bool {
	if addr&3 != 0 {
		return false
	}
	for {
		v, err := mem.LoadUint32(addr)
		if err != nil {
			return false
		}
		owner := v & tidMask
		if pending && !pi && owner == 0 {
			// It died between unlocking and waking.
			m.wakeAt(mem, addr)
			return true
		}
		if owner != tid {
			return true
		}
		was, err := mem.CompareAndSwapUint32(addr, v, v&flagWaiters|flagOwnerDied)
		if err != nil {
			return false
		}
		if was != v {
			continue
		}
		if !pi && v&flagWaiters != 0 {
			m.wakeAt(mem, addr)
		}
		return true
	}
}

func (m *Manager) wakeAt(mem Memory, addr hostarch.Addr) {
	if k, err := mem.Key(addr); err == nil {
		m.Wake(k, 1, AnyMask)
	}
}
