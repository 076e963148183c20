package procmgr

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// reap waits for the end of a child without blocking, and returns its id.
func reap(t testing.TB, th *Thread, pid int) int {
	t.Helper()
	r, err := th.Waitpid(pid, unix.WNOHANG)
	if err != nil {
		t.Fatalf("waitpid(%d): %v", pid, err)
	}
	return r.PID
}

// blockedWait starts a Wait that has to wait.
func blockedWait(t testing.TB, th *Thread, o WaitOptions) <-chan error {
	t.Helper()
	ch := make(chan error, 1)
	go func() {
		_, err := th.Wait(o)
		ch <- err
	}()
	reach(t, th, Blocked)
	return ch
}

func TestWaitOrder(t *testing.T) {
	_, init := newTable(t)
	var kids []*Thread
	for range 5 {
		kids = append(kids, fork(t, init))
	}
	for _, i := range []int{3, 0, 4, 1, 2} {
		exits(t, kids[i], i)
	}
	// The oldest child comes first, whatever ended first.
	for i, k := range kids {
		r, err := init.Waitpid(-1, 0)
		if err != nil || r.PID != k.ID() || r.Status != int32(i) || r.Code != CLDExited || r.WaitStatus != ExitStatus(i) {
			t.Errorf("%+v, %v, want process %d", r, err, k.ID())
		}
	}
	_, err := init.Waitpid(-1, 0)
	wantErr(t, "no children", err, unix.ECHILD)
}

func TestWaitArguments(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	other := fork(t, p)
	for _, tt := range []struct {
		name         string
		pid, options int
		want         error
	}{
		{"unknown option", -1, 0x100, unix.EINVAL},
		{"WEXITED is waitid's", -1, unix.WEXITED, unix.EINVAL},
		{"no such child", 999, 0, unix.ECHILD},
		{"somebody else's", other.ID(), 0, unix.ECHILD},
		{"itself", 1, 0, unix.ECHILD},
		{"no such group", -999, 0, unix.ECHILD},
		{"a process that leads no group", -p.ID(), 0, unix.ECHILD},
		{"INT_MIN", -1 << 31, 0, unix.ESRCH},
		{"only clones", -1, unix.WCLONE | unix.WNOHANG, unix.ECHILD},
		{"nothing yet", -1, unix.WNOHANG, nil},
		{"nothing yet, of the group", 0, unix.WNOHANG, nil},
		{"nothing yet, of it", p.ID(), unix.WNOHANG, nil},
		{"all kinds", -1, unix.WNOHANG | unix.WALL, nil},
	} {
		r, err := init.Waitpid(tt.pid, tt.options)
		if err != tt.want || r.PID != 0 {
			t.Errorf("%s: %+v, %v, want %v", tt.name, r, err, tt.want)
		}
	}
	_, err := init.Wait(WaitOptions{Options: unix.WNOHANG})
	wantErr(t, "no event", err, unix.EINVAL)
	if err := tb.Setpgid(p.p, 0, 0); err != nil {
		t.Fatal(err)
	}
	if r, err := init.Waitpid(-p.ID(), unix.WNOHANG); err != nil || r.PID != 0 {
		t.Errorf("its own group: %+v, %v", r, err)
	}
	_, err = init.Waitpid(0, unix.WNOHANG)
	wantErr(t, "nobody is left in the caller's group", err, unix.ECHILD)
	// A zombie is nothing that could stop or go on.
	exits(t, p, 0)
	_, err = init.Wait(WaitOptions{Options: unix.WSTOPPED, Kind: WaitPID, ID: p.ID()})
	wantErr(t, "WSTOPPED of a zombie", err, unix.ECHILD)
}

func TestWaitClone(t *testing.T) {
	_, init := newTable(t)
	usual := fork(t, init)
	clone := cloneWith(t, init, CloneOptions{ExitSignal: unix.SIGUSR1})
	silent := cloneWith(t, init, CloneOptions{})
	for _, th := range []*Thread{silent, clone, usual} {
		exits(t, th, 0)
	}
	wait := func(options int) int {
		t.Helper()
		r, err := init.Waitpid(-1, options|unix.WNOHANG|unix.WNOTHREAD)
		if err == unix.ECHILD {
			return -1
		}
		return r.PID
	}
	if got := wait(0); got != usual.ID() {
		t.Errorf("the usual: %d", got)
	}
	if got := wait(0); got != -1 {
		t.Errorf("no more of the usual: %d", got)
	}
	if got := wait(unix.WCLONE); got != clone.ID() {
		t.Errorf("__WCLONE: %d", got)
	}
	if got := wait(unix.WALL | unix.WCLONE); got != silent.ID() {
		t.Errorf("__WALL: %d", got)
	}
}

