package platformtest

import (
	"testing"

	"golang.org/x/sys/unix"
)

var flagTests = []subtest{
	{"Direction", testDirection},
	{"Kept", testFlagsKept},
	{"Refused", testFlagsRefused},
	{"Trap", testTrapFlag},
	{"TrapAcrossCall", testTrapAcrossCall},
	{"SingleStep", testSingleStep},
	{"Alignment", testAlignment},
}

const (
	flagCF = 1 << 0
	flagTF = 1 << 8
	flagIF = 1 << 9
	flagDF = 1 << 10
	flagOF = 1 << 11
	flagAC = 1 << 18

	trapTrace = 2 // TRAP_TRACE
	busAdrAln = 1 // BUS_ADRALN
	siKernel  = 0x80
)

// testDirection: a guest that sets DF keeps it, and the platform does not mind.
func testDirection(t *testing.T, e *Env) {
	std := []byte{0xfd}
	e.Guest(func(g *Guest) {
		for range 3 {
			g.Call()
			if g.Regs().Eflags&flagDF == 0 {
				g.Fatalf("DF was lost: flags %#x", g.Regs().Eflags)
			}
			g.Space.Map(freeAt, pageSize, g.Alloc(1), readWrite)
			g.Regs().Rip = codeAt + 1
		}
	}, std, back(syscall_))
}

func testFlagsKept(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		for _, f := range []uint64{0, flagCF, flagOF, flagDF, flagCF | 0x4 | 0x10 | 0x40 | 0x80 | flagDF | flagOF, flagAC} {
			g.Regs().Rip, g.Regs().Eflags = codeAt, f
			g.Call()
			if got := g.Regs().Eflags &^ (flagIF | 2); got != f {
				g.Fatalf("flags %#x arrived as %#x", f, got)
			}
		}
	}, syscall_)
}

// testFlagsRefused: IOPL, VM and the like cannot be had.
func testFlagsRefused(t *testing.T, e *Env) {
	in := []byte{0xec}
	e.Guest(func(g *Guest) {
		g.Regs().Eflags = ^uint64(flagTF | flagAC)
		g.Signal(unix.SIGSEGV, siKernel)
		if g.Regs().Eflags&(3<<12|1<<17|1<<19|1<<20) != 0 {
			g.Fatalf("flags are %#x", g.Regs().Eflags)
		}
		if g.Regs().Eflags&flagIF == 0 {
			g.Fatalf("interrupts are off: flags %#x", g.Regs().Eflags)
		}
		g.Regs().Cs, g.Regs().Ss, g.Regs().Ds, g.Regs().Es = 0x10, 0x18, 0xffff, 0x18
		g.Regs().Fs, g.Regs().Gs = 0x1234, 0x43
		g.Signal(unix.SIGSEGV, siKernel)
		if g.Regs().Cs&3 != 3 {
			g.Fatalf("CS is %#x", g.Regs().Cs)
		}
	}, in)
}

// testTrapFlag: POPF with TF traps behind the next instruction.
func testTrapFlag(t *testing.T, e *Env) {
	pushf, popf := []byte{0x9c}, []byte{0x9d}
	orTF := []byte{0x48, 0x81, 0x0c, 0x24, 0, 1, 0, 0} // or qword [rsp], 0x100
	e.Guest(func(g *Guest) {
		g.Regs().Rsp = dataAt + pageSize
		at := uint64(codeAt + 1 + 8 + 1)
		for range 3 {
			at++
			g.Signal(unix.SIGTRAP, trapTrace)
			if g.Regs().Rip != at {
				g.Fatalf("trapped at %#x, want %#x", g.Regs().Rip, at)
			}
			if g.Regs().Eflags&flagTF == 0 {
				g.Fatalf("TF was lost: flags %#x", g.Regs().Eflags)
			}
		}
		g.Regs().Eflags &^= flagTF
		g.Call()
		if g.Regs().Eflags&flagTF != 0 {
			g.Fatalf("TF is back: flags %#x", g.Regs().Eflags)
		}
	}, pushf, orTF, popf, nop, nop, nop, nop, syscall_)
}

// testTrapAcrossCall: a guest that steps itself over a system call, and a
// mapping change there, traps behind it, in its own code.
func testTrapAcrossCall(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Regs().Eflags = flagTF
		g.Signal(unix.SIGTRAP, trapTrace)
		g.Call()
		if g.Regs().R11&flagTF == 0 {
			g.Fatalf("R11 is %#x after a call with TF", g.Regs().R11)
		}
		g.Space.Map(freeAt, pageSize, g.Alloc(1), readWrite)
		g.Regs().Rdi, g.Regs().Rax = freeAt, 7
		x := g.Run()
		if x.Signo != int32(unix.SIGTRAP) || g.Regs().Rip < codeAt+3 || g.Regs().Rip > codeAt+6 {
			g.Fatalf("%s at %#x, want a trap behind the call", describe(x), g.Regs().Rip)
		}
		g.Regs().Eflags &^= flagTF
		g.Call()
		if g.Regs().Rdx != 0 {
			g.Fatalf("not there")
		}
	}, nop, syscall_, writeRDI, nop, syscall_)
}

func testSingleStep(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.C.SetSingleStep(true)
		for i := range uint64(3) {
			g.Signal(unix.SIGTRAP, trapTrace)
			if g.Regs().Rip != codeAt+1+i {
				g.Fatalf("stepped to %#x, want %#x", g.Regs().Rip, codeAt+1+i)
			}
			if g.Regs().Eflags&flagTF != 0 {
				g.Fatalf("the guest sees TF of a step that it did not ask for")
			}
		}
		g.Call()
		g.Space.Map(freeAt, pageSize, g.Alloc(1), readWrite)
		g.Regs().Rdi = freeAt
		for g.Regs().Rip < codeAt+8 {
			g.Signal(unix.SIGTRAP, trapTrace)
			if rip := g.Regs().Rip; rip < codeAt || rip > codeAt+10 {
				g.Fatalf("stepped to %#x, which is not the guest's", rip)
			}
		}
		g.C.SetSingleStep(false)
		g.Call()
	}, nop, nop, nop, syscall_, writeRDI, syscall_)
}

// testAlignment: AC makes misaligned accesses a SIGBUS.
func testAlignment(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Regs().Rdi = dataAt + 1
		g.Regs().Eflags = flagAC
		g.Signal(unix.SIGBUS, busAdrAln)
		if g.Regs().Rip != codeAt {
			g.Fatalf("RIP is %#x", g.Regs().Rip)
		}
		// The platform's own work for the guest is not affected.
		g.Space.Map(freeAt, pageSize, g.Alloc(1), readWrite)
		g.Signal(unix.SIGBUS, busAdrAln)
		g.Regs().Eflags = 0
		g.Call()
	}, readRDI, syscall_)
}
