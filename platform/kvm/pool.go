package kvm

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Leases. A vCPU is a run slot. A context takes one on lease when it runs, and
// keeps it while the kernel works for it, so that a system call needs no lock
// here. It loses it when it waits (Park), when its time is over and others wait,
// or when it stays away without saying so.
//
//	leaseNone ──lease──▶ leaseRunning ◀──lease──▶ leaseHeld ──park──▶ leaseParked
//	    ▲                     │ yield                 │ taken            │ taken
//	    └─────────────────────┴───────────────────────┴──────────────────┘
//
// Only the context leaves leaseRunning; whoever else takes a lease away does it
// by a compare-and-swap under the lock. c.v is valid for c's own goroutine while
// it is in leaseRunning.
//
// Who is to run when there are more threads than slots is the process manager's
// business: it knows of priorities, and lets as many threads be Running as
// RunSlots says. Then nobody waits here. Contexts that nobody keeps from it take
// turns, in the order in which they came.
const (
	leaseNone    = iota
	leaseRunning // in lease, enter or left
	leaseHeld    // the kernel works
	leaseParked  // it waits, but nobody else wanted the slot
)

// slice is for how long a context runs while others wait, and stays away without
// losing its lease to them.
const slice = 2 * time.Millisecond

// turn is what the pool knows of a context; guarded by its lock.
type turn struct {
	granted bool
	waiting bool
	seen    uint64 // seq of the vCPU when the monitor looked last
	runs    uint64 // the lease that it saw
}

// pool leases vCPUs to contexts.
type pool struct {
	m     *machine
	slots int // contexts at a time
	limit int // vCPUs

	// all are the vCPUs, in a slice that is replaced when there are more.
	all atomic.Pointer[[]*vcpu]

	// wanting is how many wait.
	wanting atomic.Int32

	mu      sync.Mutex
	closed  bool
	used    int
	leases  uint64
	queue   []*context // who wait, first come first
	monitor bool
	lost    []*vcpu // in a state that is not known
}

func newPool(m *machine, slots int, first *vcpu) *pool {
	p := &pool{m: m, slots: slots, limit: slots}
	if !m.threadsCheap {
		p.limit = 4 * slots
	}
	p.all.Store(&[]*vcpu{first})
	return p
}

