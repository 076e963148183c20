package ptrace

import (
	"runtime"
	"testing"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

// TestHostCalls holds how many host calls an operation takes: ptrace and wait4,
// without those of the Go runtime. They are what it costs. A change that adds
// one says why.
func TestHostCalls(t *testing.T) {
	calls := func(g *platformtest.Guest) *uint64 { return &g.C.(*context).w.calls }
	check := func(g *platformtest.Guest, what string, counter *uint64, want uint64, op func()) {
		t.Helper()
		op() // what is done once
		best := ^uint64(0)
		for range 5 { // a spurious interruption costs more
			before := *counter
			op()
			best = min(best, *counter-before)
		}
		if best != want {
			t.Errorf("%s: %d host calls, want %d", what, best, want)
		}
	}
	e := platformtest.NewEnv(t, newPlatform)
	p := e.P.(*Ptrace)
	e.Guest(func(g *platformtest.Guest) {
		var st starter
		n := uint64(0)
		check(g, "a system call with a result", calls(g), 4, func() {
			n++
			g.Regs().Rax = n
			g.Call()
		})
		check(g, "a system call that changes nothing", calls(g), 3, func() {
			g.Regs().Rax = g.Regs().Rax
			g.Call()
		})
		check(g, "a system call that changes registers", calls(g), 4, func() {
			n++
			g.Regs().Rax, g.Regs().Rbx = n, n
			g.Call()
		})
		check(g, "a system call and a mapping change", calls(g), 7, func() {
			g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
			g.Call()
		})
		check(g, "a system call and 70 mapping changes", calls(g), 7, func() {
			for i := range hostarch.Addr(70) {
				g.Space.Map(freeAt+i*2*hostarch.PageSize, hostarch.PageSize, 0, hostarch.Read)
			}
			g.Call()
		})
		check(g, "mapping changes that cancel out", calls(g), 7, func() {
			g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
			g.Space.Map(freeAt, hostarch.PageSize, hostarch.PageSize, hostarch.Read)
			g.Space.Unmap(freeAt, 2*hostarch.PageSize)
			g.Call()
		})
		check(g, "a flush", calls(g), 3, func() {
			g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
			if err := g.C.Flush(g.Space.AddressSpace); err != nil {
				t.Error(err)
			}
		})
		check(g, "a flush of nothing", calls(g), 0, func() {
			if err := g.C.Flush(g.Space.AddressSpace); err != nil {
				t.Error(err)
			}
		})

		// A batch that takes the page away, and SETREGS; the fault; a batch that
		// gives it; the access, and a call.
		g.Regs().Rip = g.Text() + uint64(len(callLoop))
		g.Regs().Rdi = freeAt + 1<<20
		check(g, "a fault and a call", calls(g), 3+1+4+3+1+3, func() {
			g.Space.Unmap(freeAt+1<<20, hostarch.PageSize)
			if x := g.Run(); x.Kind != platform.ExitFault {
				g.Fatalf("%+v", x)
			}
			g.Space.Map(freeAt+1<<20, hostarch.PageSize, 0, hostarch.Read)
			g.Call()
		})
		g.Regs().Rip = g.Text()
		g.Call()

		// In the steady state: what the children's workers do. The batch cleans
		// as well; then floating-point and other registers, and a call.
		others := func() *uint64 {
			sum := uint64(0)
			for {
				p.mu.Lock()
				if len(p.idle) == p.nworkers-1 {
					for _, w := range p.idle {
						sum += w.calls
					}
					p.mu.Unlock()
					return &sum
				}
				p.mu.Unlock()
				runtime.Gosched()
			}
		}
		for range 4 {
			st.spaceTwice(g)
		}
		sum := others()
		for _, c := range []struct {
			what string
			want uint64
			op   func()
		}{
			{"a process", 3 + 2 + 3, func() { st.space(g) }},
			{"a process with a new program", 2 * (3 + 2 + 3), func() { st.spaceTwice(g) }},
			// SEIZE, INTERRUPT, wait4; the first call as above; SETREGS, DETACH.
			{"a thread", 3 + 2 + 3 + 2, func() { st.thread(g) }},
		} {
			check(g, c.what+", in its creator", calls(g), 0, c.op)
			*sum = *others()
			check(g, c.what, sum, c.want, func() {
				c.op()
				*sum = *others()
			})
		}
	}, callLoop, readCall)
}

// TestChannelCalls is TestHostCalls with a channel.
func TestChannelCalls(t *testing.T) {
	onSite(t, func(g *platformtest.Guest, c *context) {
		check := func(what string, want uint64, op func()) {
			t.Helper()
			op()
			best := ^uint64(0)
			for range 5 {
				before := c.w.calls
				op()
				best = min(best, c.w.calls-before)
			}
			if best != want {
				t.Errorf("%s: %d host calls, want %d", what, best, want)
			}
		}
		cores := c.w.p.cores
		r := g.Regs()
		n := uint64(0)
		call := func() { n++; r.Rax = n; g.Call() }
		r.Rip = siteReturn
		c.w.p.cores = cores[:1] // no core to spare
		call()
		// CONT, wait4.
		check("a call by the channel", 2, call)
		check("a call that changes registers", 2, func() { r.Rbp++; call() })
		check("a call that changes floating-point state as well", 2, func() {
			if err := c.SetFPState(c.w.p.zygote.fpu); err != nil {
				t.Error(err)
			}
			r.Rbp++
			call()
		})
		// SETREGS, to where the changes are made on the way.
		check("a call with mapping changes", 3, func() {
			g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
			g.Space.Map(freeAt+1<<20, hostarch.PageSize, 0, hostarch.Read)
			call()
		})
		// A signal: the handler's registers, its call, and those of before.
		check("a call that a signal follows, and the return from that", 4, func() {
			saved := *r
			r.Rip, r.Rdi = siteReturn, 11
			g.Call()
			*r = saved
			g.Call()
		})
		// The trap: CONT, wait4, GETREGS; SETREGS behind it.
		check("two calls by the trap", 8, func() {
			for range 2 {
				r.Rip = siteReturn - 2
				r.Rax = siteNumber
				g.Call()
			}
		})
		// readCall's first instruction, with SETREGS before: CONT, wait4, GETREGS,
		// GETSIGINFO; SETREGS for the batch, CONT, wait4, and GETREGS of the trap.
		copy(g.Space.Code[1024:], readCall)
		at := uint64(freeAt + 1<<30)
		check("a fault, a mapping, and a call by the trap", 1+4+1+3, func() {
			at += hostarch.PageSize
			r.Rip, r.Rdi = g.Text()+1024, at
			if x := g.Run(); x.Kind != platform.ExitFault {
				g.Fatalf("%+v", x)
			}
			g.Space.Map(hostarch.Addr(at), hostarch.PageSize, 0, hostarch.Read)
			g.Call()
		})
		if c.w.p.cores = cores; len(cores) < 2 {
			return
		}
		r.Rip = siteReturn
		for range 1000 {
			call()
		}
		if !c.ch.split.on {
			t.Skip("the machine is too busy for a split")
		}
		check("a call when split", 0, call)
		check("a call that changes registers, when split", 0, func() { r.Rbp++; call() })
	})
}

// TestNoAllocation: what every call and fault goes through allocates nothing.
func TestNoAllocation(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		g.Call()
		n := uint64(0)
		for what, op := range map[string]func(){
			"a call": func() { n++; g.Regs().Rax = n; g.Call() },
			"a call with mapping changes": func() {
				g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
				g.Space.Map(freeAt+1<<20, hostarch.PageSize, 0, hostarch.Read)
				g.Call()
			},
		} {
			if a := testing.AllocsPerRun(100, op); a != 0 {
				t.Errorf("%s: %v allocations", what, a)
			}
		}
	}, callLoop)
}
