package kvm

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

// attack runs code at the guest's text until it ends in a call, a fault or a
// signal; a loop is interrupted, in the end. Run must not fail: no guest gets the vCPU into a
// state that is not known.
func attack(g *platformtest.Guest, text []byte) platform.Exit {
	clear(g.Space.Code)
	copy(g.Space.Code, text)
	copy(g.Space.Code[len(text):], callLoop)
	g.Regs().Rip = g.Text()
	stop := time.AfterFunc(500*time.Millisecond, g.C.Interrupt)
	defer stop.Stop()
	x, err := g.C.Run(g.Space.AddressSpace)
	if err != nil {
		g.Fatalf("% x: %v", text, err)
	}
	return x
}

// TestSelectors: a guest loads each selector into each segment register. What it
// gets is user segments or a signal; afterwards all is as before.
func TestSelectors(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		for reg, modrm := range map[string]byte{"es": 0xc0, "ss": 0xd0, "ds": 0xd8, "fs": 0xe0, "gs": 0xe8} {
			for sel := range uint64(0x60) {
				g.Regs().Rax = sel
				x := attack(g, []byte{0x8e, modrm}) // mov reg, eax
				user := sel&^3 == 0 && reg != "ss" || sel == compatCS && reg != "ss" || sel == userCS && reg != "ss" || sel == userSS ||
					reg != "ss" && (sel>>3 == userSS>>3 || sel>>3 == compatCS>>3 || sel>>3 == userCS>>3) && sel&4 == 0
				if user != (x.Kind == platform.ExitSyscall) || !user && x.Signo != int32(unix.SIGSEGV) {
					t.Errorf("mov %s, %#x: %+v", reg, sel, x)
				}
			}
		}
		// By way of a return: kernel code, kernel stack, anything.
		for _, cs := range []uint64{0, 3, kernelCS, kernelCS | 3, kernelSS, kernelSS | 3, tssSel, tssSel | 3, userSS, 0x40, 0x43, 0xffff, 0x33, 0x32, 0x30} {
			for _, ss := range []uint64{0, 3, kernelSS, kernelSS | 3, kernelCS, userSS, userCS, 0x2a, 0x28} {
				frame := []uint64{g.Text() + 2, cs, 0x202, 0x600800, ss}
				for i, v := range frame {
					binary.LittleEndian.PutUint64(g.Space.Data[i*8:], v)
				}
				*g.Regs() = platform.Registers{Rsp: 0x600000}
				x := attack(g, []byte{0x48, 0xcf}) // iretq
				// Where returns of user code are emulated, some are let through that
				// processors refuse; they end in user code all the same.
				ok, emulated := cs == userCS && ss == userSS, g.C.(*context).p.m.quirks.callFaults
				if ok != (x.Kind == platform.ExitSyscall) && (ok || !emulated) {
					t.Errorf("iretq to CS %#x, SS %#x: %+v", cs, ss, x)
				}
				if g.Regs().Cs&3 != 3 || g.Regs().Ss&3 != 3 {
					t.Fatalf("CS %#x, SS %#x", g.Regs().Cs, g.Regs().Ss)
				}
			}
		}
	})
}

