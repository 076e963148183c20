package ptrace

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
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
	gone   bool   // the guest side is lost

	regs   platform.Registers // the guest's
	shadow platform.Registers // what the tracee has
	lost   bool               // the tracee has something else
	known  bool               // shadow has been read at this stop
	fp     []byte             // floating-point state to be set; nil: leave
	fpIn   []byte             // SetFPState's copy
	fpOut  []byte             // FPState's
	step   bool
	// stepTrap says that there may be a SIGTRAP still of a step that has ended.
	stepTrap bool
	fetch    uint64 // address of the last Exit, if that was a fetch fault

	ch      channelState
	answers []answer
	batch   bool     // mapping changes go before the guest's code in this Run
	after   []func() // and then these

	state atomic.Int32
	kickT atomic.Int64 // tgid<<32 | tid, for Interrupt

	parker hostcall.Parker
	use    usage
	nice   niceness
	debug  debugState

	runs   atomic.Uint64 // counts Runs; odd while in one
	weight weight        // balance.go
}

// Registers implements platform.Context.
func (c *context) Registers() *platform.Registers { return &c.regs }

// SetSingleStep implements platform.Context.
func (c *context) SetSingleStep(on bool) { c.step = on }

// Interrupt implements platform.Context.
func (c *context) Interrupt() {
	for {
		s := c.state.Load()
		if s == kicked {
			return
		}
		if c.state.CompareAndSwap(s, kicked) {
			if s == running {
				c.kickTracee()
			}
			return
		}
	}
}

// kickTracee makes the tracee stop.
func (c *context) kickTracee() {
	t := c.kickT.Load()
	tgkill(int(t>>32), int(t&0xffffffff), kick)
}

// Park implements procmgr.Parker: a guest thread that waits in the sentry.
func (c *context) Park(timeout time.Duration) bool { return c.parker.Park(timeout) }

// Unpark implements procmgr.Parker.
func (c *context) Unpark() { c.parker.Unpark() }

// fail ends the stub: what happened to the tracee leaves the guest's memory or
// registers unknown. It returns err.
func (c *context) fail(err error) error {
	c.gone = true
	c.w.broken = true
	if s := c.cur; s != nil {
		if c.batch {
			c.dropBatch()
		}
		s.mu.Lock()
		s.breakLocked()
		s.mu.Unlock()
	}
	return err
}

// bind gives the context a tracee in s.
func (c *context) bind(s *space) error {
	if c.gone {
		return errGone
	}
	if c.cur != s {
		if err := c.carryFP(); err != nil {
			return c.fail(err)
		}
		c.use.leave(true)
		c.unbind()
		s.contexts.Add(1)
		c.cur = s
	}
	if c.tid != 0 {
		return nil
	}
	st, tid, err := s.thread(c)
	if err != nil {
		c.gone, c.w.broken = true, true
		return err
	}
	c.stub, c.tid = st, tid
	c.use.enter(&st.meter, tid)
	c.kickT.Store(int64(st.pid)<<32 | int64(tid))
	c.nice.tracee(c, tid)
	c.lost = true
	if c.fp == nil {
		c.fp = c.w.p.zygote.fpu
	}
	return nil
}

// carryFP takes floating-point state along from a tracee that is to be left.
func (c *context) carryFP() error {
	if c.tid == 0 || c.fp != nil {
		return nil
	}
	fp, err := c.FPState()
	if err != nil {
		return err
	}
	c.fpIn = append(c.fpIn[:0], fp...)
	c.fp = c.fpIn
	return nil
}

