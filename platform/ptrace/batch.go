package ptrace

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
	"runsc-lite/platform/channel"
)

// With a channel, mapping changes need no stop of their own: the thread is set
// going in the stub's batch code, with the guest's registers in its slot, and goes
// on into guest code from there. That the changes are in force is known at the next
// stop, and only then the memory that they took away is free. A second thread of
// the space could run guest code before that, or make changes that must come
// later: spaces with several contexts flush with a stop.

// maxLazyUnmap is how much may be unmapped without a stop, in bytes: memory that
// comes free only when the guest's thread stops for the next time.
const maxLazyUnmap = 4 << 20

// canBatch reports whether the changes queued on s can be made on the way.
func (c *context) canBatch(s *space) bool {
	return c.ch.slot != nil && !c.step && s.contexts.Load() == 1 && c.regs.Cs != compatCS
}

// loadWithBatch is load, by way of the batch code.
func (c *context) loadWithBatch(s *space) error {
	s.mu.Lock()
	if s.broken {
		s.mu.Unlock()
		return errGone
	}
	queue, unmapped := s.queue, uint64(0)
	for _, q := range queue {
		if q.nr == unix.SYS_MUNMAP {
			unmapped += q.length
		}
	}
	if len(queue) >= maxCommands || unmapped > maxLazyUnmap {
		s.mu.Unlock()
		if err := s.flush(c); err != nil {
			return err
		}
		return c.load()
	}
	st := s.stub
	if st.dirty {
		clear(st.cmds)
		queue = append([]command{{nr: unix.SYS_MUNMAP, length: uint64(s.p.max)}}, queue...)
		st.dirty = false
	}
	st.write(queue)
	s.queue = s.queue[:0]
	c.after, s.after = s.after, nil
	s.batches = true
	s.pending.Store(false)
	s.mu.Unlock()

	c.batch = true
	if err := c.loadFP(); err != nil {
		return err
	}
	c.sanitise()
	// Whoever finds a call there later knows that guest code has run: what it left
	// there before must not look like one.
	c.ch.slot.SetState(channel.Guest)
	c.ch.slot.Store(&c.regs)
	r := platform.Registers{
		Rip: entryBatch, R15: commandPage, Rbp: c.ch.address(),
		Cs: userCS, Ss: userSS, Eflags: 0x202, Orig_rax: ^uint64(0),
		Fs_base: c.regs.Fs_base, Gs_base: c.regs.Gs_base,
	}
	c.showSlot(&r)
	c.w.key.forBatch(&r)
	if e := c.w.setRegs(c.tid, &r); e != 0 {
		return lostError(e)
	}
	c.shadow = c.regs
	c.lost = false
	return nil
}

var errBatch = errors.New("mapping guest memory failed in the stub")

// stopBehindBatch keeps a stopped tracee that is in the batch code, or about to be,
// from going on into guest code.
func (c *context) stopBehindBatch() unix.Errno { return c.w.poke(c.tid, offsetRbp, 0) }

// finishBatch lets a tracee that was stopped in the batch code go on, until it is
// through. ws is the stop; the next one is returned. Signals are the kick of
// Interrupt, or none of ours; either way it then stops behind the batch: it may have
// no chance to execute anything before the next one.
func (c *context) finishBatch(ws unix.WaitStatus) (unix.WaitStatus, unix.Errno) {
	for ws.Stopped() && ws != eventSeccomp {
		if e := c.w.getRegs(c.tid, &c.shadow); e != 0 {
			return ws, e
		}
		if c.shadow.Rip < stubBase || c.shadow.Rip >= stubBase+batchEnd {
			c.known = true
			break
		}
		switch unix.Signal(ws >> 8 & 0xff) {
		case unix.SIGILL, unix.SIGSEGV, unix.SIGBUS:
			// A failed call; or somebody's kill(2).
			var si sigInfo
			if e := c.w.getSigInfo(c.tid, &si); e != 0 || si.code > 0 {
				return ws, e
			}
		}
		if e := c.stopBehindBatch(); e != 0 {
			return ws, e
		}
		if e := c.proceed(); e != 0 {
			return ws, e
		}
		var e unix.Errno
		if ws, e = c.w.wait(c.tid); e != 0 {
			return ws, e
		}
	}
	return ws, 0
}

// How the stop after a batch is to be taken.
const (
	batchGuest   = iota // guest code has run, or there was no batch
	batchStopped        // the changes are made, guest code has not run
	batchRefused        // …because the processor refused its registers
)

// endBatch is called at the stop after a batch. c.shadow are the registers there,
// unless a call was posted.
func (c *context) endBatch(ws unix.WaitStatus, posted bool) (how int, err error) {
	if !c.batch {
		return batchGuest, nil
	}
	how = batchStopped
	at := c.shadow.Rip - stubBase
	switch {
	case posted || at >= stubCodeLen:
		how = batchGuest
	case at == doneEnd && ws == eventSeccomp:
	case at < batchEnd:
		return 0, fmt.Errorf("%w: %w", errBatch, failure(c.shadow.Rax))
	case ws == signalStop(unix.SIGSEGV) || ws == signalStop(unix.SIGBUS):
		var si sigInfo
		if e := c.w.getSigInfo(c.tid, &si); e != 0 {
			return 0, lostError(e)
		}
		if si.code > 0 {
			how = batchRefused
		}
	}
	c.batch = false
	c.cur.batchDone(c.takeAfter())
	return how, nil
}

func signalStop(sig unix.Signal) unix.WaitStatus { return unix.WaitStatus(int(sig)<<8 | 0x7f) }

func (c *context) takeAfter() []func() {
	after := c.after
	c.after = nil
	return after
}

// batchDone calls what waited for a batch.
func (s *space) batchDone(after []func()) {
	s.mu.Lock()
	s.batches = false
	if len(s.queue) == 0 && !s.broken {
		after = append(after, s.after...)
		s.after = nil
	}
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

// dropBatch puts back what waited for a batch of which nobody knows how far it came.
func (c *context) dropBatch() {
	c.batch = false
	s := c.cur
	s.mu.Lock()
	s.batches = false
	s.after = append(c.takeAfter(), s.after...)
	s.mu.Unlock()
}
