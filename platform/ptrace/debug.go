package ptrace

import (
	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// Debug registers of the guest are those of its tracee, set as any debugger sets them.
// They go with the tracee: one that is left, for another context to use, has none.

const (
	trapHWBreak = 4 // TRAP_HWBKPT

	debugRegs    = 848 // offsetof(struct user, u_debugreg)
	debugStatus  = 6
	debugControl = 7
)

// debugState is what a context's tracee watches.
type debugState struct {
	regs   platform.DebugRegisters
	status uint64
}

// SetDebugRegisters implements platform.Debugger.
func (c *context) SetDebugRegisters(r platform.DebugRegisters) error {
	if c.tid == 0 || c.gone {
		return unix.ENOSPC
	}
	if err := c.halt(); err != nil {
		return c.fail(err)
	}
	c.debug.regs = r
	// What is watched at this moment must not keep an address from being set.
	e := c.pokeDebug(debugControl, 0)
	for i, a := range r.Addr {
		if e == 0 {
			e = c.pokeDebug(i, a)
		}
	}
	if e == 0 && r.Control != 0 {
		e = c.pokeDebug(debugControl, r.Control)
	}
	if e != 0 {
		c.dropDebug()
		return e
	}
	return nil
}

// DebugStatus implements platform.Debugger.
func (c *context) DebugStatus() uint64 { return c.debug.status }

func (c *context) pokeDebug(n int, v uint64) unix.Errno {
	return c.w.poke(c.tid, uintptr(debugRegs+8*n), v)
}

// dropDebug leaves a tracee that is stopped without any.
func (c *context) dropDebug() {
	if c.debug.regs == (platform.DebugRegisters{}) {
		return
	}
	c.debug = debugState{}
	c.pokeDebug(debugControl, 0)
	for i := range c.debug.regs.Addr {
		c.pokeDebug(i, 0)
	}
}

// readDebug takes DR6 at a trap.
func (c *context) readDebug() {
	v, e := c.w.peek(c.tid, debugRegs+8*debugStatus)
	if e == 0 {
		c.debug.status = v
	}
}
