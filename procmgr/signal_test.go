package procmgr

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func eventually(ok func() bool) error {
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			return errors.New("never")
		}
		time.Sleep(10 * time.Microsecond)
	}
	return nil
}

func TestDefaultActions(t *testing.T) {
	for sig := unix.Signal(1); sig <= NumSignals; sig++ {
		_, init := newTable(t)
		p := fork(t, init)
		kill(t, init, p.ID(), sig)
		switch {
		case ignoredDfl.Has(sig):
			if p.Pending() {
				t.Errorf("signal %d is not ignored", sig)
			}
		case stopSignals.Has(sig):
			// The group is not orphaned only if somebody else can continue it.
			if sig != unix.SIGSTOP {
				quiet(t, p)
				continue
			}
			work := background(p)
			reach(t, p, Stopped)
			kill(t, init, p.ID(), unix.SIGCONT)
			if w := <-work; w.Kind != WorkNone {
				t.Errorf("signal %d: after the stop: %+v", sig, w)
			}
		default:
			if w := p.NextWork(); w.Kind != WorkExit {
				t.Errorf("signal %d: %+v", sig, w)
			}
			if s, last := p.FinishExit(); s != uint32(sig) || !last {
				t.Errorf("signal %d: status %#x, last %v", sig, s, last)
			}
		}
	}
}

