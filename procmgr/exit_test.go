package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestExitStatusOfThreads(t *testing.T) {
	_, init := newTable(t)
	status := func(th *Thread) uint32 { s, _ := th.p.ExitStatus(); return s }

	// The status of the thread that leaves last counts, not of the one that is done
	// last.
	p := fork(t, init)
	other := newThread(t, p)
	p.Exit(ExitStatus(1))
	other.Exit(ExitStatus(2))
	exits(t, other, 0)
	if p.p.Ended() {
		t.Error("it ended with its first thread")
	}
	exits(t, p, 0)
	if s := status(p); s != ExitStatus(2) {
		t.Errorf("status %#x", s)
	}

	// The leader may end first; the process goes on under its id.
	p = fork(t, init)
	other = newThread(t, p)
	pid := p.ID()
	exits(t, p, 1)
	if p.State() != Zombie || p.p.Ended() || p.p.table.GetProcess(pid) != p.p || p.p.table.GetThread(pid) != p {
		t.Error("the process of a leader that ended is not there")
	}
	kill(t, init, pid, unix.SIGTERM)
	exits(t, other, 0)
	if s := status(p); s != SignalStatus(unix.SIGTERM) {
		t.Errorf("status %#x", s)
	}

	// exit_group: the first status counts.
	p = fork(t, init)
	other = newThread(t, p)
	other.ExitGroup(ExitStatus(5))
	p.ExitGroup(ExitStatus(6))
	kill(t, init, p.ID(), unix.SIGKILL)
	exits(t, p, 0)
	exits(t, other, 0)
	if s := status(p); s != ExitStatus(5) {
		t.Errorf("status %#x", s)
	}
}

func TestChildSignal(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	p.SetSignalMask(SetOf(unix.SIGCHLD))
	c := fork(t, p)
	c.SetCredentials(&Credentials{RUID: 77})
	c.AccountUser(250_000_000)
	exits(t, c, 3)
	i, ok := p.Dequeue(^SigSet(0))
	want := SigInfo{Signo: 17, Code: CLDExited, PID: int32(c.ID()), UID: 77, Status: 3, UTime: 25}
	if !ok || i != want {
		t.Errorf("%+v, want %+v", i, want)
	}
	for _, tt := range []struct {
		name   string
		act    SigAction
		signal bool
		zombie bool
	}{
		{"default", SigAction{}, true, true},
		{"caught", SigAction{Handler: 1 << 20}, true, true},
		{"ignored", SigAction{Handler: SigIgn}, false, false},
		{"SA_NOCLDWAIT", SigAction{Flags: saNoCldWait}, true, false},
		{"SA_NOCLDSTOP", SigAction{Flags: saNoCldStop}, true, true},
	} {
		p := fork(t, init)
		if _, err := p.p.SetAction(unix.SIGCHLD, &tt.act); err != nil {
			t.Fatal(err)
		}
		p.SetSignalMask(SetOf(unix.SIGCHLD)) // so that it stays pending
		c := fork(t, p)
		exits(t, c, 0)
		if got := p.PendingSet() != 0; got != tt.signal {
			t.Errorf("%s: SIGCHLD: %v", tt.name, got)
		}
		if got := c.State() == Zombie; got != tt.zombie {
			t.Errorf("%s: the child is %v", tt.name, c.State())
		}
		p.Dequeue(^SigSet(0))
		c = fork(t, p)
		kill(t, init, c.ID(), unix.SIGSTOP)
		background(c)
		reach(t, c, Stopped)
		if got, want := p.PendingSet() != 0, tt.name != "ignored" && tt.name != "SA_NOCLDSTOP"; got != want {
			t.Errorf("%s: SIGCHLD of a stop: %v", tt.name, got)
		}
		kill(t, init, c.ID(), unix.SIGKILL)
	}
}

