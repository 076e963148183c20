package ptrace

import (
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/platform/platformtest"
)

func niceOf(t *testing.T, tid int) int {
	t.Helper()
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	if err != nil {
		t.Fatalf("host thread %d: %v", tid, err)
	}
	return 20 - raw
}

// TestNice: a nice guest thread has a nice tracer and tracee, and those that serve
// others after it are as they were.
func TestNice(t *testing.T) {
	e := platformtest.NewEnv(t, newPlatform)
	p := e.P.(*Ptrace)
	if !p.mayRenice() {
		t.Skip("the host does not let nice values be taken back")
	}
	s := e.Space([]byte{0x0f, 0x05, 0xeb, 0xfc}) // syscall; again
	e.Start(nil, s, func(g *platformtest.Guest) {
		g.Call()
		own := g.C.(*context)
		threads := func(c *context, want int) {
			t.Helper()
			for _, tid := range []int{c.w.tid, c.tid} {
				if n := niceOf(t, tid); n != min(p.ownNice+want, 19) {
					t.Errorf("a thread has %d, want %d more than %d", n, want, p.ownNice)
				}
			}
		}
		threads(own, 0)
		own.SetNice(0) // which costs nothing
		if p.niced.Load() {
			t.Error("it takes 0 for nice")
		}
		own.SetNice(7)
		threads(own, 7)
		var worker *worker
		// Its tracee is made by the nice one.
		g.Start(g, s, func(o *platformtest.Guest) {
			o.Call()
			threads(o.C.(*context), 0)
			o.C.(*context).SetNice(100)
			threads(o.C.(*context), 19)
			worker = o.C.(*context).w
		})()
		if worker != nil {
			eventually(t, "a worker stays nice", func() bool { return niceOf(t, worker.tid) == p.ownNice })
		}
		own.SetNice(0)
		threads(own, 0)
		if own.nice.share() != full {
			t.Errorf("it weighs %d", own.nice.share())
		}
	})()
	s.Release()
}