func TestQueueOrder(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGSEGV, 34, 35, unix.SIGHUP} {
		catch(t, p, sig)
	}
	p.SetSignalMask(^SigSet(0))
	send := func(sig unix.Signal, value uint64) {
		t.Helper()
		if err := tb.Sigqueue(init, p.ID(), 0, SigInfo{Signo: int32(sig), Code: SIQueue, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	send(35, 1)
	send(34, 2)
	send(unix.SIGUSR1, 3)
	send(unix.SIGUSR1, 4) // lost
	send(34, 5)
	send(unix.SIGSEGV, 6)
	send(unix.SIGHUP, 7)
	if n := tb.PendingSignals(0); n != 6 {
		t.Errorf("%d signals are queued, want 6", n)
	}
	if got, want := p.PendingSet(), SetOf(35, 34, unix.SIGUSR1, unix.SIGSEGV, unix.SIGHUP); got != want {
		t.Errorf("pending %#x, want %#x", got, want)
	}
	quiet(t, p)
	p.SetSignalMask(0)
	// Synchronous ones first, then by number, equal ones in order.
	for _, want := range []uint64{6, 7, 3, 2, 5, 1} {
		if i := delivered(t, p); i.Value != want {
			t.Errorf("signal %d with %d, want %d", i.Signo, i.Value, want)
		}
	}
	quiet(t, p)
	if n := tb.PendingSignals(0); n != 0 {
		t.Errorf("%d signals are still charged", n)
	}
}

// A queue of many signals takes as long for each as a short one.
func TestLongQueue(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	catch(t, p, 34, 40)
	p.SetSignalMask(SetOf(34, 40))
	const n = 30_000
	for i := range n {
		for _, sig := range []unix.Signal{34, 40} {
			info := SigInfo{Signo: int32(sig), Code: SIQueue, Value: uint64(i)}
			if err := p.SendSignal(info); err != nil && 2*i < 31000-1 {
				t.Fatal(err)
			}
		}
	}
	begin := time.Now()
	p.SetSignalMask(0)
	count := 0
	for p.NextWork().Kind == WorkDeliver {
		count++
	}
	if count != 31000 {
		t.Errorf("%d signals came, want RLIMIT_SIGPENDING's 31000", count)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("%d signals took %v", count, d)
	}
}

func TestPendingLimit(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	if _, err := tb.Prlimit(init, p.ID(), rlimitSigPending, &Limit{2, 2}); err != nil {
		t.Fatal(err)
	}
	p.SetSignalMask(^SigSet(0))
	rt := func(code int32) error { return p.SendSignal(SigInfo{Signo: 40, Code: code, Value: 7}) }
	for range 2 {
		wantErr(t, "below the limit", rt(SIQueue), nil)
	}
	wantErr(t, "sigqueue", rt(SIQueue), unix.EAGAIN)
	wantErr(t, "timer", rt(SITimer), unix.EAGAIN)
	wantErr(t, "tkill", rt(SITkill), unix.EAGAIN)
	wantErr(t, "kill", rt(SIUser), nil) // loses its details, but one is there already
	wantErr(t, "standard, from sigqueue", p.SendSignal(SigInfo{Signo: int32(unix.SIGUSR1), Code: SIQueue, Value: 7}), nil)
	wantErr(t, "standard, from kill", p.SendSignal(SigInfo{Signo: int32(unix.SIGUSR2), Code: SIUser, PID: 5}), nil)

	take := func(sig unix.Signal) SigInfo {
		i, ok := p.Dequeue(SetOf(sig))
		if !ok || i.Signo != int32(sig) {
			t.Fatalf("signal %d is not there: %+v", sig, i)
		}
		return i
	}
	if i := take(unix.SIGUSR1); i.Value != 0 || i.Code != SIUser {
		t.Errorf("a signal over the limit has its details: %+v", i)
	}
	if i := take(unix.SIGUSR2); i.PID != 5 {
		t.Errorf("kill(2) lost its sender: %+v", i)
	}
	for range 2 {
		if i := take(40); i.Value != 7 {
			t.Errorf("%+v", i)
		}
	}
	if _, ok := p.Dequeue(^SigSet(0)); ok {
		t.Error("there is one more")
	}
	if n := tb.PendingSignals(0); n != 0 {
		t.Errorf("%d are charged", n)
	}
}

func TestIgnored(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	ignore(t, p, unix.SIGUSR1)
	kill(t, init, p.ID(), unix.SIGUSR1)
	if p.PendingSet() != 0 {
		t.Error("an ignored signal is pending")
	}
	// Blocked ones wait, as the disposition may change.
	p.SetSignalMask(SetOf(unix.SIGUSR1, unix.SIGCHLD))
	kill(t, init, p.ID(), unix.SIGUSR1)
	kill(t, init, p.ID(), unix.SIGCHLD)
	if got, want := p.PendingSet(), SetOf(unix.SIGUSR1, unix.SIGCHLD); got != want {
		t.Errorf("pending %#x, want %#x", got, want)
	}
	// Setting it to be ignored throws it away, even if it was before.
	ignore(t, p, unix.SIGUSR1)
	if _, err := p.p.SetAction(unix.SIGCHLD, &SigAction{}); err != nil {
		t.Fatal(err)
	}
	if p.PendingSet() != 0 {
		t.Errorf("pending %#x", p.PendingSet())
	}
}

func TestSetAction(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init).p
	for _, sig := range []unix.Signal{-1, 0, 65, unix.SIGKILL, unix.SIGSTOP} {
		_, err := p.SetAction(sig, &SigAction{Handler: SigIgn})
		wantErr(t, sig.String(), err, unix.EINVAL)
	}
	if old, err := p.SetAction(unix.SIGKILL, nil); err != nil || old != (SigAction{}) {
		t.Errorf("asking about SIGKILL: %+v, %v", old, err)
	}
	in := SigAction{Handler: 0x1000, Flags: ^uint64(0), Restorer: 0x2000, Mask: ^SigSet(0)}
	if _, err := p.SetAction(unix.SIGUSR1, &in); err != nil {
		t.Fatal(err)
	}
	out, _ := p.SetAction(unix.SIGUSR1, nil)
	want := SigAction{0x1000, 0xdc000807, 0x2000, ^SigSet(0) &^ SetOf(unix.SIGKILL, unix.SIGSTOP)}
	if out != want {
		t.Errorf("%+v, want %+v", out, want)
	}
}

// fork copies dispositions, lazily: neither side sees what the other changes.
func TestActionsCopied(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	catch(t, p, unix.SIGUSR1)
	c := fork(t, p)
	catch(t, p, unix.SIGUSR2)
	ignore(t, c, unix.SIGHUP)
	check := func(what string, th *Thread, ignored, caught SigSet) {
		t.Helper()
		if i, c := th.p.Actions(); i != ignored || c != caught {
			t.Errorf("%s: ignored %#x, caught %#x, want %#x, %#x", what, i, c, ignored, caught)
		}
	}
	check("parent", p, 0, SetOf(unix.SIGUSR1, unix.SIGUSR2))
	check("child", c, SetOf(unix.SIGHUP), SetOf(unix.SIGUSR1))
	shared := cloneWith(t, c, CloneOptions{Flags: unix.CLONE_SIGHAND | unix.CLONE_VM})
	catch(t, shared, unix.SIGINT)
	check("shared", c, SetOf(unix.SIGHUP), SetOf(unix.SIGUSR1, unix.SIGINT))
	cleared := cloneWith(t, c, CloneOptions{Flags: cloneClearSighand})
	check("CLONE_CLEAR_SIGHAND", cleared, SetOf(unix.SIGHUP), 0)
	if err := shared.BeginExec(); err != nil {
		t.Fatal(err)
	}
	shared.CompleteExec(NewProgram{Name: "x"})
	check("after exec", shared, SetOf(unix.SIGHUP), 0)
	check("who shared with it", c, SetOf(unix.SIGHUP), SetOf(unix.SIGUSR1, unix.SIGINT))
	if c.p.ActionsShared() {
		t.Error("they are still shared")
	}
}

func TestResetHand(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	if _, err := p.p.SetAction(unix.SIGUSR1, &SigAction{Handler: 0x1000, Flags: saResetHand}); err != nil {
		t.Fatal(err)
	}
	kill(t, init, p.ID(), unix.SIGUSR1)
	if w := p.NextWork(); w.Kind != WorkDeliver || w.Action.Handler != 0x1000 {
		t.Fatalf("%+v", w)
	}
	kill(t, init, p.ID(), unix.SIGUSR1)
	if w := p.NextWork(); w.Kind != WorkExit {
		t.Errorf("the second time: %+v", w)
	}
}

func TestStopAndContinueThrowEachOtherAway(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	catch(t, p, unix.SIGCONT)
	kill(t, init, p.ID(), unix.SIGSTOP)
	kill(t, init, p.ID(), unix.SIGCONT)
	if i := delivered(t, p); i.Signo != int32(unix.SIGCONT) {
		t.Errorf("%+v", i)
	}
	quiet(t, p) // the stop is gone
	kill(t, init, p.ID(), unix.SIGCONT)
	kill(t, init, p.ID(), unix.SIGSTOP)
	work := background(p)
	reach(t, p, Stopped)
	kill(t, init, p.ID(), unix.SIGKILL)
	if w := <-work; w.Kind != WorkExit {
		t.Errorf("killed while stopped: %+v", w)
	}
	if p.p.State() != Stopped && p.State() == Stopped {
		t.Error("the thread is still stopped")
	}
}

// A SIGCONT that comes after a thread has taken a stop signal, and before it acts on
// it, still wins.
func TestContinueAfterStopTaken(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	kill(t, init, p.ID(), unix.SIGSTOP)
	p.p.mu.Lock()
	info, ok := p.dequeue(^SigSet(0))
	p.stopTaken = true
	p.p.mu.Unlock()
	if !ok || info.Signo != int32(unix.SIGSTOP) {
		t.Fatal(info, ok)
	}
	kill(t, init, p.ID(), unix.SIGCONT)
	p.stop(unix.SIGSTOP)
	quiet(t, p)
	if p.p.stopping != 0 {
		t.Error("it stops")
	}
}

func TestTakers(t *testing.T) {
	tb, init := newTable(t)
	leader := fork(t, init)
	second, third := newThread(t, leader), newThread(t, leader)
	catch(t, leader, unix.SIGUSR1, unix.SIGUSR2)
	pid := leader.ID()
	has := func(what string, want ...*Thread) {
		t.Helper()
		for _, th := range []*Thread{leader, second, third} {
			wanted := false
			for _, w := range want {
				wanted = wanted || w == th
			}
			if th.Pending() != wanted {
				t.Errorf("%s: thread %d pending: %v", what, th.ID(), th.Pending())
			}
		}
	}
	kill(t, init, pid, unix.SIGUSR1)
	has("the leader comes first", leader)
	kill(t, init, pid, unix.SIGUSR2)
	has("then who has nothing to do", leader, second)
	// Both are the process's: the leader, once it looks, gets both.
	if delivered(t, leader).Signo != int32(unix.SIGUSR1) || delivered(t, leader).Signo != int32(unix.SIGUSR2) {
		t.Error("the leader does not get both")
	}
	quiet(t, second)
	has("all is done")

	leader.SetSignalMask(SetOf(unix.SIGUSR1))
	second.SetSignalMask(SetOf(unix.SIGUSR1))
	kill(t, init, pid, unix.SIGUSR1)
	has("the only one that does not block it", third)
	third.SetSignalMask(SetOf(unix.SIGUSR1))
	has("nobody takes it now")
	second.SetSignalMask(0)
	has("who unblocks it", second)
	second.SetSignalMask(SetOf(unix.SIGUSR1))
	third.SetSignalMask(0)
	third.SetSignalMask(SetOf(unix.SIGUSR1))
	leader.SetSignalMask(0)
	has("the next", leader)
	second.SetSignalMask(0)
	leader.Exit(0)
	exits(t, leader, 0)
	if !second.Pending() {
		t.Error("the taker has ended, and nobody else was told")
	}
	if i := delivered(t, second); i.Signo != int32(unix.SIGUSR1) {
		t.Errorf("%+v", i)
	}
	// A signal for one thread is for nobody else.
	if err := tb.Tgkill(init, pid, third.ID(), unix.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	if second.Pending() || !third.Pending() {
		t.Error("tgkill")
	}
	quiet(t, second)
	if i := delivered(t, third); i.Code != SITkill || i.PID != 1 {
		t.Errorf("%+v", i)
	}
}

// A signal whose default action ends the process does so at once: even a parent that
// waits for its vfork child goes.
func TestFatalAtOnce(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	child := cloneWith(t, p, CloneOptions{Flags: unix.CLONE_VFORK | unix.CLONE_VM, ExitSignal: unix.SIGCHLD})
	done := make(chan struct{})
	go func() {
		p.WaitVfork(child)
		close(done)
	}()
	reach(t, p, Blocked)
	catch(t, p, unix.SIGUSR1)
	kill(t, init, p.ID(), unix.SIGUSR1) // does not end it
	time.Sleep(time.Millisecond)
	if p.State() != Blocked {
		t.Fatalf("a caught signal ends the wait: %v", p.State())
	}
	kill(t, init, p.ID(), unix.SIGTERM)
	<-done
	exits(t, p, 0)
	if s, ended := p.p.ExitStatus(); s != uint32(unix.SIGTERM) || !ended {
		t.Errorf("status %#x, %v", s, ended)
	}
}

func TestInitIsSafe(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGSTOP, unix.SIGSEGV, 40} {
		kill(t, p, 1, sig)
		quiet(t, init)
	}
	// A signal that was blocked when it came is not fatal either.
	init.SetSignalMask(SetOf(unix.SIGTERM))
	kill(t, p, 1, unix.SIGTERM)
	init.SetSignalMask(0)
	quiet(t, init)
	catch(t, init, unix.SIGTERM)
	kill(t, p, 1, unix.SIGTERM)
	if i := delivered(t, init); i.Signo != int32(unix.SIGTERM) {
		t.Errorf("%+v", i)
	}
	// The kernel's SIGTERM is not different, its SIGKILL is.
	if _, err := init.p.SetAction(unix.SIGTERM, &SigAction{}); err != nil {
		t.Fatal(err)
	}
	tb.Kill(nil, 1, unix.SIGTERM)
	quiet(t, init)
	tb.Kill(nil, 1, unix.SIGKILL)
	if w := init.NextWork(); w.Kind != WorkExit {
		t.Errorf("SIGKILL from above: %+v", w)
	}
}

// A fault of its own ends even an init, and a blocked or ignored signal cannot hide it.
func TestForceSignal(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(*Thread)
		exit    bool
	}{
		{"default", func(*Thread) {}, true},
		{"ignored", func(th *Thread) { ignore(t, th, unix.SIGSEGV) }, true},
		{"blocked", func(th *Thread) {
			catch(t, th, unix.SIGSEGV)
			th.SetSignalMask(SetOf(unix.SIGSEGV))
		}, true},
		{"caught", func(th *Thread) { catch(t, th, unix.SIGSEGV) }, false},
	} {
		_, init := newTable(t)
		for _, th := range []*Thread{fork(t, init), init} {
			tt.prepare(th)
			th.ForceSignal(SigInfo{Signo: int32(unix.SIGSEGV), Code: 1, Addr: 0x1234})
			w := th.NextWork()
			if got := w.Kind == WorkExit; got != tt.exit {
				t.Errorf("%s: process %d: %+v", tt.name, th.ID(), w)
			}
			if !tt.exit && (w.Info.Addr != 0x1234 || w.Info.Code != 1) {
				t.Errorf("%s: %+v", tt.name, w.Info)
			}
		}
	}
	_, init := newTable(t)
	p := fork(t, init)
	catch(t, p, unix.SIGSEGV)
	p.ForceSegv(int32(unix.SIGUSR1)) // has a chance
	if i := delivered(t, p); i.Signo != int32(unix.SIGSEGV) || i.Code != SIKernel {
		t.Errorf("%+v", i)
	}
	p.ForceSegv(int32(unix.SIGSEGV)) // has none
	if w := p.NextWork(); w.Kind != WorkExit {
		t.Errorf("%+v", w)
	}
}

