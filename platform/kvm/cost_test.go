package kvm

import (
	"testing"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

const freeAt = 0x10000000

var (
	callLoop  = []byte{0x0f, 0x05, 0xeb, 0xfc}             // syscall; jmp to it
	touchLoop = []byte{0x48, 0x89, 0x07, 0x48, 0x81, 0xc7, // mov [rdi], rax; add rdi, 4096; dec rcx; jnz; syscall
		0x00, 0x10, 0, 0, 0x48, 0xff, 0xc9, 0x75, 0xf1, 0x0f, 0x05}
)

// costs are what an operation took.
type costs struct{ runs, ioctls, faults, switches, kicks uint64 }

func (p *KVM) costs() costs {
	c := p.counts
	return costs{
		c.runs.Load() - c.interrupts.Load(), // those do not count: the host's signals
		c.ioctls.Load(), c.faults.Load(), c.switches.Load(), c.kicks.Load(),
	}
}

func (c costs) since(o costs) costs {
	return costs{c.runs - o.runs, c.ioctls - o.ioctls, c.faults - o.faults, c.switches - o.switches, c.kicks - o.kicks}
}

// least measures an operation a few times, after it was done once: signals of the
// Go runtime come in between.
func least(p *KVM, op func()) costs {
	op()
	var best costs
	for i := range 8 {
		before := p.costs()
		op()
		c := p.costs().since(before)
		if i == 0 || c.runs+c.ioctls+c.switches < best.runs+best.ioctls+best.switches {
			best = c
		}
	}
	return best
}

// TestCosts holds what operations cost in exits and host calls: that is what they
// cost where there is hardware for it. A change that adds one says why.
func TestCosts(t *testing.T) {
	e := platformtest.NewEnv(t, oneVCPU)
	p := e.P.(*KVM)
	check := func(what string, got, want costs) {
		t.Helper()
		// A host whose vCPUs keep to their threads has more of them, which saves
		// changes of state.
		if got.runs != want.runs || got.faults != want.faults || got.kicks != want.kicks ||
			got.ioctls > want.ioctls || got.switches > want.switches || p.m.threadsCheap && got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	e.Guest(func(g *platformtest.Guest) {
		const rounds = 100
		check("100 system calls", least(p, func() {
			for range rounds {
				g.Call()
			}
		}), costs{runs: rounds})

		check("100 system calls that change registers, and mappings that are new", least(p, func() {
			for i := range uint64(rounds) {
				at := freeAt + i*2*pageSize
				g.Space.Map(hostarch.Addr(at), pageSize, g.Space.CodeOff, hostarch.Read)
				g.Regs().Rbx = i
				g.Call()
			}
			g.Space.Unmap(freeAt, 2*rounds*pageSize)
			g.Call()
		}), costs{runs: rounds + 1, switches: 1})

		// Two processes that take turns on one vCPU, as through a pipe: each waits
		// when the other runs.
		other := g.Env.Space(callLoop)
		turns := make(chan struct{})
		back := make(chan struct{})
		wait := g.Start(g, other, func(o *platformtest.Guest) {
			for range turns {
				o.Call()
				o.C.(*context).p.pool.park(o.C.(*context))
				back <- struct{}{}
			}
		})
		c := g.C.(*context)
		check("50 turns of two processes", least(p, func() {
			for range 50 {
				g.Call()
				p.pool.park(c)
				turns <- struct{}{}
				<-back
				p.pool.unpark(c)
			}
			// For each turn of each: floating-point state out and in, CR3 in the stub.
		}), costs{runs: 100, ioctls: 200, switches: 100})
		close(turns)
		wait()
		other.Release()

		// What fork does here: the parent's writable memory becomes read-only, and
		// the child's side is made of a few large pieces.
		const pages = 16384
		off := g.Alloc(pages)
		g.Space.Map(freeAt, pages*pageSize, off, hostarch.ReadWrite)
		g.Call()
		check("a fork of 64 MiB", least(p, func() {
			g.Space.Protect(freeAt, pages*pageSize, hostarch.Read)
			child := g.Env.Sibling(g.Space)
			child.Map(freeAt, pages*pageSize, off, hostarch.Read)
			p.pool.park(c)
			g.Start(g, child, func(o *platformtest.Guest) { o.Call() })()
			child.Release()
			g.Space.Protect(freeAt, pages*pageSize, hostarch.ReadWrite)
			g.Call()
		}), costs{runs: 2, ioctls: 3, switches: 2})
	}, callLoop)

	// Faults in a row, as mm answers them: each with the pages around it.
	e.Guest(func(g *platformtest.Guest) {
		const pages, around = 1024, 16
		off := g.Alloc(pages)
		n := uint64(0)
		got := least(p, func() {
			n = 0
			g.Space.Unmap(freeAt, pages*pageSize)
			g.Regs().Rip, g.Regs().Rdi, g.Regs().Rcx = g.Text(), freeAt, pages
			for {
				x := g.Run()
				if x.Kind == platform.ExitSyscall {
					return
				}
				n++
				at := uint64(x.Addr) &^ (around*pageSize - 1)
				g.Space.Map(hostarch.Addr(at), around*pageSize, off+at-freeAt, hostarch.ReadWrite)
			}
		})
		if n != pages/around || got.faults != n || got.runs != n+1 {
			t.Errorf("%d pages touched in a row: %d faults reported, %+v", pages, n, got)
		}
	}, touchLoop)
}

// TestNoAllocation: what every call and fault goes through allocates nothing.
func TestNoAllocation(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		g.Call()
		n := uint64(0)
		for what, op := range map[string]func(){
			"a call": func() { n++; g.Regs().Rax = n; g.Call() },
			"a call with mapping changes": func() {
				g.Space.Map(freeAt, pageSize, 0, hostarch.Read)
				g.Space.Map(freeAt+1<<20, pageSize, pageSize*(n%2), hostarch.Read)
				g.Call()
			},
		} {
			if a := testing.AllocsPerRun(100, op); a != 0 {
				t.Errorf("%s: %v allocations", what, a)
			}
		}
	}, callLoop)
}
