package ptrace

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/channel"
	"runsc-lite/platform/platformtest"
)

// hostState is what a host call of a stub could change: mappings, descriptors,
// threads, and what the kernel says of the process.
func hostState(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
	}
	state := maps(t, pid)
	for _, key := range []string{"Name:", "Umask:", "Tgid:", "PPid:", "Uid:", "Gid:", "FDSize:", "Threads:", "SigBlk:", "SigIgn:", "SigCgt:", "CapEff:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:"} {
		for line := range lines(status) {
			if len(line) > len(key) && line[:len(key)] == key {
				state += line
			}
		}
	}
	for _, dir := range []string{"fd", "task"} {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, dir))
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			state += e.Name() + "\n"
		}
	}
	return state
}

func lines(b []byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for at := 0; at < len(b); {
			end := at
			for end < len(b) && b[end] != '\n' {
				end++
			}
			if !yield(string(b[at:min(end+1, len(b))])) {
				return
			}
			at = end + 1
		}
	}
}

// TestDirectCalls: a guest that calls the host directly gets to the sentry, by every
// entry, with every number, whatever its arguments hold but the key. It has our
// result, not the host's.
func TestDirectCalls(t *testing.T) {
	// syscall; mov rbx, rax; syscall (to stop) — and the same with int 0x80 and
	// sysenter. What does not come back from the second two faults.
	text := []byte{0x0f, 0x05, 0x48, 0x89, 0xc3, 0x0f, 0x05}
	for name, newPlatform := range map[string]platformtest.New{"trap": newPlatform, "channel": newChannelPlatform} {
		t.Run(name, func(t *testing.T) {
			platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
				copy(g.Space.Code[64:], []byte{0xcd, 0x80, 0x0f, 0x05})
				copy(g.Space.Code[128:], []byte{0x0f, 0x34, 0x0f, 0x05})
				r := g.Regs()
				r.Rax = 4000
				g.Call()
				c := g.C.(*context)
				pid := c.stub.pid
				before := hostState(t, pid)
				rnd := rand.New(rand.NewPCG(1, 1))
				page := uint64(hostarch.PageSize)
				// args are what stub code could have: lower halves that pass.
				args := func(nr uint64) {
					r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = freeAt, page, 7, mapFlags, memoryFD, 0
					switch nr {
					case unix.SYS_CLONE:
						r.Rdi = threadFlags
					case unix.SYS_PRCTL:
						r.Rdi, r.Rsi = unix.PR_SET_PDEATHSIG, 9
					}
				}
				wild := func() {
					for _, p := range []*uint64{&r.Rdi, &r.Rsi, &r.Rdx, &r.R10, &r.R8, &r.R9} {
						*p |= uint64(rnd.Uint32()) << 32
					}
				}
				direct := func(nr uint64) {
					t.Helper()
					r.Rip, r.Rax, r.Rsp = g.Text(), nr, 0x600800
					if nr&0xffffffff == 335 || nr&0xffffffff == 336 {
						// Some hosts answer those whatever a filter says.
						for range 2 {
							if x := g.Run(); x.Kind != platform.ExitSyscall {
								return
							}
							r.Rax = 4000
						}
						return
					}
					if x := g.Run(); x.Kind != platform.ExitSyscall || r.Orig_rax != nr {
						g.Fatalf("call %#x is %+v, number %#x", nr, x, r.Orig_rax)
					}
					r.Rax = 0x1234_5678_9abc
					if x := g.Run(); x.Kind != platform.ExitSyscall || r.Rbx != 0x1234_5678_9abc {
						g.Fatalf("call %#x has result %#x; %+v", nr, r.Rbx, x)
					}
				}
				for nr := uint64(0); nr <= 600; nr++ {
					args(nr)
					direct(nr)
					wild()
					direct(nr)
					args(nr)
					r.R9 = rnd.Uint64()
					direct(nr)
					args(nr)
					direct(nr | 0x40000000)
					direct(nr | uint64(rnd.Uint32())<<32)
					for _, at := range []uint64{64, 128} {
						args(nr)
						r.Rip, r.Rax, r.Rsp, r.Rbp = g.Text()+at, nr, 0x600800, 0x600800
						for range 3 {
							x := g.Run()
							if x.Kind == platform.ExitSyscall && r.Rip != g.Text()+at+4 {
								g.Fatalf("entry at %#x with number %d is the call %d", at, nr, r.Orig_rax)
							}
							if x.Kind != platform.ExitSyscall {
								break
							}
						}
					}
				}
				// The key, a bit wrong.
				k := c.w.key
				for bit := range 64 {
					args(unix.SYS_MUNMAP)
					r.Rdi, r.R9 = uint64(stubBase), k.word^1<<bit
					direct(unix.SYS_MUNMAP)
				}
				for bit := 32; bit < 64; bit++ {
					for i, p := range []*uint64{&r.Rdx, &r.R10, &r.R8} {
						args(unix.SYS_MMAP)
						r.Rdx, r.R10, r.R8 = r.Rdx|k.mmap[0], r.R10|k.mmap[1], r.R8|k.mmap[2]
						*p ^= 1 << bit
						direct(unix.SYS_MMAP)
						_ = i
					}
				}
				if now := hostState(t, pid); now != before {
					t.Errorf("the host process changed from\n%sto\n%s", before, now)
				}
			}, text)
		})
	}
}