// TestPrivilegedInstructions: what platformtest has not: of virtualization, of
// debugging, of MSRs and ports.
func TestPrivilegedInstructions(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		for _, c := range []struct {
			name string
			text []byte
			sigs []unix.Signal
		}{
			{"vmcall", []byte{0x0f, 0x01, 0xc1}, nil},
			{"vmmcall", []byte{0x0f, 0x01, 0xd9}, nil},
			{"vmlaunch", []byte{0x0f, 0x01, 0xc2}, []unix.Signal{unix.SIGILL, unix.SIGSEGV}},
			{"vmxoff", []byte{0x0f, 0x01, 0xc4}, []unix.Signal{unix.SIGILL, unix.SIGSEGV}},
			{"vmrun", []byte{0x0f, 0x01, 0xd8}, []unix.Signal{unix.SIGILL, unix.SIGSEGV}},
			{"vmload", []byte{0x0f, 0x01, 0xda}, []unix.Signal{unix.SIGILL, unix.SIGSEGV}},
			{"stgi", []byte{0x0f, 0x01, 0xdc}, []unix.Signal{unix.SIGILL, unix.SIGSEGV}},
			{"invlpga", []byte{0x0f, 0x01, 0xdf}, []unix.Signal{unix.SIGILL, unix.SIGSEGV}},
			{"invpcid", []byte{0x66, 0x0f, 0x38, 0x82, 0x07}, []unix.Signal{unix.SIGILL, unix.SIGSEGV}},
			{"monitor", []byte{0x0f, 0x01, 0xc8}, []unix.Signal{unix.SIGILL, unix.SIGSEGV}},
			{"mov dr7, rax", []byte{0x0f, 0x23, 0xf8}, []unix.Signal{unix.SIGSEGV}},
			{"mov cr4, rax", []byte{0x0f, 0x22, 0xe0}, []unix.Signal{unix.SIGSEGV}},
			{"mov rax, cr3", []byte{0x0f, 0x20, 0xd8}, []unix.Signal{unix.SIGSEGV}},
			{"mov cr8, rax", []byte{0x44, 0x0f, 0x22, 0xc0}, []unix.Signal{unix.SIGSEGV}},
			{"lmsw ax", []byte{0x0f, 0x01, 0xf0}, []unix.Signal{unix.SIGSEGV}},
			{"wrmsr STAR", []byte{0xb9, 0x81, 0, 0, 0xc0, 0x0f, 0x30}, []unix.Signal{unix.SIGSEGV}},
			{"rdmsr LSTAR", []byte{0xb9, 0x82, 0, 0, 0xc0, 0x0f, 0x32}, []unix.Signal{unix.SIGSEGV}},
			{"wrmsr of KVM", []byte{0xb9, 0x01, 0x4d, 0x56, 0x4b, 0x0f, 0x30}, []unix.Signal{unix.SIGSEGV}},
			{"rsm", []byte{0x0f, 0xaa}, []unix.Signal{unix.SIGILL}},
			{"the stub's out", []byte{0xe6, portSyscall}, []unix.Signal{unix.SIGSEGV}},
			{"outsb", []byte{0x6e}, []unix.Signal{unix.SIGSEGV}},
			{"rep insd", []byte{0xf3, 0x6d}, []unix.Signal{unix.SIGSEGV}},
			{"iretq to nowhere", []byte{0x48, 0xcf}, []unix.Signal{unix.SIGSEGV, unix.SIGBUS}},
			{"swapgs", []byte{0x0f, 0x01, 0xf8}, []unix.Signal{unix.SIGSEGV}},
			{"icebp", []byte{0xf1}, []unix.Signal{unix.SIGTRAP}},
			{"sgdt", []byte{0x0f, 0x01, 0x07}, nil},
			{"sidt", []byte{0x0f, 0x01, 0x0f}, nil},
			{"sldt", []byte{0x0f, 0x00, 0xc0}, nil},
			{"str", []byte{0x0f, 0x00, 0xc8}, nil},
			{"smsw", []byte{0x0f, 0x01, 0xe0}, nil},
			{"rdpmc", []byte{0x0f, 0x33}, nil},
		} {
			*g.Regs() = platform.Registers{Rdi: 0x600100, Rsi: 0x600100, Rcx: 1, Rsp: 0x600800}
			x := attack(g, c.text)
			if c.sigs != nil && (x.Kind != platform.ExitSignal || !slices.Contains(c.sigs, unix.Signal(x.Signo))) {
				t.Errorf("%s: %+v", c.name, x)
			}
		}
		// No address of the vCPU's tables gets out, whatever the processor stores.
		for i := 0; i+8 <= len(g.Space.Data); i++ {
			if v := binary.LittleEndian.Uint64(g.Space.Data[i:]); v >= kernelBase && v < kernelBase+64*areaSize {
				t.Logf("the guest can learn that something is at %#x", v)
			}
		}
	})
}