// A program that was executed did not ask for another exit signal.
func TestExitSignalAfterExec(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	p.SetSignalMask(^SigSet(0))
	clone := cloneWith(t, p, CloneOptions{ExitSignal: unix.SIGUSR1})
	execd := cloneWith(t, p, CloneOptions{ExitSignal: unix.SIGUSR1})
	exec(t, execd)
	exits(t, execd, 0)
	if got := p.PendingSet(); got != SetOf(unix.SIGCHLD) {
		t.Errorf("the child executed a program: %#x", got)
	}
	p.Dequeue(^SigSet(0))
	if got := reap(t, p, -1); got != execd.ID() {
		t.Errorf("it needs __WCLONE: %d", got)
	}
	exec(t, p)
	exits(t, clone, 0)
	if got := p.PendingSet(); got != SetOf(unix.SIGCHLD) {
		t.Errorf("the parent executed a program: %#x", got)
	}
}

func exec(t testing.TB, th *Thread) {
	t.Helper()
	if err := th.BeginExec(); err != nil {
		t.Fatal(err)
	}
	th.CompleteExec(NewProgram{Name: "program"})
}

func TestWaitThreads(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	other := newThread(t, p)
	mine, its := fork(t, p), fork(t, other)
	exits(t, mine, 0)
	exits(t, its, 0)
	r, err := other.Waitpid(-1, unix.WNOTHREAD)
	if err != nil || r.PID != its.ID() {
		t.Errorf("__WNOTHREAD: %+v, %v", r, err)
	}
	_, err = other.Waitpid(-1, unix.WNOTHREAD)
	wantErr(t, "__WNOTHREAD again", err, unix.ECHILD)
	if got := reap(t, other, -1); got != mine.ID() {
		t.Errorf("any thread may wait: %d", got)
	}
	// When a thread ends, another of the process is the parent.
	its = fork(t, other)
	exits(t, other, 0)
	exits(t, its, 0)
	if r, err := p.Waitpid(-1, unix.WNOTHREAD); err != nil || r.PID != its.ID() {
		t.Errorf("a child of a thread that ended: %+v, %v", r, err)
	}
}

func TestWaitPeek(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	o := WaitOptions{Options: unix.WEXITED | unix.WSTOPPED | unix.WCONTINUED | unix.WNOHANG}
	peek := o
	peek.Options |= unix.WNOWAIT
	expect := func(what string, code, status int32, ws uint32) {
		t.Helper()
		for _, o := range []WaitOptions{peek, peek, o} {
			r, err := init.Wait(o)
			if err != nil || r.PID != p.ID() || r.Code != code || r.Status != status || r.WaitStatus != ws {
				t.Errorf("%s: %+v, %v", what, r, err)
			}
		}
		if r, err := init.Wait(o); code < CLDStopped && err != unix.ECHILD || code >= CLDStopped && (err != nil || r.PID != 0) {
			t.Errorf("%s, again: %+v, %v", what, r, err)
		}
	}
	kill(t, init, p.ID(), unix.SIGSTOP)
	work := background(p)
	reach(t, p, Stopped)
	expect("stop", CLDStopped, int32(unix.SIGSTOP), 0x137f)
	kill(t, init, p.ID(), unix.SIGCONT)
	<-work
	expect("continue", CLDContinued, int32(unix.SIGCONT), 0xffff)
	// A stop that is over when the parent looks is no news, but the continuation is.
	kill(t, init, p.ID(), unix.SIGSTOP)
	work = background(p)
	reach(t, p, Stopped)
	kill(t, init, p.ID(), unix.SIGCONT)
	<-work
	expect("continue at once", CLDContinued, int32(unix.SIGCONT), 0xffff)
	kill(t, init, p.ID(), unix.SIGSTOP)
	work = background(p)
	reach(t, p, Stopped)
	kill(t, init, p.ID(), unix.SIGKILL)
	<-work
	if r, err := init.Wait(o); err != nil || r.PID != 0 {
		t.Errorf("a stop that SIGKILL ended: %+v, %v", r, err)
	}
	exits(t, p, 0)
	expect("end", CLDKilled, int32(unix.SIGKILL), 9)
}

