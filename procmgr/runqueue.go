package procmgr

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// slice is how long a thread runs before it may have to give its slot to one
	// that is behind it (sched_base_slice).
	slice = 3 * time.Millisecond
	// rrSlice is the same among SCHED_RR threads of one priority (RR_TIMESLICE).
	rrSlice = 100 * time.Millisecond
	// wakeLead is how far behind a thread that wakes up has to be to get a slot at
	// once.
	wakeLead = time.Millisecond
)

// scheduler leases run slots, of which there are as many as threads may run at a time
// (Config.Slots). A thread holds one while it is Running; without, it is Ready, and
// waits. While there are fewer threads than slots, taking one is one atomic operation,
// and nothing is measured. As soon as one has to wait, slots go by policy (sched(7)):
// SCHED_FIFO and SCHED_RR threads by priority, before all others, which share by
// weight: whoever has run least for its weight is next (vruntime, as in Linux's fair
// class). A timer runs only then; it makes threads give up their slots through
// Runner.Interrupt.
//
// What a thread has run is the processor time that its runner says it had, if it can
// tell: a thread that the host let wait has not had its turn. Otherwise it is the time
// for which it had a slot.
//
// Lock order: mu comes after Process.mu.
type scheduler struct {
	slots   []slot
	waiting atomic.Int32 // threads in queue, or on their way into it
	now     func() time.Duration

	mu    sync.Mutex
	queue heap[Thread, byTurn]
	seq   uint64
	least int64 // no thread that waits is behind this vruntime by much
	timer *time.Timer
	armed bool
	tests bool // tick is called by a test
}

// slot is a run slot.
type slot struct {
	holder atomic.Pointer[Thread]
}

// turn is a thread's place in the scheduler.
type turn struct {
	slot     int // index + 1; the thread's own goroutine's
	hint     int // the slot that it had last
	granted  atomic.Bool
	since    atomic.Int64 // when it was charged last, on its own clock, ns; 0: it holds no slot, or nobody waits for one
	begin    atomic.Int64 // when it got the slot, likewise
	vruntime atomic.Int64 // weighted time, ns
	index    int          // in scheduler.queue
	seq      uint64
	param    schedParam // as it was when it was put there
}

func newScheduler(slots int, now func() time.Duration) *scheduler {
	return &scheduler{slots: make([]slot, slots), now: now}
}

// byTurn orders threads that wait by who runs first.
type byTurn struct{}

func (byTurn) index(t *Thread) *int { return &t.turn.index }

func (byTurn) less(a, b *Thread) bool {
	p, q := a.turn.param, b.turn.param
	switch {
	case p.priority != q.priority:
		return p.priority > q.priority
	case p.priority == 0 && a.turn.vruntime.Load() != b.turn.vruntime.Load():
		return a.turn.vruntime.Load() < b.turn.vruntime.Load()
	}
	return a.turn.seq < b.turn.seq
}

// acquire gets t a slot, and waits for it if need be. t's own goroutine calls it.
func (s *scheduler) acquire(t *Thread) {
	if t.turn.since.Load() != 0 {
		t.turn.since.Store(0) // tick looked at it when it gave its slot up
	}
	if s.waiting.Load() == 0 && s.claim(t, false) {
		return
	}
	s.mu.Lock()
	s.waiting.Add(1)
	// Whoever releases a slot from here on sees that somebody waits.
	if len(s.queue.items) == 0 && s.claim(t, true) {
		s.waiting.Add(-1)
		s.mu.Unlock()
		return
	}
	s.enqueue(t)
	victim := s.wakeUp(t)
	s.mu.Unlock()
	if victim != nil {
		victim.preempt()
	}
	for !t.turn.granted.Swap(false) {
		t.pause()
	}
}

