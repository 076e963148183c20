package kvm

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

// refused checks that code gets the signal of a general protection fault, and goes no
// further.
func refused(g *platformtest.Guest, what string, text []byte) {
	r := *g.Regs()
	x := attack(g, text)
	if x.Kind != platform.ExitSignal || x.Signo != int32(unix.SIGSEGV) || x.Code != siKernel {
		g.Fatalf("%s: %+v", what, x)
	}
	if now := g.Regs(); now.Rip != g.Text() || now.Rax != r.Rax || now.Rcx != r.Rcx || now.Rdx != r.Rdx {
		g.Fatalf("%s did something: RIP %#x, RAX %#x", what, now.Rip, now.Rax)
	}
}

// TestMSRs: a guest can neither read nor write any of the registers that a kernel has,
// those that are the stub's and KVM's own among them.
func TestMSRs(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		for _, span := range [][2]uint64{
			{0x0, 0x20}, {0x3a, 0x3c}, {0x48, 0x4a}, {0x8b, 0x8c}, {0xfe, 0xff}, {0x10a, 0x10c}, {0x140, 0x141}, {0x174, 0x17b}, {0x1a0, 0x1a1},
			{0x1d9, 0x1de}, {0x200, 0x204}, {0x277, 0x278}, {0x2ff, 0x300}, {0x38f, 0x391}, {0x480, 0x494}, {0x6a0, 0x6a8}, {0x6e0, 0x6e1},
			{0x800, 0x803}, {0xda0, 0xda1}, {0x40000000, 0x40000004}, {0x40000020, 0x40000022}, {0x4b564d00, 0x4b564d08},
			{0xc0000080, 0xc0000085}, {0xc0000100, 0xc0000105}, {0xc0010010, 0xc0010020}, {0xc0010112, 0xc0010118}, {0xc0010140, 0xc0010141},
			{0xfffffff0, 0x100000000},
		} {
			for msr := span[0]; msr < span[1]; msr++ {
				*g.Regs() = platform.Registers{Rcx: msr, Rax: 0x33221100, Rdx: 0x77}
				refused(g, "rdmsr", []byte{0x0f, 0x32})
				refused(g, "wrmsr", []byte{0x0f, 0x30})
			}
		}
	})
}

// TestPorts: nor any port, whatever IOPL it asks for.
func TestPorts(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		*g.Regs() = platform.Registers{Eflags: 3 << 12}
		for p := range 256 {
			refused(g, "in al, imm8", []byte{0xe4, byte(p)})
			refused(g, "out imm8, al", []byte{0xe6, byte(p)})
		}
		for _, p := range []uint64{0x100, 0x1f0, 0x2f8, 0x3f8, 0x402, 0x510, 0x604, 0xcf8, 0xcfc, 0x5658, 0x8000, 0xb008, 0xfffc, 0xffff} {
			for _, text := range [][]byte{{0xec}, {0xed}, {0x66, 0xed}, {0xee}, {0xef}, {0x66, 0xef}} {
				*g.Regs() = platform.Registers{Rdx: p, Eflags: 3 << 12}
				refused(g, "an access by DX", text)
			}
		}
	})
}

// TestSelectorsBeyond: no selector beyond the table, or of the local one, can be
// loaded; of what the processor can be asked of them, nothing is a kernel's.
func TestSelectorsBeyond(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		emulated := g.C.(*context).p.m.quirks.callFaults // the host's own table is in force then
		step := uint64(0x1f3)
		if os.Getenv("RUNSC_LITE_SLOW") == "1" {
			step = 1
		}
		for _, modrm := range []byte{0xc0, 0xd0, 0xd8, 0xe0, 0xe8} {
			for sel := uint64(0x60); sel < 0x10000; sel += step {
				if emulated && sel&^7 == 0x78 {
					continue
				}
				*g.Regs() = platform.Registers{Rax: sel}
				refused(g, "mov of a segment register", []byte{0x8e, modrm})
			}
		}
		// L: lar edx, ecx; jnz next; mov [rdi], ecx; add rdi, 4; next: dec ecx; jnz L; syscall
		*g.Regs() = platform.Registers{Rcx: 0xffff, Rdi: 0x600000}
		if x := attack(g, []byte{0x0f, 0x02, 0xd1, 0x75, 0x06, 0x89, 0x0f, 0x48, 0x83, 0xc7, 0x04, 0xff, 0xc9, 0x75, 0xf1}); x.Kind != platform.ExitSyscall {
			g.Fatalf("%+v", x)
		}
		for at := uint64(0x600000); at < g.Regs().Rdi; at += 4 {
			sel := binary.LittleEndian.Uint32(g.Space.Data[at-0x600000:])
			if user := sel&4 == 0 && (sel>>3 == compatCS>>3 || sel>>3 == userSS>>3 || sel>>3 == userCS>>3); !user && !emulated {
				t.Errorf("LAR knows selector %#x", sel)
			}
		}
	})
}

