package procmgr

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stress runs guests, a goroutine for each thread, which do everything to each other
// at random. What counts is what is left at the end: nothing.
type stress struct {
	tb     *Table
	budget atomic.Int64 // of forks
	calls  atomic.Int64
	guests sync.WaitGroup
}

// sleeper is a Runner that suspends its thread by itself.
type sleeper struct{ token chan struct{} }

func (s sleeper) Interrupt() {}
func (s sleeper) Unpark()    { notify(s.token) }

func (s sleeper) Park(timeout time.Duration) bool {
	if timeout < 0 {
		<-s.token
		return true
	}
	select {
	case <-s.token:
		return true
	case <-time.After(timeout):
		return false
	}
}

type guest struct {
	*stress
	t   *Thread
	rnd *rand.Rand
}

func (s *stress) spawn(t *Thread) {
	t.Start()
	s.guests.Add(1)
	seed := uint64(t.ID())
	go func() {
		defer s.guests.Done()
		g := &guest{s, t, rand.New(rand.NewPCG(seed, 1))}
		if seed%2 == 0 {
			t.SetRunner(nobody{})
		} else {
			t.SetRunner(sleeper{make(chan struct{}, 1)})
		}
		g.run()
	}()
}

func (g *guest) run() {
	for {
		switch g.t.NextWork().Kind {
		case WorkExit:
			g.t.FinishExit()
			return
		case WorkDeliver:
			continue
		}
		g.call()
	}
}

func (g *guest) pid() int { return g.rnd.IntN(g.tb.LastPID()) + 1 }

func (g *guest) signal() unix.Signal {
	return []unix.Signal{
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGSTOP, unix.SIGTSTP, unix.SIGCONT, unix.SIGCONT, unix.SIGCONT, unix.SIGTERM,
		unix.SIGKILL, unix.SIGCHLD, 34, 35, 0,
	}[g.rnd.IntN(13)]
}

func (g *guest) call() {
	t, tb := g.t, g.tb
	g.calls.Add(1)
	switch g.rnd.IntN(26) {
	case 0, 1, 2, 3:
		if g.budget.Add(-1) < 0 {
			t.Exit(0)
			return
		}
		flags := uint64(0)
		switch g.rnd.IntN(8) {
		case 0, 1, 2:
			flags = unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM
		case 3:
			flags = unix.CLONE_PARENT
		case 4:
			flags = unix.CLONE_VM | unix.CLONE_SIGHAND
		case 5:
			flags = unix.CLONE_VFORK | unix.CLONE_VM
		case 6:
			flags = unix.CLONE_NEWPID
		}
		child, err := tb.Fork(t, CloneOptions{Flags: flags, ExitSignal: unix.SIGCHLD})
		if err != nil {
			return
		}
		if g.rnd.IntN(10) == 0 {
			child.Abort()
			return
		}
		g.spawn(child)
		if flags&unix.CLONE_VFORK != 0 {
			t.WaitVfork(child)
		}
	case 4, 5, 6:
		t.Waitpid(-1, unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED)
	case 7:
		t.Waitpid([]int{-1, 0, -g.pid(), g.pid()}[g.rnd.IntN(4)], 0)
	case 8, 9, 10:
		tb.Kill(t, []int{-g.pid(), g.pid(), g.pid(), g.pid()}[g.rnd.IntN(4)], g.signal())
	case 11:
		tb.Tgkill(t, -1, g.pid(), g.signal())
	case 12:
		if t.BeginExec() == nil {
			t.CompleteExec(NewProgram{Name: "again"})
		}
	case 13:
		tb.Setsid(t.Process())
	case 14:
		tb.Setpgid(t.Process(), 0, []int{0, g.pid()}[g.rnd.IntN(2)])
	case 15:
		sig := g.signal()
		t.Process().SetAction(sig, &SigAction{Handler: uint64(g.rnd.IntN(3)), Flags: saResetHand})
	case 16:
		t.SetSignalMask(SigSet(g.rnd.Uint64()))
	case 17:
		t.Sigtimedwait(SigSet(g.rnd.Uint64()), time.Now().Add(time.Millisecond))
	case 18:
		t.Process().SetChildSubreaper(g.rnd.IntN(2) == 0)
	case 19:
		t.SetParentDeathSignal(g.signal())
	case 20:
		if c, err := t.Credentials().Setresuid(uint32(g.rnd.IntN(3)), NoID, NoID); err == nil {
			t.SetCredentials(c)
		}
	case 21:
		tb.Setpriority(t, unix.PRIO_PGRP, 0, g.rnd.IntN(20))
	case 22:
		if p := tb.GetProcess(g.pid()); p != nil {
			p.State()
			p.Usage()
			p.Threads()
			p.Info()
		}
	case 23:
		t.Block(nil, time.Now().Add(time.Millisecond))
	case 24:
		t.Exit(ExitStatus(1))
	case 25:
		if g.rnd.IntN(4) == 0 {
			t.ExitGroup(ExitStatus(2))
		}
	}
}

