package ptrace

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// command is a queued mapping change.
type command struct {
	nr     uint32
	fd     uint32
	prot   uint32
	addr   uint64
	length uint64
	off    uint64
}

// space implements platform.AddressSpace.
type space struct {
	p        *Ptrace
	contexts atomic.Int32 // changed under mu but for the first
	pending  atomic.Bool  // queue is not empty, or a stub must be cleaned

	mu      sync.Mutex
	queue   []command
	after   []func()
	stub    *stub // nil until a Context ran here, and after its end
	gone    bool  // released
	batches bool  // a Context makes changes on its way into guest code
	broken  bool  // the stub was killed, or is in a state that is not known
}

func protOf(at hostarch.AccessType) uint32 {
	p := uint32(unix.PROT_NONE)
	if at.Read {
		p |= unix.PROT_READ
	}
	if at.Write {
		p |= unix.PROT_WRITE
	}
	if at.Execute {
		p |= unix.PROT_EXEC
	}
	return p
}

// add queues a change, merged with the last one where they touch.
func (s *space) add(c command) {
	if c.length == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.addr+c.length < c.addr || c.addr+c.length > uint64(s.p.max) || (c.addr|c.length|c.off)%hostarch.PageSize != 0 {
		// Not for the caller to ask. It must never reach the stub's own pages.
		s.breakLocked()
	}
	if s.gone || s.broken {
		return
	}
	if n := len(s.queue); n > 0 {
		l := &s.queue[n-1]
		if l.nr == c.nr && l.prot == c.prot && l.addr+l.length == c.addr &&
			(c.nr != unix.SYS_MMAP || l.off+l.length == c.off) {
			l.length += c.length
			return
		}
		// A change of the very same range, or more, makes the last one void.
		if c.nr != unix.SYS_MPROTECT && c.addr <= l.addr && l.addr+l.length <= c.addr+c.length {
			s.queue = s.queue[:n-1]
		}
	}
	s.queue = append(s.queue, c)
	s.pending.Store(true)
}

// Map implements platform.AddressSpace.
func (s *space) Map(addr hostarch.Addr, length uint64, off uint64, at hostarch.AccessType) {
	s.add(command{nr: unix.SYS_MMAP, fd: memoryFD, prot: protOf(at), addr: uint64(addr), length: length, off: off})
}

// Unmap implements platform.AddressSpace.
func (s *space) Unmap(addr hostarch.Addr, length uint64) {
	s.add(command{nr: unix.SYS_MUNMAP, addr: uint64(addr), length: length})
}

// Protect implements platform.AddressSpace.
func (s *space) Protect(addr hostarch.Addr, length uint64, at hostarch.AccessType) {
	s.add(command{nr: unix.SYS_MPROTECT, prot: protOf(at), addr: uint64(addr), length: length})
}

