package ptrace

import (
	"testing"
	"time"

	"runsc-lite/hostcall"
	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

func cores(t *testing.T, e *platformtest.Env) *Ptrace {
	p := e.P.(*Ptrace)
	if len(p.cores) < 2 {
		t.Skip("needs two processors")
	}
	return p
}

func (p *Ptrace) watching() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.monitor
}

// eventually waits for something that is a matter of time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%s", what)
			return
		}
	}
}

// TestBusyAreSpread: threads that compute get a core each; when they stop, the
// monitor rests, and it wakes with them.
func TestBusyAreSpread(t *testing.T) {
	e := platformtest.NewEnv(t, newPlatform)
	p := cores(t, e)
	s := e.Space([]byte{0x0f, 0x05, 0xeb, 0xfe}) // syscall; jmp to itself
	e.Start(nil, s, func(g *platformtest.Guest) {
		g.Call()
		var all [2]*context
		var waits []func()
		ready := make(chan struct{}, 2)
		again := make(chan struct{})
		for i := range all {
			waits = append(waits, g.Start(g, s, func(g *platformtest.Guest) {
				all[i] = g.C.(*context)
				ready <- struct{}{}
				g.Call()
				for range 2 {
					if x, err := g.C.Run(s.AddressSpace); err != nil || x.Kind != platform.ExitInterrupted {
						t.Errorf("%+v, %v", x, err)
					}
					<-again
				}
			}))
		}
		<-ready
		<-ready
		eventually(t, "two threads that compute stay on one core", func() bool {
			return all[0].w.core.Load() != all[1].w.core.Load()
		})
		for round := range 2 {
			for _, c := range all {
				c.Interrupt()
			}
			eventually(t, "the monitor watches though nobody runs", func() bool { return !p.watching() })
			again <- struct{}{}
			again <- struct{}{}
			if round == 0 {
				eventually(t, "the monitor rests though guests run", p.watching)
			}
		}
		for _, w := range waits {
			w()
		}
	})()
	s.Release()
}

// TestPairStays: two that take turns stay together.
func TestPairStays(t *testing.T) {
	e := platformtest.NewEnv(t, newPlatform)
	cores(t, e)
	// mov ecx, 2000; L: dec ecx; jnz L; syscall; jmp back
	s := e.Space([]byte{0xb9, 0xd0, 7, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0x0f, 0x05, 0xeb, 0xf3})
	e.Start(nil, s, func(g *platformtest.Guest) {
		g.Call()
		var here, there hostcall.Parker
		stop := false
		var other *context
		wait := g.Start(g, s, func(o *platformtest.Guest) {
			other = o.C.(*context)
			for there.Park(-1); !stop; there.Park(-1) {
				o.Call()
				here.Unpark()
			}
		})
		apart := 0
		rounds := 0
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); rounds++ {
			g.Call()
			there.Unpark()
			here.Park(-1)
			if g.C.(*context).w.core.Load() != other.w.core.Load() {
				apart++
			}
		}
		if apart > rounds/10 {
			t.Errorf("apart in %d of %d rounds", apart, rounds)
		}
		stop = true
		there.Unpark()
		wait()
	})()
	s.Release()
}
