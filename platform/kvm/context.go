package kvm

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// States of a context, for Interrupt.
const (
	stopped = iota
	running // in Run
	kicked  // Interrupt was called: the next Run, or this one, returns
)

// kickSignal makes a vCPU's thread leave the guest. The Go runtime has a handler
// for it, which minds no signal too many.
const kickSignal = unix.SIGURG

// context implements platform.Context.
type context struct {
	p   *KVM
	cur *space // the space that the context belongs to

	regs    platform.Registers
	step    bool
	ownTF   bool // the guest went on with TF of its own
	trapped bool // or with one of ours
	stale   struct{ addr, rip uint64 }

	answers []answer
	version uint64 // of answers: never another's; 0: there are none

	state atomic.Int32
	yield atomic.Bool // its time slice is over

	// The pool's lock guards these; see pool.go for who may read v.
	fp    []byte // floating-point state; nil: as after FNINIT
	home  *vcpu  // where it is instead
	v     *vcpu  // the lease
	lease atomic.Int32
	turn  turn
	grant chan struct{}

	meter    meter
	tid      int32 // host thread, while attached
	attached bool

	parked chan struct{}
	timer  *time.Timer
}

func (p *KVM) newContext(s *space) *context {
	s.contexts.Add(1)
	return &context{p: p, cur: s, grant: make(chan struct{}, 1), parked: make(chan struct{}, 1), meter: meter{ticker: &p.m.ticker}}
}

// Registers implements platform.Context.
func (c *context) Registers() *platform.Registers { return &c.regs }

// SetSingleStep implements platform.Context.
func (c *context) SetSingleStep(on bool) { c.step = on }

// hideStep takes TF out of flags that the guest did not set it in.
func (c *context) hideStep(flags *uint64) {
	if c.step && !c.ownTF {
		*flags &^= flagTF
	}
}

// Interrupt implements platform.Context.
func (c *context) Interrupt() {
	for {
		s := c.state.Load()
		if s == kicked {
			return
		}
		if c.state.CompareAndSwap(s, kicked) {
			if s == running {
				c.p.pool.kick(c)
			}
			return
		}
	}
}

// Flush implements platform.Context.
func (c *context) Flush(as platform.AddressSpace) error {
	s := as.(*space)
	if c.p.closing.Load() {
		return errClosed
	}
	if !s.pending.Load() {
		return nil
	}
	return s.flush()
}

// Run implements platform.Context.
func (c *context) Run(as platform.AddressSpace) (platform.Exit, error) {
	s := as.(*space)
	if c.cur != s {
		c.cur.contexts.Add(-1)
		s.contexts.Add(1)
		c.cur = s
	}
	if s.pending.Load() || s.pages.root.Load() == 0 {
		if err := s.flush(); err != nil {
			return platform.Exit{}, err
		}
	}
	if x, ok := c.sanitise(); !ok {
		return x, nil
	}
	if !c.state.CompareAndSwap(stopped, running) {
		c.state.Store(stopped)
		return platform.Exit{Kind: platform.ExitInterrupted}, nil
	}
	x, err := c.run(s)
	c.state.Store(stopped)
	return x, err
}

func (c *context) run(s *space) (platform.Exit, error) {
	for {
		if c.p.closing.Load() {
			return platform.Exit{}, errClosed
		}
		if c.state.Load() == kicked {
			return platform.Exit{Kind: platform.ExitInterrupted}, nil
		}
		v, err := c.p.pool.lease(c)
		if v == nil {
			return platform.Exit{Kind: platform.ExitInterrupted}, err
		}
		x, how, err := v.enter(c, s)
		c.p.pool.left(c)
		if err != nil || how == exited {
			if x.Kind != platform.ExitFault {
				c.stale.addr, c.stale.rip = 0, 0
			}
			return x, err
		}
	}
}

// sanitise makes the registers such that the processor takes them, whatever the
// guest asked for. Where it would not have taken RIP, it says what happens.
func (c *context) sanitise() (platform.Exit, bool) {
	const settable = 1 | 1<<2 | 1<<4 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11 | 1<<16 | 1<<18 | 1<<21
	r := &c.regs
	if r.Cs != compatCS {
		r.Cs = userCS
	}
	r.Ss, r.Ds, r.Es, r.Fs, r.Gs = userSS, 0, 0, 0, 0
	r.Eflags = r.Eflags&settable | 1<<1 | flagIF
	r.Orig_rax = ^uint64(0)
	if !canonical(r.Fs_base) {
		r.Fs_base = 0
	}
	if !canonical(r.Gs_base) {
		r.Gs_base = 0
	}
	if !canonical(r.Rip) {
		x, _, _ := signal(unix.SIGSEGV, siKernel, 0)
		return x, false
	}
	return platform.Exit{}, true
}

// canonical says whether bits 47 to 63 are the same.
func canonical(a uint64) bool { return uint64(int64(a)<<16>>16) == a }

// Park implements procmgr.Parker: the guest thread waits in the sentry, and wants
// no vCPU meanwhile.
func (c *context) Park(timeout time.Duration) bool {
	select {
	case <-c.parked:
		return true
	default:
	}
	if timeout == 0 {
		return false
	}
	c.p.pool.park(c)
	defer c.p.pool.unpark(c)
	if timeout < 0 {
		<-c.parked
		return true
	}
	if c.timer == nil {
		c.timer = time.NewTimer(timeout)
	} else {
		c.timer.Reset(timeout)
	}
	defer c.timer.Stop()
	select {
	case <-c.parked:
		return true
	case <-c.timer.C:
		return false
	}
}

// Unpark implements procmgr.Parker.
func (c *context) Unpark() {
	select {
	case c.parked <- struct{}{}:
	default:
	}
}

// end is what happens when its function has returned.
func (c *context) end() {
	c.p.pool.end(c)
	c.cur.contexts.Add(-1)
	c.cur = nil
}
