package ptrace

import (
	"time"

	"golang.org/x/sys/unix"
)

// Contexts start on their creator's core, so that a fork and its wait hand off
// there, and so do the ends of a pipe. The monitor spreads those that compute at
// the same time. It samples which contexts are in Run, that is, want the core:
// two that take turns are one load between them, two that compute are two. It
// moves one when a core has that much more than another.
//
// It rests when there is nothing to spread, and while nobody runs.

const (
	// tick is how often the monitor looks.
	tick = 4 * time.Millisecond
	// full is the load of a context that was in Run at each of the last ticks.
	// Each tick weighs a quarter.
	full = 256
	// excess is the difference between two cores that makes one be moved.
	excess = full + full/4
	// settle is for how many ticks a context that was moved stays.
	settle = 12
)

// weight is what the monitor knows of a context; guarded by Ptrace.mu.
type weight struct {
	load int
	runs uint64 // at the last tick
	stay int    // ticks
}

// enter and leave keep the set of live contexts.
func (p *Ptrace) enter(c *context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live[c] = struct{}{}
	p.watchLocked()
}

func (p *Ptrace) leave(c *context) {
	p.mu.Lock()
	delete(p.live, c)
	p.mu.Unlock()
}

// watch ends the monitor's rest.
func (p *Ptrace) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchLocked()
}

func (p *Ptrace) watchLocked() {
	p.resting.Store(false)
	if len(p.live) > 1 && len(p.cores) > 1 && !p.monitor && !p.closed {
		p.monitor = true
		time.AfterFunc(tick, p.balance)
	}
}

// balance is one tick of the monitor.
func (p *Ptrace) balance() {
	p.mu.Lock()
	defer p.mu.Unlock()
	active := false
	load := make(map[int]int, len(p.cores))
	for c := range p.live {
		w := &c.weight
		n := c.runs.Load()
		active = active || n != w.runs || n&1 == 1
		w.runs = n
		w.load -= w.load / 4
		if n&1 == 1 {
			w.load += c.nice.share() / 4
		}
		w.stay = max(w.stay-1, 0)
		load[int(c.w.core.Load())] += w.load
	}
	if p.closed || len(p.live) < 2 || !active {
		p.monitor = false
		p.resting.Store(!active)
		return
	}
	from, to := p.cores[0], p.cores[0]
	for _, core := range p.cores {
		if load[core] > load[from] {
			from = core
		}
		if load[core] < load[to] {
			to = core
		}
	}
	if diff := load[from] - load[to]; diff >= excess {
		// The one that comes closest to halving the difference.
		var best *context
		for c := range p.live {
			if int(c.w.core.Load()) != from || c.weight.stay > 0 || c.weight.load == 0 || c.weight.load >= diff {
				continue
			}
			if best == nil || off(c, diff/2) < off(best, diff/2) {
				best = c
			}
		}
		if best != nil {
			best.weight.stay = settle
			best.move(to)
		}
	}
	time.AfterFunc(tick+time.Duration(len(p.live))*10*time.Microsecond, p.balance)
}

func off(c *context, load int) int { return max(c.weight.load-load, load-c.weight.load) }

// move takes tracer and tracee to another core, while they run.
func (c *context) move(core int) {
	var set unix.CPUSet
	set.Set(core)
	if tid := int(c.kickT.Load() & 0xffffffff); tid != 0 {
		setAffinity(tid, &set)
	}
	setAffinity(c.w.tid, &set)
	c.w.core.Store(int32(core))
}