// TestInterruptVectors: INT n is a fault for all but the two that Linux has.
func TestInterruptVectors(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		for n := range 256 {
			*g.Regs() = platform.Registers{Rsp: 0x600800}
			x := attack(g, []byte{0xcd, byte(n)})
			want := unix.SIGSEGV
			if n == 3 {
				want = unix.SIGTRAP
			}
			if x.Kind == platform.ExitSyscall && g.C.(*context).p.m.quirks.callFaults {
				// Where there is no interrupt table of the guest's for user code,
				// some vectors do nothing at all.
				t.Logf("int %#x does nothing", n)
				continue
			}
			if x.Kind != platform.ExitSignal || x.Signo != int32(want) {
				t.Errorf("int %#x: %+v", n, x)
			}
		}
	})
}

// TestStubOutOfReach: a guest reads, writes and jumps to each page of the stubs,
// and each entry point of their code.
func TestStubOutOfReach(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		for at := uint64(kernelBase); at < kernelBase+4*areaSize; at += pageSize {
			for what, text := range map[string][]byte{
				"read": {0x48, 0x8b, 0x07}, "write": {0x48, 0x89, 0x07}, "xsave": {0x48, 0x0f, 0xae, 0x27}, "lock": {0xf0, 0x48, 0xff, 0x07},
			} {
				*g.Regs() = platform.Registers{Rdi: at + 64, Rax: 3}
				if x := attack(g, text); x.Kind != platform.ExitFault || uint64(x.Addr)&^(pageSize-1) != at {
					t.Errorf("%s at %#x: %+v", what, at, x)
				}
			}
		}
		v := g.C.(*context).home
		for off := uint64(0); off < resumeBegin+128; off += 2 {
			*g.Regs() = platform.Registers{Rdi: v.base + off, Rcx: g.Text(), R11: 0x202, Rsp: 0x600800}
			x := attack(g, []byte{0xff, 0xe7}) // jmp rdi
			// Where SYSCALL stays in ring 3, a jump to its entry is a call.
			if x.Kind == platform.ExitSyscall && off == entryCall && v.m.quirks.callFaults {
				continue
			}
			if x.Signo != int32(unix.SIGSEGV) {
				t.Errorf("a jump to %#x of the stub: %+v", off, x)
			}
		}
	})
}

// TestTrapFlag: with TF, across SYSCALL, behind MOV SS and POPF, from IRETQ.
func TestTrapFlag(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		for _, text := range [][]byte{
			{0x0f, 0x05},
			{0x8e, 0xd0, 0x0f, 0x05},             // mov ss, eax; syscall
			{0x8e, 0xd0, 0xcc},                   // mov ss, eax; int3
			{0x8e, 0xd0, 0xcd, 0x80},             // mov ss, eax; int 0x80
			{0x17, 0x0f, 0x05},                   // (pop ss: invalid)
			{0x9d, 0x0f, 0x05},                   // popfq; syscall
			{0x9d, 0x48, 0xcf},                   // popfq; iretq
			{0x8e, 0xd0, 0x9d, 0xf1, 0x0f, 0x05}, // mov ss, eax; popfq; icebp
		} {
			for _, step := range []bool{false, true} {
				*g.Regs() = platform.Registers{Rax: userSS, Rsp: 0x600000, Eflags: flagTF}
				binary.LittleEndian.PutUint64(g.Space.Data, flagTF|0x4202) // NT, too
				g.C.SetSingleStep(step)
				calls := 0
				x := attack(g, text)
				for range 12 {
					if x.Kind == platform.ExitSyscall {
						calls++
					}
					if rip := g.Regs().Rip; rip < g.Text() || rip > g.Text()+64 {
						if x.Signo == 0 {
							t.Fatalf("% x: at %#x", text, rip)
						}
						break
					}
					var err error
					if x, err = g.C.Run(g.Space.AddressSpace); err != nil {
						t.Fatalf("% x: %v", text, err)
					}
				}
				g.C.SetSingleStep(false)
			}
		}
	})
}

