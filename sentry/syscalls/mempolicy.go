package syscalls

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/sentry/task"
)

// Memory policies, on a machine of one node: whatever a policy is, memory comes from
// there. They are checked and remembered, as Linux does.
const (
	mpolDefault       = 0
	mpolPreferred     = 1
	mpolBind          = 2
	mpolInterleave    = 3
	mpolLocal         = 4
	mpolPreferredMany = 5
	mpolWeighted      = 6

	mpolStatic    = 1 << 15 // MPOL_F_STATIC_NODES
	mpolRelative  = 1 << 14 // MPOL_F_RELATIVE_NODES
	mpolBalancing = 1 << 13 // MPOL_F_NUMA_BALANCING

	mpolNode    = 1 << 0 // MPOL_F_NODE
	mpolAddr    = 1 << 1 // MPOL_F_ADDR
	mpolAllowed = 1 << 2 // MPOL_F_MEMS_ALLOWED

	mbindStrict  = 1 << 0 // MPOL_MF_STRICT
	mbindMove    = 1 << 1 // MPOL_MF_MOVE
	mbindMoveAll = 1 << 2 // MPOL_MF_MOVE_ALL
)

// onlyNode is the set of all nodes.
const onlyNode = 1

// copyInNodes reads a set of nodes (get_nodes): EINVAL for nodes that there are not.
func copyInNodes(t *task.Task, addr hostarch.Addr, max uint64) (uint64, error) {
	max--
	if addr == 0 || max == 0 || max == ^uint64(0) {
		return 0, nil
	}
	if max > hostarch.PageSize*8 {
		return 0, unix.EINVAL
	}
	b := make([]byte, (max+63)/64*8)
	if _, err := t.Memory().Space.CopyIn(addr, b); err != nil {
		return 0, err
	}
	set := uint64(0)
	for i := range max {
		if b[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if i >= 64 {
			return 0, unix.EINVAL
		}
		set |= 1 << i
	}
	return set, nil
}

// newPolicy checks a policy (mpol_new, mpol_set_nodemask): EINVAL.
func newPolicy(mode int32, nodes uint64) (task.MemoryPolicy, error) {
	const flags = mpolStatic | mpolRelative | mpolBalancing
	none, how := task.MemoryPolicy{}, mode&flags
	mode &^= flags
	switch {
	case mode < 0 || mode > mpolWeighted, how&(mpolStatic|mpolRelative) == mpolStatic|mpolRelative:
		return none, unix.EINVAL
	case how&mpolBalancing != 0 && mode != mpolBind && mode != mpolPreferredMany:
		return none, unix.EINVAL
	case mode == mpolDefault:
		if nodes != 0 {
			return none, unix.EINVAL
		}
		return none, nil
	case mode == mpolLocal, mode == mpolPreferred && nodes == 0:
		if nodes != 0 || how != 0 {
			return none, unix.EINVAL
		}
		return task.MemoryPolicy{Mode: mpolLocal}, nil
	case nodes == 0, nodes&onlyNode == 0:
		return none, unix.EINVAL
	}
	return task.MemoryPolicy{Mode: mode | how, Nodes: nodes & onlyNode}, nil
}

// sysSetMempolicy is set_mempolicy(2).
func sysSetMempolicy(t *task.Task, a *task.Args) (uint64, error) {
	nodes, err := copyInNodes(t, a.Addr(1), a[2])
	if err != nil {
		return 0, err
	}
	p, err := newPolicy(a.Int(0), nodes)
	if err == nil {
		t.SetMemoryPolicy(p)
	}
	return 0, err
}

// sysMbind is mbind(2).
func sysMbind(t *task.Task, a *task.Args) (uint64, error) {
	addr, length, flags := a.Addr(0), a[1], a.Uint(5)
	nodes, err := copyInNodes(t, a.Addr(3), a[4])
	if err != nil {
		return 0, err
	}
	if flags&^(mbindStrict|mbindMove|mbindMoveAll) != 0 || addr&pageOffset != 0 {
		return 0, unix.EINVAL
	}
	if flags&mbindMoveAll != 0 && !t.Thread().Credentials().HasCap(unix.CAP_SYS_NICE) {
		return 0, unix.EPERM
	}
	if _, err := newPolicy(a.Int(2), nodes); err != nil {
		return 0, err
	}
	end := addr + hostarch.Addr((length+pageOffset)&^pageOffset)
	if end < addr {
		return 0, unix.EINVAL
	}
	// "EFAULT: part or all of the memory range … points outside your accessible
	// address space. Or, there was an unmapped hole in the range."
	for at := addr; at < end; {
		areas := t.Memory().Space.AreasFrom(at, 1)
		if len(areas) == 0 || areas[0].Start > at {
			return 0, unix.EFAULT
		}
		at = areas[0].End
	}
	return 0, nil
}

// sysGetMempolicy is get_mempolicy(2).
func sysGetMempolicy(t *task.Task, a *task.Args) (uint64, error) {
	modeAddr, mask, max, addr, flags := a.Addr(0), a.Addr(1), a[2], a.Addr(3), a.Uint(4)
	if mask != 0 && max < 1 || flags&^(mpolNode|mpolAddr|mpolAllowed) != 0 {
		return 0, unix.EINVAL
	}
	p := t.MemoryPolicy()
	value := uint32(p.Mode)
	switch {
	case flags&mpolAllowed != 0:
		if flags&(mpolNode|mpolAddr) != 0 {
			return 0, unix.EINVAL
		}
		value, p.Nodes = 0, onlyNode
	case flags&mpolAddr != 0:
		if areas := t.Memory().Space.AreasFrom(addr, 1); len(areas) == 0 || areas[0].Start > addr {
			return 0, unix.EFAULT
		}
		if flags&mpolNode != 0 {
			value = 0 // the node that the page is on
		}
	case addr != 0:
		return 0, unix.EINVAL
	case flags&mpolNode != 0:
		if p.Mode&0xff != mpolInterleave && p.Mode&0xff != mpolWeighted {
			return 0, unix.EINVAL
		}
		value = 0 // the next one
	}
	if modeAddr != 0 {
		if err := t.Memory().Space.StoreUint32(modeAddr, value); err != nil {
			return 0, err
		}
	}
	if mask == 0 {
		return 0, nil
	}
	// As many words as hold max-1 bits; there is one node in the first.
	if (max-1+63)/64*8 > hostarch.PageSize {
		return 0, unix.EINVAL
	}
	b := make([]byte, (max-1+63)/64*8)
	if len(b) > 0 {
		b[0] = byte(p.Nodes)
	}
	_, err := t.Memory().Space.CopyOut(mask, b)
	return 0, err
}
