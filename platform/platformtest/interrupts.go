package platformtest

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"runsc-lite/platform"
)

var interruptTests = []subtest{
	{"BusyLoop", testInterruptLoop},
	{"BeforeRun", testInterruptBefore},
	{"RacesRun", testInterruptRace},
	{"RacesCalls", testInterruptCalls},
	{"ManyAtOnce", testInterruptMany},
	{"OthersGoOn", testOthersGoOn},
}

// interruptLater interrupts the guest in a while, unless it is stopped before.
func interruptLater(g *Guest) (stop func()) {
	t := time.AfterFunc(20*time.Millisecond, g.C.Interrupt)
	return func() { t.Stop() }
}

func (g *Guest) interrupted() {
	g.tb.Helper()
	x, err := g.C.Run(g.Space.AddressSpace)
	if err != nil || x.Kind != platform.ExitInterrupted {
		g.Fatalf("%s, error %v, want an interruption", describe(x), err)
	}
}

func testInterruptLoop(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		for i := range uint64(10) {
			g.Regs().Rbx = i
			time.AfterFunc(2*time.Millisecond, g.C.Interrupt)
			g.interrupted()
			if g.Regs().Rip != codeAt || g.Regs().Rbx != i {
				g.Fatalf("RIP %#x, RBX %d", g.Regs().Rip, g.Regs().Rbx)
			}
		}
	}, loop)
}

func testInterruptBefore(t *testing.T, e *Env) {
	s := e.Space(loop)
	e.Start(nil, s, func(g *Guest) {
		for range 10 {
			g.C.Interrupt()
			g.interrupted()
			g.C.Interrupt()
			g.C.Interrupt()
			g.interrupted()
		}
		// With mapping changes to be made; and they are.
		var flushed atomic.Bool
		g.Space.Map(freeAt, pageSize, g.Alloc(1), readWrite)
		g.Space.AfterFlush(func() { flushed.Store(true) })
		g.C.Interrupt()
		g.interrupted()
		time.AfterFunc(2*time.Millisecond, g.C.Interrupt)
		g.interrupted()
		if !flushed.Load() {
			g.Fatalf("changes are not made after two Runs")
		}
	})()
	s.Release()
}

// testInterruptRace: each of 10,000 interruptions at any moment around a Run of
// a busy loop ends it. A lost one hangs. On one processor each takes the guest's
// turn: what a while allows has to do.
func testInterruptRace(t *testing.T, e *Env) {
	const rounds, while = 10000, 15 * time.Second
	e.Guest(func(g *Guest) {
		var asked, seen atomic.Int64
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			rnd := rand.New(rand.NewPCG(3, 4))
			for i := int64(1); i <= rounds; i++ {
				if time.Since(begin) > while {
					asked.Store(rounds) // the last one
					g.C.Interrupt()
					return
				}
				for seen.Load() < i-1 {
					runtime.Gosched()
				}
				for range rnd.IntN(2000) {
					_ = seen.Load()
				}
				asked.Store(i)
				g.C.Interrupt()
			}
		}()
		for seen.Load() < rounds {
			g.interrupted()
			if n := asked.Load(); n > seen.Load() {
				seen.Store(n)
			}
		}
		<-done
		if g.Regs().Rip != codeAt {
			g.Fatalf("RIP %#x", g.Regs().Rip)
		}
	}, loop)
}

// testInterruptCalls: interruptions neither eat system calls nor repeat them.
func testInterruptCalls(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; !stop.Load(); i++ {
				g.C.Interrupt()
				if i%4 == 0 {
					time.Sleep(10 * time.Microsecond)
				}
			}
		}()
		defer func() { stop.Store(true); <-done }()
		for i := range uint64(5000) {
			g.Call()
			// inc rbx at each round, and the result lands in rax.
			if g.Regs().Rbx != i+1 {
				g.Fatalf("call %d comes after %d rounds", i+1, g.Regs().Rbx)
			}
			if i > 0 && g.Regs().Rsi != i-1+1000 {
				g.Fatalf("result %d arrived as %d", i-1+1000, g.Regs().Rsi)
			}
			g.Regs().Rax = i + 1000
			if i%100 == 0 {
				g.Space.Map(freeAt, pageSize, 0, read)
			}
		}
	}, back([]byte{0x48, 0xff, 0xc3}, syscall_, []byte{0x48, 0x89, 0xc6}))
}

// testInterruptMany: several guests of a space are interrupted by as many
// goroutines, which go on when the guest has ended.
func testInterruptMany(t *testing.T, e *Env) {
	const guests, rounds = 6, 300
	s := e.Space(loop)
	e.Start(nil, s, func(g *Guest) {
		g.C.Interrupt()
		g.interrupted()
		time.AfterFunc(time.Millisecond, g.C.Interrupt)
		g.interrupted()
		var stop atomic.Bool
		interrupters := make(chan struct{})
		var waits []func()
		for range guests {
			waits = append(waits, g.Start(g, s, func(g *Guest) {
				go func() {
					for !stop.Load() {
						g.C.Interrupt()
						time.Sleep(50 * time.Microsecond)
					}
					interrupters <- struct{}{}
				}()
				for range rounds {
					g.interrupted()
				}
			}))
		}
		for _, w := range waits {
			w()
		}
		stop.Store(true)
		for range guests {
			<-interrupters
		}
	})()
	s.Release()
}

// testOthersGoOn: guests that compute, more than there are processors, keep
// neither goroutines nor the garbage collector from working.
func testOthersGoOn(t *testing.T, e *Env) {
	n := runtime.GOMAXPROCS(0) + 2
	guests := make(chan *Guest, n)
	var stop atomic.Bool
	var waits []func()
	var spaces []*Space
	for range n {
		s := e.Space(loop)
		spaces = append(spaces, s)
		waits = append(waits, e.Start(nil, s, func(g *Guest) {
			guests <- g
			for !stop.Load() {
				g.interrupted()
			}
		}))
	}
	within(t, "garbage collection beside busy guests", func() {
		for range 3 {
			runtime.GC()
		}
	})
	within(t, "a goroutine beside busy guests", func() {
		c := make(chan int)
		go func() { c <- 1 }()
		<-c
	})
	stop.Store(true)
	for range n {
		(<-guests).C.Interrupt()
	}
	for i, w := range waits {
		w()
		spaces[i].Release()
	}
}