// TestSelfModifyingCode: code that a guest changes is what it runs next.
func TestSelfModifyingCode(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		off := g.Alloc(1)
		g.Space.Map(freeAt, pageSize, off, hostarch.AnyAccess)
		// L: add byte [rip+1], 1; mov bl, 0 (the byte is its operand); dec rcx; jnz L; syscall
		copy(g.Bytes(off, 64), []byte{0x80, 0x05, 0x01, 0, 0, 0, 1, 0xb3, 0, 0x48, 0xff, 0xc9, 0x75, 0xf2, 0x0f, 0x05})
		*g.Regs() = platform.Registers{Rip: freeAt, Rcx: 100}
		if g.Call(); g.Regs().Rbx != 100 {
			t.Errorf("changed 100 times, the code says %d", g.Regs().Rbx)
		}
	})
}

// TestBases: whatever a guest puts into its bases, by instructions or by the
// kernel, does not reach the stub.
func TestBases(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		wrgsbase, wrfsbase := []byte{0xf3, 0x48, 0x0f, 0xae, 0xd8}, []byte{0xf3, 0x48, 0x0f, 0xae, 0xd0}
		for _, v := range []uint64{0, kernelBase, ^uint64(0), 1 << 63, 1 << 47, 1<<47 - 1, 0x8000_0000_0000_0001} {
			for _, text := range [][]byte{wrgsbase, wrfsbase} {
				*g.Regs() = platform.Registers{Rax: v}
				x := attack(g, text)
				if ok := canonical(v); ok != (x.Kind == platform.ExitSyscall) {
					t.Errorf("a base of %#x: %+v", v, x)
				}
			}
			*g.Regs() = platform.Registers{Fs_base: v, Gs_base: v}
			if x := attack(g, nil); x.Kind != platform.ExitSyscall {
				t.Errorf("set to %#x: %+v", v, x)
			}
		}
	})
}

// TestRandomCode: guests that run random bytes get signals, and harm nobody: not
// the platform, not another space.
func TestRandomCode(t *testing.T) {
	e := platformtest.NewEnv(t, newPlatform)
	victim := e.Space(readCall)
	binary.LittleEndian.PutUint64(victim.Data, 0x1122334455667788)
	rnd := rand.New(rand.NewPCG(5, 6))
	interesting := [][]byte{{0x0f, 0x05}, {0x48, 0xcf}, {0x0f, 0x01}, {0x0f, 0x00}, {0x0f, 0xae}, {0x0f, 0xc7}, {0x8e}, {0xcd}, {0xe6}, {0x0f, 0x22}, {0x9d}, {0xf3}, {0x48}, {0x66}}
	lost := map[string]int{}
	for range 20 {
		e.Guest(func(g *platformtest.Guest) {
			for range 100 {
				text := make([]byte, 64)
				for i := range text {
					text[i] = byte(rnd.Uint32())
				}
				for range 4 {
					copy(text[rnd.IntN(60):], interesting[rnd.IntN(len(interesting))])
				}
				r := g.Regs()
				*r = platform.Registers{
					Rax: rnd.Uint64() >> rnd.IntN(64), Rcx: rnd.Uint64() >> rnd.IntN(64), Rdx: rnd.Uint64() >> rnd.IntN(64),
					Rsi: 0x600000, Rdi: 0x600400, Rsp: 0x600800, Rbp: kernelBase, Rip: g.Text(), Eflags: rnd.Uint64(),
				}
				clear(g.Space.Code)
				copy(g.Space.Code, text)
				for range 8 {
					stop := time.AfterFunc(3*time.Millisecond, g.C.Interrupt)
					x, err := g.C.Run(g.Space.AddressSpace)
					stop.Stop()
					if err != nil {
						lost[fmt.Sprintf("%v (% x)", err, text[:16])]++
						return
					}
					if x.Kind != platform.ExitSyscall {
						break
					}
				}
				if r.Cs&3 != 3 {
					t.Fatalf("CS %#x after % x", r.Cs, text)
				}
			}
		})
		e.Start(nil, victim, func(g *platformtest.Guest) {
			g.Regs().Rdi = 0x600000
			if v := g.Call(); v != 0x1122334455667788 {
				t.Errorf("another space has %#x", v)
			}
		})()
	}
	victim.Release()
	for what, n := range lost {
		t.Logf("%d times: %s", n, what)
	}
	if len(lost) > 2 {
		t.Errorf("%d guests of 20 were lost", len(lost))
	}
}
