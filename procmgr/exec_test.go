package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

// alone runs BeginExec in a goroutine.
func alone(th *Thread) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- th.BeginExec() }()
	return ch
}

func TestExecOfThread(t *testing.T) {
	tb, init := newTable(t)
	leader := fork(t, init)
	pid := leader.ID()
	a, b := newThread(t, leader), newThread(t, leader)
	tid := a.ID()
	child := fork(t, a)
	orphan := fork(t, b)
	unborn, err := tb.Fork(b, CloneOptions{Flags: threadFlags})
	if err != nil {
		t.Fatal(err)
	}
	ch := alone(a)
	reach(t, a, Blocked)
	if !leader.Killed() || !b.Killed() || a.Killed() {
		t.Error("the others are to exit, and only they")
	}
	_, err = tb.Fork(b, CloneOptions{Flags: threadFlags})
	wantErr(t, "fork of a thread that has to go", err, ErrInterrupted)
	exits(t, leader, 1)
	exits(t, b, 1)
	unborn.Abort()
	if err := <-ch; err != nil {
		t.Fatal(err)
	}
	a.CompleteExec(NewProgram{Name: "a program with a long name"})
	if a.ID() != pid || tb.GetThread(pid) != a || a.p.Leader() != a || a.p.ID() != pid || tb.GetProcess(pid) != a.p {
		t.Errorf("the thread is %d, want the leader's id %d", a.ID(), pid)
	}
	if tb.GetThread(tid) != nil {
		t.Error("its own id is not free")
	}
	if a.Name() != "a program with " {
		t.Errorf("name %q", a.Name())
	}
	if child.p.Parent() != a.p || orphan.p.Parent() != a.p {
		t.Error("the children are lost")
	}
	exits(t, a, 9)
	if r, err := init.Waitpid(pid, 0); err != nil || r.Status != 9 {
		t.Errorf("%+v, %v", r, err)
	}
	if n := tb.ThreadCount(); n != 3 {
		t.Errorf("%d threads are left, want 3", n)
	}
}

func TestExecOfTwo(t *testing.T) {
	_, init := newTable(t)
	leader := fork(t, init)
	other := newThread(t, leader)
	ch := alone(leader)
	reach(t, leader, Blocked)
	wantErr(t, "the second", other.BeginExec(), ErrInterrupted)
	exits(t, other, 0)
	wantErr(t, "the first", <-ch, nil)
	// A process that is killed does not execute anything any more.
	other = newThread(t, leader)
	ch = alone(other)
	reach(t, other, Blocked)
	kill(t, init, leader.ID(), unix.SIGKILL)
	wantErr(t, "killed meanwhile", <-ch, ErrInterrupted)
	exits(t, leader, 0)
	wantErr(t, "killed before", other.BeginExec(), ErrInterrupted)
	exits(t, other, 0)
	if s, _ := leader.p.ExitStatus(); s != SignalStatus(unix.SIGKILL) {
		t.Errorf("status %#x", s)
	}
}

func TestExecResets(t *testing.T) {
	_, init := newTable(t)
	for _, tt := range []struct {
		name       string
		program    NewProgram
		from       Credentials
		dumpable   int
		deathSig   unix.Signal
		dumpBefore int
	}{
		{"plain", NewProgram{}, Credentials{}, 1, unix.SIGUSR1, 0},
		{"secure", NewProgram{Secure: true}, Credentials{}, 1, 0, 1},
		{"unreadable", NewProgram{Unreadable: true}, Credentials{}, 0, unix.SIGUSR1, 1},
		{"other effective user", NewProgram{}, Credentials{EUID: 5}, 0, unix.SIGUSR1, 1},
		{"set-user-ID", NewProgram{Secure: true, Credentials: &Credentials{EUID: 5, SUID: 5, FSUID: 5}}, Credentials{}, 0, 0, 1},
	} {
		p := fork(t, init)
		p.creds.Store(&tt.from)
		p.SetParentDeathSignal(unix.SIGUSR1)
		p.p.SetDumpable(tt.dumpBefore)
		catch(t, p, unix.SIGUSR1)
		ignore(t, p, unix.SIGUSR2)
		if err := p.BeginExec(); err != nil {
			t.Fatal(err)
		}
		tt.program.Name = "x"
		p.CompleteExec(tt.program)
		if got := p.p.Dumpable(); got != tt.dumpable {
			t.Errorf("%s: dumpable %d, want %d", tt.name, got, tt.dumpable)
		}
		if got := p.ParentDeathSignal(); got != tt.deathSig {
			t.Errorf("%s: parent death signal %d, want %d", tt.name, got, tt.deathSig)
		}
		if i, c := p.p.Actions(); i != SetOf(unix.SIGUSR2) || c != 0 {
			t.Errorf("%s: ignored %#x, caught %#x", tt.name, i, c)
		}
	}
}

func TestVfork(t *testing.T) {
	_, init := newTable(t)
	for _, how := range []string{"exec", "exit"} {
		child := cloneWith(t, init, CloneOptions{Flags: unix.CLONE_VFORK | unix.CLONE_VM, ExitSignal: unix.SIGCHLD})
		done := make(chan struct{})
		go func() {
			init.WaitVfork(child)
			close(done)
		}()
		reach(t, init, Blocked)
		if how == "exec" {
			exec(t, child)
			<-done
		}
		exits(t, child, 0)
		<-done
	}
}

func TestExecAfterTooManyThreads(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	if _, err := tb.Prlimit(p, 0, unix.RLIMIT_NPROC, &Limit{1, 1}); err != nil {
		t.Fatal(err)
	}
	other := func() *Thread {
		th := fork(t, init)
		th.SetCredentials(&Credentials{RUID: 7, EUID: 7, SUID: 7})
		return th
	}
	first := other()
	wantErr(t, "before", p.MayExec(), nil)
	p.SetCredentials(&Credentials{RUID: 7, EUID: 7, SUID: 7})
	wantErr(t, "the second thread: the one before was within the limit", p.MayExec(), nil)
	p.SetCredentials(RootCredentials())
	second := other()
	p.SetCredentials(&Credentials{RUID: 7, EUID: 7, SUID: 7})
	wantErr(t, "the third thread", p.MayExec(), unix.EAGAIN)
	_, err := tb.Fork(p, CloneOptions{})
	wantErr(t, "fork", err, unix.EAGAIN)
	for _, th := range []*Thread{first, second} {
		exits(t, th, 0)
		reap(t, init, th.ID())
	}
	wantErr(t, "one", p.MayExec(), nil)
	// Once it is over, it is forgotten.
	other()
	wantErr(t, "two again", p.MayExec(), nil)
	if n := tb.users[7].threads; n != 2 {
		t.Errorf("%d threads are counted", n)
	}
}
