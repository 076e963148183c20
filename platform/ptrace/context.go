package ptrace

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// States of a context, for Interrupt.
const (
	stopped = iota
	running // the tracee may be running: a kick is a signal
	kicked  // Interrupt was called: the next Run, or this one, returns
)

// kick is the signal that stops a running tracee. Its default action would do
// nothing, and it is never delivered.
const kick = unix.SIGURG

// context implements platform.Context.
type context struct {
	w      *worker
	newTID int    // a waiting thread to be seized for the first Run
	cur    *space // the space that the context belongs to
	stub   *stub  // and its stub, when tid is not 0
	tid    int    // the tracee; 0: none

	regs   platform.Registers // the guest's
	shadow platform.Registers // what the tracee has
	lost   bool               // the tracee has something else
	fp     []byte             // floating-point state to be set; nil: leave
	step   bool

	state atomic.Int32
	kickT atomic.Int64 // tgid<<32 | tid, for Interrupt

	runs atomic.Uint64 // counts Runs; odd while in one (balance.go)
}

// Registers implements platform.Context.
func (c *context) Registers() *platform.Registers { return &c.regs }

// SetSingleStep implements platform.Context.
func (c *context) SetSingleStep(on bool) { c.step = on }

// Interrupt implements platform.Context.
func (c *context) Interrupt() {
	for {
		switch s := c.state.Load(); s {
		case kicked:
			return
		default:
			if !c.state.CompareAndSwap(s, kicked) {
				continue
			}
			if s == running {
				t := c.kickT.Load()
				tgkill(int(t>>32), int(t&0xffffffff), kick)
			}
			return
		}
	}
}

// bind gives the context a tracee in s.
func (c *context) bind(s *space) error {
	if c.cur != s {
		c.unbind()
		c.cur = s
		s.contexts.Add(1)
	}
	if c.tid != 0 {
		return nil
	}
	fp := c.fp
	if fp == nil {
		fp = c.w.p.zygote.fpu
	}
	tid := c.newTID
	c.newTID = 0
	if tid != 0 {
		if err := c.w.seize(tid); err != nil {
			return err
		}
		s.mu.Lock()
		c.stub = s.stub
		s.mu.Unlock()
	} else {
		s.mu.Lock()
		if s.stub != nil {
			// Nobody made room for this thread: a waiting one must be there.
			n := len(s.stub.waiting)
			if n == 0 {
				s.mu.Unlock()
				return unix.EAGAIN
			}
			tid = s.stub.waiting[n-1]
			s.stub.waiting = s.stub.waiting[:n-1]
			c.stub = s.stub
			s.mu.Unlock()
			if err := c.w.seize(tid); err != nil {
				return err
			}
		} else {
			s.mu.Unlock()
			st, err := c.w.newStub()
			if err != nil {
				return err
			}
			s.mu.Lock()
			s.stub = st
			if st.dirty {
				s.pending.Store(true)
			}
			s.mu.Unlock()
			c.stub, tid = st, st.pid
		}
	}
	c.tid = tid
	c.kickT.Store(int64(c.stub.pid)<<32 | int64(tid))
	c.lost = true
	c.fp = fp
	return nil
}