// AfterFlush implements platform.AddressSpace. A space without a stub has
// given nothing to a guest yet, so that nothing can be taken away too early. A
// broken one has threads that may be dying still: Release is soon enough.
func (s *space) AfterFlush(fn func()) {
	s.mu.Lock()
	if s.stub != nil && !s.gone && (len(s.queue) > 0 || s.batches || s.broken) {
		s.after = append(s.after, fn)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	fn()
}

// Contexts implements platform.AddressSpace.
func (s *space) Contexts() int { return int(s.contexts.Load()) }

// Release implements platform.AddressSpace. The host threads of the stub are
// dead, stopped, or wait in the stub's code; they run guest code no more. What
// is mapped there is out of reach, and goes with the stub or its cleaning.
func (s *space) Release() {
	s.mu.Lock()
	s.gone = true
	after := s.after
	s.queue, s.after = nil, nil
	s.pending.Store(false)
	if s.contexts.Load() == 0 {
		s.endStubLocked()
	}
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

// endStubLocked lets go of a stub that nobody will run in.
func (s *space) endStubLocked() {
	if s.stub != nil {
		s.p.bury(s.stub)
		s.stub = nil
	}
}

// breakLocked kills the stub, all threads of it.
func (s *space) breakLocked() {
	if s.stub != nil && !s.broken {
		unix.Kill(s.stub.pid, unix.SIGKILL)
	}
	s.broken = true
}

// flush applies what is queued, by the tracee of c, which is stopped. Its
// registers are lost.
func (s *space) flush(c *context) error {
	s.mu.Lock()
	if s.broken {
		s.mu.Unlock()
		return errGone
	}
	if err := s.flushLocked(c.w, c.tid); err != nil {
		// Part of the changes is not in force. Nothing may run on with that.
		s.breakLocked()
		s.mu.Unlock()
		return err
	}
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
	return nil
}

func (s *space) flushLocked(w *worker, tid int) error {
	st := s.stub
	if st.dirty {
		// What an earlier guest left goes first; and what the page tells of it.
		clear(st.cmds)
		s.queue = slices.Insert(s.queue, 0, command{nr: unix.SYS_MUNMAP, length: uint64(s.p.max)})
		st.dirty = false
	}
	for done := 0; done < len(s.queue); {
		n := min(len(s.queue)-done, maxCommands)
		if err := st.apply(w, tid, s.queue[done:done+n]); err != nil {
			return err
		}
		done += n
	}
	s.queue = s.queue[:0]
	s.pending.Store(false)
	return nil
}

// apply makes the tracee execute up to maxCommands commands.
func (st *stub) apply(w *worker, tid int, queue []command) error {
	st.write(queue)
	r := platform.Registers{Rip: entryBatch, R15: commandPage}
	ok, err := w.runStub(tid, &r)
	if ok || err != nil {
		return err
	}
	at := (r.R15 - commandPage) / commandSize
	if at >= uint64(len(queue)) {
		return errGone
	}
	c := queue[at]
	return fmt.Errorf("mapping guest memory (call %d, %#x, %#x bytes): %w", c.nr, c.addr, c.length, failure(r.Rax))
}

// write puts up to maxCommands commands into the command page.
func (st *stub) write(queue []command) {
	for i, c := range queue {
		cmd := st.cmds[7*i : 7*i+7]
		cmd[0], cmd[1], cmd[2], cmd[3] = uint64(c.nr), c.addr, c.length, uint64(c.prot)
		cmd[4], cmd[5], cmd[6] = mapFlags, uint64(c.fd), c.off
	}
	st.cmds[7*len(queue)] = ^uint64(0)
}

// thread returns a tracee for c: one that was made for it, or that waits, or
// that of a new stub.
func (s *space) thread(c *context) (*stub, int, error) {
	s.mu.Lock()
	if s.broken {
		s.mu.Unlock()
		return nil, 0, errGone
	}
	st, tid := s.stub, c.newTID
	c.newTID = 0
	if st != nil && tid == 0 {
		n := len(st.waiting)
		if n == 0 {
			// Nobody made room for this thread.
			s.mu.Unlock()
			return nil, 0, unix.EAGAIN
		}
		tid = st.waiting[n-1]
		st.waiting = st.waiting[:n-1]
	}
	s.mu.Unlock()
	if st != nil {
		return st, tid, c.w.seize(tid)
	}
	st, err := c.w.newStub()
	if err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stub != nil || s.gone {
		c.w.release(st)
		return nil, 0, unix.EAGAIN
	}
	s.stub = st
	if st.dirty {
		s.pending.Store(true)
	}
	return st, st.pid, nil
}

// newThread returns a host thread of the space's stub that waits to be seized,
// made by the calling context if none is there. 0: the space has no stub yet.
func (s *space) newThread(near *context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stub
	if st == nil {
		return 0, nil
	}
	if n := len(st.waiting); n > 0 {
		tid := st.waiting[n-1]
		st.waiting = st.waiting[:n-1]
		return tid, nil
	}
	if near.cur != s || near.tid == 0 || s.broken {
		return 0, unix.EAGAIN
	}
	if err := near.halt(); err != nil {
		return 0, err
	}
	near.lost = true // its registers
	tid, err := near.w.callRegs(near.tid, &platform.Registers{
		Rip: entryClone, Rax: unix.SYS_CLONE, Rdi: threadFlags, R12: uint64(s.p.zygote.pid),
	})
	if err != nil {
		return 0, err
	}
	st.threads++
	st.meter.share()
	return int(tid), nil
}

// returnThread puts a thread back that newThread gave.
func (s *space) returnThread(tid int) {
	if tid == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stub.waiting = append(s.stub.waiting, tid)
}
