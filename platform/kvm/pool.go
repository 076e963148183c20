package kvm

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
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
const (
	leaseNone    = iota
	leaseRunning // in lease, enter or left
	leaseHeld    // the kernel works
	leaseParked  // it waits, but nobody else wanted the slot
)

const (
	// slice is for how long a context runs while others wait.
	slice = 4 * time.Millisecond
	// tick is how often it is looked at whose time is over.
	tick = time.Millisecond
)

// sched is what the pool knows of a context; guarded by its lock but for nice.
type sched struct {
	nice    atomic.Int32
	virtual int64 // weighted running time, ns
	since   int64 // when the clock started, ns; 0: it does not run
	waiting int   // index in the heap + 1; 0: not in it
	granted bool
	seen    uint64 // the monitor's: vCPU's seq at the last tick
}

// pool leases vCPUs to contexts: fairly, weighted by nice as Linux's fair
// scheduling class does it.
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
	queue   waiters
	clock   int64 // virtual time of who was served last
	monitor bool
	lost    []*vcpu
}

func newPool(m *machine, slots int) *pool {
	p := &pool{m: m, slots: slots, limit: slots}
	if !m.threadsCheap {
		p.limit = 4 * slots
	}
	p.all.Store(&[]*vcpu{})
	return p
}

// now is monotonic time in ns.
func now() int64 { return int64(time.Since(epoch)) }

var epoch = time.Now()