// TestLyingCalls: a guest says that it has a call in its slot, and makes another one
// directly. The host makes neither, however the tracer goes on.
func TestLyingCalls(t *testing.T) {
	onSite(t, func(g *platformtest.Guest, c *context) {
		copy(g.Space.Code[1024:], []byte{0x0f, 0x05, 0xeb, 0xfe}) // syscall; jmp to itself
		r := g.Regs()
		r.Rip = siteReturn
		g.Call()
		pid := c.stub.pid
		before := hostState(t, pid)
		defer ticks(c)()
		for nr := uint64(0); nr <= 470; nr++ {
			if nr == 335 || nr == 336 {
				continue // see TestFilter
			}
			for _, lie := range []uint32{channel.Call, channel.Stopped} {
				if err := c.halt(); err != nil {
					g.Fatalf("halt: %v", err)
				}
				r.Rip, r.Rax, r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = g.Text()+1024, nr, freeAt, 0, 7, mapFlags, memoryFD, 0
				r.Cs, r.Eflags, r.Gs_base = userCS, 0, 0
				c.ch.slot.SetState(lie)
				for again := range 3 {
					x, err := c.Run(g.Space.AddressSpace)
					if err != nil {
						g.Fatalf("call %d with state %d: %v", nr, lie, err)
					}
					if x.Kind == platform.ExitSyscall && (nr+uint64(again))%2 == 0 {
						r.Rax = nr // its result
					}
				}
			}
		}
		if now := hostState(t, pid); now != before {
			t.Errorf("the host process changed from\n%sto\n%s", before, now)
		}
	})
}

// TestKeyOpens: with the key a call does pass, so that the tests of those without it
// mean something; and no register of a guest has a part of the key, whenever it runs.
func TestKeyOpens(t *testing.T) {
	onSite(t, func(g *platformtest.Guest, c *context) {
		k := c.w.key
		check := func(what string) {
			t.Helper()
			r := g.Regs()
			for _, v := range []uint64{
				r.R15, r.R14, r.R13, r.R12, r.Rbp, r.Rbx, r.R11, r.R10, r.R9, r.R8, r.Rax, r.Rcx, r.Rdx, r.Rsi, r.Rdi, r.Rsp, r.Fs_base, r.Gs_base,
			} {
				if v == k.word || v>>32 == k.mmap[0]>>32 || v>>32 == k.mmap[1]>>32 || v>>32 == k.mmap[2]>>32 {
					g.Fatalf("%s: the guest has %#x", what, v)
				}
			}
		}
		for i := range 20 {
			g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
			if i%2 == 0 {
				if err := c.Flush(g.Space.AddressSpace); err != nil {
					g.Fatalf("Flush: %v", err)
				}
			}
			g.Call()
			check("after a batch")
		}
		for at := hostarch.Addr(commandPage); at < commandPage+hostarch.PageSize; at += 8 {
			if v := c.stub.cmds[(at-commandPage)/8]; v == k.word {
				t.Errorf("the key is in the command page, at %#x", uint64(at))
			}
		}
		pid := c.stub.pid
		before := maps(t, pid)
		r := g.Regs()
		r.Rip, r.Rax, r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = siteReturn-2, unix.SYS_MMAP, freeAt+1<<20, hostarch.PageSize,
			1|k.mmap[0], mapFlags|k.mmap[1], memoryFD|k.mmap[2], 0
		g.Call()
		if r.Rbx != freeAt+1<<20 || maps(t, pid) == before {
			t.Errorf("a call with the key does not pass: result %#x", r.Rbx)
		}
	})
}