func TestSigtimedwait(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	catch(t, p, unix.SIGUSR2)
	set := SetOf(unix.SIGUSR1, 40)
	p.SetSignalMask(set)
	_, err := p.Sigtimedwait(set, time.Now())
	wantErr(t, "nothing there", err, unix.EAGAIN)
	_, err = p.Sigtimedwait(set, time.Now().Add(time.Millisecond))
	wantErr(t, "nothing came", err, unix.EAGAIN)
	kill(t, init, p.ID(), 40)
	kill(t, init, p.ID(), unix.SIGUSR1)
	for _, want := range []unix.Signal{unix.SIGUSR1, 40} {
		i, err := p.Sigtimedwait(set, time.Time{})
		if err != nil || i.Signo != int32(want) || i.PID != 1 {
			t.Errorf("%+v, %v, want %d", i, err, want)
		}
	}
	type result struct {
		i   SigInfo
		err error
	}
	wait := func() <-chan result {
		ch := make(chan result, 1)
		go func() {
			i, err := p.Sigtimedwait(set, time.Time{})
			ch <- result{i, err}
		}()
		reach(t, p, Blocked)
		return ch
	}
	ch := wait()
	kill(t, init, p.ID(), unix.SIGUSR1)
	if r := <-ch; r.err != nil || r.i.Signo != int32(unix.SIGUSR1) {
		t.Errorf("%+v", r)
	}
	quiet(t, p)
	ch = wait()
	kill(t, init, p.ID(), unix.SIGUSR2)
	if r := <-ch; r.err != ErrInterrupted {
		t.Errorf("another signal: %+v", r)
	}
	delivered(t, p)
	// The thread that waits for a signal gets it, though the leader is first in line.
	other := newThread(t, p)
	other.SetSignalMask(set)
	p.SetSignalMask(SetOf(unix.SIGUSR1))
	q := other
	done := make(chan result, 1)
	go func() {
		i, err := q.Sigtimedwait(SetOf(unix.SIGUSR1), time.Time{})
		done <- result{i, err}
	}()
	reach(t, q, Blocked)
	kill(t, init, p.ID(), unix.SIGUSR1)
	if r := <-done; r.err != nil {
		t.Errorf("the waiting thread: %+v", r)
	}
	if p.Pending() {
		t.Error("the leader was told")
	}
}

