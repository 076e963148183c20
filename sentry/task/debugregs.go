package task

import (
	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// What is watched by the debug registers, and how (Intel's manual, volume 3, 17.2.4):
// two bits of DR7 enable each of four addresses, four more say which access of how many
// bytes.
const (
	numWatched     = 4
	debugStatusReg = 6
	debugControl   = 7

	watchExecution = 0
	watchIO        = 2

	trapHWBreak = 4 // TRAP_HWBKPT
)

// debugRegs are the debug registers that a tracer set. They change while the thread is in
// a stop.
type debugRegs struct {
	platform.DebugRegisters
	status uint64 // DR6
}

// DebugRegister returns register n of a thread that is in a stop (ptrace_get_debugreg).
func (t *Task) DebugRegister(n int) uint64 {
	switch {
	case n < numWatched:
		return t.debug.Addr[n]
	case n == debugStatusReg:
		return t.debug.status
	case n == debugControl:
		return t.debug.Control
	}
	return 0
}

// SetDebugRegister sets it, by t's own goroutine (ptrace_set_debugreg). EIO: there is no
// such register. EINVAL: it would watch what cannot be watched. ENOSPC: there are none
// on this platform.
func (t *Task) SetDebugRegister(n int, v uint64) error {
	next := t.debug
	switch {
	case n < numWatched:
		next.Addr[n] = v
	case n == debugStatusReg:
		t.debug.status = v
		return nil
	case n == debugControl:
		next.Control = v &^ 0xffffffff0000fc00 // DR_CONTROL_RESERVED
	default:
		return unix.EIO
	}
	for i, a := range next.Addr {
		if err := t.mayWatch(a, next.Control, i); err != nil {
			return err
		}
	}
	d, ok := t.ctx.(platform.Debugger)
	if !ok {
		if next.DebugRegisters == (platform.DebugRegisters{}) {
			return nil
		}
		return unix.ENOSPC
	}
	if next.Control == 0 && t.debug.Control == 0 {
		t.debug = next // nothing is watched: no need to tell
		return nil
	}
	if err := d.SetDebugRegisters(next.DebugRegisters); err != nil {
		t.debug.DebugRegisters = platform.DebugRegisters{}
		return unix.ENOSPC
	}
	t.debug = next
	return nil
}

// mayWatch checks address i (arch_build_bp_info): EINVAL. What is not the guest's is out
// of bounds.
func (t *Task) mayWatch(addr, control uint64, i int) error {
	if addr > uint64(t.k.Platform.MaxAddress())-8 {
		return unix.EINVAL
	}
	if control>>(2*i)&3 == 0 {
		return nil
	}
	how, size := control>>(16+4*i)&3, control>>(18+4*i)&3
	mask := [...]uint64{0, 1, 7, 3}[size]
	if how == watchIO || how == watchExecution && size != 0 || addr&mask != 0 {
		return unix.EINVAL
	}
	return nil
}

// watchedTrap notes what was met.
func (t *Task) watchedTrap() {
	if d, ok := t.ctx.(platform.Debugger); ok {
		t.debug.status = d.DebugStatus()
	}
}