// ticks interrupts a guest now and then, until stop is called.
func ticks(c *context) (stop func()) {
	tick := time.NewTicker(time.Millisecond)
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-tick.C:
				c.Interrupt()
			case <-end:
				return
			}
		}
	}()
	return func() { tick.Stop(); close(end); <-done }
}

// killable ends a wild guest: Interrupt works whatever it does.
func killable(t *testing.T, g *platformtest.Guest) {
	t.Helper()
	timer := time.AfterFunc(20*time.Second, func() { panic("a wild guest cannot be interrupted") })
	defer timer.Stop()
	defer ticks(g.C.(*context))()
	for n := 0; n < 3; {
		x, err := g.C.Run(g.Space.AddressSpace)
		if err != nil {
			g.Fatalf("a wild guest is lost: %v", err)
		}
		if x.Kind == platform.ExitInterrupted {
			n++
		}
	}
}

// TestSlotStorm: a second thread writes anything to the slot of the first, all the
// time, while that makes calls with and without changes of everything.
func TestSlotStorm(t *testing.T) {
	// The stormer: L: xorshift in rax; mov rdx, rax; and rdx, mask; mov [rdi+rdx], rax; jmp L,
	// with the state word every other time.
	stormer := []byte{
		0x48, 0x89, 0xc2, 0x48, 0xc1, 0xe2, 0x0d, 0x48, 0x31, 0xd0, // mov rdx, rax; shl rdx, 13; xor rax, rdx
		0x48, 0x89, 0xc2, 0x48, 0xc1, 0xea, 0x07, 0x48, 0x31, 0xd0, // …; shr rdx, 7; xor rax, rdx
		0x48, 0x89, 0xc2, 0x48, 0xc1, 0xe2, 0x11, 0x48, 0x31, 0xd0, // …; shl rdx, 17; xor rax, rdx
		0x48, 0x89, 0xc2, 0x48, 0x21, 0xca, // mov rdx, rax; and rdx, rcx
		0x48, 0x89, 0x04, 0x17, // mov [rdi+rdx], rax
		0x89, 0xc2, 0xc1, 0xea, 0x0c, 0x83, 0xe2, 0x07, // mov edx, eax; shr edx, 12; and edx, 7
		0x89, 0x16, // mov [rsi], edx: a state
	}
	stormer = append(stormer, 0xeb, byte(-len(stormer)-2))
	onSite(t, func(g *platformtest.Guest, c *context) {
		copy(g.Space.Code[1024:], stormer)
		r := g.Regs()
		r.Rip = siteReturn
		g.Call()
		base := c.ch.address()
		var end atomic.Bool
		for _, mask := range []uint64{0x1ff8, 0x0, 0x80} { // what is written, in steps of 8 bytes
			end.Store(false)
			var stormContext atomic.Pointer[context]
			wait := g.Start(g, g.Space, func(s *platformtest.Guest) {
				stormContext.Store(s.C.(*context))
				s.Regs().Rip = s.Text() + 1024
				s.Regs().Rdi, s.Regs().Rsi, s.Regs().Rcx, s.Regs().Rax = base-channel.Base, base+128, mask, 88172645463325252
				if mask != 0x1ff8 {
					s.Regs().Rdi = base + 128
				}
				for !end.Load() {
					if _, err := s.C.Run(s.Space.AddressSpace); err != nil {
						s.Fatalf("the stormer is lost: %v", err)
					}
				}
			})
			begin := time.Now()
			stop := ticks(c)
			calls, rnd := 0, rand.New(rand.NewPCG(mask, 5))
			for i := 0; time.Since(begin) < 1500*time.Millisecond; i++ {
				x, err := c.Run(g.Space.AddressSpace)
				if err != nil {
					g.Fatalf("Run: %v", err)
				}
				if x.Kind == platform.ExitSyscall {
					calls++
				}
				switch rnd.IntN(12) {
				case 0:
					r.Rbp = uint64(i)
				case 1:
					if fp, err := c.FPState(); err != nil {
						g.Fatalf("FPState: %v", err)
					} else if rnd.IntN(2) == 0 {
						if err := c.SetFPState(fp); err != nil {
							g.Fatalf("SetFPState of what FPState returned: %v", err)
						}
					}
				case 2:
					g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
				case 3:
					if err := c.Flush(g.Space.AddressSpace); err != nil {
						g.Fatalf("Flush: %v", err)
					}
				case 4:
					c.SetAnswer(39, uint64(i), i%2 == 0)
				}
				if x.Kind != platform.ExitSyscall || rnd.IntN(4) == 0 {
					r.Rip, r.Rsp, r.Gs_base, r.Cs = siteReturn, 0x600800, 0, userCS
				}
				r.Rax = uint64(i)
			}
			stop()
			if calls == 0 {
				t.Errorf("no calls in the storm")
			}
			killable(t, g)
			end.Store(true)
			stormContext.Load().Interrupt()
			wait()
		}
	})
}

