package ptrace

import (
	"time"

	"golang.org/x/sys/unix"
)

// Contexts start on their creator's core, so that a fork and its wait hand off
// there. The monitor spreads those that compute: a context that is in one and
// the same Run at two ticks runs guest code all the time. It works only while
// there is more than one context.

const tick = 2 * time.Millisecond

// enter and leave keep the set of live contexts.
func (p *Ptrace) enter(c *context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live[c] = struct{}{}
	if len(p.live) > 1 && len(p.cores) > 1 && !p.monitor && !p.closed {
		p.monitor = true
		time.AfterFunc(tick, func() { p.balance(map[*context]uint64{}) })
	}
}

func (p *Ptrace) leave(c *context) {
	p.mu.Lock()
	delete(p.live, c)
	p.mu.Unlock()
}

// balance is one tick of the monitor. last holds the Runs seen before.
func (p *Ptrace) balance(last map[*context]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.live) < 2 {
		p.monitor = false
		return
	}
	busy := map[int][]*context{}
	seen := make(map[*context]uint64, len(p.live))
	for c := range p.live {
		n := c.runs.Load()
		seen[c] = n
		if n&1 == 1 && last[c] == n {
			core := int(c.w.core.Load())
			busy[core] = append(busy[core], c)
		}
	}
	for _, from := range p.cores {
		for len(busy[from]) > 1 {
			to := p.cores[0]
			for _, core := range p.cores {
				if len(busy[core]) < len(busy[to]) {
					to = core
				}
			}
			if len(busy[to])+1 >= len(busy[from]) {
				break
			}
			n := len(busy[from]) - 1
			c := busy[from][n]
			busy[from] = busy[from][:n]
			busy[to] = append(busy[to], c)
			c.move(to)
		}
	}
	time.AfterFunc(tick, func() { p.balance(seen) })
}

// move takes tracer and tracee to another core, while they run.
func (c *context) move(core int) {
	var set unix.CPUSet
	set.Set(core)
	setAffinity(int(c.kickT.Load()&0xffffffff), &set)
	setAffinity(c.w.tid, &set)
	c.w.core.Store(int32(core))
}