// unbind takes the context out of its space. Its tracee becomes the worker's
// spare, waits for another context of the space, or ends.
func (c *context) unbind() {
	s := c.cur
	if s == nil {
		return
	}
	c.use.leave(false)
	if c.tid != 0 && c.halt() != nil {
		c.w.broken = true
		s.mu.Lock()
		s.breakLocked()
		s.mu.Unlock()
	}
	if c.tid != 0 {
		c.dropDebug()
	}
	c.leaveSlot()
	st, tid, newTID := c.stub, c.tid, c.newTID
	c.cur, c.stub, c.tid, c.newTID = nil, nil, 0, 0
	c.nice.tracee(c, 0)
	c.kickT.Store(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.contexts.Add(-1) == 0 && s.gone
	if newTID != 0 && !last {
		s.stub.waiting = append(s.stub.waiting, newTID)
	}
	if tid != 0 {
		switch {
		case s.broken:
			c.w.broken = true
		case !last:
			if c.w.park(tid) {
				st.waiting = append(st.waiting, tid)
			} else {
				c.w.broken = true
				s.breakLocked()
			}
			return
		case st.threads == 1 && c.w.spare == nil:
			st.dirty = true
			s.stub = nil
			c.w.spare = st
			return
		case c.w.request(unix.PTRACE_DETACH, tid, uintptr(unix.SIGKILL)) != 0:
			c.w.broken = true
		}
	}
	if last {
		s.endStubLocked()
	}
}

// park lets a tracee wait, untraced, for another context.
func (w *worker) park(tid int) bool {
	r := platform.Registers{
		Rip: entryWait, R12: uint64(w.p.zygote.pid), R9: w.key.word,
		Cs: userCS, Ss: userSS, Eflags: 0x202, Orig_rax: ^uint64(0),
	}
	return w.setRegs(tid, &r) == 0 && w.request(unix.PTRACE_DETACH, tid, 0) == 0
}

// Flush implements platform.Context.
func (c *context) Flush(as platform.AddressSpace) error {
	s := as.(*space)
	if c.tid == 0 || c.cur != s || c.gone {
		if err := c.bind(s); err != nil {
			return err
		}
	}
	if !s.pending.Load() {
		return nil
	}
	if err := c.halt(); err != nil {
		return c.fail(err)
	}
	c.lost = true
	if err := s.flush(c); err != nil {
		return c.fail(err)
	}
	return nil
}

// Run implements platform.Context.
func (c *context) Run(as platform.AddressSpace) (platform.Exit, error) {
	s := as.(*space)
	if c.cur != s || c.tid == 0 || c.gone {
		if err := c.bind(s); err != nil {
			return platform.Exit{}, err
		}
	}
	if c.state.CompareAndSwap(kicked, stopped) {
		return platform.Exit{Kind: platform.ExitInterrupted}, nil
	}
	how, answer := uint32(0), false
	if c.ch.call && !s.pending.Load() {
		how, answer = c.reply()
	}
	if !answer {
		if err := c.prepare(s); err != nil {
			return platform.Exit{}, c.fail(err)
		}
	}
	if !c.state.CompareAndSwap(stopped, running) {
		if !c.batch {
			c.state.Store(stopped)
			return platform.Exit{Kind: platform.ExitInterrupted}, nil
		}
		// The changes are to be made all the same: it stops when they are.
		if e := c.stopBehindBatch(); e != 0 {
			return platform.Exit{}, c.fail(lostError(e))
		}
	}
	c.w.p.inRun.Add(1)
	if c.w.p.resting.Load() {
		c.w.p.watch()
	}
	c.runs.Add(1)
	ws, halted, e := c.resume(answer, how)
	if c.batch && halted && e == 0 && !c.posted() {
		ws, e = c.finishBatch(ws)
	}
	c.runs.Add(1)
	c.w.p.inRun.Add(-1)
	c.state.Store(stopped)
	if e != 0 {
		return platform.Exit{}, c.fail(lostError(e))
	}
	if !halted {
		return c.takeCall(false), nil
	}
	if !ws.Stopped() {
		return platform.Exit{}, c.fail(errGone)
	}
	c.unite()
	x, err := c.stopped(ws)
	if err != nil {
		return x, c.fail(err)
	}
	return x, nil
}

// prepare brings a tracee that is stopped up to date: mappings and registers.
func (c *context) prepare(s *space) error {
	if err := c.halt(); err != nil {
		return err
	}
	if c.w.p.slots != nil && !c.ch.tried {
		c.takeSlot()
	}
	if s.pending.Load() {
		c.lost = true
		if c.canBatch(s) {
			return c.loadWithBatch(s)
		}
		if err := s.flush(c); err != nil {
			return err
		}
	}
	return c.load()
}

// resume runs the tracee until it stops, or (stopped is false) has posted a call
// without that.
func (c *context) resume(answer bool, how uint32) (ws unix.WaitStatus, stopped bool, e unix.Errno) {
	if answer {
		return c.answer(how)
	}
	if e = c.proceed(); e == 0 {
		ws, e = c.w.wait(c.tid)
	}
	return ws, true, e
}

// proceed lets a stopped tracee run, up to its next system call. With a channel it
// is the filter that stops it there, so that stub code can make its calls; without,
// the tracer.
func (c *context) proceed() unix.Errno {
	req := ptSysemu
	switch {
	case c.w.p.slots != nil && c.step:
		req = unix.PTRACE_SINGLESTEP
	case c.w.p.slots != nil:
		req = unix.PTRACE_CONT
	case c.step:
		req = ptSysemuSinglestep
	}
	return c.w.request(req, c.tid, 0)
}

// stopped makes a stop an Exit.
func (c *context) stopped(ws unix.WaitStatus) (platform.Exit, error) {
	if c.posted() {
		if _, err := c.endBatch(ws, true); err != nil {
			return platform.Exit{}, err
		}
		return c.takeCall(true), nil
	}
	if !c.known {
		if e := c.w.getRegs(c.tid, &c.shadow); e != 0 {
			return platform.Exit{}, lostError(e)
		}
	}
	c.known = false
	how, err := c.endBatch(ws, false)
	switch {
	case err != nil:
		return platform.Exit{}, err
	case how != batchGuest:
		c.lost = true // c.regs are the guest's
		if how == batchRefused {
			return protection, nil
		}
		return platform.Exit{}, nil
	}
	c.hideSlot(&c.shadow)
	c.regs = c.shadow
	if c.inChannel() {
		return c.unwind(ws)
	}
	return c.decode(ws)
}

// loadFP brings the tracee's floating-point state up to date.
func (c *context) loadFP() error {
	if c.fp == nil {
		return nil
	}
	if e := c.w.setXState(c.tid, c.fp); e != 0 {
		return fmt.Errorf("setting floating-point state: %w", lostError(e))
	}
	c.fp = nil
	return nil
}

// load brings the tracee's registers up to date.
func (c *context) load() error {
	if err := c.loadFP(); err != nil {
		return err
	}
	if !c.lost {
		if c.regs == c.shadow {
			return nil
		}
		rax := c.regs.Rax
		c.shadow.Rax = rax
		if c.regs == c.shadow && !restarts(rax) {
			if e := c.w.poke(c.tid, offsetRax, rax); e != 0 {
				return lostError(e)
			}
			return nil
		}
	}
	c.sanitise()
	c.shadow = c.regs
	c.showSlot(&c.shadow)
	if e := c.w.setRegs(c.tid, &c.shadow); e != 0 {
		return lostError(e)
	}
	c.shadow = c.regs
	c.lost = false
	return nil
}

// restarts says whether the host, on delivering a signal, would take a result
// for its own request to restart the system call (ERESTARTSYS and so on).
func restarts(rax uint64) bool {
	e := failure(rax)
	return e >= 512 && e <= 516
}

// sanitise makes the registers such that the host takes them, whatever the
// guest asked for.
func (c *context) sanitise() {
	const (
		settable    = 1 | 1<<2 | 1<<4 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11 | 1<<16 | 1<<18 | 1<<21
		taskSizeMax = 1<<47 - 4096
	)
	r := &c.regs
	if r.Cs != compatCS {
		r.Cs = userCS
	}
	r.Ss = userSS
	for _, sel := range []*uint64{&r.Ds, &r.Es, &r.Fs, &r.Gs} {
		if *sel != userSS {
			*sel = 0
		}
	}
	r.Eflags = r.Eflags&settable | 1<<1 | 1<<9
	r.Orig_rax = ^uint64(0)
	if r.Fs_base >= taskSizeMax {
		r.Fs_base = 0
	}
	if r.Gs_base >= taskSizeMax {
		r.Gs_base = 0
	}
}
