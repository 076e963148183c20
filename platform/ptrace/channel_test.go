package ptrace

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/channel"
	"runsc-lite/platform/platformtest"
)

func newChannelPlatform(tb testing.TB, memoryFD int) platform.Platform {
	p, err := New(Config{MemoryFD: memoryFD, Channel: true})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// The guest code of these tests makes its calls by the channel, as a trampoline
// does, without a trampoline:
//
//	L: mov eax, siteNumber; lea rcx, [rip]; mov r11, ChannelEntry; jmp r11; syscall
//	   mov rbx, rax; inc r12; jmp L
//
// Calls return to siteReturn; what is not done by the channel is the SYSCALL before.
const (
	siteNumber = 1500
	siteReturn = 0x400000 + 5 + 7 + 10 + 3 + 2
)

var siteLoop = func() []byte {
	b := binary.LittleEndian.AppendUint32([]byte{0xb8}, siteNumber)
	b = append(b, 0x48, 0x8d, 0x0d, 15, 0, 0, 0, 0x49, 0xbb)
	b = binary.LittleEndian.AppendUint64(b, ChannelEntry)
	b = append(b, 0x41, 0xff, 0xe3, 0x0f, 0x05)
	b = append(b, 0x48, 0x89, 0xc3, 0x49, 0xff, 0xc4)
	return append(b, 0xeb, byte(-len(b)-2))
}()

// onSite runs fn as a guest whose first call, by the trap, has been made.
func onSite(t *testing.T, fn func(g *platformtest.Guest, c *context)) {
	platformtest.NewEnv(t, newChannelPlatform).Guest(func(g *platformtest.Guest) {
		g.Regs().Rip = siteReturn - 2
		g.Call()
		fn(g, g.C.(*context))
	}, siteLoop)
}

func others(r *platform.Registers) []*uint64 {
	return []*uint64{&r.R15, &r.R14, &r.R13, &r.Rbp, &r.R10, &r.R9, &r.R8, &r.Rdx, &r.Rsi, &r.Rdi, &r.Rsp, &r.Fs_base}
}

// TestUnwindEverywhere stops a guest's thread at each instruction of the channel
// code, on each of the ways through it, as a kick would. The registers are always the
// guest's, and the call under way is made once.
func TestUnwindEverywhere(t *testing.T) {
	const fact = 39
	for _, way := range []string{"call", "answer", "load", "load with floating point", "fact", "mapping"} {
		t.Run(way, func(t *testing.T) {
			onSite(t, func(g *platformtest.Guest, c *context) {
				r := g.Regs()
				rnd := rand.New(rand.NewPCG(1, 2))
				if way == "fact" {
					c.SetAnswer(fact, 4711, true)
				}
				r.Rip = siteReturn
				area := make([]byte, len(c.w.p.zygote.fpu))
				seen := map[uint64]bool{}
				for n := 0; ; n++ {
					// Begin at the call, or at the answer to one.
					r.Rip, r.Rax = siteReturn, 1
					if way == "fact" {
						// Into the trampoline, with another number.
						r.Rip, r.Rax = siteReturn-2-3-10-7, fact
					}
					var want []uint64
					random := func() {
						want = want[:0]
						for _, p := range others(r) {
							*p = rnd.Uint64() & 0x3fff_ffff_ffff
							want = append(want, *p)
						}
					}
					random()
					number := uint64(siteNumber)
					if way == "fact" {
						number = fact
					}
					result := rnd.Uint64() >> 1
					r.R12 = uint64(n)
					rounds := r.R12 + 1
					if way != "call" && way != "fact" {
						g.Call()
						r.Rax = result
						rounds++
						switch way {
						case "load", "load with floating point":
							random()
							if way != "load" {
								copy(area, c.w.p.zygote.fpu)
								binary.LittleEndian.PutUint64(area[xsaveHeader:], 3)
								binary.LittleEndian.PutUint64(area[160:], uint64(n))
								if err := c.SetFPState(area); err != nil {
									g.Fatalf("SetFPState: %v", err)
								}
							}
						case "mapping":
							g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
						}
					} else if way == "call" {
						result = 1
					}
					// As Run and answer do, up to where the guest goes on.
					s := g.Space.AddressSpace.(*space)
					how, answer := uint32(0), false
					if c.ch.call && !s.pending.Load() {
						how, answer = c.reply()
					}
					if answer {
						if !c.ch.halted {
							g.Fatalf("the guest's thread polls on")
						}
						if how == channel.Guest {
							c.ch.slot.Answer(r.Rax)
						} else {
							c.fp, c.shadow = nil, c.regs
							c.ch.slot.Store(r)
						}
						c.ch.call = false
						c.ch.slot.SetState(how)
					} else if err := c.prepare(s); err != nil {
						g.Fatalf("prepare: %v", err)
					}
					ws := signalStop(kick)
					end := false
					for range n {
						if e := c.w.request(unix.PTRACE_SINGLESTEP, c.tid, 0); e != 0 {
							g.Fatalf("SINGLESTEP: %v", e)
						}
						var e unix.Errno
						if ws, e = c.w.wait(c.tid); e != 0 || !ws.Stopped() {
							g.Fatalf("wait: %#x, %v", ws, e)
						}
						if end = ws == eventSeccomp; end {
							break
						}
						ws = signalStop(kick)
					}
					var at platform.Registers
					if e := c.w.getRegs(c.tid, &at); e != 0 {
						g.Fatalf("GETREGS: %v", e)
					}
					// A step leaves its trap flag where the code saves flags.
					if n > 0 {
						c.ch.slot[channel.Base-7] &^= 1
						if e := c.w.poke(c.tid, 18*8, at.Eflags&^0x100); e != 0 {
							g.Fatalf("POKEUSR: %v", e)
						}
					}
					if off := at.Rip - ChannelEntry; off < channel.CodeLen {
						seen[off] = true
					}
					if c.batch {
						var e unix.Errno
						if ws, e = c.finishBatch(ws); e != 0 {
							g.Fatalf("finishing the batch: %v", e)
						}
					}
					x, err := c.stopped(ws)
					if err != nil {
						g.Fatalf("%s, step %d, stopped at %#x: %v", way, n, at.Rip, err)
					}
					what := fmt.Sprintf("%s, step %d, stopped at %#x, RIP %#x", way, n, at.Rip-ChannelEntry, r.Rip)
					check := func() {
						t.Helper()
						for i, p := range others(r) {
							if *p != want[i] {
								g.Fatalf("%s: register %d is %#x, want %#x", what, i, *p, want[i])
							}
						}
					}
					check()
					if x.Kind == platform.ExitInterrupted && (r.Rip < 0x400000 || r.Rip > siteReturn+8) {
						g.Fatalf("%s is not the guest's", what)
					}
					if way == "load with floating point" {
						fp, err := c.FPState()
						if err != nil || binary.LittleEndian.Uint64(fp[160:]) != uint64(n) {
							g.Fatalf("%s: XMM0 is %d, error %v", what, binary.LittleEndian.Uint64(fp[160:]), err)
						}
					}
					if x.Kind != platform.ExitSyscall {
						x = g.Run()
					}
					if way == "fact" && r.Orig_rax == fact && x.Kind == platform.ExitSyscall {
						r.Rax = 4711 // it was begun by the trap
						x = g.Run()
					}
					if way == "fact" {
						number, result = siteNumber, 4711
					}
					if x.Kind != platform.ExitSyscall || r.Orig_rax != number || r.Rcx != siteReturn || r.R12 != rounds {
						g.Fatalf("%s: %+v, call %d, %d rounds, want %d", what, x, r.Orig_rax, r.R12, rounds)
					}
					if r.Rbx != result {
						g.Fatalf("%s: result %#x, want %#x", what, r.Rbx, result)
					}
					check()
					if end {
						t.Logf("%d steps, %d instructions of the channel code", n, len(seen))
						break
					}
					if n > 400 {
						g.Fatalf("%s goes on for ever", way)
					}
				}
			})
		})
	}
}

// TestInterruptedReply: an interruption between the decision how to answer and the
// answer loses nothing.
func TestInterruptedReply(t *testing.T) {
	onSite(t, func(g *platformtest.Guest, c *context) {
		g.Regs().Rip = siteReturn
		g.Call()
		for i := range uint64(50) {
			r := g.Regs()
			r.Rbp, r.Rsi, r.Rax = i, i*i, i
			area := append([]byte(nil), c.w.p.zygote.fpu...)
			binary.LittleEndian.PutUint64(area[xsaveHeader:], 3)
			binary.LittleEndian.PutUint64(area[160:], i)
			if i%2 == 0 {
				if err := c.SetFPState(area); err != nil {
					g.Fatalf("SetFPState: %v", err)
				}
			}
			if how, ok := c.reply(); !ok || how != channel.Load {
				g.Fatalf("reply: %d, %v", how, ok)
			}
			switch i % 3 {
			case 1: // all is as it was
				r.Rbp, r.Rsi = c.shadow.Rbp, c.shadow.Rsi
			case 2:
				g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
			}
			want := *r
			g.Call()
			if r.Rbp != want.Rbp || r.Rsi != want.Rsi || r.Rbx != i {
				g.Fatalf("round %d: RBP %d, RSI %d, result %d", i, r.Rbp, r.Rsi, r.Rbx)
			}
			fp, err := c.FPState()
			if got := binary.LittleEndian.Uint64(fp[160:]); err != nil || got != i&^1 {
				g.Fatalf("round %d: XMM0 is %d, error %v", i, got, err)
			}
		}
	})
}

// TestLateSave: a thread that saves its floating-point state for somebody who did
// not wait makes its call once.
func TestLateSave(t *testing.T) {
	onSite(t, func(g *platformtest.Guest, c *context) {
		g.Regs().Rip = siteReturn
		for i := range uint64(40) {
			g.Call()
			if !c.ch.halted {
				g.Fatalf("the guest's thread polls on")
			}
			c.ch.slot.SetState(channel.Save)
			for range i { // it is somewhere on its way to the save, or from it
				if e := c.w.request(unix.PTRACE_SINGLESTEP, c.tid, 0); e != 0 {
					g.Fatalf("SINGLESTEP: %v", e)
				}
				if ws, e := c.w.wait(c.tid); e != 0 || !ws.Stopped() {
					g.Fatalf("wait: %#x, %v", ws, e)
				} else if ws == eventSeccomp {
					break
				}
			}
			r := g.Regs()
			r.Rax, r.R12 = i, 0
			if i%2 == 0 {
				r.R12 = c.shadow.R12
			}
			count := r.R12
			if g.Call(); r.Rbx != i || r.R12 != count+1 {
				g.Fatalf("%d steps: result %d, %d rounds", i, r.Rbx, r.R12-count)
			}
			r.Rax = i
		}
	})
}

// TestBeyondSlots: threads that get no slot make their calls the slow way, and those
// that come later have the slots that are free again.
func TestBeyondSlots(t *testing.T) {
	onSite(t, func(g *platformtest.Guest, c *context) {
		f := c.w.p.slots
		f.mu.Lock()
		f.next, f.free = maxSlots-2, nil
		f.mu.Unlock()
		for round := range 5 {
			// A thread gives its slot back after its function has returned.
			for free, deadline := 0, time.Now().Add(time.Minute); round > 0 && free < 2; time.Sleep(time.Millisecond) {
				c.cur.mu.Lock()
				free = len(c.stub.slots.free)
				c.cur.mu.Unlock()
				if time.Now().After(deadline) {
					g.Fatalf("%d slots are free again, want 2", free)
				}
			}
			hold := make(chan struct{})
			ready := make(chan bool, 6)
			var waits []func()
			for n := range uint64(6) {
				waits = append(waits, g.Start(g, g.Space, func(g *platformtest.Guest) {
					defer func() { ready <- g.C.(*context).ch.slot != nil; <-hold }()
					g.C.(*context).SetAnswer(39, n, true)
					r := g.Regs()
					for i := range uint64(200) {
						r.Rbp, r.Rax = n, i
						if nr := g.Call(); nr != siteNumber || r.Rbp != n || r.R12 != i || i > 0 && r.Rbx != i {
							g.Fatalf("thread %d: call %d is %d, result %d", n, i, nr, r.Rbx)
						}
					}
				}))
			}
			with := 0
			for range waits {
				if <-ready {
					with++
				}
			}
			close(hold)
			for _, w := range waits {
				w()
			}
			if with != 2 {
				g.Fatalf("%d threads have slots, want 2", with)
			}
		}
		g.Regs().Rip = siteReturn
		g.Call()
	})
}

// TestKilledInBatch: what waits for mapping changes that nobody knows of is called
// when the space is released, once.
func TestKilledInBatch(t *testing.T) {
	e := platformtest.NewEnv(t, newChannelPlatform)
	for range 10 {
		s := e.Space([]byte{0x0f, 0x05, 0xeb, 0xfe}) // syscall; jmp to itself
		called := 0
		e.Start(nil, s, func(g *platformtest.Guest) {
			g.Call()
			c := g.C.(*context)
			s.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
			s.AfterFlush(func() { called++ })
			pid := c.stub.pid
			timer := time.AfterFunc(2*time.Millisecond, func() { unix.Kill(pid, unix.SIGKILL) })
			defer timer.Stop()
			if x, err := c.Run(s.AddressSpace); err == nil {
				g.Fatalf("%+v", x)
			}
		})()
		if called != 0 {
			t.Errorf("called %d times before Release", called)
		}
		s.Release()
		if called != 1 {
			t.Errorf("called %d times", called)
		}
	}
}

// TestBatchInterrupted: changes are made though an interruption comes at any
// instruction of the batch code, and guest code is not run then.
func TestBatchInterrupted(t *testing.T) {
	onSite(t, func(g *platformtest.Guest, c *context) {
		s := g.Space.AddressSpace.(*space)
		for n := 0; ; n++ {
			r := g.Regs()
			r.Rip, r.Rax, r.R12 = siteReturn, uint64(n), 0
			called := 0
			for i := range hostarch.Addr(3) {
				g.Space.Map(freeAt+i*2*hostarch.PageSize, hostarch.PageSize, uint64(n%2)*hostarch.PageSize, hostarch.Read)
			}
			g.Space.AfterFlush(func() { called++ })
			if err := c.prepare(s); err != nil || !c.batch {
				g.Fatalf("prepare: %v; batch %v", err, c.batch)
			}
			for range n {
				if e := c.w.request(unix.PTRACE_SINGLESTEP, c.tid, 0); e != 0 {
					g.Fatalf("SINGLESTEP: %v", e)
				}
				if ws, e := c.w.wait(c.tid); e != 0 || !ws.Stopped() {
					g.Fatalf("wait: %#x, %v", ws, e)
				}
			}
			var at platform.Registers
			if e := c.w.getRegs(c.tid, &at); e != 0 {
				g.Fatalf("GETREGS: %v", e)
			}
			if at.Rip < stubBase {
				t.Logf("%d steps", n)
				if n < 40 {
					g.Fatalf("in guest code after %d steps", n)
				}
				break
			}
			// The others' functions wait for a batch that is under way.
			late := false
			g.Space.AfterFlush(func() { late = true })
			if late {
				g.Fatalf("AfterFlush does not know of the batch")
			}
			ws, e := c.finishBatch(signalStop(kick))
			if e != 0 {
				g.Fatalf("finishing the batch: %v", e)
			}
			before := *r
			x, err := c.stopped(ws)
			if err != nil || x.Kind != platform.ExitInterrupted || *r != before || called != 1 || !late {
				g.Fatalf("step %d, %#x: %+v, error %v, called %d", n, at.Rip, x, err, called)
			}
			if g.Call(); r.R12 != 1 || r.Rbx != uint64(n) {
				g.Fatalf("step %d: %d rounds, result %d", n, r.R12, r.Rbx)
			}
		}
	})
}

// TestFailedBatch: changes that the host refuses are an error, and what waited for
// them waits on, though the guest has said before that it has a call.
func TestFailedBatch(t *testing.T) {
	e := platformtest.NewEnv(t, newChannelPlatform)
	s := e.Space(siteLoop)
	called := false
	e.Start(nil, s, func(g *platformtest.Guest) {
		g.Regs().Rip = siteReturn - 2
		g.Call()
		g.Regs().Rip = siteReturn
		g.Call()
		c := g.C.(*context)
		if err := c.halt(); err != nil {
			g.Fatalf("halt: %v", err)
		}
		c.ch.slot.SetState(channel.Stopped)
		s.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
		s.AfterFlush(func() { called = true })
		as := s.AddressSpace.(*space)
		as.mu.Lock()
		as.queue[0].off = 1 // which no host takes
		as.mu.Unlock()
		if x, err := c.Run(as); err == nil || called {
			g.Fatalf("%+v, error %v, called %v", x, err, called)
		}
	})()
	s.Release()
	if !called {
		t.Error("not called by Release")
	}
}
