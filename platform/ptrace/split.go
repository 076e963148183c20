package ptrace

import (
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/platform/channel"
)

// A tracee and its tracer share a core, where the hand-off of a call is a context
// switch. A tracee that makes many calls in a row is split from it while there is
// a core to spare: it moves to that, both sides poll the slot, and a call costs
// no host call at all. The first thing that is not a call, or a pause of either
// side, brings it back.
//
// Whether splitting pays is learnt: it costs two wake-ups across cores, so that
// the calls of one split period set how many quick calls the next one takes to
// begin.
const (
	// splitWindow is over how many calls their pace is measured.
	splitWindow = 16
	// splitPace is the most that a call and what the guest does up to it take
	// together, on average, for a split.
	splitPace = 20 * time.Microsecond
	// splitWorth is how many calls a split period must serve to be worth it.
	splitWorth = 64
	// maxPatience bounds how many windows in a row must be quick.
	maxPatience = 64

	// stubPolls is how often the channel code looks for an answer before it
	// stops, some tens of microseconds in all.
	stubPolls = 1000
	// pollPauses is how many PAUSE instructions lie between two looks at the
	// slot, pollRound how many looks between two looks at everything else, and
	// pollRounds after how many of those the tracer goes to sleep.
	pollPauses = 1
	pollRound  = 32
	pollRounds = 64
)

// splitter is the state of splitting, of one context.
type splitter struct {
	on       bool
	calls    uint32 // in this window, or in this split period
	quick    uint32 // windows in a row
	patience uint32 // how many of those it takes
	begin    time.Time
}

// spare reports whether there is a core for one split more (or, for a context in
// Run, for the one that there is).
func (p *Ptrace) spare() bool { return 2*int(p.inRun.Load()) <= len(p.cores) }

// pace counts a call, and reports whether it is time to split.
func (c *context) pace() bool {
	s := &c.ch.split
	s.calls++
	if s.calls < splitWindow {
		return false
	}
	now := time.Now()
	took := now.Sub(s.begin)
	s.calls, s.begin = 0, now
	if took > splitWindow*splitPace {
		s.quick = 0
		return false
	}
	s.quick++
	return s.quick > s.patience && c.w.p.spare()
}

// divide moves the stopped tracee, which is about to be answered, to a core of
// its own.
func (c *context) divide() {
	cores := c.w.p.cores
	own := int(c.w.core.Load())
	for i, core := range cores {
		if core == own {
			c.pinTracee(cores[(i+1)%len(cores)])
			c.ch.split.on, c.ch.split.calls = true, 0
			c.ch.slot.SetSpin(stubPolls)
			c.ch.slot.SetSentry(true)
			return
		}
	}
}

// unite brings a stopped tracee back.
func (c *context) unite() {
	s := &c.ch.split
	if !s.on {
		return
	}
	c.ch.slot.SetSentry(false)
	c.ch.slot.SetSpin(1)
	c.pinTracee(int(c.w.core.Load()))
	patience := s.patience*2 + 1
	if s.calls >= splitWorth {
		patience = s.patience / 2
	}
	*s = splitter{patience: min(patience, maxPatience), begin: time.Now()}
}

func (c *context) pinTracee(core int) {
	var set unix.CPUSet
	set.Set(core)
	setAffinity(c.tid, &set)
}

// await waits until a split tracee has posted a call (stopped is false then), or
// stops.
func (c *context) await() (ws unix.WaitStatus, stopped bool, e unix.Errno) {
	slot := c.ch.slot
	for range pollRounds {
		for range pollRound {
			if c.posted() {
				return 0, false, 0
			}
			pause(pollPauses)
		}
		if ws, e = c.w.poll(c.tid); ws != 0 || e != 0 {
			return ws, true, e
		}
		if !c.w.p.spare() {
			break
		}
	}
	slot.SetSentry(false)
	if c.posted() {
		// It polls, or is about to stop; the answer finds out.
		return 0, false, 0
	}
	ws, e = c.w.wait(c.tid)
	return ws, true, e
}

// stopPolling returns with a tracee that is stopped, if it waits for an answer.
func (c *context) stopPolling() error {
	if !c.ch.call || c.ch.halted {
		return nil
	}
	c.ch.slot.ChangeState(channel.Call, channel.Stop)
	ws, e := c.w.pollSoon(c.tid)
	if ws == 0 && e == 0 {
		// A guest that plays with its slot may be anywhere by now.
		c.kickTracee()
		ws, e = c.w.wait(c.tid)
	}
	switch {
	case e != 0:
		return lostError(e)
	case !ws.Stopped():
		return errGone
	}
	c.ch.halted = true
	c.unite()
	return nil
}
