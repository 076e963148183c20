package platformtest

import (
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

var exceptionTests = []subtest{
	{"Kinds", testExceptions},
	{"Privileged", testPrivileged},
	{"OtherEntries", testOtherEntries},
	{"CompatibilityMode", testCompatibilityMode},
	{"CPUID", testCPUID},
}

const (
	illOpn = 2 // ILL_ILLOPN
	fpeDiv = 1 // FPE_INTDIV
	fltDiv = 3 // FPE_FLTDIV
)

// exceptions that processors raise for user code.
func testExceptions(t *testing.T, e *Env) {
	const at = codeAt + 16 // the instruction in question
	for _, c := range []struct {
		name string
		text []byte // from at on
		set  func(*platform.Registers)
		sig  unix.Signal
		code int32
		addr uint64
		rip  uint64
	}{
		{name: "ud2", text: ud2, sig: unix.SIGILL, code: illOpn, addr: at, rip: at},
		{name: "into", text: []byte{0xce}, sig: unix.SIGILL, code: illOpn, addr: at, rip: at},
		{name: "lock nop", text: []byte{0xf0, 0x90}, sig: unix.SIGILL, code: illOpn, addr: at, rip: at},
		{name: "div by zero", text: []byte{0x48, 0xf7, 0xf1}, sig: unix.SIGFPE, code: fpeDiv, addr: at, rip: at},
		{name: "idiv overflow", text: []byte{0x48, 0xf7, 0xf9}, set: func(r *platform.Registers) {
			r.Rax, r.Rdx, r.Rcx = 1<<63, ^uint64(0), ^uint64(0)
		}, sig: unix.SIGFPE, code: fpeDiv, addr: at, rip: at},
		{name: "int3", text: int3, sig: unix.SIGTRAP, code: siKernel, rip: at + 1},
		{name: "int 3", text: []byte{0xcd, 3}, sig: unix.SIGTRAP, code: siKernel, rip: at + 2},
		// ldmxcsr [rdi]; xorps xmm0, xmm0; movd xmm1, eax; divss xmm1, xmm0
		{name: "divss by zero", text: []byte{0x0f, 0xae, 0x17, 0x0f, 0x57, 0xc0, 0x66, 0x0f, 0x6e, 0xc8, 0xf3, 0x0f, 0x5e, 0xc8}, set: func(r *platform.Registers) {
			r.Rax, r.Rdi = 0x3f800000, codeAt+4
		}, sig: unix.SIGFPE, code: fltDiv, addr: at + 10, rip: at + 10},
		// fldcw [rdi]; fld1; fldz; fdivp; fwait
		{name: "fdiv by zero", text: []byte{0xd9, 0x2f, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b}, set: func(r *platform.Registers) {
			r.Rdi = codeAt + 8
		}, sig: unix.SIGFPE, code: fltDiv, addr: at + 8, rip: at + 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t, e.new)
			// Data: MXCSR and control word that leave division by zero unmasked.
			e.Guest(func(g *Guest) {
				g.Regs().Rip = at
				if c.set != nil {
					c.set(g.Regs())
				}
				x := g.Signal(c.sig, c.code)
				if c.addr != 0 && uint64(x.Addr) != c.addr {
					g.Fatalf("address %#x, want %#x", uint64(x.Addr), c.addr)
				}
				if g.Regs().Rip != c.rip {
					g.Fatalf("RIP %#x, want %#x", g.Regs().Rip, c.rip)
				}
				// It goes on elsewhere.
				g.Regs().Rip = codeAt
				g.Call()
			}, syscall_, nop, nop, []byte{0x80, 0x1d, 0, 0}, []byte{0x7b, 0x03, 0, 0, 0, 0, 0, 0}, c.text)
		})
	}
}

