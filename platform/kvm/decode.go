package kvm

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// Exceptions of the processor.
const (
	vectorDivide     = 0
	vectorDebug      = 1
	vectorBreakpoint = 3
	vectorOverflow   = 4
	vectorBound      = 5
	vectorInvalid    = 6
	vectorNotPresent = 11
	vectorStack      = 12
	vectorProtection = 13
	vectorPageFault  = 14
	vectorX87        = 16
	vectorAlignment  = 17
	vectorSIMD       = 19
	vectorTSS        = 10
	vectorControl    = 21

	opINT  = 0xcd
	opINT3 = 0xcc

	pfPresent = 1 << 0
	pfWrite   = 1 << 1
	pfUser    = 1 << 2
	pfFetch   = 1 << 4

	flagTF = 1 << 8
	flagIF = 1 << 9
	flagRF = 1 << 16

	siKernel  = 0x80
	segvMap   = 1 // SEGV_MAPERR
	segvAcc   = 2 // SEGV_ACCERR
	busAlign  = 1 // BUS_ADRALN
	busNoAddr = 2 // BUS_ADRERR
	illOpn    = 2 // ILL_ILLOPN
	trapBrkpt = 1 // TRAP_BRKPT
	trapTrace = 2 // TRAP_TRACE
)

// signal makes an Exit of what Linux makes a signal of.
func signal(sig unix.Signal, code int32, addr uint64) (platform.Exit, outcome, error) {
	return platform.Exit{Kind: platform.ExitSignal, Signo: int32(sig), Code: code, Addr: hostarch.Addr(addr)}, exited, nil
}

// decode says what the OUT at the end of an entry means.
func (v *vcpu) decode(c *context, s *space, port int) (platform.Exit, outcome, error) {
	switch port {
	case portSyscall:
		v.m.counts.calls.Add(1)
		x := v.saveCall(c, v.run.regs.rsp)
		v.byCall = true
		return x, exited, nil
	case portCompat:
		return v.refuse(c, v.run.regs.rsp)
	}
	vector, f := port-portException, v.frame
	if f.cs&3 == 0 {
		// MOV SS puts off a trap to behind the SYSCALL that follows it.
		if vector == vectorDebug && f.rip == v.base+entryCall {
			return v.saveCall(c, f.rsp), exited, nil
		}
		// A trap that was due when another thread was interrupted behind a MOV SS.
		// It is nobody's any more; the way into the guest begins anew.
		if at := f.rip - v.base; vector == vectorDebug && at >= resumeBegin && at < pageSize {
			v.spaceID, v.bases, v.foreign = 0, false, true
			return platform.Exit{}, again, nil
		}
		// Some hosts cut LSTAR's like to 32 bits when 32-bit code makes a call.
		if vector == vectorPageFault && f.rip == uint64(uint32(v.base+entryCompat)) {
			return v.refuse(c, f.rsp)
		}
		return platform.Exit{}, exited, v.lost("exception %d in the stub (error code %#x, RIP %#x)", vector, f.errorCode, f.rip)
	}
	if vector == vectorPageFault {
		return v.pageFault(c, s)
	}
	v.m.counts.exceptions.Add(1)
	v.saveFrame(c)
	rip := c.regs.Rip
	switch vector {
	case vectorDivide:
		return signal(unix.SIGFPE, fpeInteger, rip)
	case vectorDebug:
		if c.trapped || f.rflags&flagTF != 0 {
			return signal(unix.SIGTRAP, trapTrace, rip)
		}
		return signal(unix.SIGTRAP, trapBrkpt, rip)
	case vectorBreakpoint:
		return signal(unix.SIGTRAP, siKernel, 0)
	case vectorInvalid:
		if v.m.quirks.intIsInvalid {
			switch s.opcode(rip) {
			case opINT:
				return signal(unix.SIGSEGV, siKernel, 0)
			case opINT3: // with a stack pointer that is no address
				c.regs.Rip++
				return signal(unix.SIGTRAP, siKernel, 0)
			}
		}
		return signal(unix.SIGILL, illOpn, rip)
	case vectorNotPresent, vectorStack:
		return signal(unix.SIGBUS, siKernel, 0)
	case vectorOverflow, vectorBound, vectorTSS, vectorProtection, vectorControl:
		return signal(unix.SIGSEGV, siKernel, 0)
	case vectorX87, vectorSIMD:
		fp, err := c.FPState()
		if err != nil {
			return platform.Exit{}, exited, err
		}
		return signal(unix.SIGFPE, floatError(fp, vector), rip)
	case vectorAlignment:
		return signal(unix.SIGBUS, busAlign, 0)
	}
	return platform.Exit{}, exited, v.lost("exception %d", vector)
}

// refuse makes the SYSCALL of 32-bit code what it is on a Linux without that.
func (v *vcpu) refuse(c *context, rsp uint64) (platform.Exit, outcome, error) {
	v.save(c)
	g := &c.regs
	c.hideStep(&g.R11)
	g.Rip, g.Rsp, g.Cs, g.Eflags = g.Rcx-2, rsp, compatCS, g.R11
	return signal(unix.SIGSEGV, siKernel, 0)
}

// pageFault decodes a page fault.
func (v *vcpu) pageFault(c *context, s *space) (platform.Exit, outcome, error) {
	f := v.frame
	if v.m.quirks.callFaults && f.errorCode == pfFetch|pfUser|pfPresent {
		// A host whose SYSCALL stays in ring 3 makes it a fetch from the stub. A
		// guest that jumps there makes a call as well: one that it could have made.
		switch f.rip {
		case v.base + entryCall:
			v.m.counts.calls.Add(1)
			return v.saveCall(c, f.rsp), exited, nil
		case v.base + entryCompat:
			return v.refuse(c, f.rsp)
		}
	}
	v.m.counts.faults.Add(1)
	addr := v.data.cr2
	if !v.m.quirks.bases {
		addr = v.run.sregs.cr2
	}
	v.saveFrame(c)
	at := access(f.errorCode)
	x := platform.Exit{
		Kind: platform.ExitFault, Signo: int32(unix.SIGSEGV), Code: segvMap,
		Addr: hostarch.Addr(addr), Access: at,
	}
	e := s.lookUp(addr)
	allowed := e&pteMapped != 0 && (e&pteW != 0 || !at.Write) && (e&pteNX == 0 || !at.Execute)
	switch {
	case allowed && e&pteBeyond != 0:
		x.Signo, x.Code = int32(unix.SIGBUS), busNoAddr
	case allowed && e&pteP != 0 && !(c.stale.addr == addr && c.stale.rip == c.regs.Rip):
		// The access is there by now; the processor did not know yet. But not
		// for ever.
		c.stale.addr, c.stale.rip = addr, c.regs.Rip
		v.m.counts.spurious.Add(1)
		v.spaceID = 0
		return x, again, nil
	case e&pteMapped != 0:
		x.Code = segvAcc
	}
	c.stale.addr, c.stale.rip = 0, 0
	return x, exited, nil
}

// opcode is the first byte of the instruction at an address, 0 if there is none.
func (s *space) opcode(at uint64) byte {
	var b [1]byte
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages.read(b[:], at)
	return b[0]
}

// lookUp returns the entry that maps an address.
func (s *space) lookUp(addr uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, _ := s.pages.find(addr)
	return e
}
