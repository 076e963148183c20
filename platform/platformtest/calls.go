package platformtest

import (
	"math/rand/v2"
	"testing"

	"runsc-lite/platform"
)

var callTests = []subtest{
	{"Registers", testCallRegisters},
	{"Results", testCallResults},
	{"Numbers", testCallNumbers},
	{"RedZone", testRedZone},
	{"StartRegisters", testStartRegisters},
	{"Bases", testBases},
}

// general returns the registers that a system call leaves alone.
func general(r *platform.Registers) []*uint64 {
	return []*uint64{&r.R15, &r.R14, &r.R13, &r.R12, &r.Rbp, &r.Rbx, &r.R10, &r.R9, &r.R8, &r.Rdx, &r.Rsi, &r.Rdi, &r.Rsp}
}

// testCallRegisters: whatever registers hold, the stack pointer too, arrives at
// the call and goes on into the guest.
func testCallRegisters(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		r := g.Regs()
		rnd := rand.New(rand.NewPCG(1, 2))
		for round := range 300 {
			var want []uint64
			for _, p := range general(r) {
				*p = rnd.Uint64()
				want = append(want, *p)
			}
			nr := rnd.Uint64() >> rnd.IntN(64)
			r.Rax, r.Rip = nr, codeAt
			for again := range 3 {
				if got := g.Call(); got != nr {
					g.Fatalf("round %d.%d: number %#x, want %#x", round, again, got, nr)
				}
				if r.Rip != codeAt+2 || r.Rcx != r.Rip {
					g.Fatalf("RIP %#x, RCX %#x after the call, want %#x", r.Rip, r.Rcx, codeAt+2)
				}
				if r.R11 != r.Eflags {
					g.Fatalf("R11 %#x, flags %#x", r.R11, r.Eflags)
				}
				for i, p := range general(r) {
					if *p != want[i] {
						g.Fatalf("round %d.%d: register %d is %#x, want %#x", round, again, i, *p, want[i])
					}
				}
				// The second time only the result changes, the third nothing.
				if again == 0 {
					nr++
					r.Rax = nr
				} else {
					r.Rax = nr
				}
			}
		}
	}, back(syscall_))
}

// testCallResults: each errno arrives, those that mean something to the host's
// own restarts of system calls too, with an interruption under way.
func testCallResults(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Regs().Rax = 0
		g.Call()
		for n := uint64(1); n < 600; n++ {
			for _, interrupt := range []bool{false, true} {
				if interrupt {
					g.C.Interrupt()
				}
				g.Regs().Rax = -n
				if got := g.Call(); got != -n {
					g.Fatalf("result %d arrived as %d", -int64(n), int64(got))
				}
				if g.Regs().Rip != codeAt+2 {
					g.Fatalf("RIP is %#x after result %d", g.Regs().Rip, -int64(n))
				}
			}
		}
	}, back(syscall_))
}

// testCallNumbers: no number means anything to the host: those of x32, of exit,
// of rt_sigreturn.
func testCallNumbers(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		for _, nr := range []uint64{
			0, 1, 9, 10, 11, 15, 34, 56, 57, 58, 59, 60, 61, 62, 157, 186, 202, 219, 231, 435,
			0x40000000, 0x4000003b, 0x40000208, 0x80000000, 0xffffffff, 1 << 32, 1<<32 | 60, 1<<63 | 60, 4094, 4095, 4096, ^uint64(0), ^uint64(0) - 37,
		} {
			g.Regs().Rip, g.Regs().Rax = codeAt, nr
			g.Regs().Rdi, g.Regs().Rsi = 9, 9
			if got := g.Call(); got != nr {
				g.Fatalf("number %#x arrived as %#x", nr, got)
			}
		}
	}, syscall_)
}

// testRedZone: the 128 bytes below the stack pointer are the guest's, whatever
// stops it.
func testRedZone(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Regs().Rsp = dataAt + 1024
		for i := range g.Space.Data {
			g.Space.Data[i] = byte(i * 7)
		}
		g.Call()
		g.C.Interrupt()
		g.Call()
		g.Regs().Rip = codeAt + 16
		g.Run()
		g.Regs().Rip = codeAt
		g.Call()
		for i, b := range g.Space.Data {
			if b != byte(i*7) {
				g.Fatalf("byte %d of the stack's page was changed", i)
			}
		}
	}, back(syscall_), make([]byte, 16-7), ud2)
}

// testStartRegisters: a new thread has zeros.
func testStartRegisters(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		for i, p := range general(g.Regs()) {
			if *p != 0 {
				g.Fatalf("register %d begins as %#x", i, *p)
			}
		}
		g.Call()
		r := g.Regs()
		r.Rip, r.Rcx, r.R11, r.Rax = codeAt, 0, 0, 0
		g.Call()
		for i, p := range general(r) {
			if *p != 0 {
				g.Fatalf("register %d is %#x in the guest", i, *p)
			}
		}
		if r.Eflags&^0x202 != 0 {
			g.Fatalf("flags are %#x", r.Eflags)
		}
	}, syscall_)
}

// testBases: FS and GS bases go both ways, WRFSBASE and WRGSBASE of the guest
// included.
func testBases(t *testing.T, e *Env) {
	var (
		readFS  = []byte{0x64, 0x48, 0x8b, 0x34, 0x25, 0, 0, 0, 0} // mov rsi, fs:[0]
		readGS  = []byte{0x65, 0x48, 0x8b, 0x3c, 0x25, 0, 0, 0, 0} // mov rdi, gs:[0]
		writeFS = []byte{0xf3, 0x48, 0x0f, 0xae, 0xd2}             // wrfsbase rdx
		writeGS = []byte{0xf3, 0x49, 0x0f, 0xae, 0xd8}             // wrgsbase r8
	)
	e.Guest(func(g *Guest) {
		r := g.Regs()
		for i := range 16 {
			g.Space.Data[8*i] = byte(i + 1)
		}
		r.Fs_base, r.Gs_base = dataAt, dataAt+8
		r.Rdx, r.R8 = dataAt+16, dataAt+24
		g.Call()
		if r.Rsi != 1 || r.Rdi != 2 {
			g.Fatalf("read %d and %d through the bases, want 1 and 2", r.Rsi, r.Rdi)
		}
		g.Call()
		if r.Rsi != 3 || r.Rdi != 4 {
			g.Fatalf("read %d and %d after WRFSBASE and WRGSBASE, want 3 and 4", r.Rsi, r.Rdi)
		}
		if r.Fs_base != dataAt+16 || r.Gs_base != dataAt+24 {
			g.Fatalf("bases are %#x and %#x", r.Fs_base, r.Gs_base)
		}
		// Kept when other registers are set, and when they are the guest's own.
		r.R15 = 5
		g.Call()
		r.Rip = codeAt
		g.Call()
		if r.Rsi != 3 || r.Rdi != 4 {
			g.Fatalf("read %d and %d later, want 3 and 4", r.Rsi, r.Rdi)
		}
		r.Rip, r.Fs_base, r.Gs_base = codeAt, dataAt+40, dataAt+48
		g.Call()
		if r.Rsi != 6 || r.Rdi != 7 {
			g.Fatalf("read %d and %d after new bases, want 6 and 7", r.Rsi, r.Rdi)
		}
		// What Linux refuses must not stop the guest.
		r.Rip, r.Fs_base, r.Gs_base = codeAt, 1<<63, ^uint64(0)
		g.Run()
	}, readFS, readGS, syscall_, writeFS, writeGS, readFS, readGS, syscall_, syscall_)
}