func TestStress(t *testing.T) {
	t.Run("free", func(t *testing.T) { testStress(t, 0) })
	t.Run("one slot", func(t *testing.T) { testStress(t, 1) })
	t.Run("three slots", func(t *testing.T) { testStress(t, 3) })
}

func testStress(t *testing.T, slots int) {
	s := &stress{tb: NewTable(Config{MaxPID: 2000, Slots: slots})}
	s.budget.Store(30_000)
	if testing.Short() {
		s.budget.Store(3000)
	}
	init, err := s.tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	root := init.Leader()
	root.SetRunner(nobody{})
	for s.budget.Load() > 0 {
		// Init collects what it gets, wakes who is stopped, and sees to it that there
		// is somebody.
		if s.tb.ProcessCount() < 50 {
			if th, err := s.tb.Fork(root, CloneOptions{ExitSignal: unix.SIGCHLD}); err == nil {
				s.budget.Add(-1)
				s.spawn(th)
				s.tb.Setsid(th.Process())
			}
		}
		s.tb.Kill(root, -1, unix.SIGCONT)
		for {
			r, err := root.Waitpid(-1, unix.WNOHANG)
			if r.PID == 0 || err != nil {
				break
			}
		}
		root.NextWork()
		root.Block(nil, time.Now().Add(100*time.Microsecond))
	}
	for err := error(nil); err != unix.ECHILD; _, err = root.Waitpid(-1, unix.WALL) {
		s.tb.Kill(root, -1, unix.SIGKILL)
		root.NextWork()
	}
	s.guests.Wait()
	if q := s.tb.sched; q != nil {
		// Only init holds one.
		if n := q.waiting.Load(); n != 0 || len(q.queue.items) != 0 {
			t.Errorf("%d threads wait for a slot", n)
		}
		for i := range q.slots {
			if h := q.slots[i].holder.Load(); h != nil && h != root {
				t.Errorf("slot %d is held by thread %d", i, h.ID())
			}
		}
	}
	t.Logf("%d forks, %d calls", s.tb.Forks(), s.calls.Load())

	if p, th, ids := s.tb.ProcessCount(), s.tb.ThreadCount(), s.tb.root.ids.used; p != 1 || th != 1 || ids != 1 {
		t.Errorf("%d processes, %d threads, %d ids are left", p, th, ids)
	}
	if n := len(s.tb.users); n != 1 || s.tb.users[0].threads != 1 || s.tb.users[0].pending != 0 {
		t.Errorf("%d users are left, root has %+v", n, s.tb.users[0])
	}
	if init.children != 0 || init.clones != 0 || len(init.exits.items) != 0 || len(init.changes.items) != 0 {
		t.Errorf("init has %d children", init.children)
	}
	if s.tb.root.threads != 1 || s.tb.subreapers != 0 {
		t.Errorf("%d threads, %d subreapers are counted", s.tb.root.threads, s.tb.subreapers)
	}
}
