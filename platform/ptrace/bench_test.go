package ptrace

import (
	"testing"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/hostcall"
	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

// Guest code of the benchmarks and the tests of costs.
var (
	callLoop = []byte{0x0f, 0x05, 0xeb, 0xfc}                   // L: syscall; jmp L
	readCall = []byte{0x48, 0x8b, 0x07, 0x0f, 0x05, 0xeb, 0xf9} // L: mov rax, [rdi]; syscall; jmp L
)

const freeAt = 0x10000000

// bench runs op as often as asked, in a guest thread.
func bench(b *testing.B, text []byte, op func(g *platformtest.Guest, i int)) {
	b.ReportAllocs()
	platformtest.NewEnv(b, newPlatform).Guest(func(g *platformtest.Guest) {
		g.Call()
		for i := range 10 {
			op(g, i)
		}
		b.ResetTimer()
		for i := range b.N {
			op(g, i)
		}
		b.StopTimer()
	}, text)
}

// A system call that returns a result.
func BenchmarkNullCall(b *testing.B) {
	bench(b, callLoop, func(g *platformtest.Guest, i int) {
		g.Regs().Rax = uint64(i)
		g.Call()
	})
}

// The same with a channel: by the trap, and by the channel.
func BenchmarkTrapWithChannel(b *testing.B) { benchChannel(b, callLoop, 0, false) }
func BenchmarkChannel(b *testing.B)         { benchChannel(b, siteLoop, siteReturn-0x400000, false) }

// One of a thread that is never split from its tracer.
func BenchmarkChannelUnsplit(b *testing.B) { benchChannel(b, siteLoop, siteReturn-0x400000, true) }

func benchChannel(b *testing.B, text []byte, from uint64, unsplit bool) {
	b.ReportAllocs()
	platformtest.NewEnv(b, newChannelPlatform).Guest(func(g *platformtest.Guest) {
		p := g.C.(*context).w.p
		g.Regs().Rip, g.Regs().Rax = g.Text()+from, siteNumber
		g.Call()
		if unsplit {
			p.cores = p.cores[:1]
		}
		b.ResetTimer()
		for i := range b.N {
			g.Regs().Rax = siteNumber + uint64(i)
			g.Call()
		}
		b.StopTimer()
	}, text)
}

// A system call that changes other registers too.
func BenchmarkCallWithRegisters(b *testing.B) {
	bench(b, callLoop, func(g *platformtest.Guest, i int) {
		g.Regs().Rax, g.Regs().Rbx = uint64(i), uint64(i)
		g.Call()
	})
}

// A fault that is resolved by a mapping, and the access to it.
func BenchmarkFault(b *testing.B) {
	const pages = 1 << 14
	// syscall; L: mov rax, [rdi]; add rdi, 4096; jmp L
	text := []byte{0x0f, 0x05, 0x48, 0x8b, 0x07, 0x48, 0x81, 0xc7, 0, 0x10, 0, 0, 0xeb, 0xf4}
	bench(b, text, func(g *platformtest.Guest, i int) {
		n := uint64(i % pages)
		if n == 0 {
			g.Space.Unmap(freeAt, pages*hostarch.PageSize)
			g.Regs().Rdi = freeAt
		}
		x := g.Run()
		if x.Kind != platform.ExitFault {
			g.Fatalf("no fault: %+v", x)
		}
		g.Space.Map(x.Addr, hostarch.PageSize, n*hostarch.PageSize, hostarch.ReadWrite)
	})
}

// A system call that maps and one that unmaps.
func BenchmarkMapUnmap(b *testing.B) {
	bench(b, callLoop, func(g *platformtest.Guest, i int) {
		g.Space.Map(freeAt, hostarch.PageSize, g.Space.DataOff, hostarch.ReadWrite)
		g.Call()
		g.Space.Unmap(freeAt, hostarch.PageSize)
		g.Call()
	})
}

// starter starts guest threads and waits for them as a kernel would do that is
// in a hurry: without the Go scheduler.
type starter struct{ done hostcall.Parker }

func (st *starter) run(g *platformtest.Guest, s *platformtest.Space, fn func(platform.Context)) {
	err := g.P.Spawn(g.C, s.AddressSpace, func(c platform.Context) {
		c.Registers().Rip = g.Text()
		fn(c)
		st.done.Unpark()
	})
	if err != nil {
		g.Fatalf("Spawn: %v", err)
	}
	st.done.Park(-1)
}

// callIn runs the context in s, up to a system call.
func callIn(g *platformtest.Guest, c platform.Context, s *platformtest.Space) {
	for {
		x, err := c.Run(s.AddressSpace)
		switch {
		case err != nil || x.Kind != platform.ExitInterrupted && x.Kind != platform.ExitSyscall:
			g.Fatalf("%+v, error %v", x, err)
		case x.Kind == platform.ExitSyscall:
			return
		}
	}
}

// A process: a new space, a thread in it, its first call, and its end.
func BenchmarkSpace(b *testing.B) {
	var st starter
	bench(b, callLoop, func(g *platformtest.Guest, i int) { st.space(g) })
}

func (st *starter) space(g *platformtest.Guest) {
	s := g.Sibling(g.Space)
	st.run(g, s, func(c platform.Context) {
		callIn(g, c, s)
		s.Release()
	})
}

// The same with a new program in the middle: fork, exec and exit.
func BenchmarkSpaceTwice(b *testing.B) {
	var st starter
	bench(b, callLoop, func(g *platformtest.Guest, i int) { st.spaceTwice(g) })
}

func (st *starter) spaceTwice(g *platformtest.Guest) {
	s, n := g.Sibling(g.Space), g.Sibling(g.Space)
	st.run(g, s, func(c platform.Context) {
		callIn(g, c, s)
		s.Release()
		c.SetFPState(nil)
		callIn(g, c, n)
		n.Release()
	})
}

// A thread: made, its first call, and its end.
func BenchmarkThread(b *testing.B) {
	var st starter
	bench(b, callLoop, func(g *platformtest.Guest, i int) { st.thread(g) })
}

func (st *starter) thread(g *platformtest.Guest) {
	st.run(g, g.Space, func(c platform.Context) { callIn(g, c, g.Space) })
}