func TestWaitWakes(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	any := WaitOptions{Options: unix.WEXITED}

	c := fork(t, p)
	ch := blockedWait(t, p, any)
	exits(t, c, 0)
	wantErr(t, "a child ends", <-ch, nil)

	c = fork(t, p)
	ignore(t, p, unix.SIGCHLD)
	ch = blockedWait(t, p, any)
	exits(t, c, 0)
	wantErr(t, "the last child goes unnoticed", <-ch, unix.ECHILD)

	c = fork(t, p)
	ch = blockedWait(t, p, any)
	kill(t, init, p.ID(), unix.SIGCHLD) // ignored
	time.Sleep(time.Millisecond)
	select {
	case err := <-ch:
		t.Errorf("an ignored signal ends the wait: %v", err)
	default:
	}
	catch(t, p, unix.SIGUSR1)
	kill(t, init, p.ID(), unix.SIGUSR1)
	wantErr(t, "a signal", <-ch, ErrInterrupted)
	delivered(t, p)

	// Of two threads that wait, one gets the child, the other hears that there is none.
	p.p.SetAction(unix.SIGCHLD, &SigAction{})
	other := newThread(t, p)
	first, second := blockedWait(t, p, any), blockedWait(t, other, WaitOptions{Kind: WaitProcess, Process: c.p, Options: unix.WEXITED})
	exits(t, c, 0)
	errs := map[error]int{<-first: 1}
	errs[<-second]++
	if errs[nil] != 1 || errs[unix.ECHILD] != 1 {
		t.Errorf("two waits for one child: %v", errs)
	}
}

// A wait that a signal ends looks once more: the signal may be the child's.
func TestWaitBeforeSignal(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	catch(t, p, unix.SIGCHLD)
	c := fork(t, p)
	ch := blockedWait(t, p, WaitOptions{Options: unix.WEXITED})
	exits(t, c, 0)
	wantErr(t, "wait", <-ch, nil)
	if i := delivered(t, p); i.PID != int32(c.ID()) {
		t.Errorf("%+v", i)
	}
}

func TestWaitPIDFD(t *testing.T) {
	_, init := newTable(t)
	p, q := fork(t, init), fork(t, init)
	c := fork(t, q)
	wait := func(th *Thread, p *Process) error {
		_, err := th.Wait(WaitOptions{Kind: WaitProcess, Process: p, Options: unix.WEXITED | unix.WNOHANG})
		return err
	}
	wantErr(t, "not a child", wait(init, c.p), unix.ECHILD)
	exits(t, p, 0)
	wantErr(t, "a zombie", wait(init, p.p), nil)
	wantErr(t, "gone", wait(init, p.p), unix.ECHILD)
}

func TestRusage(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	c := fork(t, p)
	c.AccountUser(3 * time.Second)
	c.AccountFault()
	c.p.AccountRSS(100)
	exits(t, c, 0)
	r, err := p.Waitpid(-1, 0)
	if err != nil || r.Rusage.UserTime != 3*time.Second || r.Rusage.MinorFaults != 1 || r.Rusage.MaxRSS != 100 {
		t.Errorf("%+v, %v", r, err)
	}
	other := newThread(t, p)
	other.AccountUser(time.Second)
	p.AccountSystem(2 * time.Second)
	p.p.AccountRSS(50)
	exits(t, other, 0)
	if u := p.p.Usage(); u.UserTime != time.Second || u.SystemTime != 2*time.Second || u.MaxRSS != 50 {
		t.Errorf("itself: %+v", u)
	}
	if u := p.p.ChildrenUsage(); u.UserTime != 3*time.Second || u.MaxRSS != 100 {
		t.Errorf("children: %+v", u)
	}
	exits(t, p, 0)
	// A wait tells of the child and of what it waited for.
	r, _ = init.Waitpid(-1, 0)
	if u := r.Rusage; u.UserTime != 4*time.Second || u.SystemTime != 2*time.Second || u.MaxRSS != 100 {
		t.Errorf("wait: %+v", u)
	}
	if u := init.p.ChildrenUsage(); u != r.Rusage {
		t.Errorf("children of init: %+v", u)
	}
	// Who ignores its children does not pay for them.
	ignore(t, init, unix.SIGCHLD)
	p = fork(t, init)
	p.AccountUser(time.Hour)
	exits(t, p, 0)
	if u := init.p.ChildrenUsage(); u != r.Rusage {
		t.Errorf("an ignored child counts: %+v", u)
	}
}