// TestStacks: exceptions of each kind with a stack pointer that is of no use, or the
// stub's: they arrive as ever, and leave it alone.
func TestStacks(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		v := g.C.(*context)
		g.Regs().Rip = g.Text()
		attack(g, nil) // so that it has a vCPU
		base := v.home.base
		before := append([]byte(nil), g.Space.Data...)
		for _, rsp := range []uint64{
			0, 1, 7, 8, 0x600001, 0x600803, 0x600fff, 0x601000, 0x400000, 1<<47 - 8, 1 << 47, 1 << 63, ^uint64(0), ^uint64(7),
			kernelBase, base + areaSize, base + areaSize - 8, base + frameRIP, base + stackPage*pageSize, base + offTSS, base + idtPage*pageSize,
		} {
			for _, c := range []struct {
				what string
				text []byte
				kind platform.ExitKind
				sig  unix.Signal
			}{
				{"ud2", []byte{0x0f, 0x0b}, platform.ExitSignal, unix.SIGILL},
				{"div", []byte{0xf7, 0xf1}, platform.ExitSignal, unix.SIGFPE},
				{"int3", []byte{0xcc}, platform.ExitSignal, unix.SIGTRAP},
				{"hlt", []byte{0xf4}, platform.ExitSignal, unix.SIGSEGV},
				{"a page fault", []byte{0x48, 0x8b, 0x07}, platform.ExitFault, unix.SIGSEGV},
				{"a system call", nil, platform.ExitSyscall, 0},
			} {
				*g.Regs() = platform.Registers{Rsp: rsp, Rdi: freeAt}
				x := attack(g, c.text)
				if x.Kind != c.kind || x.Signo != int32(c.sig) {
					t.Errorf("%s with RSP %#x: %+v", c.what, rsp, x)
				}
				if g.Regs().Rsp != rsp {
					t.Errorf("%s with RSP %#x: it is %#x", c.what, rsp, g.Regs().Rsp)
				}
			}
		}
		if string(before) != string(g.Space.Data) {
			t.Error("something was written to the guest's memory")
		}
	})
}

// TestEndOfUserSpace: a call from the last two bytes that a guest can have returns to
// where no guest has anything, and that is a fault of the guest's.
func TestEndOfUserSpace(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		end := uint64(g.P.MaxAddress())
		off := g.Alloc(1)
		copy(g.Bytes(off+pageSize-2, 2), []byte{0x0f, 0x05})
		g.Space.Map(hostarch.Addr(end-pageSize), pageSize, off, hostarch.ReadExecute)
		g.Call()
		for range 3 {
			g.Regs().Rip = end - 2
			if g.Call(); g.Regs().Rip != end || g.Regs().Rcx != end {
				g.Fatalf("RIP %#x, RCX %#x", g.Regs().Rip, g.Regs().Rcx)
			}
			g.Fault(end, hostarch.Execute)
		}
		for _, rip := range []uint64{1 << 47, 1<<47 - 1, 1<<48 - 1, 0xffff_8000_0000_0000, kernelBase, ^uint64(0)} {
			// As SYSRETQ would take them: RCX the same, no flags that forbid it.
			g.Regs().Rip = g.Text()
			g.Call()
			g.Regs().Rip, g.Regs().Rcx, g.Regs().R11 = rip, rip, g.Regs().Eflags
			if x := g.Run(); x.Signo != int32(unix.SIGSEGV) || g.Regs().Rip != rip {
				g.Fatalf("RIP %#x: %+v at %#x", rip, x, g.Regs().Rip)
			}
		}
	}, callLoop)
}

// TestTripleFault: a vCPU that cannot even deliver an exception ends its guest thread,
// and serves others afterwards.
func TestTripleFault(t *testing.T) {
	e := platformtest.NewEnv(t, oneVCPU)
	p := e.P.(*KVM)
	other := e.Space(callLoop)
	for range 3 {
		e.Guest(func(g *platformtest.Guest) {
			g.Call()
			v := g.C.(*context).v
			area, err := p.m.mapArea(v.base)
			if err != nil {
				g.Fatalf("%v", err)
			}
			idt := area[idtPage*pageSize:][:pageSize]
			old := append([]byte(nil), idt...)
			clear(idt)
			g.Regs().Rip = g.Text() + uint64(len(callLoop))
			x, err := g.C.Run(g.Space.AddressSpace)
			copy(idt, old)
			if err == nil {
				g.Fatalf("%+v", x)
			}
			t.Log(err)
		}, callLoop, []byte{0x0f, 0x0b}) // ud2
		e.Start(nil, other, func(g *platformtest.Guest) {
			for range 10 {
				g.Call()
			}
		})()
	}
	other.Release()
}

// TestCodeThroughAlias: code that is written through another mapping, or between two
// changes of its own mapping's access, is what a guest runs next.
func TestCodeThroughAlias(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		off := g.Alloc(1)
		const alias = freeAt + 1<<30
		g.Space.Map(freeAt, pageSize, off, hostarch.ReadExecute)
		g.Space.Map(alias, pageSize, off, hostarch.ReadWrite)
		// mov [rsi], ebx (the operand of what follows); jmp rdi
		copy(g.Space.Code, []byte{0x89, 0x1e, 0xff, 0xe7})
		copy(g.Bytes(off, 16), []byte{0xb8, 0, 0, 0, 0, 0x0f, 0x05}) // mov eax, …; syscall
		for i := range uint64(100) {
			at := uint64(alias)
			if i%2 == 1 {
				g.Space.Protect(freeAt, pageSize, hostarch.ReadWrite)
				at = freeAt
			}
			*g.Regs() = platform.Registers{Rip: g.Text(), Rbx: i, Rsi: at + 1, Rdi: freeAt}
			if i%2 == 1 {
				g.Fault(freeAt, hostarch.Execute)
				g.Space.Protect(freeAt, pageSize, hostarch.ReadExecute)
			}
			if nr := g.Call(); nr != i {
				g.Fatalf("code that was changed to %d says %d", i, nr)
			}
		}
	})
}
