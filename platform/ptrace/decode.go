package ptrace

import (
	"fmt"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

const (
	siKernel  = 0x80
	trapBrkpt = 1 // TRAP_BRKPT
	segvMap   = 1 // SEGV_MAPERR
	segvAcc   = 2 // SEGV_ACCERR
	busAdrErr = 2 // BUS_ADRERR

	vsyscallPage = 0xffffffffff600000
)

// protection is what Linux without a 32-bit mode makes of an entry that it does
// not have: a general protection fault.
var protection = platform.Exit{Kind: platform.ExitSignal, Signo: int32(unix.SIGSEGV), Code: siKernel}

// decode says what a stop means.
func (c *context) decode(ws unix.WaitStatus) (platform.Exit, error) {
	fetch, stepTrap := c.fetch, c.stepTrap
	c.fetch, c.stepTrap = 0, false
	sig := unix.Signal(ws >> 8 & 0xff)
	if ws == eventSeccomp {
		c.lost = true // the host would make the call now
		return c.decodeCall(), nil
	}
	if ws>>16 != 0 {
		return platform.Exit{}, nil // a group stop, from outside
	}
	switch sig {
	case stopEntry:
		return c.decodeCall(), nil
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP, unix.SIGSYS:
	default:
		return platform.Exit{}, nil
	}
	if nr := c.regs.Orig_rax; sig == unix.SIGSYS && nr != ^uint64(0) && nr != callDone && c.w.p.slots != nil {
		return c.decodeTrapped(), nil // not in the vsyscall page: that is a fault
	}
	var si sigInfo
	if e := c.w.getSigInfo(c.tid, &si); e != 0 {
		return platform.Exit{}, lostError(e)
	}
	if si.code <= 0 {
		return platform.Exit{}, nil // somebody's kill(2)
	}
	if sig == unix.SIGSYS {
		if si.addr&^0xfff != vsyscallPage {
			if c.w.p.slots == nil {
				return platform.Exit{}, fmt.Errorf("a guest's system call got through to the filter, at %#x", si.addr)
			}
			return c.decodeTrapped(), nil
		}
		// The host has made the call return already: undo that.
		c.regs.Rip = si.addr
		c.regs.Rsp -= 8
		return platform.Exit{
			Kind: platform.ExitFault, Signo: int32(unix.SIGSEGV), Code: segvMap,
			Addr: hostarch.Addr(si.addr), Access: hostarch.Execute,
		}, nil
	}
	if sig == unix.SIGTRAP && si.code == trapBrkpt && (c.step || stepTrap) {
		return platform.Exit{}, nil // the end of a call that was skipped, not an instruction
	}
	if sig == unix.SIGTRAP && si.code == trapHWBreak {
		c.readDebug()
	}
	x := platform.Exit{Kind: platform.ExitSignal, Signo: si.signo, Code: si.code, Addr: hostarch.Addr(si.addr)}
	switch {
	case si.code == siKernel:
		x.Addr = 0
	case sig == unix.SIGSEGV && (si.code == segvMap || si.code == segvAcc), sig == unix.SIGBUS && si.code == busAdrErr:
		x.Kind = platform.ExitFault
		// A fetch, or an instruction that writes to its own first byte: the
		// second time running it is the latter.
		if si.addr == c.regs.Rip && fetch != si.addr {
			x.Access = hostarch.Execute
			c.fetch = si.addr
		}
	}
	return x, nil
}

// decodeTrapped is decodeCall where the filter has trapped the call. The host has
// put the number back into RAX.
func (c *context) decodeTrapped() platform.Exit {
	c.lost = true
	c.stepTrap = c.step // the step's end comes behind the call, though it is stopped
	c.regs.Rax = ^uint64(unix.ENOSYS - 1)
	return c.decodeCall()
}

// decodeCall tells a SYSCALL from the entries that a Linux without a 32-bit mode
// does not have. SYSCALL leaves its return address in RCX.
func (c *context) decodeCall() platform.Exit {
	if c.regs.Cs == userCS && c.regs.Rcx == c.regs.Rip {
		return platform.Exit{Kind: platform.ExitSyscall, Trapped: !c.step}
	}
	c.regs.Rip -= 2
	c.regs.Rax = c.regs.Orig_rax
	c.lost = true // SYSENTER changed the code segment
	return protection
}