// lease returns a vCPU for c, with c's floating-point state, after waiting for
// one; nil if c was interrupted before.
func (p *pool) lease(c *context) (*vcpu, error) {
	if c.lease.CompareAndSwap(leaseHeld, leaseRunning) {
		if v := c.v; v.owner == c {
			return v, nil
		}
	} else {
		c.attach()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.lease.Store(leaseRunning)
	if c.v == nil && !p.slot(c) {
		c.lease.Store(leaseNone)
		if p.closed {
			return nil, errClosed
		}
		return nil, nil
	}
	if c.v == nil {
		if err := p.assign(c); err != nil {
			p.release(c)
			return nil, err
		}
	}
	if err := c.v.adopt(c); err != nil {
		p.release(c)
		return nil, err
	}
	return c.v, nil
}

// slot takes a slot, or waits for one: false if c was interrupted, or there will
// be none. The lock is held, but for the wait.
func (p *pool) slot(c *context) bool {
	if p.closed {
		return false
	}
	if p.used >= p.slots {
		p.takeIdle()
	}
	if p.used < p.slots {
		p.used++
		return true
	}
	q := &c.turn
	q.waiting, q.granted = true, false
	p.queue = append(p.queue, c)
	p.wanting.Add(1)
	p.watch()
	for q.waiting && !p.closed && c.state.Load() != kicked {
		p.mu.Unlock()
		c.detach()
		<-c.grant
		c.attach()
		p.mu.Lock()
	}
	if q.waiting {
		q.waiting = false
		i := slices.Index(p.queue, c)
		p.queue = slices.Delete(p.queue, i, i+1)
		p.wanting.Add(-1)
	}
	if q.granted && p.closed {
		p.used--
		return false
	}
	return q.granted
}

// serve gives free slots to who waits. The lock is held.
func (p *pool) serve() {
	for p.used < p.slots && len(p.queue) > 0 {
		c := p.queue[0]
		p.queue = slices.Delete(p.queue, 0, 1)
		p.wanting.Add(-1)
		p.used++
		c.turn.granted, c.turn.waiting = true, false
		c.token()
	}
}

// token wakes a context that waits for a slot.
func (c *context) token() {
	select {
	case c.grant <- struct{}{}:
	default:
	}
}

// release takes c's lease away, which is leaseRunning and c's own, or was taken by
// a compare-and-swap. The lock is held.
func (p *pool) release(c *context) {
	if c.v != nil {
		c.v.user = nil
		c.v = nil
	}
	c.lease.Store(leaseNone)
	p.used--
	p.serve()
}

// take takes the lease of a context that is not in the guest.
func (p *pool) take(c *context, from int32) bool {
	if !c.lease.CompareAndSwap(from, leaseNone) {
		return false
	}
	p.release(c)
	return true
}

// takeIdle takes the lease of somebody who waits in the kernel.
func (p *pool) takeIdle() {
	for _, v := range *p.all.Load() {
		if v.user != nil && p.take(v.user, leaseParked) {
			return
		}
	}
}

// left is called when c has left the guest.
func (p *pool) left(c *context) {
	if p.wanting.Load() == 0 && !c.yield.Load() && !c.v.broken {
		c.lease.Store(leaseHeld)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.v.broken:
		p.mend(c.v)
		p.release(c)
	case c.yield.Swap(false) && len(p.queue) > 0:
		p.release(c)
	default:
		c.lease.Store(leaseHeld)
	}
}

// park is called by a context that is about to wait in the kernel.
func (p *pool) park(c *context) {
	p.mu.Lock()
	if c.lease.CompareAndSwap(leaseHeld, leaseParked) && len(p.queue) > 0 {
		p.take(c, leaseParked)
	}
	p.mu.Unlock()
	c.detach()
}

// unpark is called when it goes on.
func (p *pool) unpark(c *context) {
	c.attach()
	c.lease.CompareAndSwap(leaseParked, leaseHeld)
}

// end takes c out of the pool.
func (p *pool) end(c *context) {
	p.mu.Lock()
	if !p.take(c, leaseHeld) {
		p.take(c, leaseParked)
	}
	if c.home != nil {
		c.home.owner, c.home = nil, nil
	}
	p.mu.Unlock()
	c.detach()
}

// kick makes the Run of c return, or its wait for a vCPU end.
func (p *pool) kick(c *context) {
	c.token()
	p.mu.Lock()
	defer p.mu.Unlock()
	c.v.kickInside()
}

// kickInside kicks the vCPU if it is in the guest, or about to be.
func (v *vcpu) kickInside() {
	if v != nil && v.seq.Load()&1 == 1 {
		v.m.counts.kicks.Add(1)
		v.kick()
	}
}

// assign gives c, which has a slot, a vCPU. The lock is held.
func (p *pool) assign(c *context) error {
	v, err := p.pick(c)
	if err != nil {
		return err
	}
	p.leases++
	v.user, v.used, c.v = c, p.leases, v
	return nil
}

// pick chooses a free vCPU: where c's state is, or one that this host thread ran
// last, or one that has nobody's state, or the one that was used longest ago.
// Hosts before Linux 6.13 take milliseconds to let another thread run a vCPU.
func (p *pool) pick(c *context) (*vcpu, error) {
	sticky := !p.m.threadsCheap
	if v := c.home; v != nil && v.user == nil && (!sticky || v.tid.Load() == c.tid) {
		return v, nil
	}
	var best *vcpu
	rank := func(v *vcpu) int {
		switch {
		case sticky && v.tid.Load() == c.tid:
			return 2
		case v.owner == nil:
			return 1
		}
		return 0
	}
	all := *p.all.Load()
	for _, v := range all {
		if v.user != nil {
			continue
		}
		if best == nil || rank(v) > rank(best) || rank(v) == rank(best) && v.used < best.used {
			best = v
		}
	}
	if best != nil && (rank(best) > 0 || len(all) >= p.limit) {
		return best, nil
	}
	v, err := p.m.newVCPU(int(p.m.nextVCPU.Add(1) - 1))
	switch {
	case err == nil:
		more := append(all[:len(all):len(all)], v)
		p.all.Store(&more)
		return v, nil
	case best != nil:
		return best, nil
	}
	return nil, err
}

// mend resets a vCPU whose state is not known. The state of the context that
// broke it is lost; it cannot go on. A vCPU that cannot be reset is not used
// again.
func (p *pool) mend(v *vcpu) {
	if v.owner != nil {
		v.owner.home, v.owner = nil, nil
	}
	if v.reset() == nil {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(*p.all.Load()), func(o *vcpu) bool { return o == v })
	p.all.Store(&rest)
	p.lost = append(p.lost, v) // others may look at it still
	if len(p.lost) > maxLost {
		p.slots = min(p.slots, len(rest))
	}
}

// maxLost is how many vCPUs are replaced.
const maxLost = 64

// watch starts the monitor, which runs while somebody waits. The lock is held.
func (p *pool) watch() {
	if !p.monitor && !p.closed {
		p.monitor = true
		time.AfterFunc(slice, p.look)
	}
}

// look is one tick of the monitor: who runs since the last one has to leave, and
// who was away since then has lost its lease.
func (p *pool) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.queue) == 0 {
		p.monitor = false
		return
	}
	waiting := len(p.queue)
	for _, v := range *p.all.Load() {
		h := v.user
		if h == nil || waiting == 0 {
			continue
		}
		seq := v.seq.Load()
		same := h.turn.runs == v.used
		away := same && seq == h.turn.seen && seq&1 == 0
		h.turn.seen, h.turn.runs = seq, v.used
		switch {
		case p.take(h, leaseParked), away && p.take(h, leaseHeld):
			waiting--
		case same:
			waiting--
			h.yield.Store(true)
			v.kickInside()
		}
	}
	time.AfterFunc(slice, p.look)
}

// close makes everybody leave. Contexts that come later are refused.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.queue {
		c.token()
	}
	for _, v := range *p.all.Load() {
		if v.user != nil {
			v.user.yield.Store(true)
			v.kickInside()
		}
	}
}
