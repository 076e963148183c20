package platformtest

import (
	"encoding/binary"
	"sync"
	"testing"

	"gvisor.dev/gvisor/pkg/hostarch"
)

var spaceTests = []subtest{
	{"Separate", testSpacesSeparate},
	{"NothingLeft", testNothingLeft},
	{"Change", testChangeSpace},
	{"Storm", testSpaceStorm},
	{"AtOnce", testSpacesAtOnce},
	{"Chain", testSpaceChain},
	{"Unused", testSpacesUnused},
}

// testSpacesSeparate: spaces have their own mappings.
func testSpacesSeparate(t *testing.T, e *Env) {
	const n = 10
	var wg sync.WaitGroup
	for i := range uint64(n) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s := e.Space(back(readRDI, syscall_))
			binary.LittleEndian.PutUint64(s.Data, i)
			e.Start(nil, s, func(g *Guest) {
				g.Regs().Rdi = dataAt
				for range 100 {
					if got := g.Call(); got != i {
						g.Fatalf("space %d reads %d", i, got)
					}
				}
			})()
			s.Release()
		}()
	}
	wg.Wait()
}

// testNothingLeft: a new space has nothing of those that were there before,
// wherever they had it.
func testNothingLeft(t *testing.T, e *Env) {
	spots := []uint64{uint64(e.P.MinAddress()), freeAt, 1 << 32, 1 << 46, uint64(e.P.MaxAddress()) - pageSize}
	e.Guest(func(g *Guest) {
		g.Call()
		for range 30 {
			s := g.Env.Space(readRDI, syscall_)
			for _, at := range spots {
				s.Map(hostarch.Addr(at), pageSize, g.Alloc(1), readWrite)
			}
			g.Start(g, s, func(g *Guest) {
				for _, at := range spots {
					g.Regs().Rip, g.Regs().Rdi = codeAt, at
					g.Call()
				}
			})()
			s.Release()
			s = g.Env.Space(readRDI, syscall_)
			g.Start(g, s, func(g *Guest) {
				for _, at := range spots {
					g.Regs().Rip, g.Regs().Rdi = codeAt, at
					g.Fault(at, read)
				}
			})()
			s.Release()
		}
	}, syscall_)
}

// testChangeSpace: exec, seen from here. The old space is released before the
// new one is entered, or after.
func testChangeSpace(t *testing.T, e *Env) {
	s := e.Space(back(readRDI, syscall_))
	e.Start(nil, s, func(g *Guest) {
		for i := range uint64(50) {
			binary.LittleEndian.PutUint64(g.Space.Data, i)
			g.Regs().Rip, g.Regs().Rdi, g.Regs().Rbx = codeAt, dataAt, i
			if got := g.Call(); got != i {
				g.Fatalf("space %d reads %d", i, got)
			}
			g.Space.Map(freeAt, pageSize, g.Alloc(1), read)
			g.Regs().Rdi = freeAt
			g.Call()
			old := g.Space
			g.Space = g.Env.Space(back(readRDI, syscall_))
			if i%2 == 0 {
				old.Release()
			}
			g.Regs().Rip = codeAt
			g.Fault(freeAt, read)
			if g.Regs().Rbx != i {
				g.Fatalf("registers are lost on the way")
			}
			if i%2 == 1 {
				old.Release()
			}
		}
		g.Space.Release()
	})()
}

// testSpaceStorm: 1,000 spaces one after another, each started by the one
// before, as a shell does it.
func testSpaceStorm(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Call()
		for i := range uint64(1000) {
			s := g.Env.Space(readRDI, syscall_)
			g.mu.Lock()
			g.next -= 2 * pageSize // the same pages each time
			g.mu.Unlock()
			binary.LittleEndian.PutUint64(s.Data, firstFree+i)
			g.Start(g, s, func(g *Guest) {
				g.Regs().Rdi = dataAt
				if got := g.Call(); got != firstFree+i {
					g.Fatalf("space %d reads %d", i, got)
				}
				s.Release()
			})()
		}
	}, syscall_)
}

// testSpacesAtOnce: 150 live at the same time, twice.
func testSpacesAtOnce(t *testing.T, e *Env) {
	e.Guest(func(g *Guest) {
		g.Call()
		for range 2 {
			hold := make(chan struct{})
			var waits []func()
			var ran sync.WaitGroup
			for range 150 {
				s := g.Env.Space(back(syscall_))
				ran.Add(1)
				waits = append(waits, g.Start(g, s, func(g *Guest) {
					defer s.Release()
					func() { defer ran.Done(); g.Call() }()
					<-hold
					g.Call()
				}))
			}
			within(t, "150 spaces", ran.Wait)
			close(hold)
			for _, w := range waits {
				w()
			}
		}
	}, syscall_)
}

// testSpaceChain: each starts the next and waits for it.
func testSpaceChain(t *testing.T, e *Env) {
	var next func(g *Guest, depth int)
	next = func(g *Guest, depth int) {
		g.Call()
		if depth == 60 {
			return
		}
		s := g.Env.Space(back(syscall_))
		g.Start(g, s, func(g *Guest) { next(g, depth+1) })()
		s.Release()
		g.Call()
	}
	e.Guest(func(g *Guest) { next(g, 0) }, back(syscall_))
}

// testSpacesUnused: a space without a Context takes nothing of the host.
func testSpacesUnused(t *testing.T, e *Env) {
	before := len(descendants())
	var all []*Space
	as := e.Space()
	for range 5000 {
		s, err := e.P.NewAddressSpace()
		if err != nil {
			t.Fatal(err)
		}
		s.Map(freeAt, pageSize, 0, read)
		all = append(all, &Space{AddressSpace: s})
	}
	if n := len(descendants()); n > before+16 {
		t.Errorf("%d host processes more for spaces that are not used", n-before)
	}
	for _, s := range all {
		s.Release()
	}
	as.Release()
}
