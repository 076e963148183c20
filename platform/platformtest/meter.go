package platformtest

import (
	"testing"
	"time"

	"runsc-lite/platform"
)

// What a platform says of processor time, if it does (platform.CPUMeter). Guests
// compute until they have used a certain time, not for one: the machine may be busy.
var meterTests = []subtest{
	{"Computes", testMeterComputes},
	{"Waits", testMeterWaits},
	{"FromOutside", testMeterFromOutside},
	{"Threads", testMeterThreads},
	{"BriefThreads", testMeterBriefThreads},
	{"NextGuest", testMeterNextGuest},
	{"ChangeOfSpace", testMeterChangeOfSpace},
	{"Free", testMeterAllocatesNothing},
}

// little is what a guest may have used that did nothing to speak of.
const little = 8 * time.Millisecond

// meter returns the context as a CPUMeter.
func (g *Guest) meter() platform.CPUMeter {
	m, ok := g.C.(platform.CPUMeter)
	if !ok {
		g.tb.Skip("the platform does not tell processor time")
	}
	return m
}

func (g *Guest) user() time.Duration {
	user, _ := g.meter().CPUTimes()
	return user
}

// compute lets a guest whose code is a loop use that much time.
func (g *Guest) compute(d time.Duration) {
	g.tb.Helper()
	end := g.user() + d
	within(g.tb, "computing", func() {
		for g.user() < end {
			time.AfterFunc(2*time.Millisecond, g.C.Interrupt)
			if _, err := g.C.Run(g.Space.AddressSpace); err != nil {
				g.Fatalf("Run: %v", err)
			}
		}
	})
}

// meters reports whether there is something to be tested.
func (e *Env) meters() (ok bool) {
	e.Guest(func(g *Guest) { _, ok = g.C.(platform.CPUMeter) }, loop)
	return ok
}

// testMeterComputes: time in guest code is user time, and no more than passes.
func testMeterComputes(t *testing.T, e *Env) {
	if !e.meters() {
		t.Skip()
	}
	e.Guest(func(g *Guest) {
		begin := time.Now()
		if u := g.user(); u > little {
			g.Fatalf("%v used before anything was done", u)
		}
		g.compute(40 * time.Millisecond)
		user, system := g.meter().CPUTimes()
		if took := time.Since(begin); user > took+little {
			g.Fatalf("%v used within %v", user, took)
		}
		if system > user {
			g.Fatalf("%v in the kernel, %v in the guest, which only computes", system, user)
		}
	}, loop)
}

// testMeterWaits: nothing is used while the kernel waits.
func testMeterWaits(t *testing.T, e *Env) {
	if !e.meters() {
		t.Skip()
	}
	e.Guest(func(g *Guest) {
		g.Call()
		u0, s0 := g.meter().CPUTimes()
		time.Sleep(60 * time.Millisecond)
		u1, s1 := g.meter().CPUTimes()
		if u1-u0 > little || s1-s0 > little {
			g.Fatalf("%v and %v used while waiting", u1-u0, s1-s0)
		}
		// What the kernel does for the guest is system time.
		for begin := time.Now(); s1-s0 < 30*time.Millisecond; _, s1 = g.meter().CPUTimes() {
			if time.Since(begin) > patience {
				g.Fatalf("%v of system time in %v", s1-s0, patience)
			}
		}
		if u2 := g.user(); u2-u1 > little {
			g.Fatalf("%v of guest code while the kernel worked", u2-u1)
		}
	}, back(syscall_))
}

// testMeterFromOutside: others read the figures, while the guest runs and after.
func testMeterFromOutside(t *testing.T, e *Env) {
	if !e.meters() {
		t.Skip()
	}
	s := e.Space(loop)
	contexts := make(chan *Guest, 1)
	stop := make(chan struct{})
	wait := e.Start(nil, s, func(g *Guest) {
		contexts <- g
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := g.C.Run(s.AddressSpace); err != nil {
				g.Fatalf("Run: %v", err)
			}
		}
	})
	g := <-contexts
	last := time.Duration(0)
	within(t, "a guest that computes", func() {
		for last < 30*time.Millisecond {
			u := g.user()
			if u < last {
				t.Errorf("%v, and then %v", last, u)
			}
			last = u
		}
	})
	close(stop)
	g.C.Interrupt()
	wait()
	s.Release()
	for range 3 {
		time.Sleep(5 * time.Millisecond)
		if u := g.user(); u < last || u > last+time.Second {
			t.Errorf("%v at the end, then %v", last, u)
		}
	}
}

