package procmgr

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// withData makes a thread one that can be traced, and trace: it has a guest.
func withData(t testing.TB, from *Thread) *Thread {
	t.Helper()
	th := fork(t, from)
	th.SetData("guest")
	return th
}

// stopOf waits for a stop of a tracee, and reports it.
func stopOf(t testing.TB, tracer, o *Thread, want uint32) {
	t.Helper()
	r, err := tracer.Wait(WaitOptions{Kind: WaitPID, ID: o.ID(), Options: unix.WSTOPPED | unix.WEXITED | unix.WALL})
	if err != nil || r.PID != o.ID() || r.WaitStatus != want<<8|0x7f || r.Code != CLDTrapped {
		t.Fatalf("%+v, %v; want a stop %#x", r, err, want)
	}
}

// proceed lets a tracee go on.
func proceed(t testing.TB, tracer, o *Thread, sig unix.Signal, mode uint32) {
	t.Helper()
	x, err := tracer.p.table.Freeze(tracer, o.ID())
	if err != nil {
		t.Fatal(err)
	}
	x.Resume(sig, mode)
	x.Thaw()
}

func TestTraceSignal(t *testing.T) {
	tb, init := newTable(t)
	tracer := withData(t, init)
	catch(t, tracer, unix.SIGCHLD)
	o := withData(t, tracer)
	catch(t, o, unix.SIGUSR1, unix.SIGUSR2)
	if err := o.TraceMe(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "TraceMe again", o.TraceMe(), unix.EPERM)
	if o.TraceMode() != Traced || o.TracerIDIn(&tb.root) != tracer.ID() {
		t.Error("it is not traced")
	}
	kill(t, init, o.ID(), unix.SIGUSR1)
	work := background(o)
	stopOf(t, tracer, o, uint32(unix.SIGUSR1))
	reach(t, o, Tracing)
	if i := delivered(t, tracer); i.Code != CLDTrapped || i.Status != int32(unix.SIGUSR1) || int(i.PID) != o.ID() {
		t.Errorf("%+v", i)
	}
	if r, err := tracer.Waitpid(-1, unix.WNOHANG); r.PID != 0 || err != nil {
		t.Errorf("it is reported twice: %+v, %v", r, err)
	}
	proceed(t, tracer, o, unix.SIGUSR2, TracedStep)
	if w := <-work; w.Kind != WorkDeliver || w.Info.Signo != int32(unix.SIGUSR2) || int(w.Info.PID) != tracer.ID() {
		t.Errorf("%+v", w)
	}
	if o.TraceMode() != Traced|TracedStep {
		t.Errorf("mode %#x", o.TraceMode())
	}
	_, err := tb.Freeze(tracer, o.ID())
	wantErr(t, "looking at a thread that runs", err, unix.ESRCH)
	wantErr(t, "interrupting one that is not seized", tb.InterruptTracee(tracer, o.ID()), unix.EIO)
	exits(t, o, 3)
	if r, err := tracer.Waitpid(o.ID(), 0); err != nil || r.WaitStatus != ExitStatus(3) {
		t.Errorf("%+v, %v", r, err)
	}
	if tracer.p.tracees.first != nil {
		t.Error("a process that is gone is traced")
	}
}

func TestAttachErrors(t *testing.T) {
	tb, init := newTable(t)
	tracer, o := withData(t, init), withData(t, init)
	attach := func(id int, options uint64) error {
		_, err := tb.Attach(tracer, id, true, options)
		return err
	}
	wantErr(t, "unknown options", attach(o.ID(), 1<<30), unix.EIO)
	wantErr(t, "nobody", attach(9999, 0), unix.ESRCH)
	wantErr(t, "itself", attach(tracer.ID(), 0), unix.EPERM)
	wantErr(t, "who has no guest", attach(init.ID(), 0), unix.EPERM)
	wantErr(t, "init as a tracer", o.TraceMe(), unix.EPERM)
	wantErr(t, "a stranger", attach(o.ID(), 0), nil)
	wantErr(t, "twice", attach(o.ID(), 0), unix.EPERM)
	tracer.SetCredentials(&Credentials{RUID: 1, EUID: 1, SUID: 1, FSUID: 1, UserNS: tracer.Credentials().UserNS})
	other := withData(t, init)
	wantErr(t, "somebody else's", attach(other.ID(), 0), unix.EPERM)
	if !o.TracedUnprivileged() {
		t.Error("the tracer has privilege")
	}
}

func TestSeizeInterruptListen(t *testing.T) {
	tb, init := newTable(t)
	tracer, o := withData(t, init), withData(t, init)
	if _, err := tb.Attach(tracer, o.ID(), true, 0); err != nil {
		t.Fatal(err)
	}
	quiet(t, o)
	const stop = uint32(unix.SIGTRAP) | eventStop<<8
	if err := tb.InterruptTracee(tracer, o.ID()); err != nil {
		t.Fatal(err)
	}
	work := background(o)
	stopOf(t, tracer, o, stop)
	proceed(t, tracer, o, 0, 0)
	if w := <-work; w.Kind != WorkNone {
		t.Fatalf("%+v", w)
	}
	// A group's stop.
	kill(t, init, o.ID(), unix.SIGSTOP)
	work = background(o)
	stopOf(t, tracer, o, uint32(unix.SIGSTOP))
	proceed(t, tracer, o, unix.SIGSTOP, 0)
	stopOf(t, tracer, o, uint32(unix.SIGSTOP)|eventStop<<8)
	if r, err := init.Wait(WaitOptions{Options: unix.WSTOPPED | unix.WNOHANG}); err != nil || r.PID != o.ID() {
		t.Errorf("the parent does not hear of the group's stop: %+v, %v", r, err)
	}
	x, err := tb.Freeze(tracer, o.ID())
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Listen(); err != nil {
		t.Fatal(err)
	}
	x.Thaw()
	if _, err := tb.Freeze(tracer, o.ID()); err != unix.ESRCH {
		t.Errorf("it listens: %v", err)
	}
	kill(t, init, o.ID(), unix.SIGCONT)
	stopOf(t, tracer, o, stop)
	proceed(t, tracer, o, 0, 0)
	stopOf(t, tracer, o, uint32(unix.SIGCONT))
	proceed(t, tracer, o, unix.SIGCONT, 0)
	if w := <-work; w.Kind != WorkNone {
		t.Fatalf("%+v", w)
	}
}

