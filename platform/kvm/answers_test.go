package kvm

import (
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

// directly is a prober whose vCPU has the stub that answers, entered as by a SYSCALL
// of the guest's: on any host, also where that instruction does not lead there.
type directly struct {
	*testing.T
	*prober
}

func newDirectly(t *testing.T) *directly {
	k := start(t, Config{})
	v, err := k.m.newVCPU(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.close)
	c := k.newContext(k.newSpace())
	c.attach()
	t.Cleanup(c.detach)
	p := &prober{m: k.m, v: v, c: c, s: c.cur}
	if err := p.addressSpace(); err != nil {
		t.Fatal(err)
	}
	v.to = writeStub(v.code, v.base, k.m.quirks.bases, true)
	v.answers = true
	return &directly{t, p}
}

// call enters the stub as a SYSCALL before rcx does. It returns the port of the OUT
// that ends it.
func (d *directly) call(nr, rcx, flags uint64) int {
	d.Helper()
	// The guest's address space is that of the last call.
	if _, err := d.run(probeCall, 0); err != nil {
		d.Fatal(err)
	}
	d.v.load(d.c, d.s)
	return d.enter(generalRegs{rax: nr, rcx: rcx, r11: flags, rbx: 17, rsp: probeData, rip: d.v.base + entryCall, rflags: 1 << 1})
}

// enter goes on in the stub with some registers.
func (d *directly) enter(regs generalRegs) int {
	d.Helper()
	v := d.v
	v.run.regs, v.run.dirtyRegs = regs, v.run.dirtyRegs|syncRegs
	for {
		e := enterGuest(v.fd)
		v.run.dirtyRegs = 0
		if e == unix.EINTR {
			continue
		}
		if out, _, port := v.run.io(); e == 0 && v.run.exitReason == exitIO && out {
			return int(port)
		}
		d.Fatalf("%v, exit reason %d at %#x", e, v.run.exitReason, v.run.regs.rip)
	}
}

// asked says whether the stub went to the sentry, with the registers of the call.
func (d *directly) asked(port int, nr, rcx, flags uint64) bool {
	k := &d.v.run.regs
	return port == portSyscall && d.v.data.rax == nr && k.rcx == rcx && k.r11 == flags && k.rbx == 17 && k.rsp == probeData
}

// TestAnswerCode: what the stub answers and what it does not.
func TestAnswerCode(t *testing.T) {
	d := newDirectly(t)
	const behind, flags = probeTwo + 2, 1<<1 | flagIF // xchg rdi, rax; syscall
	for _, v := range []uint64{0, 1, 4711, 1<<32 - 1, ^uint64(1)} {
		d.c.SetAnswer(unix.SYS_GETPID, v, true)
		port := d.call(unix.SYS_GETPID, behind, flags)
		k := &d.v.run.regs
		rsp := k.rsp
		if port != portSyscall { // the second call arrives as a fault
			rsp = d.v.frame.rsp
		}
		if k.rdi != v || k.rbx != 17 || rsp != probeData {
			t.Errorf("the answer %#x arrives as %#x, RBX %d, RSP %#x", v, k.rdi, k.rbx, rsp)
		}
	}
	for _, c := range []struct {
		what      string
		nr, flags uint64
	}{
		{"without an answer", unix.SYS_GETPPID, flags},
		{"of the last number", maxAnswers - 1, flags},
		{"beyond the table", maxAnswers, flags},
		{"beyond the table, with the low byte of one that has an answer", maxAnswers + unix.SYS_GETPID, flags},
		{"of x32", 0x40000000 + unix.SYS_GETPID, flags},
		{"of a large number", 1<<32 + unix.SYS_GETPID, flags},
		{"of a negative one", ^uint64(0), flags},
		{"that is stepped", unix.SYS_GETPID, flags | flagTF},
	} {
		if port := d.call(c.nr, behind, c.flags); !d.asked(port, c.nr, behind, c.flags) {
			t.Errorf("a call %s: port %#x, number %#x, %+v", c.what, port, d.v.data.rax, d.v.run.regs)
		}
	}
	d.c.SetAnswer(unix.SYS_GETPID, 0, false)
	if port := d.call(unix.SYS_GETPID, behind, flags); !d.asked(port, unix.SYS_GETPID, behind, flags) {
		t.Errorf("an answer that was withdrawn: port %#x, %+v", port, d.v.run.regs)
	}
	// Another thread has others.
	d.c.SetAnswer(unix.SYS_GETPID, 5, true)
	d.call(unix.SYS_GETPID, behind, flags)
	other := d.c.p.newContext(d.s)
	other.attach()
	defer other.detach()
	other.SetAnswer(unix.SYS_GETTID, 6, true)
	d.c = other
	if port := d.call(unix.SYS_GETPID, behind, flags); !d.asked(port, unix.SYS_GETPID, behind, flags) {
		t.Errorf("the answer of another thread: port %#x, %+v", port, d.v.run.regs)
	}
	if d.call(unix.SYS_GETTID, behind, flags); d.v.run.regs.rdi != 6 {
		t.Errorf("its own answer: %+v", d.v.run.regs)
	}
}

// TestAnswerInterrupted: a signal of the host's at each instruction on the way to an
// answer makes the call one for the sentry, as it was made.
func TestAnswerInterrupted(t *testing.T) {
	d := newDirectly(t)
	const behind, flags, nr = probeTwo + 2, 1<<1 | flagIF, unix.SYS_GETPID
	d.c.SetAnswer(nr, 4711, true)
	v := d.v
	d.call(nr, behind, flags)
	begin := generalRegs{rax: nr, rcx: behind, r11: flags, rbx: 17, rsp: probeData, rip: v.base + entryCall, rflags: 1 << 1}
	at := uint64(entryCall)
	for i, size := range []uint64{7, 6, 2, 7, 2, 7, 7, 3, 4, 7, 3, 2, 3, 3} {
		// An OUT in the instruction's place shows what the registers are there.
		stub := append([]byte(nil), v.code...)
		copy(v.code[at:], []byte{0xe6, portCompat})
		if port := d.enter(begin); port != portCompat {
			t.Fatalf("instruction %d: port %#x", i, port)
		}
		copy(v.code, stub)
		v.run.regs.rip = v.base + at
		v.unanswer()
		if port := d.enter(v.run.regs); !d.asked(port, nr, behind, flags) {
			t.Errorf("interrupted at instruction %d: port %#x, number %#x, %+v", i, port, v.data.rax, v.run.regs)
		}
		at += size
	}
	if v.base+at != v.to.ask {
		t.Errorf("the way to an answer ends at %#x, not at %#x", v.to.ask-v.base, at)
	}
}

// TestAnswersCost: where the stub answers, a call costs nothing that is counted, and
// interruptions at any moment lose none and make none twice.
func TestAnswersCost(t *testing.T) {
	e := platformtest.NewEnv(t, oneVCPU)
	p := e.P.(*KVM)
	if !p.m.quirks.answers {
		t.Skip("the stub of this host does not answer calls")
	}
	// L: mov eax, getpid; syscall; add r13, rax; inc r12; dec rbp; jnz L; mov eax, -1; syscall
	text := []byte{0xb8, unix.SYS_GETPID, 0, 0, 0, 0x0f, 0x05, 0x49, 0x01, 0xc5, 0x49, 0xff, 0xc4, 0x48, 0xff, 0xcd, 0x75, 0xee,
		0xb8, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x05}
	e.Guest(func(g *platformtest.Guest) {
		g.C.(*context).SetAnswer(unix.SYS_GETPID, 3, true)
		r := g.Regs()
		got := least(p, func() {
			r.Rip, r.Rbp, r.R12, r.R13 = g.Text(), 100, 0, 0
			if nr := g.Call(); nr != 0xffffffff || r.R12 != 100 || r.R13 != 300 {
				g.Fatalf("call %d after %d rounds, %d in all", nr, r.R12, r.R13)
			}
		})
		if got != (costs{runs: 1}) {
			t.Errorf("101 calls of which 100 are answered: %+v", got)
		}
		rnd := rand.New(rand.NewPCG(1, 7))
		r.Rip, r.Rbp, r.R12, r.R13 = g.Text(), 1<<40, 0, 0
		asked := 0
		for i := range 400 {
			stop := time.AfterFunc(time.Duration(rnd.IntN(200))*time.Microsecond, g.C.Interrupt)
			x, err := g.C.Run(g.Space.AddressSpace)
			stop.Stop()
			switch {
			case err != nil:
				g.Fatalf("Run: %v", err)
			case x.Kind == platform.ExitSyscall && r.Orig_rax == unix.SYS_GETPID:
				r.Rax = 3
				asked++
			case x.Kind != platform.ExitInterrupted:
				g.Fatalf("%+v", x)
			}
			if d := r.R13 - 3*r.R12; d != 0 && d != 3 {
				g.Fatalf("round %d: %d calls, their results are %d together", i, r.R12, r.R13)
			}
		}
		t.Logf("%d calls answered, %d of them by the sentry", r.R12, asked)
	}, text)
}
