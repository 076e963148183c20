package task

import (
	"errors"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/platform"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/insn"
)

// si_code values.
const (
	segvMapErr = 1
	segvAccErr = 2
	trapBrkpt  = 1
	fpeIntDiv  = 1
	busAdrAln  = 1
)

// Numbers of the processor's exceptions, as sigcontext.trapno shows them.
const (
	trapDivide       = 0
	trapDebug        = 1
	trapBreakpoint   = 3
	trapInvalid      = 6
	trapStackSegment = 12
	trapProtection   = 13
	trapPageFault    = 14
	trapX87          = 16
	trapAlignment    = 17
	trapSIMD         = 19
)

// pageFault resolves a fault or turns it into a signal.
func (t *Task) pageFault(ex *platform.Exit) {
	f, begin := t.faultTracer()
	t.th.AccountFault()
	err := t.mem.Space.Fault(ex.Addr, ex.Access, &t.faults)
	if f != nil {
		f.Fault(ex.Addr, ex.Access, begin, err)
	}
	if err == nil {
		return
	}
	info := procmgr.SigInfo{Signo: int32(unix.SIGSEGV), Code: segvMapErr, Addr: uint64(ex.Addr)}
	var fe *mm.FaultError
	if errors.As(err, &fe) {
		info.Signo, info.Code = int32(fe.Signal), fe.Code
	}
	t.fault = faultInfo{err: t.faultCode(ex, info.Code), trapno: trapPageFault, cr2: uint64(ex.Addr)}
	t.th.ForceSignal(info)
}

// faultCode makes the page fault error code that a sigcontext shows. Where the
// platform does not know what was tried, the instruction says it.
func (t *Task) faultCode(ex *platform.Exit, code int32) uint64 {
	const (
		present = 1 << iota
		write
		user
		_
		fetch
	)
	e, at := uint64(user), ex.Access
	if !at.Any() {
		regs := t.ctx.Registers()
		at.Write = insn.Writes(t.code(), insn.Regs{RSP: regs.Rsp, RDI: regs.Rdi}, uint64(ex.Addr))
	}
	// As set_signal_archinfo has it, what is the kernel's always looks protected.
	if code == segvAccErr && t.mem.Space.Present(ex.Addr) || ex.Addr >= t.k.Platform.MaxAddress() {
		e |= present
	}
	if at.Write {
		e |= write
	}
	if at.Execute {
		e |= fetch
	}
	return e
}

// code returns the text at the instruction pointer, as much as can be read.
func (t *Task) code() []byte {
	var b [insn.Max]byte
	n, _ := t.mem.Space.Peek(hostarch.Addr(t.ctx.Registers().Rip), b[:])
	return b[:n]
}

// exception turns a processor exception into its signal.
func (t *Task) exception(ex *platform.Exit) {
	t.fault = faultInfo{trapno: t.trapOf(ex)}
	if ex.Signo == int32(unix.SIGTRAP) && ex.Code == trapHWBreak {
		t.watchedTrap()
	}
	t.th.ForceSignal(procmgr.SigInfo{Signo: ex.Signo, Code: ex.Code, Addr: uint64(ex.Addr)})
}

// trapOf finds out which exception a signal came of.
func (t *Task) trapOf(ex *platform.Exit) uint64 {
	switch unix.Signal(ex.Signo) {
	case unix.SIGILL:
		return trapInvalid
	case unix.SIGTRAP:
		if ex.Code > trapBrkpt && ex.Code != procmgr.SIKernel {
			return trapDebug
		}
		return trapBreakpoint
	case unix.SIGFPE:
		switch {
		case ex.Code == fpeIntDiv:
			return trapDivide
		case insn.IsX87(t.code()):
			return trapX87
		}
		return trapSIMD
	case unix.SIGBUS:
		if ex.Code == busAdrAln {
			return trapAlignment
		}
		return trapStackSegment
	}
	return trapProtection
}
