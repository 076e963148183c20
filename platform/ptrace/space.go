package ptrace

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// command is a queued mapping change.
type command struct {
	nr     uint32
	prot   uint32
	addr   uint64
	length uint64
	off    uint64
}

// space implements platform.AddressSpace.
type space struct {
	p        *Ptrace
	contexts atomic.Int32
	pending  atomic.Bool // queue is not empty, or a stub must be cleaned

	mu    sync.Mutex
	queue []command
	after []func()
	stub  *stub // nil until a Context ran here, and after Release
	gone  bool  // released
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
	if s.gone {
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
	s.add(command{nr: unix.SYS_MMAP, prot: protOf(at), addr: uint64(addr), length: length, off: off})
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
// given nothing to a guest yet, so that nothing can be taken away too early.
func (s *space) AfterFlush(fn func()) {
	s.mu.Lock()
	if len(s.queue) > 0 && s.stub != nil && !s.gone {
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
// all stopped or wait in the stub's code, and run guest code no more: what is
// mapped there is out of reach, and goes with the stub or its cleaning.
func (s *space) Release() {
	s.mu.Lock()
	s.gone = true
	after := s.after
	s.queue, s.after = nil, nil
	s.pending.Store(false)
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

// flush applies what is queued, by the tracee tid, which the caller traces and
// which is stopped. The tracee's registers are lost.
func (s *space) flush(tid int) error {
	s.mu.Lock()
	err := s.flushLocked(tid)
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
	return err
}

func (s *space) flushLocked(tid int) error {
	st := s.stub
	queue := s.queue
	if st.dirty {
		clean := command{nr: unix.SYS_MUNMAP, length: stubBase}
		queue = append([]command{clean}, queue...)
		st.dirty = false
	}
	s.queue = s.queue[:0]
	s.pending.Store(false)
	for len(queue) > 0 {
		n := min(len(queue), maxCommands)
		for i, c := range queue[:n] {
			w := st.cmds[7*i : 7*i+7]
			w[0], w[1], w[2], w[3] = uint64(c.nr), c.addr, c.length, uint64(c.prot)
			w[4], w[5], w[6] = unix.MAP_SHARED|unix.MAP_FIXED, memoryFD, c.off
		}
		st.cmds[7*n] = ^uint64(0)
		r := platform.Registers{Rip: entryBatch, R15: commandPage}
		ret, err := injectRegs(tid, &r)
		if err != nil {
			return err
		}
		if at := (r.R15 - commandPage) / commandSize; at < uint64(n) {
			c := queue[at]
			return fmt.Errorf("mapping guest memory (call %d, %#x, %#x bytes): %w", c.nr, c.addr, c.length, failure(ret))
		}
		queue = queue[n:]
	}
	return nil
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
	if near.cur != s || near.tid == 0 {
		return 0, unix.EAGAIN
	}
	const flags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	near.lost = true // its registers
	ret, err := injectRegs(near.tid, &platform.Registers{
		Rip: entryClone, Rax: unix.SYS_CLONE, Rdi: flags, R12: uint64(s.p.zygote.pid),
	})
	if err != nil {
		return 0, err
	}
	if e := failure(ret); e != 0 {
		return 0, e
	}
	st.threads++
	return int(ret), nil
}
