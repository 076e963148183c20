package kvm

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// queued is a mapping change that is not in force yet.
type queued struct {
	lo, hi uint64
	edit
}

// space implements platform.AddressSpace.
type space struct {
	p  *KVM
	id uint64 // never another's

	contexts atomic.Int32
	pending  atomic.Bool   // queue is not empty
	gen      atomic.Uint64 // changes when a vCPU must load CR3 anew

	mu     sync.Mutex
	pages  pages
	queue  []queued
	after  []func()
	gone   bool // released
	broken error
	change change // scratch of flush
}

// add queues a change, merged with the last one where they touch.
func (s *space) add(addr hostarch.Addr, length uint64, e edit) {
	if length == 0 {
		return
	}
	lo, hi := uint64(addr), uint64(addr)+length
	s.mu.Lock()
	defer s.mu.Unlock()
	if hi < lo || hi > maxAddress || (lo|hi|e.off)%pageSize != 0 {
		// Not for the caller to ask. It must never reach the kernel's half.
		s.broken = fmt.Errorf("a mapping of [%#x, %#x) at offset %#x: %w", lo, hi, e.off, unix.EINVAL)
	}
	if s.gone || s.broken != nil {
		return
	}
	if n := len(s.queue); n > 0 {
		l := &s.queue[n-1]
		if l.kind == e.kind && l.at == e.at && l.hi == lo && (e.kind != editMap || l.off+l.hi-l.lo == e.off) {
			l.hi = hi
			return
		}
		// A change of the very same range, or more, makes the last one void.
		if e.kind != editProtect && lo <= l.lo && l.hi <= hi {
			s.queue = s.queue[:n-1]
		}
	}
	s.queue = append(s.queue, queued{lo, hi, e})
	s.pending.Store(true)
}

// Map implements platform.AddressSpace.
func (s *space) Map(addr hostarch.Addr, length uint64, off uint64, at hostarch.AccessType) {
	if off+length < off {
		off = ^uint64(0)
	}
	s.add(addr, length, edit{kind: editMap, at: at, off: off})
}

// Unmap implements platform.AddressSpace.
func (s *space) Unmap(addr hostarch.Addr, length uint64) {
	s.add(addr, length, edit{kind: editUnmap})
}

// Protect implements platform.AddressSpace.
func (s *space) Protect(addr hostarch.Addr, length uint64, at hostarch.AccessType) {
	s.add(addr, length, edit{kind: editProtect, at: at})
}

// AfterFlush implements platform.AddressSpace. A space without page tables has
// given nothing to a guest yet. A broken one has threads that may run still:
// Release is soon enough.
func (s *space) AfterFlush(fn func()) {
	s.mu.Lock()
	if s.pages.root.Load() != 0 && !s.gone && (len(s.queue) > 0 || s.broken != nil) {
		s.after = append(s.after, fn)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	fn()
}

// Contexts implements platform.AddressSpace.
func (s *space) Contexts() int { return int(s.contexts.Load()) }

// Release implements platform.AddressSpace. Nobody runs in the space, and a vCPU
// whose CR3 still has it loads another before it runs user code: in the root,
// which stays one, only the kernel's half is left.
func (s *space) Release() {
	s.mu.Lock()
	s.gone = true
	after := s.after
	s.queue, s.after = nil, nil
	s.pending.Store(false)
	var c change
	s.pages.release(&c)
	// Where that fails the host will not forget these tables, and so they stay
	// out of use.
	s.p.m.giveBack(&c)
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

// flush applies what is queued: page tables first, then whatever processors know
// of the old ones.
func (s *space) flush() error {
	s.mu.Lock()
	if err := s.flushLocked(); err != nil {
		// Part of the changes is not in force. Nothing may run on with that.
		s.broken = err
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

func (s *space) flushLocked() error {
	if s.broken != nil {
		return s.broken
	}
	if s.gone {
		return errGone
	}
	if s.pages.root.Load() == 0 {
		if err := s.pages.start(); err != nil {
			return err
		}
	}
	c := &s.change
	*c = change{tables: c.tables[:0], backing: c.backing[:0]}
	var err error
	for _, q := range s.queue {
		if err = s.pages.apply(q.lo, q.hi, q.edit, c); err != nil {
			break
		}
	}
	s.queue = s.queue[:0]
	s.pending.Store(false)
	if c.revoked || c.gained {
		s.gen.Add(1)
	}
	if c.revoked {
		if e := s.p.m.settle(c); err == nil {
			err = e
		}
		s.p.pool.expel(s)
	}
	if e := s.p.m.giveBack(c); err == nil {
		err = e
	}
	return err
}

// expel makes the vCPUs that run in s leave the guest, so that they load CR3
// before they go on. Those that enter later do that anyhow.
func (p *pool) expel(s *space) {
	for _, v := range *p.all.Load() {
		if q := v.seq.Load(); q&1 == 1 && v.space.Load() == s {
			p.m.counts.kicks.Add(1)
			v.kick()
			v.await(q)
		}
	}
}

// kick makes the vCPU leave the guest, or not enter it.
func (v *vcpu) kick() {
	v.run.setImmediate(true)
	tgkill(v.m.pid, int(v.tid.Load()), kickSignal)
}

// await waits until the vCPU has left the guest that it was in at q.
func (v *vcpu) await(q uint64) {
	for began := time.Now(); v.seq.Load() == q; {
		d := time.Since(began)
		switch {
		case d < 200*time.Microsecond:
			runtime.Gosched()
		case d < 10*time.Millisecond:
			time.Sleep(50 * time.Microsecond)
		default:
			// The thread that it was last seen on is another by now.
			v.run.setImmediate(true)
			signalThreads(v.m.pid)
			time.Sleep(time.Millisecond)
		}
	}
}

var _ platform.AddressSpace = (*space)(nil)
