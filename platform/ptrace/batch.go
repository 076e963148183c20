package ptrace

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
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
	s.pending.Store(false)
	s.mu.Unlock()

	c.batch = true
	if err := c.loadFP(); err != nil {
		return err
	}
	c.sanitise()
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

// finishBatch lets a tracee that was stopped in the batch code go on, until it is
// through. ws is the stop; the next one is returned.
func (c *context) finishBatch(ws unix.WaitStatus) (unix.WaitStatus, unix.Errno) {
	for ws.Stopped() && ws != eventSeccomp {
		var r platform.Registers
		if e := c.w.getRegs(c.tid, &r); e != 0 {
			return ws, e
		}
		if r.Rip < stubBase || r.Rip >= stubData {
			break
		}
		sig := unix.Signal(ws >> 8 & 0xff)
		if sig == unix.SIGILL || sig == unix.SIGSEGV || sig == unix.SIGBUS {
			// A failed call; or a slot that the guest destroyed, or registers
			// that IRETQ refuses, which endBatch tells from that; or somebody's
			// kill(2).
			var si sigInfo
			if e := c.w.getSigInfo(c.tid, &si); e != 0 || si.code > 0 {
				break
			}
		}
		if e := c.proceed(); e != 0 {
			return ws, e
		}
		if c.state.Load() == kicked {
			// This kick came too early. The next one will not, in the end.
			c.kickTracee()
		}
		var e unix.Errno
		if ws, e = c.w.wait(c.tid); e != 0 {
			return ws, e
		}
	}
	return ws, 0
}

// endBatch is called at the stop after a batch. c.shadow are the registers there,
// unless a call was posted.
func (c *context) endBatch(posted bool) (refused bool, err error) {
	if !c.batch {
		return false, nil
	}
	c.batch = false
	inStub := !posted && c.shadow.Rip >= stubBase && c.shadow.Rip < stubData
	if inStub && c.shadow.Rip < stubBase+batchEnd {
		c.cur.mu.Lock()
		c.cur.after = append(c.after, c.cur.after...)
		c.cur.mu.Unlock()
		c.after = nil
		return false, fmt.Errorf("%w: %w", errBatch, failure(c.shadow.Rax))
	}
	after := c.after
	c.after = nil
	for _, fn := range after {
		fn()
	}
	return inStub, nil
}