func TestSaveMask(t *testing.T) {
	_, init := newTable(t)
	p := fork(t, init)
	catch(t, p, unix.SIGUSR1)
	p.SetSignalMask(SetOf(unix.SIGUSR1))
	kill(t, init, p.ID(), unix.SIGUSR1)
	p.SaveMask(SetOf(unix.SIGUSR2, unix.SIGKILL))
	if got := p.SignalMask(); got != SetOf(unix.SIGUSR2) {
		t.Errorf("mask %#x", got)
	}
	delivered(t, p)
	if m, ok := p.TakeSavedMask(); !ok || m != SetOf(unix.SIGUSR1) {
		t.Errorf("saved %#x, %v", m, ok)
	}
	if _, ok := p.TakeSavedMask(); ok {
		t.Error("it is there twice")
	}
	p.SetSignalMask(SetOf(unix.SIGUSR1))
	p.SaveMask(0)
	if !p.Pending() {
		t.Error("nobody would restore the mask")
	}
	p.RestoreMask()
	if got := p.SignalMask(); got != SetOf(unix.SIGUSR1) || p.Pending() {
		t.Errorf("mask %#x, pending %v", got, p.Pending())
	}
}

func TestKill(t *testing.T) {
	tb, init := newTable(t)
	a, b := fork(t, init), fork(t, init)
	th := newThread(t, b)
	if err := tb.Setpgid(a.p, 0, 0); err != nil {
		t.Fatal(err)
	}
	user := &Credentials{RUID: 1000, EUID: 1000, SUID: 1000}
	b.SetCredentials(user)
	for _, tt := range []struct {
		from *Thread
		pid  int
		sig  unix.Signal
		want error
	}{
		{init, a.ID(), 0, nil},
		{init, a.ID(), 65, unix.EINVAL},
		{init, a.ID(), -1, unix.EINVAL},
		{init, 999, 0, unix.ESRCH},
		{init, -999, 0, unix.ESRCH},
		{init, th.ID(), 0, nil}, // any thread of it will do
		{init, -a.ID(), 0, nil},
		{init, -b.ID(), 0, unix.ESRCH}, // leads no group
		{b, a.ID(), 0, unix.EPERM},
		{b, a.ID(), unix.SIGCONT, nil}, // in the same session
		{b, 1, unix.SIGTERM, unix.EPERM},
		{b, b.ID(), 0, nil},
		{b, -1, 0, nil}, // nobody that it may kill: EPERM does not count
		{b, -a.ID(), 0, unix.EPERM},
		{b, 0, 0, nil}, // its own group has others, but one success is enough
		{a, -1, 0, nil},
	} {
		if err := tb.Kill(tt.from, tt.pid, tt.sig); err != tt.want {
			t.Errorf("%d: kill(%d, %d): %v, want %v", tt.from.ID(), tt.pid, tt.sig, err, tt.want)
		}
	}
	if err := tb.Tgkill(init, a.ID(), th.ID(), 0); err != unix.ESRCH {
		t.Errorf("a thread of another process: %v", err)
	}
	exits(t, a, 0)
	wantErr(t, "a zombie", tb.Kill(init, a.ID(), unix.SIGKILL), nil)
	wantErr(t, "a zombie, held", tb.KillProcess(init, a.p, 0), nil)
	if _, err := init.Waitpid(a.ID(), 0); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "one that is gone", tb.Kill(init, a.ID(), 0), unix.ESRCH)
	wantErr(t, "one that is gone, held", tb.KillProcess(init, a.p, 0), unix.ESRCH)
}

// A signal that is caught costs no memory.
func TestSignalAllocatesNothing(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	catch(t, p, unix.SIGUSR1, 40)
	for _, sig := range []unix.Signal{unix.SIGUSR1, 40} {
		n := testing.AllocsPerRun(100, func() {
			if err := tb.Tgkill(p, p.ID(), p.ID(), sig); err != nil {
				t.Fatal(err)
			}
			delivered(t, p)
		})
		if n > 0 {
			t.Errorf("signal %d: %v allocations", sig, n)
		}
	}
}