// lease returns a vCPU for c, with c's floating-point state, after waiting for
// one; nil if c was interrupted before.
func (p *pool) lease(c *context) (*vcpu, error) {
	if c.lease.CompareAndSwap(leaseHeld, leaseRunning) {
		if v := c.v; v.owner == c {
			return v, nil
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.lease.Store(leaseRunning)
	if p.closed {
		c.lease.Store(leaseNone)
		return nil, errClosed
	}
	if c.v == nil {
		if !p.slot(c) {
			c.lease.Store(leaseNone)
			if p.closed {
				return nil, errClosed
			}
			return nil, nil
		}
		c.sched.since = now()
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

// slot waits for a slot. The lock is held, but for the wait.
func (p *pool) slot(c *context) bool {
	q := &c.sched
	q.virtual = max(q.virtual, p.clock-int64(slice))
	if p.used >= p.slots {
		p.takeIdle()
	}
	if p.used < p.slots {
		p.used++
		p.clock = max(p.clock, q.virtual)
		return true
	}
	q.granted = false
	heap.Push(&p.queue, c)
	p.wanting.Add(1)
	p.preempt(c)
	p.watch()
	for !q.granted && !p.closed && c.state.Load() != kicked {
		p.mu.Unlock()
		<-c.grant
		p.mu.Lock()
	}
	if q.waiting != 0 {
		heap.Remove(&p.queue, q.waiting-1)
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
		c := heap.Pop(&p.queue).(*context)
		p.wanting.Add(-1)
		p.used++
		p.clock = max(p.clock, c.sched.virtual)
		c.sched.granted = true
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

// release takes c's lease away, which is in no state but leaseRunning, or was
// taken by a compare-and-swap. The lock is held.
func (p *pool) release(c *context) {
	p.charge(c)
	c.sched.since = 0
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

// charge brings c's virtual time up to date.
func (p *pool) charge(c *context) {
	if q := &c.sched; q.since != 0 {
		t := now()
		q.virtual += (t - q.since) * 1024 / weight(int(q.nice.Load()))
		q.since = t
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
	defer p.mu.Unlock()
	if !c.lease.CompareAndSwap(leaseHeld, leaseParked) {
		return
	}
	if len(p.queue) > 0 {
		p.take(c, leaseParked)
		return
	}
	p.charge(c)
	c.sched.since = 0
}

// unpark is called when it goes on.
func (p *pool) unpark(c *context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.lease.CompareAndSwap(leaseParked, leaseHeld) {
		c.sched.since = now()
	}
}

// end takes c out of the pool.
func (p *pool) end(c *context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.take(c, leaseHeld) {
		p.take(c, leaseParked)
	}
	if c.home != nil {
		c.home.owner, c.home = nil, nil
	}
}

// kick makes the Run of c return, or its wait for a vCPU end.
func (p *pool) kick(c *context) {
	c.token()
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := c.v; v != nil && v.seq.Load()&1 == 1 {
		p.m.counts.kicks.Add(1)
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
	all := *p.all.Load()
	tid := int32(0)
	if !p.m.threadsCheap {
		tid = gettid()
	}
	if v := c.home; v != nil && v.user == nil && (p.m.threadsCheap || v.tid.Load() == tid) {
		return v, nil
	}
	var best *vcpu
	rank := func(v *vcpu) int {
		switch {
		case !p.m.threadsCheap && v.tid.Load() == tid:
			return 2
		case v.owner == nil:
			return 1
		}
		return 0
	}
	for _, v := range all {
		if v.user != nil {
			continue
		}
		if best == nil || rank(v) > rank(best) || rank(v) == rank(best) && v.used < best.used {
			best = v
		}
	}
	if best != nil && rank(best) > 0 || len(all) >= p.limit {
		if best == nil {
			return nil, unix.EAGAIN
		}
		return best, nil
	}
	v, err := p.m.newVCPU(int(p.m.nextVCPU.Add(1) - 1))
	if err != nil {
		if best != nil {
			return best, nil
		}
		return nil, err
	}
	more := append(all[:len(all):len(all)], v)
	p.all.Store(&more)
	return v, nil
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
	var rest []*vcpu
	for _, o := range *p.all.Load() {
		if o != v {
			rest = append(rest, o)
		}
	}
	p.all.Store(&rest)
	p.lost = append(p.lost, v) // others may look at it still
}

// preempt makes a context that ran for longer than c waited leave its vCPU.
func (p *pool) preempt(c *context) {
	for _, v := range *p.all.Load() {
		if h := v.user; h != nil {
			p.charge(h)
			if h.sched.virtual > c.sched.virtual+int64(slice) {
				p.expire(h)
				return
			}
		}
	}
}

// expire ends the time slice of a context.
func (p *pool) expire(h *context) {
	h.yield.Store(true)
	if v := h.v; v != nil && v.seq.Load()&1 == 1 {
		p.m.counts.kicks.Add(1)
		v.kick()
	}
}

// watch starts the monitor, which runs while somebody waits. The lock is held.
func (p *pool) watch() {
	if !p.monitor && !p.closed {
		p.monitor = true
		time.AfterFunc(tick, p.look)
	}
}

// look is one tick of the monitor.
func (p *pool) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.queue) == 0 {
		p.monitor = false
		return
	}
	for _, v := range *p.all.Load() {
		h := v.user
		if h == nil || len(p.queue) == 0 {
			continue
		}
		seq := v.seq.Load()
		away := seq == h.sched.seen && seq&1 == 0
		h.sched.seen = seq
		if p.take(h, leaseParked) || away && p.take(h, leaseHeld) {
			continue
		}
		p.charge(h)
		if h.sched.virtual > p.queue[0].sched.virtual+int64(slice)/2 {
			p.expire(h)
		}
	}
	time.AfterFunc(tick, p.look)
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
			p.expire(v.user)
		}
	}
}

// weight is that of a nice value: Linux's sched_prio_to_weight.
func weight(nice int) int64 { return weights[max(-20, min(19, nice))+20] }

var weights = [40]int64{
	88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
	9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277,
	1024, 820, 655, 526, 423, 335, 272, 215, 172, 137,
	110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
}

// waiters is a heap of contexts, who ran least first.
type waiters []*context

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].sched.virtual < w[j].sched.virtual }
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].sched.waiting, w[j].sched.waiting = i+1, j+1
}

// Push implements heap.Interface.
func (w *waiters) Push(c any) {
	*w = append(*w, c.(*context))
	c.(*context).sched.waiting = len(*w)
}

// Pop implements heap.Interface.
func (w *waiters) Pop() any {
	n := len(*w) - 1
	c := (*w)[n]
	(*w)[n] = nil
	*w = (*w)[:n]
	c.sched.waiting = 0
	return c
}
