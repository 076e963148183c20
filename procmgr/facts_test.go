package procmgr

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// finish ends a process whose threads nobody runs.
func finish(p *Process) {
	for _, t := range p.Threads() {
		t.ExitGroup(ExitStatus(0))
		t.NextWork()
		if t.State() == Ready {
			t.setState(Running)
		}
		t.FinishExit()
	}
}

func TestTotals(t *testing.T) {
	tb := NewTable(Config{MaxPID: 1000})
	if tb.MaxID() != 999 {
		t.Errorf("MaxID = %d, want 999", tb.MaxID())
	}
	if running, total := tb.Loads(); running != 0 || total != 0 {
		t.Errorf("empty table: %d of %d threads run", running, total)
	}
	init, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := tb.CreateProcess(init, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	thread, err := tb.Fork(a.Leader(), CloneOptions{Flags: unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM})
	if err != nil {
		t.Fatal(err)
	}
	thread.Start()
	b, err := tb.Fork(thread, CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		t.Fatal(err)
	}
	b.Start()
	if running, total := tb.Loads(); running != 4 || total != 4 {
		t.Errorf("%d of %d threads run, want 4 of 4", running, total)
	}
	if c := a.Leader().Children(); len(c) != 0 {
		t.Errorf("the leader forked %d processes", len(c))
	}
	if c := thread.Children(); len(c) != 1 || c[0] != b.Process() {
		t.Errorf("the thread's children are %v", c)
	}

	a.Leader().AccountUser(3 * time.Second)
	thread.AccountSystem(2 * time.Second)
	b.AccountUser(time.Second)
	check := func(when string) {
		t.Helper()
		if u := tb.Usage(); u.UserTime != 4*time.Second || u.SystemTime != 2*time.Second {
			t.Errorf("%s: %v user, %v system, want 4s and 2s", when, u.UserTime, u.SystemTime)
		}
	}
	check("all live")
	finish(b.Process())
	check("a zombie")
	finish(a)
	check("all ended")
	if b.Process().Parent() != init {
		t.Error("the orphan is not init's")
	}
	if c := init.Leader().Children(); len(c) != 2 {
		t.Errorf("init has %d children, want 2", len(c))
	}
	for _, p := range []*Process{a, b.Process()} {
		if _, err := init.Leader().Waitpid(p.ID(), 0); err != nil {
			t.Fatal(err)
		}
	}
	check("all waited for")
}

func TestPendingSignals(t *testing.T) {
	tb := NewTable(Config{})
	init, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tb.CreateProcess(init, "p", 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := tb.PendingSignals(0); n != 0 {
		t.Errorf("%d signals are pending at first", n)
	}
	p.Leader().SetSignalMask(SetOf(unix.SIGUSR1, unix.SIGUSR2))
	for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGUSR2} {
		if err := p.SendSignal(SigInfo{Signo: int32(sig)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := tb.PendingSignals(0); n != 2 {
		t.Errorf("%d signals are pending, want 2", n)
	}
	if n := tb.PendingSignals(1000); n != 0 {
		t.Errorf("%d signals of somebody else are pending", n)
	}
}
