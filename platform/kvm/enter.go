package kvm

import (
	"fmt"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// outcome says how it goes on after a vCPU ran.
type outcome uint8

const (
	exited      outcome = iota // there is an Exit
	again                      // nothing that concerns the kernel happened
	notEntered                 // it was asked to stop before
	interrupted                // a signal came; registers are the guest's
)

// enter runs guest code of c in s until something happens.
func (v *vcpu) enter(c *context, s *space) (platform.Exit, outcome, error) {
	port, how, err := v.guest(c, s)
	if how == exited && err == nil {
		return v.decode(c, s, port)
	}
	return platform.Exit{}, how, err
}

// guest runs guest code until it ends in an OUT of the stub: exited, with its
// port; or until it is interrupted.
func (v *vcpu) guest(c *context, s *space) (port int, how outcome, err error) {
	r := v.run
	r.setImmediate(false)
	v.space.Store(s)
	v.tid.Store(c.tid)
	// From here on, who changes mappings or wants us to stop kicks. What they
	// did before is looked at below.
	v.seq.Add(1)
	defer v.seq.Add(1)
	if c.state.Load() != running || c.yield.Load() {
		return 0, notEntered, nil
	}
	v.load(c, s)
	for {
		v.m.counts.runs.Add(1)
		began := rdtsc()
		c.meter.entered.Store(began)
		e := enterGuest(v.fd)
		c.meter.entered.Store(0)
		c.meter.ticks.Store(c.meter.ticks.Load() + rdtsc() - began)
		r.dirtyRegs = 0
		switch {
		case e == 0 && r.exitReason == exitIO:
			if out, size, port := r.io(); out && size == 1 && port >= portException && port <= portCompat {
				return int(port), exited, nil
			}
			return 0, exited, v.lost("an access to port %#x", r.word(0)>>16&0xffff)
		case e == unix.EINTR || e == 0 && r.exitReason == exitIntr:
			v.m.counts.interrupts.Add(1)
			if how, err := v.interrupted(c); how != again {
				return 0, how, err
			}
			r.setImmediate(false) // the stub has to end
		case e == unix.EAGAIN:
			// The host wants to be asked again.
		case e != 0:
			return 0, exited, v.lost("%w", e)
		case r.exitReason == exitShutdown:
			return 0, exited, v.lost("a triple fault")
		default:
			return 0, exited, v.lost("exit reason %d (%#x, %#x)", r.exitReason, r.word(0), r.word(1))
		}
	}
}

// lost makes an error of what leaves the vCPU in a state that is not known.
func (v *vcpu) lost(format string, args ...any) error {
	v.broken = true
	return fmt.Errorf("virtual processor %d at %#x: %w", v.index, v.run.regs.rip, fmt.Errorf(format, args...))
}

// load prepares the vCPU to go on with c in s.
func (v *vcpu) load(c *context, s *space) {
	r, d, g := v.run, v.data, &c.regs
	k := &r.regs
	k.rbx, k.rcx, k.rdx, k.rsi, k.rdi, k.rbp = g.Rbx, g.Rcx, g.Rdx, g.Rsi, g.Rdi, g.Rbp
	k.r8, k.r9, k.r10, k.r11, k.r12, k.r13, k.r14, k.r15 = g.R8, g.R9, g.R10, g.R11, g.R12, g.R13, g.R14, g.R15
	k.rax, k.rflags = g.Rax, 1<<1
	r.dirtyRegs = syncRegs
	if v.told != c.version {
		v.tell(c)
	}

	gen := s.gen.Load()
	space := v.spaceID != s.id || v.gen != gen
	bases := !v.bases || v.fs != g.Fs_base || v.gs != g.Gs_base
	flags := g.Eflags
	c.ownTF = flags&flagTF != 0
	if c.step {
		flags |= flagTF
	}
	c.trapped = flags&flagTF != 0

	if v.ring3 {
		r.sregs.cs, r.sregs.ss = kernelCode, kernelData
		r.dirtyRegs |= syncSRegs
	}
	if v.m.quirks.bases {
		space = space || v.foreign
	} else if bases || v.foreign {
		q := &r.sregs
		if v.foreign {
			q.ds, q.es, q.fs, q.gs = noSegment, noSegment, noSegment, noSegment
		}
		q.fs.base, q.gs.base = g.Fs_base, g.Gs_base
		r.dirtyRegs |= syncSRegs
		bases = false
	}
	if v.byCall && v.m.quirks.sysret && !space && !bases && !v.ring3 &&
		g.Rcx == g.Rip && g.R11 == flags && flags&(flagTF|flagRF) == 0 && g.Cs == userCS {
		k.rip, k.rsp = v.to.sysret, g.Rsp
	} else {
		f := v.frame
		f.rip, f.cs, f.rflags, f.rsp, f.ss = g.Rip, g.Cs, flags, g.Rsp, userSS
		k.rsp = v.base + frameRIP
		d.newCR3, d.newFS, d.newGS, d.newRAX = s.pages.root.Load(), g.Fs_base, g.Gs_base, g.Rax
		switch {
		case space:
			k.rip = v.to.space
			v.m.counts.switches.Add(1)
		case bases:
			k.rip = v.to.bases
		default:
			k.rip = v.to.iret
		}
	}
	v.spaceID, v.gen = s.id, gen
	v.fs, v.gs, v.bases = g.Fs_base, g.Gs_base, true
	v.foreign, v.ring3, v.byCall = false, false, false
}

// save takes over the registers that do not depend on how the guest was left.
func (v *vcpu) save(c *context) {
	k, g := &v.run.regs, &c.regs
	g.Rbx, g.Rcx, g.Rdx, g.Rsi, g.Rdi, g.Rbp = k.rbx, k.rcx, k.rdx, k.rsi, k.rdi, k.rbp
	g.R8, g.R9, g.R10, g.R11, g.R12, g.R13, g.R14, g.R15 = k.r8, k.r9, k.r10, k.r11, k.r12, k.r13, k.r14, k.r15
	g.Rax = k.rax
	if v.m.quirks.bases {
		g.Rax = v.data.rax
		v.fs, v.gs = v.data.fsBase, v.data.gsBase
	} else {
		v.fs, v.gs = v.run.sregs.fs.base, v.run.sregs.gs.base
	}
	g.Fs_base, g.Gs_base = v.fs, v.gs
	g.Orig_rax = ^uint64(0)
	g.Ss = userSS
}

// saveFrame is save after an exception.
func (v *vcpu) saveFrame(c *context) {
	v.save(c)
	f, g := v.frame, &c.regs
	g.Rip, g.Rsp, g.Cs, g.Eflags = f.rip, f.rsp, f.cs, f.rflags
	c.hideStep(&g.Eflags)
}

// saveCall is save after SYSCALL.
func (v *vcpu) saveCall(c *context, rsp uint64) platform.Exit {
	v.save(c)
	g := &c.regs
	c.hideStep(&g.R11)
	g.Rip, g.Rsp, g.Cs, g.Eflags = g.Rcx, rsp, userCS, g.R11
	g.Orig_rax = g.Rax
	g.Rax = ^uint64(unix.ENOSYS) + 1 // as Linux has it until there is a result
	return platform.Exit{Kind: platform.ExitSyscall}
}

// interrupted decides what a signal found: again says that the guest is about to
// be left through the stub, and has to go on; it ends in an OUT soon. In the stub
// interrupts are off, in user code never.
func (v *vcpu) interrupted(c *context) (outcome, error) {
	r := v.run
	if r.ifFlag == 0 {
		if at := r.regs.rip - v.base; at < resumeBegin {
			v.unanswer()
			return again, nil
		}
		// It did not get to user code, or to a part of what leads there.
		v.spaceID, v.bases, v.foreign = 0, false, true
		if r.regs.rip-v.base >= pageSize {
			return exited, v.lost("interrupts are off in user code")
		}
		return notEntered, nil
	}
	// An exception may be on its way already. It comes first: if it were left, it
	// would hit whatever runs next on this vCPU.
	v.m.counts.ioctls.Add(1)
	if err := ioctlPtr(v.fd, ioGetEvents, &v.events); err != nil {
		return exited, v.lost("reading pending events: %w", err)
	}
	if v.events.exception.injected|v.events.exception.pending != 0 {
		v.m.counts.pending.Add(1)
		return again, nil
	}
	// Those of INT3 and INTO the host does not tell, since their instruction will
	// raise them once more; nor would the host enter when a shadow of MOV SS lies
	// over registers that it does not belong to.
	if e := &v.events; e.interrupt.shadow != 0 || soft(e.exception.nr) || soft(e.interrupt.nr) {
		v.m.counts.ioctls.Add(1)
		if err := ioctlPtr(v.fd, ioSetEvents, noEvents()); err != nil {
			return exited, v.lost("clearing events: %w", err)
		}
	}
	if v.m.quirks.bases {
		v.m.counts.ioctls.Add(1)
		if err := ioctlPtr(v.fd, ioGetSRegs, &r.sregs); err != nil {
			return exited, v.lost("reading system registers: %w", err)
		}
	}
	v.save(c)
	k, q, g := &r.regs, &r.sregs, &c.regs
	v.fs, v.gs = q.fs.base, q.gs.base
	g.Rax, g.Fs_base, g.Gs_base = k.rax, v.fs, v.gs
	g.Rip, g.Rsp, g.Cs, g.Eflags = k.rip, k.rsp, uint64(q.cs.selector), k.rflags
	c.hideStep(&g.Eflags)
	v.ring3 = true
	return interrupted, nil
}

// soft says whether a vector is that of an instruction of user code.
func soft(vector uint8) bool { return vector == vectorBreakpoint || vector == vectorOverflow }

// access is what an error code of a page fault says was tried.
func access(code uint64) hostarch.AccessType {
	switch {
	case code&pfFetch != 0:
		return hostarch.Execute
	case code&pfWrite != 0:
		return hostarch.Write
	}
	return hostarch.Read
}