// unbind takes the context out of its space. Its tracee becomes the worker's
// spare, waits for another context of the space, or ends.
func (c *context) unbind() {
	s := c.cur
	if s == nil {
		return
	}
	c.cur = nil
	defer s.contexts.Add(-1)
	if c.tid == 0 {
		return
	}
	tid, st := c.tid, c.stub
	c.tid, c.stub = 0, nil
	if c.fp == nil {
		// To be carried over to the next tracee.
		fp := make([]byte, len(c.w.p.zygote.fpu))
		if n, e := getXState(tid, fp); e == 0 {
			c.fp = fp[:n]
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.contexts.Load() > 1 || !s.gone:
		// Others are there: the host thread waits for the next one.
		r := platform.Registers{Rip: entryWait, Cs: userCS, Ss: userSS, Eflags: 0x202, Orig_rax: ^uint64(0)}
		if setRegs(tid, &r) == 0 && request(unix.PTRACE_DETACH, tid, 0, 0) == 0 {
			st.waiting = append(st.waiting, tid)
		}
	case st.threads == 1 && c.w.spare == nil:
		s.stub = nil
		st.dirty = true
		c.w.spare = st
	default:
		s.stub = nil
		if tid != st.pid {
			request(unix.PTRACE_DETACH, tid, 0, uintptr(unix.SIGKILL))
		}
		st.kill()
	}
}

// leave ends the context.
func (c *context) leave() {
	c.unbind()
}

// Flush implements platform.Context.
func (c *context) Flush(as platform.AddressSpace) error {
	s := as.(*space)
	if c.tid == 0 || c.cur != s {
		if err := c.bind(s); err != nil {
			return err
		}
	}
	if !s.pending.Load() {
		return nil
	}
	c.lost = true
	return s.flush(c.tid)
}

// Run implements platform.Context.
func (c *context) Run(as platform.AddressSpace) (platform.Exit, error) {
	s := as.(*space)
	if c.cur != s || c.tid == 0 {
		if err := c.bind(s); err != nil {
			return platform.Exit{}, err
		}
	}
	if s.pending.Load() {
		c.lost = true
		if err := s.flush(c.tid); err != nil {
			return platform.Exit{}, err
		}
	}
	if err := c.load(); err != nil {
		return platform.Exit{}, err
	}
	if !c.state.CompareAndSwap(stopped, running) {
		c.state.Store(stopped)
		return platform.Exit{Kind: platform.ExitInterrupted}, nil
	}
	req := ptSysemu
	if c.step {
		req = ptSysemuSinglestep
	}
	c.runs.Add(1)
	e := request(req, c.tid, 0, 0)
	if e != 0 {
		return platform.Exit{}, lostError(e)
	}
	ws, e := wait(c.tid)
	c.runs.Add(1)
	c.state.Store(stopped)
	if e != 0 {
		return platform.Exit{}, lostError(e)
	}
	if !ws.Stopped() {
		c.tid = 0
		return platform.Exit{}, errGone
	}
	if e := getRegs(c.tid, &c.shadow); e != 0 {
		return platform.Exit{}, lostError(e)
	}
	c.regs = c.shadow
	return c.decode(ws)
}

// load brings the tracee's registers up to date.
func (c *context) load() error {
	if c.fp != nil {
		if e := setXState(c.tid, c.fp); e != 0 {
			return lostError(e)
		}
		c.fp = nil
	}
	if !c.lost {
		if c.regs == c.shadow {
			return nil
		}
		rax := c.regs.Rax
		c.shadow.Rax = rax
		if c.regs == c.shadow {
			if e := pokeRax(c.tid, rax); e != 0 {
				return lostError(e)
			}
			return nil
		}
	}
	c.sanitise()
	if e := setRegs(c.tid, &c.regs); e != 0 {
		return lostError(e)
	}
	c.shadow = c.regs
	c.lost = false
	return nil
}

// sanitise makes the registers such that the host takes them, whatever the
// guest asked for.
func (c *context) sanitise() {
	const settable = 1 | 1<<2 | 1<<4 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11 | 1<<16 | 1<<18 | 1<<21
	r := &c.regs
	r.Cs, r.Ss = userCS, userSS
	r.Ds, r.Es, r.Fs, r.Gs = 0, 0, 0, 0
	r.Eflags = r.Eflags&settable | 1<<1 | 1<<9
	r.Orig_rax = ^uint64(0)
	if r.Fs_base >= stubBase {
		r.Fs_base = 0
	}
	if r.Gs_base >= stubBase {
		r.Gs_base = 0
	}
}

// decode says what a stop means.
func (c *context) decode(ws unix.WaitStatus) (platform.Exit, error) {
	sig := unix.Signal(ws >> 8 & 0xff)
	if ws>>16 != 0 {
		return platform.Exit{Kind: platform.ExitInterrupted}, nil
	}
	switch sig {
	case unix.SIGTRAP | 0x80:
		// SYSCALL leaves the return address in RCX; INT 0x80 does not, and a
		// Linux without 32-bit support answers it with a protection fault.
		if c.regs.Rcx != c.regs.Rip {
			c.regs.Rip -= 2
			c.regs.Rax = c.regs.Orig_rax
			return platform.Exit{Kind: platform.ExitSignal, Signo: int32(unix.SIGSEGV), Code: siKernel}, nil
		}
		return platform.Exit{Kind: platform.ExitSyscall}, nil
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP, unix.SIGSYS:
	default:
		return platform.Exit{Kind: platform.ExitInterrupted}, nil
	}
	var si sigInfo
	if e := getSigInfo(c.tid, &si); e != 0 {
		return platform.Exit{}, lostError(e)
	}
	if si.code <= 0 {
		// Somebody's kill(2): not the guest's business.
		return platform.Exit{Kind: platform.ExitInterrupted}, nil
	}
	x := platform.Exit{Kind: platform.ExitSignal, Signo: si.signo, Code: si.code, Addr: hostarch.Addr(si.addr)}
	switch {
	case sig == unix.SIGSYS:
		x.Signo, x.Code = int32(unix.SIGSEGV), siKernel
	case (sig == unix.SIGSEGV || sig == unix.SIGBUS) && si.code != siKernel:
		x.Kind = platform.ExitFault
		if si.addr == c.regs.Rip {
			x.Access = hostarch.Execute
		}
	case si.code == siKernel:
		x.Addr = 0
	}
	return x, nil
}

const siKernel = 0x80

// FPState implements platform.Context.
func (c *context) FPState() ([]byte, error) {
	buf := make([]byte, len(c.w.p.zygote.fpu))
	if c.tid == 0 || c.fp != nil {
		src := c.fp
		if src == nil {
			src = c.w.p.zygote.fpu
		}
		copy(buf, src)
		return buf, nil
	}
	n, e := getXState(c.tid, buf)
	if e != 0 {
		return nil, lostError(e)
	}
	return buf[:n], nil
}

// SetFPState implements platform.Context.
func (c *context) SetFPState(xsave []byte) error {
	if xsave == nil {
		c.fp = c.w.p.zygote.fpu
		return nil
	}
	if len(xsave) != len(c.w.p.zygote.fpu) {
		return unix.EINVAL
	}
	if c.tid == 0 {
		c.fp = xsave
		return nil
	}
	if e := setXState(c.tid, xsave); e != 0 {
		return unix.EINVAL
	}
	c.fp = nil
	return nil
}