func TestReparent(t *testing.T) {
	_, init := newTable(t)
	grand := fork(t, init)
	grand.p.SetChildSubreaper(true)
	parent := fork(t, grand)
	child := cloneWith(t, parent, CloneOptions{ExitSignal: unix.SIGUSR1})
	gone := fork(t, parent)
	exits(t, gone, 7)
	grand.SetSignalMask(SetOf(unix.SIGCHLD, unix.SIGUSR1))
	exits(t, parent, 0)
	if child.p.Parent() != grand.p || gone.p.Parent() != grand.p {
		t.Error("the orphans are not the subreaper's")
	}
	if got := child.p.ExitSignal(); got != unix.SIGCHLD {
		t.Errorf("an orphan ends with signal %d", got)
	}
	for _, want := range []int{parent.ID(), gone.ID()} {
		if got := reap(t, grand, -1); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	// A subreaper that ends passes them on, to init in the end.
	exits(t, grand, 0)
	if child.p.Parent() != init.p {
		t.Error("the orphan is not init's")
	}
	exits(t, child, 0)
	for _, want := range []int{grand.ID(), child.ID()} {
		if got := reap(t, init, -1); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	if n := init.p.table.subreapers; n != 0 {
		t.Errorf("%d subreapers are counted", n)
	}
}

func TestParentDeathSignal(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	thread := newThread(t, p)
	c := fork(t, thread)
	catch(t, c, unix.SIGUSR1)
	c.SetParentDeathSignal(unix.SIGUSR1)
	exits(t, p, 0)
	if c.Pending() {
		t.Error("the thread that did not fork it")
	}
	exits(t, thread, 0)
	if i := delivered(t, c); i.Code != SIUser || i.PID != int32(p.ID()) {
		t.Errorf("%+v", i)
	}
	// The new parent counts then.
	exits(t, c, 0)

	p = fork(t, init)
	p.p.SetChildSubreaper(true)
	q := fork(t, p)
	c = fork(t, q)
	other := fork(t, q)
	other.SetCredentials(&Credentials{RUID: 5, EUID: 5, SUID: 5})
	q.SetCredentials(&Credentials{RUID: 6, EUID: 6, SUID: 6})
	for _, th := range []*Thread{c, other} {
		catch(t, th, unix.SIGUSR1)
		th.SetParentDeathSignal(unix.SIGUSR1)
	}
	exits(t, q, 0)
	quiet(t, other) // the parent may not signal it
	quiet(t, c)
	exits(t, p, 0) // the subreaper may
	delivered(t, c)
	delivered(t, other)
}

func TestForkInterrupted(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	catch(t, p, unix.SIGUSR1)
	kill(t, init, p.ID(), unix.SIGUSR1)
	_, err := tb.Fork(p, CloneOptions{})
	wantErr(t, "a signal is due", err, ErrInterrupted)
	delivered(t, p)
	// A group's signal reaches a child that is not started yet.
	child, err := tb.Fork(p, CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		t.Fatal(err)
	}
	kill(t, init, 0, unix.SIGUSR1)
	if tb.GetProcess(child.ID()) != nil {
		t.Error("it can be found")
	}
	child.Start()
	child.SetRunner(nobody{})
	delivered(t, child)
	delivered(t, p)
	// So does the end of everything.
	child, err = tb.Fork(p, CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		t.Fatal(err)
	}
	tb.KillAll()
	child.Start()
	if w := child.NextWork(); w.Kind != WorkExit {
		t.Errorf("%+v", w)
	}
	_, err = tb.Fork(p, CloneOptions{})
	wantErr(t, "the end is due", err, ErrInterrupted)
}

func TestAbort(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	used, users := tb.root.ids.used, tb.users[0].threads
	for _, flags := range []uint64{0, threadFlags, unix.CLONE_NEWPID, unix.CLONE_PARENT, unix.CLONE_SIGHAND | unix.CLONE_VM} {
		th, err := tb.Fork(p, CloneOptions{Flags: flags, ExitSignal: unix.SIGCHLD})
		if err != nil {
			t.Fatalf("flags %#x: %v", flags, err)
		}
		th.SendSignal(SigInfo{Signo: 40, Code: SIQueue})
		th.Abort()
		if th.State() != Dead || tb.root.ids.used != used || tb.users[0].threads != users || tb.PendingSignals(0) != 0 {
			t.Errorf("flags %#x: something is left", flags)
		}
	}
	if n := tb.ProcessCount(); n != 2 {
		t.Errorf("%d processes", n)
	}
	// A stop does not wait for a thread that never was.
	th, err := tb.Fork(p, CloneOptions{Flags: threadFlags})
	if err != nil {
		t.Fatal(err)
	}
	kill(t, init, p.ID(), unix.SIGSTOP)
	work := background(p)
	reach(t, p, Stopped)
	th.Abort()
	if p.p.State() != Stopped {
		t.Error("it is not stopped")
	}
	if r, _ := init.Waitpid(-1, unix.WNOHANG|unix.WUNTRACED); r.PID != p.ID() {
		t.Error("the parent does not hear of it")
	}
	kill(t, init, p.ID(), unix.SIGCONT)
	<-work
}

func TestEndOfInit(t *testing.T) {
	tb, init := newTable(t)
	a, b := fork(t, init), fork(t, init)
	c := fork(t, b)
	zombie := fork(t, b)
	exits(t, zombie, 0)
	exits(t, init, 4)
	if s, ended := init.p.ExitStatus(); s != ExitStatus(4) || !ended {
		t.Errorf("status %#x, %v", s, ended)
	}
	for _, th := range []*Thread{b, a, c} {
		if w := th.NextWork(); w.Kind != WorkExit {
			t.Errorf("process %d: %+v", th.ID(), w)
		}
		th.FinishExit()
		if th.State() != Dead {
			t.Errorf("process %d is %v", th.ID(), th.State())
		}
	}
	if n := tb.ProcessCount(); n != 1 {
		t.Errorf("%d processes are left", n)
	}
}

func TestStopOfThreads(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	catch(t, p, unix.SIGUSR1)
	a, b := newThread(t, p), newThread(t, p)
	kill(t, init, p.ID(), unix.SIGSTOP)
	works := []<-chan Work{background(p)}
	reach(t, p, Stopped)
	if r, err := init.Waitpid(-1, unix.WNOHANG|unix.WUNTRACED); err != nil || r.PID != 0 {
		t.Errorf("it is stopped with one of three threads: %+v, %v", r, err)
	}
	works = append(works, background(a))
	reach(t, a, Stopped)
	exits(t, b, 0) // the last one ends instead
	if r, err := init.Waitpid(-1, unix.WNOHANG|unix.WUNTRACED); err != nil || r.PID != p.ID() {
		t.Errorf("it is not stopped: %+v, %v", r, err)
	}
	// Nothing gets through but SIGKILL and SIGCONT.
	kill(t, init, p.ID(), unix.SIGUSR1)
	kill(t, init, p.ID(), unix.SIGTERM)
	if p.State() != Stopped || p.Killed() {
		t.Error("a stopped process dies of SIGTERM")
	}
	kill(t, init, p.ID(), unix.SIGCONT)
	kinds := map[WorkKind]int{}
	for _, w := range works {
		kinds[(<-w).Kind]++
	}
	// One thread takes SIGUSR1, which comes first; the other ends it all.
	if kinds[WorkExit] == 0 || kinds[WorkNone] != 0 {
		t.Errorf("after SIGCONT: %v", kinds)
	}
	exits(t, p, 0)
	exits(t, a, 0)
	if s, _ := p.p.ExitStatus(); s != SignalStatus(unix.SIGTERM) {
		t.Errorf("status %#x", s)
	}
}

// Stop, continue and stop again before a thread has noticed: the second stop counts
// it, too.
func TestStopAgain(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	other := newThread(t, p)
	for _, th := range []*Thread{p, other} {
		go func() {
			for th.NextWork().Kind != WorkExit {
				th.Block(nil, noDeadline)
			}
			th.FinishExit()
		}()
	}
	stopped := func() bool {
		r, err := init.Waitpid(-1, unix.WNOHANG|unix.WUNTRACED)
		return err == nil && r.PID == p.p.ID()
	}
	for range 500 {
		kill(t, init, p.ID(), unix.SIGSTOP)
		kill(t, init, p.ID(), unix.SIGCONT)
		kill(t, init, p.ID(), unix.SIGSTOP)
		if err := eventually(stopped); err != nil {
			t.Fatalf("%v, %v: the stop is not complete", p.State(), other.State())
		}
		if p.State() != Stopped || other.State() != Stopped {
			t.Fatalf("%v, %v: the stop is too soon complete", p.State(), other.State())
		}
		kill(t, init, p.ID(), unix.SIGCONT)
	}
	kill(t, init, p.ID(), unix.SIGKILL)
	if r, err := init.Waitpid(-1, 0); err != nil || r.Status != int32(unix.SIGKILL) {
		t.Errorf("%+v, %v", r, err)
	}
}
