package kvm

import (
	"sync/atomic"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

// TestInterruptedFaults: a signal of the host's between an exception and its
// delivery loses neither. The guests' faults are counted by what they store, and
// they take turns on one vCPU: what is on its way to one must not hit another.
func TestInterruptedFaults(t *testing.T) {
	e := platformtest.NewEnv(t, oneVCPU)
	const guests, pages = 3, 400
	var wait []func()
	var spaces []*platformtest.Space
	for range guests {
		s := e.Space(touchLoop)
		off := e.Alloc(pages)
		spaces = append(spaces, s)
		wait = append(wait, e.Start(nil, s, func(g *platformtest.Guest) {
			var stop atomic.Bool
			done := make(chan struct{})
			go func() {
				defer close(done)
				for !stop.Load() {
					g.C.Interrupt()
					time.Sleep(20 * time.Microsecond)
				}
			}()
			defer func() { stop.Store(true); <-done }()
			g.Regs().Rdi, g.Regs().Rcx = freeAt, pages
			for i := uint64(0); i < pages; i++ {
				g.Regs().Rax = i
				x := g.Run()
				if x.Kind != platform.ExitFault || uint64(x.Addr) != freeAt+i*pageSize {
					g.Fatalf("fault %d: %+v", i, x)
				}
				// Read-only first: a fault of another kind.
				s.Map(x.Addr, pageSize, off+i*pageSize, hostarch.Read)
				if x = g.Run(); x.Kind != platform.ExitFault || uint64(x.Addr) != freeAt+i*pageSize {
					g.Fatalf("fault %d of a page to read: %+v", i, x)
				}
				s.Protect(x.Addr, pageSize, hostarch.ReadWrite)
			}
			g.Call()
		}))
	}
	for i, w := range wait {
		w()
		spaces[i].Release()
	}
	t.Logf("%d exceptions were on their way when a signal came", e.P.(*KVM).counts.pending.Load())
}

// TestTrapOnTheWay: a trap that was due when another thread was interrupted, and that
// hits the stub's way into the guest, is nobody's: the way begins anew. One in the
// stub's entries is not to be explained.
func TestTrapOnTheWay(t *testing.T) {
	platformtest.NewEnv(t, oneVCPU).Guest(func(g *platformtest.Guest) {
		c := g.C.(*context)
		g.Regs().Rbx = 1
		g.Call()
		v := c.v
		for _, at := range []uint64{v.to.space, v.to.bases, v.to.iret, v.to.sysret} {
			if at == 0 {
				continue // the stub of this host has no such place
			}
			g.Regs().Rbx++
			want := *g.Regs()
			v.frame.cs, v.frame.rip = kernelCS, at
			if _, how, err := v.decode(c, c.cur, portException+vectorDebug); how != again || err != nil {
				g.Fatalf("a trap at %#x: %d, %v", at, how, err)
			}
			if *g.Regs() != want {
				g.Fatalf("registers were changed")
			}
			if g.Call(); g.Regs().Rbx != want.Rbx {
				g.Fatalf("RBX is %d, want %d", g.Regs().Rbx, want.Rbx)
			}
		}
		v.frame.cs, v.frame.rip = kernelCS, v.base+entryCompat
		if _, _, err := v.decode(c, c.cur, portException+vectorDebug); err == nil || !v.broken {
			g.Fatalf("a trap in an entry was taken for nothing")
		}
		c.p.pool.left(c)
		g.Call() // on a vCPU that was reset
	}, callLoop)
}