// TestWildJumps: a guest jumps to every byte of the stub's page with registers of all
// kinds, while another thread writes to its slot. It gets faults, signals and calls;
// the host process stays as it is.
func TestWildJumps(t *testing.T) {
	onSite(t, func(g *platformtest.Guest, c *context) {
		r := g.Regs()
		copy(g.Space.Code[1024:], []byte{0xff, 0xe7}) // jmp rdi
		r.Rip = siteReturn
		g.Call()
		hold, up := make(chan struct{}), make(chan struct{})
		wait := g.Start(g, g.Space, func(s *platformtest.Guest) { s.Call(); close(up); <-hold })
		<-up
		defer func() { close(hold); wait() }()
		pid := c.stub.pid
		before := hostState(t, pid)
		rnd := rand.New(rand.NewPCG(2, 2))
		base := c.ch.address()
		values := []uint64{0, 1, base, base + 200, 0x600800, commandPage, stubBase, slotRegion, ^uint64(0), freeAt, siteReturn, 1 << 46, threadFlags, mapFlags}
		stop := ticks(c)
		for at := uint64(stubBase); at < stubBase+hostarch.PageSize; at++ {
			if off := at - stubBase; off%64 != 0 && (off >= stubCodeLen && off < 2048 || off >= 2048+channel.CodeLen) {
				continue // nothing is there
			}
			for _, p := range append(others(r), &r.Rax, &r.Rbx, &r.Rcx, &r.R11, &r.R12) {
				*p = values[rnd.IntN(len(values))]
			}
			r.Fs_base = 0
			r.Gs_base = []uint64{0, 0, base, 0x600800, slotRegion}[rnd.IntN(5)]
			r.Rip, r.Rdi, r.Eflags = g.Text()+1024, at, rnd.Uint64()&0xcd5
			slot := c.ch.slot
			slot.SetState(uint32(rnd.IntN(7)))
			slot.SetSpin(1 + uint32(rnd.IntN(100)))
			for i := range slot[channel.Base-64 : channel.Base+80] {
				slot[channel.Base-64+i] = byte(rnd.Uint32())
			}
			for range 4 {
				x, err := c.Run(g.Space.AddressSpace)
				if err != nil {
					g.Fatalf("a jump to %#x: %v; registers %+v", at, err, *r)
				}
				if x.Kind == platform.ExitInterrupted {
					break
				}
				if rnd.IntN(2) == 0 {
					r.Rax = values[rnd.IntN(len(values))]
				}
			}
			// What it wrote to the slot's own address is its loss; ours begins anew.
			if err := c.halt(); err != nil {
				g.Fatalf("halt: %v", err)
			}
			slot.Init(base, 1)
		}
		stop()
		if now := hostState(t, pid); now != before {
			t.Errorf("the host process changed from\n%sto\n%s", before, now)
		}
		r.Gs_base, r.Eflags = 0, 0
		killable(t, g)
		*r = platform.Registers{Rip: siteReturn, Rsp: 0x600800, Cs: userCS, Ss: userSS, Rax: 5}
		if err := c.halt(); err != nil {
			g.Fatalf("halt: %v", err)
		}
		c.ch.slot.SetState(channel.Guest)
		c.lost = true
		if g.Call(); r.Rbx != 5 || r.R12 != 1 {
			g.Fatalf("result %d after that", r.Rbx)
		}
	})
}

// TestCloseWild: Close ends a platform whose guests do the worst.
func TestCloseWild(t *testing.T) {
	for range 5 {
		e := platformtest.NewEnv(t, newChannelPlatform)
		s := e.Space(siteLoop)
		started := make(chan struct{})
		wait := e.Start(nil, s, func(g *platformtest.Guest) {
			g.Regs().Rip = siteReturn - 2
			g.Call()
			c := g.C.(*context)
			g.Regs().Rip = siteReturn
			g.Call()
			for i := range 100 { // it is split by now, and says that it has a call
				g.Regs().Rax = uint64(i)
				g.Call()
			}
			c.ch.slot.SetState(channel.Stopped)
			close(started)
			for {
				if _, err := c.Run(s.AddressSpace); err != nil {
					return
				}
			}
		})
		<-started
		e.P.Close()
		wait()
		s.Release()
	}
}