// clock is a thread's own: it goes while the thread runs. It is never 0.
func (s *scheduler) clock(t *Thread) int64 {
	if r := t.runner.Load(); r != nil {
		if m, ok := (*r).(CPUMeter); ok {
			user, system := m.CPUTimes()
			return int64(user+system) + 1
		}
	}
	return int64(s.now()) + 1
}

// claim takes a free slot, if there is one. Somebody waits, or may: measured.
func (s *scheduler) claim(t *Thread, measured bool) bool {
	n := len(s.slots)
	for i := range n {
		if j := (t.turn.hint + i) % n; s.slots[j].holder.CompareAndSwap(nil, t) {
			t.turn.slot, t.turn.hint = j+1, j
			if measured {
				now := s.clock(t)
				t.turn.begin.Store(now)
				t.turn.since.Store(now)
			}
			return true
		}
	}
	return false
}

// release gives t's slot up, to the one that waits first. t's own goroutine calls it.
func (s *scheduler) release(t *Thread) {
	if t.turn.slot == 0 {
		return
	}
	sl := &s.slots[t.turn.slot-1]
	t.turn.slot = 0
	if since := t.turn.since.Swap(0); since != 0 {
		t.charge(s.clock(t) - since)
	}
	sl.holder.Store(nil)
	if s.waiting.Load() != 0 {
		s.mu.Lock()
		s.grant()
		s.mu.Unlock()
	}
}

// grant gives free slots to those who wait. s.mu is held.
func (s *scheduler) grant() {
	for len(s.queue.items) > 0 {
		t := s.queue.items[0]
		// t waits for granted: what is its own may be set here.
		if !s.claim(t, true) {
			return
		}
		s.queue.remove(t)
		s.waiting.Add(-1)
		s.least = max(s.least, t.turn.vruntime.Load())
		t.turn.granted.Store(true)
		t.Unpark()
	}
}

// enqueue makes t wait, and the timer run. s.mu is held.
func (s *scheduler) enqueue(t *Thread) {
	if len(s.queue.items) == 0 {
		// So far nobody measured.
		for i := range s.slots {
			if h := s.slots[i].holder.Load(); h != nil && s.measure(h) {
				h.catchUp(s.least)
			}
		}
	}
	// Who slept has no more than a slice in hand.
	t.catchUp(s.least - int64(slice))
	s.seq++
	t.turn.seq, t.turn.param = s.seq, t.schedParam()
	s.queue.add(t)
	if !s.armed && !s.tests {
		s.armed = true
		if s.timer == nil {
			s.timer = time.AfterFunc(slice, s.tick)
		} else {
			s.timer.Reset(slice)
		}
	}
}

// measure begins to measure a thread that holds a slot, if nobody did.
func (s *scheduler) measure(h *Thread) bool {
	now := s.clock(h)
	if !h.turn.since.CompareAndSwap(0, now) {
		return false
	}
	h.turn.begin.Store(now)
	return true
}

// catchUp advances t to a vruntime that it is behind of.
func (t *Thread) catchUp(v int64) {
	if old := t.turn.vruntime.Load(); old < v {
		t.turn.vruntime.CompareAndSwap(old, v)
	}
}

// charge counts time that t ran.
func (t *Thread) charge(d int64) {
	if d > 0 {
		t.turn.vruntime.Add(d * weightOf0 / t.weight())
	}
}

// changed puts a thread that waits where its new policy belongs.
func (s *scheduler) changed(t *Thread) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := t.turn.index; i < len(s.queue.items) && s.queue.items[i] == t {
		s.queue.remove(t)
		t.turn.param = t.schedParam()
		s.queue.add(t)
	}
}

