package ptrace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

// TestStubText: the entry points are where image.go says.
func TestStubText(t *testing.T) {
	text := stubText()
	for entry, want := range map[int][]byte{
		entryCall:  {0x0f, 0x05, 0x49, 0x89, 0xc6},       // syscall; mov r14, rax
		entryBatch: {0x49, 0x8b, 0x07, 0x48, 0x83, 0xf8}, // mov rax, [r15]; cmp rax, …
		entryClone: {0x0f, 0x05, 0x48, 0x85, 0xc0},       // syscall; test rax, rax
		entryWait:  {0xb8, 0x9d, 0, 0, 0, 0xbf, 1, 0, 0}, // mov eax, prctl; mov edi, …
	} {
		if got := text[entry-stubBase:][:len(want)]; !bytes.Equal(got, want) {
			t.Errorf("at %#x: % x, want % x", entry, got, want)
		}
	}
	if i := bytes.LastIndex(text, []byte{0x0f, 0x05}); i > stubCodeLen-4 {
		t.Errorf("the code does not fit: it goes on at %d", i)
	}
}

// maps is what the host has mapped in a process.
func maps(t *testing.T, pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// TestMappings: a stub has its page, the command page, and what we mapped:
// neither stack nor heap nor vDSO.
func TestMappings(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		g.Call()
		for line := range strings.Lines(maps(t, g.C.(*context).stub.pid)) {
			f := strings.Fields(line)
			switch {
			case strings.Contains(line, "memfd:platformtest"):
			case strings.HasPrefix(f[0], fmt.Sprintf("%x-", stubBase)) && f[1] == "r-xp":
			case strings.HasPrefix(f[0], fmt.Sprintf("%x-", commandPage)) && f[1] == "r--s":
			case strings.HasSuffix(f[len(f)-1], "[vsyscall]"):
			default:
				t.Errorf("a stub has %s", line)
			}
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.C.(*context).stub.pid))
		if err != nil || len(fds) != 2 {
			t.Errorf("a stub has descriptors %v, error %v", fds, err)
		}
	}, callLoop)
}

// TestFilter lets a stub make calls for real, as if SYSEMU had let them through:
// the filter stops all but those of the stub's code.
func TestFilter(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		g.Call()
		c := g.C.(*context)
		pid := c.stub.pid
		before := maps(t, pid)
		wild := func(nr uint64, args ...uint64) {
			t.Helper()
			r := platform.Registers{Rip: g.Text(), Rax: nr, Rsp: 0x600800, Cs: userCS, Ss: userSS, Eflags: 0x202, Orig_rax: ^uint64(0)}
			for i, a := range args {
				*[]*uint64{&r.Rdi, &r.Rsi, &r.Rdx, &r.R10, &r.R8, &r.R9}[i] = a
			}
			if e := c.w.setRegs(c.tid, &r); e != 0 {
				g.Fatalf("SETREGS: %v", e)
			}
			if e := c.w.request(unix.PTRACE_CONT, c.tid, 0); e != 0 {
				g.Fatalf("CONT: %v", e)
			}
			ws, e := c.w.wait(c.tid)
			if e != 0 || !ws.Stopped() || ws.StopSignal() != unix.SIGSYS {
				g.Fatalf("system call %#x: wait status %#x, error %v; want SIGSYS", nr, ws, e)
			}
		}
		c.lost = true
		for nr := uint64(0); nr < 470; nr++ {
			switch nr {
			case unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_CLONE, unix.SYS_PRCTL,
				unix.SYS_GETPPID, unix.SYS_PAUSE, unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT_GROUP, unix.SYS_WAIT4:
			case 335, 336:
				// uretprobe and uprobe, which newer kernels let through every
				// filter: they end in SIGILL unless called from a probe.
			default:
				wild(nr)
			}
			wild(nr | 0x40000000)
			wild(nr | 1<<31)
		}
		page := uint64(hostarch.PageSize)
		wild(unix.SYS_MMAP, 0, page, 3, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0))
		wild(unix.SYS_MMAP, stubBase, page, 7, mapFlags|unix.MAP_ANONYMOUS, memoryFD)
		wild(unix.SYS_MMAP, freeAt, page, 7, unix.MAP_PRIVATE|unix.MAP_FIXED, memoryFD)
		wild(unix.SYS_MMAP, freeAt, page, 7, mapFlags, 0)
		wild(unix.SYS_MMAP, freeAt, page, 7, mapFlags, 5)
		wild(unix.SYS_CLONE, 0)
		wild(unix.SYS_CLONE, unix.CLONE_NEWUSER|uint64(unix.SIGCHLD))
		wild(unix.SYS_CLONE, unix.CLONE_VM)
		wild(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)
		wild(unix.SYS_PRCTL, unix.PR_SET_NAME, 0)
		if now := maps(t, pid); now != before {
			t.Errorf("mappings changed from\n%sto\n%s", before, now)
		}
		g.Regs().Rip = g.Text()
		g.Call()
	}, callLoop)
}