// The tracer of a process hears of its end first, the parent when it has.
func TestTraceEnd(t *testing.T) {
	tb, init := newTable(t)
	parent, tracer := withData(t, init), withData(t, init)
	o := withData(t, parent)
	second := newThread(t, o)
	second.SetData("guest")
	for _, th := range []*Thread{o, second} {
		if _, err := tb.Attach(tracer, th.ID(), true, 0); err != nil {
			t.Fatal(err)
		}
	}
	id, tid := o.ID(), second.ID()
	exits(t, second, 5)
	if second.State() != Zombie || tb.GetThread(tid) == nil {
		t.Errorf("a thread is gone before its tracer knows: %v", second.State())
	}
	exits(t, o, 6)
	if r, err := parent.Waitpid(-1, unix.WNOHANG); r.PID != 0 || err != nil {
		t.Errorf("the parent hears first: %+v, %v", r, err)
	}
	for _, want := range []struct{ id, code int }{{tid, 6}, {id, 6}} { // the process's status counts
		r, err := tracer.Wait(WaitOptions{Options: unix.WEXITED})
		if err != nil || r.PID != want.id || r.WaitStatus != ExitStatus(want.code) {
			t.Errorf("%+v, %v; want %v", r, err, want)
		}
	}
	if _, err := tracer.Waitpid(-1, 0); err != unix.ECHILD {
		t.Errorf("%v", err)
	}
	if r, err := parent.Waitpid(-1, 0); err != nil || r.PID != id {
		t.Errorf("%+v, %v", r, err)
	}
	if tb.GetThread(tid) != nil || tb.GetThread(id) != nil {
		t.Error("ids are kept")
	}
}

func TestTracerEnds(t *testing.T) {
	tb, init := newTable(t)
	tracer, o, doomed := withData(t, init), withData(t, init), withData(t, init)
	for th, options := range map[*Thread]uint64{o: 0, doomed: unix.PTRACE_O_EXITKILL} {
		if _, err := tb.Attach(tracer, th.ID(), true, options); err != nil {
			t.Fatal(err)
		}
	}
	if err := tb.InterruptTracee(tracer, o.ID()); err != nil {
		t.Fatal(err)
	}
	work := background(o)
	reach(t, o, Tracing)
	exits(t, tracer, 0)
	if w := <-work; w.Kind != WorkNone || o.TraceMode() != 0 {
		t.Errorf("%+v", w)
	}
	if !doomed.Killed() {
		t.Error("PTRACE_O_EXITKILL does not kill")
	}
}

// Threads that trace each other in a circle, and stop when they exit, end all the same.
func TestTraceCircle(t *testing.T) {
	tb, init := newTable(t)
	var ths [3]*Thread
	for i := range ths {
		ths[i] = withData(t, init)
	}
	for i, th := range ths {
		if _, err := tb.Attach(th, ths[(i+1)%len(ths)].ID(), true, unix.PTRACE_O_TRACEEXIT); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	for _, th := range ths {
		th.ExitGroup(ExitStatus(0))
		go func() {
			for th.NextWork().Kind != WorkExit {
			}
			th.TraceExit()
			th.FinishExit()
			done <- struct{}{}
		}()
	}
	for range ths {
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("they wait for each other")
		}
	}
	for range ths {
		if _, err := init.Waitpid(-1, 0); err != nil {
			t.Error(err)
		}
	}
}

// A thread that is looked at does not go on, even if it is killed.
func TestFreeze(t *testing.T) {
	tb, init := newTable(t)
	tracer, o := withData(t, init), withData(t, init)
	if _, err := tb.Attach(tracer, o.ID(), false, 0); err != nil {
		t.Fatal(err)
	}
	work := background(o)
	stopOf(t, tracer, o, uint32(unix.SIGSTOP))
	x, err := tb.Freeze(tracer, o.ID())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, init, o.ID(), unix.SIGKILL)
	asked := false
	x.Do(func() { asked = true })
	if !asked {
		t.Error("Do did nothing")
	}
	select {
	case w := <-work:
		t.Errorf("it goes on: %+v", w)
	case <-time.After(10 * time.Millisecond):
	}
	x.Thaw()
	if w := <-work; w.Kind != WorkExit {
		t.Errorf("%+v", w)
	}
	exits(t, o, 0)
	if r, err := tracer.Wait(WaitOptions{Options: unix.WEXITED}); err != nil || r.Code != CLDKilled {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := init.Waitpid(o.ID(), 0); err != nil || r.PID == 0 {
		t.Errorf("%+v, %v", r, err)
	}
}