// wakeUp finds a thread that has to make room for t at once, nil if there is none
// (check_preempt_wakeup). s.mu is held.
func (s *scheduler) wakeUp(t *Thread) *Thread {
	p := t.schedParam()
	if p.policy == SchedBatch || p.policy == SchedIdle {
		return nil
	}
	var worst *Thread
	var ahead int64
	for i := range s.slots {
		h := s.slots[i].holder.Load()
		if h == nil || h.pending.Load()&pendYield != 0 {
			continue
		}
		q := h.schedParam()
		switch {
		case p.priority > q.priority:
			// The one of the lowest priority, and among normal threads any.
			if worst == nil || q.priority < worst.schedParam().priority {
				worst, ahead = h, int64(1)<<62
			}
		case p.priority == 0 && q.priority == 0:
			d := h.turn.vruntime.Load() - t.turn.vruntime.Load()
			if since := h.turn.since.Load(); since != 0 {
				d += (s.clock(h) - since) * weightOf0 / h.weight()
			}
			if q.policy == SchedIdle {
				d += int64(wakeLead)
			}
			if d > int64(wakeLead) && d > ahead {
				worst, ahead = h, d
			}
		}
	}
	return worst
}

// tick charges those who run, and makes them give up their slots to those who wait
// and are behind.
func (s *scheduler) tick() {
	s.mu.Lock()
	s.armed = false
	if len(s.queue.items) == 0 {
		for i := range s.slots {
			if h := s.slots[i].holder.Load(); h != nil {
				h.turn.since.Store(0)
			}
		}
		s.mu.Unlock()
		return
	}
	var victims []*Thread
	waiters := s.queue.items
	for i := range s.slots {
		h := s.slots[i].holder.Load()
		if h == nil {
			continue
		}
		now := s.clock(h)
		if since := h.turn.since.Load(); since == 0 {
			s.measure(h)
		} else if h.turn.since.CompareAndSwap(since, now) {
			h.charge(now - since)
		}
		if len(victims) < len(waiters) && behind(waiters[0], h, now-h.turn.begin.Load()) {
			victims = append(victims, h)
		}
	}
	if !s.tests {
		s.armed = true
		s.timer.Reset(slice)
	}
	s.mu.Unlock()
	for _, h := range victims {
		h.preempt()
	}
}

// behind reports whether t, which waits, is due before h, which has run for a while.
func behind(t, h *Thread, ran int64) bool {
	p, q := t.schedParam(), h.schedParam()
	switch {
	case p.priority != q.priority:
		return p.priority > q.priority
	case p.priority > 0:
		return q.policy == SchedRR && ran >= int64(rrSlice)
	}
	return t.turn.vruntime.Load() < h.turn.vruntime.Load()
}

// preempt makes a thread give up its slot.
func (t *Thread) preempt() {
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	t.setPending(pendYield)
	t.wake()
}

// giveUp is what a preempted thread does: it lets the others run, and is Ready until
// it is its turn again.
func (t *Thread) giveUp() {
	s := t.p.table.sched
	if s == nil || s.waiting.Load() == 0 {
		t.clearPending(pendYield)
		return
	}
	t.usage.involuntary.Add(1)
	t.takeTurns()
}

// takeTurns lets those who wait have t's slot, and waits for the next.
func (t *Thread) takeTurns() {
	t.setState(Ready)
	t.releaseSlot()
	t.acquireSlot()
	t.setState(Running)
}

// releaseSlot gives up t's run slot, if slots are limited.
func (t *Thread) releaseSlot() {
	if s := t.p.table.sched; s != nil {
		s.release(t)
		if t.pending.Load()&pendYield != 0 {
			t.clearPending(pendYield)
		}
	}
}

// acquireSlot gets one.
func (t *Thread) acquireSlot() {
	if s := t.p.table.sched; s != nil {
		s.acquire(t)
	}
}

// Yield lets others run that wait for a run slot (sched_yield(2)). It reports false
// if nobody does, or if slots are not limited: then the host knows who else wants to
// run. Only the thread's own goroutine calls it.
func (t *Thread) Yield() bool {
	s := t.p.table.sched
	if s == nil || s.waiting.Load() == 0 {
		return false
	}
	t.takeTurns()
	return true
}
