package platformtest

import (
	"encoding/binary"
	"sync"
	"testing"
)

var threadTests = []subtest{
	{"ShareMemory", testThreadsShareMemory},
	{"Count", testContextsCount},
	{"Registers", testThreadRegisters},
	{"Storm", testThreadStorm},
	{"OneAfterAnother", testThreadsOneAfterAnother},
	{"FirstLeaves", testFirstThreadLeaves},
	{"NeverRun", testNeverRun},
	{"Parallel", testThreadsParallel},
}

// testThreadsShareMemory: all increment one word, with LOCK INC, by system
// calls and without.
func testThreadsShareMemory(t *testing.T, e *Env) {
	const threads, rounds = 8, 200
	s := e.Space(back([]byte{0xf0, 0x48, 0xff, 0x07}, syscall_)) // lock inc qword [rdi]
	e.Start(nil, s, func(g *Guest) {
		g.Regs().Rdi = dataAt
		g.Call()
		var waits []func()
		for range threads {
			waits = append(waits, g.Start(g, s, func(g *Guest) {
				g.Regs().Rdi = dataAt
				for range rounds {
					g.Call()
				}
			}))
		}
		for _, w := range waits {
			w()
		}
		if got := binary.LittleEndian.Uint64(s.Data); got != threads*rounds+1 {
			g.Fatalf("counted to %d, want %d", got, threads*rounds+1)
		}
	})()
	s.Release()
}

func testContextsCount(t *testing.T, e *Env) {
	s := e.Space(back(syscall_))
	if n := s.Contexts(); n != 0 {
		t.Errorf("%d contexts in a new space", n)
	}
	e.Start(nil, s, func(g *Guest) {
		g.Call()
		if n := s.Contexts(); n != 1 {
			g.Fatalf("%d contexts, want 1", n)
		}
		hold := make(chan struct{})
		wait := g.Start(g, s, func(g *Guest) { g.Call(); <-hold })
		if n := s.Contexts(); n != 2 {
			g.Fatalf("%d contexts as soon as the second was started, want 2", n)
		}
		close(hold)
		wait()
		// It leaves when its function returns, or a little later.
		within(t, "a context that ended", func() {
			for s.Contexts() != 1 {
				g.Call()
			}
		})
		// One that goes to another space.
		o := g.Env.Space(back(syscall_))
		g.Space = o
		g.Regs().Rip = codeAt
		g.Call()
		if s.Contexts() != 0 || o.Contexts() != 1 {
			g.Fatalf("%d and %d contexts after a change of space", s.Contexts(), o.Contexts())
		}
		o.Release()
	})()
	s.Release()
}

func testThreadRegisters(t *testing.T, e *Env) {
	const threads = 6
	s := e.Space(back(syscall_))
	e.Start(nil, s, func(g *Guest) {
		g.Call()
		var waits []func()
		for i := range uint64(threads) {
			waits = append(waits, g.Start(g, s, func(g *Guest) {
				r := g.Regs()
				r.Rbx, r.R12, r.Rsp, r.Fs_base = i, i<<40, i<<50|8, dataAt+i*8
				for n := range uint64(100) {
					r.Rax = n
					if got := g.Call(); got != n {
						g.Fatalf("thread %d: call %d is number %d", i, n, got)
					}
					if r.Rbx != i || r.R12 != i<<40 || r.Rsp != i<<50|8 || r.Fs_base != dataAt+i*8 {
						g.Fatalf("thread %d has another's registers: %+v", i, *r)
					}
				}
			}))
		}
		for _, w := range waits {
			w()
		}
		for i, p := range general(g.Regs()) {
			if *p != 0 {
				g.Fatalf("register %d of the thread that started others is %#x", i, *p)
			}
		}
	})()
	s.Release()
}