// testMeterThreads: of two threads of a space, the one that computes has used it.
func testMeterThreads(t *testing.T, e *Env) {
	if !e.meters() {
		t.Skip()
	}
	s := e.Space(syscall_, loop)
	e.Start(nil, s, func(g *Guest) {
		g.Call()
		for range 3 {
			before := g.user()
			used := time.Duration(0)
			g.Start(g, s, func(o *Guest) {
				o.Call()
				if u := o.user(); u > little {
					o.Fatalf("a new thread has used %v", u)
				}
				o.compute(30 * time.Millisecond)
				used = o.user()
			})()
			if used < 30*time.Millisecond {
				g.Fatalf("the other thread computed, and used %v", used)
			}
			if u := g.user() - before; u > little {
				g.Fatalf("%v used by a thread that waited", u)
			}
		}
		before := g.user()
		g.compute(30 * time.Millisecond)
		if u := g.user() - before; u < 30*time.Millisecond {
			g.Fatalf("%v used", u)
		}
	})()
	s.Release()
}

// testMeterBriefThreads: what threads use that live for a moment is not lost.
func testMeterBriefThreads(t *testing.T, e *Env) {
	if !e.meters() {
		t.Skip()
	}
	// Counts RAX down from 100,000.
	count := code(mov(rax, 100_000), []byte{0x48, 0xff, 0xc8, 0x75, 0xfb}, syscall_)
	s := e.Space(back(count))
	e.Start(nil, s, func(g *Guest) {
		g.Call()
		const threads = 100
		begin := time.Now()
		var sum time.Duration
		for range threads {
			g.Start(g, s, func(o *Guest) {
				o.Call()
				sum += o.user()
			})()
		}
		own := g.user()
		// Each takes a cycle a round at least.
		if least := threads * 100_000 * time.Nanosecond / 8; sum+own < least || sum < own {
			g.Fatalf("%v in %d threads, %v in the first", sum, threads, own)
		}
		if took := time.Since(begin); sum > took {
			g.Fatalf("%v used within %v, one thread at a time", sum, took)
		}
	})()
	s.Release()
}

// testMeterNextGuest: a guest begins with nothing, whoever ran before.
func testMeterNextGuest(t *testing.T, e *Env) {
	if !e.meters() {
		t.Skip()
	}
	for range 5 {
		e.Guest(func(g *Guest) {
			g.compute(20 * time.Millisecond)
		}, loop)
		e.Guest(func(g *Guest) {
			g.Call()
			if user, system := g.meter().CPUTimes(); user > little || system > little {
				g.Fatalf("a new guest has used %v and %v", user, system)
			}
		}, syscall_)
	}
}

// testMeterChangeOfSpace: a thread that goes to another space takes along what it used.
func testMeterChangeOfSpace(t *testing.T, e *Env) {
	if !e.meters() {
		t.Skip()
	}
	s := e.Space(loop)
	e.Start(nil, s, func(g *Guest) {
		g.compute(20 * time.Millisecond)
		before := g.user()
		o := g.Env.Space(loop)
		g.Space = o
		g.Regs().Rip = codeAt
		g.compute(20 * time.Millisecond)
		if u := g.user(); u < before+20*time.Millisecond || u > before+20*time.Millisecond+time.Second {
			g.Fatalf("%v, and %v after 20 ms more in another space", before, u)
		}
		o.Release()
	})()
	s.Release()
}

func testMeterAllocatesNothing(t *testing.T, e *Env) {
	if !e.meters() {
		t.Skip()
	}
	e.Guest(func(g *Guest) {
		g.Call()
		m := g.meter()
		if n := testing.AllocsPerRun(100, func() { m.CPUTimes() }); n != 0 {
			g.Fatalf("%v allocations", n)
		}
	}, back(syscall_))
}