// TestGuestCommands: a guest that jumps to the stub's code with a command list
// of its own makes no more than system calls of its own, and the host's mappings
// stay.
func TestGuestCommands(t *testing.T) {
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		g.Call()
		pid := g.C.(*context).stub.pid
		before := maps(t, pid)
		list := g.Space.Data
		put := func(i int, words ...uint64) {
			for j, w := range words {
				binary.LittleEndian.PutUint64(list[commandSize*i+8*j:], w)
			}
		}
		put(0, unix.SYS_MUNMAP, stubBase, hostarch.PageSize)
		put(1, unix.SYS_MMAP, freeAt, 1<<20, 7, mapFlags, memoryFD, 0)
		put(2, unix.SYS_MMAP, freeAt+1<<30, 1<<20, 7, mapFlags, commandFD, 0)
		put(3, ^uint64(0))
		r := g.Regs()
		r.Rip, r.R15 = entryBatch, 0x600000
		want := []uint64{unix.SYS_MUNMAP, unix.SYS_MMAP, unix.SYS_MMAP, callDone}
		for _, nr := range want {
			if got := g.Call(); got != nr {
				g.Fatalf("call %d, want %d", got, nr)
			}
			r.Rax = 0
		}
		if x := g.Run(); x.Signo != int32(unix.SIGILL) {
			g.Fatalf("%+v behind the list", x)
		}
		for _, entry := range []uint64{entryCall, entryClone, entryWait} {
			for _, nr := range []uint64{unix.SYS_CLONE, unix.SYS_EXIT_GROUP, unix.SYS_PTRACE} {
				r.Rip, r.Rax, r.Rdi = entry, nr, threadFlags
				for range 5 {
					if x := g.Run(); x.Kind != platform.ExitSyscall {
						break
					}
					r.Rax = 0
				}
			}
		}
		if now := maps(t, pid); now != before {
			t.Errorf("mappings changed from\n%sto\n%s", before, now)
		}
		r.Rip = g.Text()
		g.Call()
	}, callLoop)
}

// TestCommandPageTellsNothing: a new guest finds nothing in the command page of
// the one that had the stub before.
func TestCommandPageTellsNothing(t *testing.T) {
	const secret = 0x123456 << 12
	platformtest.NewEnv(t, newPlatform).Guest(func(g *platformtest.Guest) {
		g.Regs().Rdi = g.Text()
		g.Call()
		seen := map[int]int{}
		for range 20 {
			s := g.Sibling(g.Space)
			g.Start(g, s, func(g *platformtest.Guest) {
				seen[g.C.(*context).w.tid]++
				for i := range hostarch.Addr(60) {
					g.Space.Map(secret+i*2*hostarch.PageSize, hostarch.PageSize, 0, hostarch.Read)
				}
				g.Regs().Rdi = g.Text()
				g.Call()
			})()
			s.Release()
			s = g.Sibling(g.Space)
			g.Start(g, s, func(g *platformtest.Guest) {
				for at := uint64(commandPage); at < commandPage+hostarch.PageSize; at += 8 {
					g.Regs().Rip, g.Regs().Rdi = g.Text(), at
					g.Call()
					if v := g.Regs().Orig_rax; v >= secret && v < secret+1<<20 {
						g.Fatalf("the command page has %#x at %#x", v, at)
					}
				}
			})()
			s.Release()
		}
	}, readCall)
}

// TestKilledWhen: the stub is killed from outside while its guest is in any
// state. Run says so; others go on; nothing of it stays.
func TestKilledWhen(t *testing.T) {
	for _, when := range []string{"running", "stopped", "with changes", "before a thread", "thread waiting", "spare"} {
		t.Run(when, func(t *testing.T) {
			e := platformtest.NewEnv(t, newPlatform)
			p := e.P.(*Ptrace)
			other := e.Space(callLoop)
			e.Start(nil, other, func(o *platformtest.Guest) {
				o.Call()
				s := e.Space([]byte{0x0f, 0x05, 0xeb, 0xfe}) // syscall; jmp to itself
				o.Start(o, s, func(g *platformtest.Guest) {
					g.Call()
					pid := g.C.(*context).stub.pid
					kill := func() {
						if err := unix.Kill(pid, unix.SIGKILL); err != nil {
							g.Fatalf("kill: %v", err)
						}
						time.Sleep(5 * time.Millisecond)
					}
					switch when {
					case "running":
						time.AfterFunc(5*time.Millisecond, kill)
					case "stopped":
						kill()
					case "with changes":
						g.Space.Map(freeAt, hostarch.PageSize, 0, hostarch.Read)
						kill()
						if err := g.C.Flush(s.AddressSpace); err == nil {
							g.Fatalf("Flush succeeds")
						}
					case "before a thread":
						kill()
						if wait, err := g.TryStart(g, s, func(*platformtest.Guest) {}); err == nil {
							wait()
						}
					case "thread waiting":
						g.Regs().Rip = g.Text()
						g.Call()
						g.Start(g, s, func(g *platformtest.Guest) { g.Call() })()
						kill()
					case "spare":
						n := e.Space(callLoop)
						s.Release()
						pid = 0
						g.Start(g, n, func(g *platformtest.Guest) {
							g.Call()
							pid = g.C.(*context).stub.pid
							n.Release()
						})()
						kill()
						n = e.Space(callLoop)
						var err error
						g.Start(g, n, func(g *platformtest.Guest) { _, err = g.C.Run(n.AddressSpace) })()
						n.Release()
						t.Logf("with the spare stub that was killed: %v", err)
						return
					}
					for range 3 {
						if x, err := g.C.Run(s.AddressSpace); err == nil {
							g.Fatalf("Run returns %+v", x)
						}
					}
					if _, err := g.C.Run(e.Space(callLoop).AddressSpace); err == nil {
						g.Fatalf("a context that is lost runs again")
					}
				})()
				s.Release()
				for range 100 {
					o.Call()
				}
			})()
			other.Release()
			deadline := time.Now().Add(10 * time.Second)
			for {
				p.mu.Lock()
				left := len(p.stubs)
				for _, w := range p.idle {
					if w.spare != nil {
						left--
					}
				}
				p.mu.Unlock()
				if left <= 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d stubs are not buried", left)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}