// testPrivileged: what only a kernel may do is a general protection fault.
func testPrivileged(t *testing.T, e *Env) {
	for _, c := range []struct {
		name string
		text []byte
	}{
		{"hlt", []byte{0xf4}},
		{"cli", []byte{0xfa}},
		{"sti", []byte{0xfb}},
		{"in al, dx", []byte{0xec}},
		{"out dx, al", []byte{0xee}},
		{"in al, 0x60", []byte{0xe4, 0x60}},
		{"out 0x80, al", []byte{0xe6, 0x80}},
		{"insb", []byte{0x6c}},
		{"mov rax, cr0", []byte{0x0f, 0x20, 0xc0}},
		{"mov cr3, rax", []byte{0x0f, 0x22, 0xd8}},
		{"mov rax, dr7", []byte{0x0f, 0x21, 0xf8}},
		{"rdmsr", []byte{0x0f, 0x32}},
		{"wrmsr", []byte{0x0f, 0x30}},
		{"lgdt [rdi]", []byte{0x0f, 0x01, 0x17}},
		{"lidt [rdi]", []byte{0x0f, 0x01, 0x1f}},
		{"lldt ax", []byte{0x0f, 0x00, 0xd0}},
		{"ltr ax", []byte{0x0f, 0x00, 0xd8}},
		{"invlpg [rdi]", []byte{0x0f, 0x01, 0x3f}},
		{"clts", []byte{0x0f, 0x06}},
		{"wbinvd", []byte{0x0f, 0x09}},
		{"swapgs", []byte{0x0f, 0x01, 0xf8}},
		{"xsetbv", []byte{0x0f, 0x01, 0xd1}},
		{"int 0x20", []byte{0xcd, 0x20}},
		{"int 14", []byte{0xcd, 14}},
		{"int 0xff", []byte{0xcd, 0xff}},
		{"mov ss, ax", []byte{0x8e, 0xd0}}, // a null SS
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t, e.new)
			e.Guest(func(g *Guest) {
				g.Regs().Rdi = dataAt
				g.Signal(unix.SIGSEGV, siKernel)
				if g.Regs().Rip != codeAt {
					g.Fatalf("RIP %#x, want %#x", g.Regs().Rip, codeAt)
				}
			}, c.text)
		})
	}
	// What these are depends on the processor.
	for name, text := range map[string][]byte{"sysret": {0x48, 0x0f, 0x07}, "sysexit": {0x0f, 0x35}} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, e.new)
			e.Guest(func(g *Guest) {
				x := g.Run()
				if x.Kind == platform.ExitSyscall || x.Signo != int32(unix.SIGSEGV) && x.Signo != int32(unix.SIGILL) || g.Regs().Rip != codeAt {
					g.Fatalf("%s at %#x", describe(x), g.Regs().Rip)
				}
			}, text)
		})
	}
}

// testOtherEntries: INT 0x80 and SYSENTER are no way in, as on a Linux without
// 32-bit programs. The calls that they would be must not happen.
func testOtherEntries(t *testing.T, e *Env) {
	int80, sysenter := []byte{0xcd, 0x80}, []byte{0x0f, 0x34}
	e.Guest(func(g *Guest) {
		r := g.Regs()
		for _, nr := range []uint64{1 /* exit */, 2 /* fork */, 20 /* getpid */, 37 /* kill */, 91 /* munmap */, 252 /* exit_group */} {
			*r = platform.Registers{Rip: codeAt, Rax: nr, Rbx: codeAt, Rcx: pageSize, Rsp: dataAt + 512, Rbp: dataAt + 512}
			g.Signal(unix.SIGSEGV, siKernel)
			if r.Rip != codeAt || r.Rax != nr || r.Rbx != codeAt {
				g.Fatalf("RIP %#x, RAX %#x, RBX %#x after INT 0x80", r.Rip, r.Rax, r.Rbx)
			}
			*r = platform.Registers{Rip: codeAt + 2, Rax: nr, Rbx: codeAt, Rcx: pageSize, Rsp: dataAt + 512, Rbp: dataAt + 512}
			x := g.Run()
			if x.Kind != platform.ExitSignal || x.Signo != int32(unix.SIGSEGV) && x.Signo != int32(unix.SIGILL) {
				g.Fatalf("%s from SYSENTER", describe(x))
			}
			*r = platform.Registers{Rip: codeAt + 4, Rsp: dataAt + 512}
			g.Call()
		}
	}, int80, sysenter, syscall_)
}

// testCompatibilityMode: user code can enter 32-bit mode by a far jump. Calls
// from there are no way in either, and the way back works.
func testCompatibilityMode(t *testing.T, e *Env) {
	retf := []byte{0x48, 0xcb}
	for name, entry := range map[string][]byte{"int 0x80": {0xcd, 0x80}, "syscall": {0x0f, 0x05}, "sysenter": {0x0f, 0x34}} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, e.new)
			e.Guest(func(g *Guest) {
				r := g.Regs()
				r.Rsp = dataAt + 512
				copy(g.Space.Data[512:], []byte{0x02, 0x00, 0x40, 0, 0, 0, 0, 0, 0x23}) // codeAt+2, CS 0x23
				r.Rax, r.Rbx, r.Rbp = 1, 5, dataAt+256
				x := g.Run()
				if x.Kind != platform.ExitSignal || x.Signo != int32(unix.SIGSEGV) && x.Signo != int32(unix.SIGILL) {
					g.Fatalf("%s from 32-bit code", describe(x))
				}
				*r = platform.Registers{Rip: codeAt + 2 + uint64(len(entry)), Cs: 0x33, Ss: 0x2b, Rax: 3}
				g.Call()
			}, retf, entry, syscall_)
		})
	}
}

// testCPUID: it answers, natively or by the platform.
func testCPUID(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Call()
		if g.Regs().Rax == 0 || g.Regs().Rbx == 0 {
			g.Fatalf("CPUID 0 says %#x, %#x", g.Regs().Rax, g.Regs().Rbx)
		}
	}, cpuid, syscall_)
}