// testThreadStorm: 200 threads at once.
func testThreadStorm(t *testing.T, e *Env) {
	const threads = 200
	s := e.Space(back([]byte{0xf0, 0x48, 0xff, 0x07}, syscall_))
	e.Start(nil, s, func(g *Guest) {
		g.Regs().Rdi = dataAt
		g.Call()
		for range 2 {
			var waits []func()
			hold := make(chan struct{})
			var ran sync.WaitGroup
			for range threads {
				ran.Add(1)
				waits = append(waits, g.Start(g, s, func(g *Guest) {
					defer ran.Done()
					g.Regs().Rdi = dataAt
					g.Call()
					ran.Done()
					<-hold
					g.Call()
					ran.Add(1)
				}))
			}
			within(t, "200 threads", ran.Wait)
			close(hold)
			for _, w := range waits {
				w()
			}
		}
		if got := binary.LittleEndian.Uint64(s.Data); got != 2*2*threads+1 {
			g.Fatalf("counted to %d, want %d", got, 2*2*threads+1)
		}
	})()
	s.Release()
}

func testThreadsOneAfterAnother(t *testing.T, e *Env) {
	s := e.Space(back([]byte{0xf0, 0x48, 0xff, 0x07}, syscall_))
	e.Start(nil, s, func(g *Guest) {
		g.Regs().Rdi = dataAt
		g.Call()
		for range 500 {
			g.Start(g, s, func(g *Guest) { g.Regs().Rdi = dataAt; g.Call() })()
		}
		if got := binary.LittleEndian.Uint64(s.Data); got != 501 {
			g.Fatalf("counted to %d", got)
		}
	})()
	s.Release()
}

// testFirstThreadLeaves: the others go on, and may start more.
func testFirstThreadLeaves(t *testing.T, e *Env) {
	s := e.Space(back(syscall_))
	out := make(chan func(), 1)
	e.Start(nil, s, func(g *Guest) {
		g.Call()
		left := make(chan struct{})
		defer close(left)
		out <- g.Start(g, s, func(g *Guest) {
			g.Call()
			<-left
			for range 20 {
				g.Call()
				g.Start(g, s, func(g *Guest) { g.Call() })()
			}
		})
	})()
	(<-out)()
	s.Release()
}

// testNeverRun: threads that end before they ran, in spaces old and new.
func testNeverRun(t *testing.T, e *Env) {
	s := e.Space(back(syscall_))
	e.Start(nil, s, func(g *Guest) {
		g.Call()
		for range 20 {
			g.Start(g, s, func(*Guest) {})()
			n := g.Env.Space(syscall_)
			g.Start(g, n, func(*Guest) {})()
			n.Release()
		}
		g.Call()
	})()
	s.Release()
	e.Start(nil, e.Space(), func(g *Guest) { g.C.Interrupt() })()
}

// testThreadsParallel: two that compute run at the same time, in the end, where
// there are two processors: a word that each waits for the other to change.
func testThreadsParallel(t *testing.T, e *Env) {
	// L: mov rax, [rdi]; cmp rax, rbx; jne L; inc rax; mov [rdi], rax; add rbx, 2; dec rcx; jnz L; syscall
	text := code([]byte{
		0x48, 0x8b, 0x07, 0x48, 0x39, 0xd8, 0x75, 0xf8,
		0x48, 0xff, 0xc0, 0x48, 0x89, 0x07, 0x48, 0x83, 0xc3, 0x02,
		0x48, 0xff, 0xc9, 0x75, 0xe9,
	}, syscall_)
	s := e.Space(text)
	copy(s.Code[64:], syscall_)
	e.Start(nil, s, func(g *Guest) {
		g.Regs().Rip = codeAt + 64
		g.Call()
		const rounds = 100
		wait := g.Start(g, s, func(g *Guest) {
			g.Regs().Rdi, g.Regs().Rbx, g.Regs().Rcx = dataAt, 1, rounds
			g.Call()
		})
		g.Regs().Rip, g.Regs().Rdi, g.Regs().Rbx, g.Regs().Rcx = codeAt, dataAt, 0, rounds
		g.Call()
		wait()
		if got := binary.LittleEndian.Uint64(s.Data); got != 2*rounds {
			g.Fatalf("counted to %d", got)
		}
	})()
	s.Release()
}
