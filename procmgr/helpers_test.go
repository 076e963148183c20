package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

const threadFlags = unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM

// newTable makes a table with an init, whose thread it returns.
func newTable(t testing.TB) (*Table, *Thread) {
	t.Helper()
	tb := NewTable(Config{})
	p, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	th := p.Leader()
	th.SetRunner(nobody{})
	return tb, th
}

// cloneWith makes a running thread or process.
func cloneWith(t testing.TB, from *Thread, o CloneOptions) *Thread {
	t.Helper()
	th, err := from.p.table.Fork(from, o)
	if err != nil {
		t.Fatal(err)
	}
	th.Start()
	th.SetRunner(nobody{})
	return th
}

func fork(t testing.TB, from *Thread) *Thread {
	t.Helper()
	return cloneWith(t, from, CloneOptions{ExitSignal: unix.SIGCHLD})
}

func newThread(t testing.TB, from *Thread) *Thread {
	t.Helper()
	return cloneWith(t, from, CloneOptions{Flags: threadFlags})
}

// exits ends a thread, by itself or because it was told to.
func exits(t testing.TB, th *Thread, code int) {
	t.Helper()
	if !th.Killed() {
		th.Exit(ExitStatus(code))
	}
	if w := th.NextWork(); w.Kind != WorkExit {
		t.Fatalf("thread %d does not exit: %+v", th.ID(), w)
	}
	th.FinishExit()
}

// catch installs a handler.
func catch(t testing.TB, th *Thread, sigs ...unix.Signal) {
	t.Helper()
	for _, sig := range sigs {
		if _, err := th.p.SetAction(sig, &SigAction{Handler: 1 << 20}); err != nil {
			t.Fatal(err)
		}
	}
}

func ignore(t testing.TB, th *Thread, sigs ...unix.Signal) {
	t.Helper()
	for _, sig := range sigs {
		if _, err := th.p.SetAction(sig, &SigAction{Handler: SigIgn}); err != nil {
			t.Fatal(err)
		}
	}
}

func kill(t testing.TB, from *Thread, pid int, sig unix.Signal) {
	t.Helper()
	if err := from.p.table.Kill(from, pid, sig); err != nil {
		t.Fatalf("kill(%d, %d): %v", pid, sig, err)
	}
}

// delivered lets the thread take one signal that is caught.
func delivered(t testing.TB, th *Thread) SigInfo {
	t.Helper()
	w := th.NextWork()
	if w.Kind != WorkDeliver {
		t.Fatalf("thread %d: work %+v, want a signal", th.ID(), w)
	}
	return w.Info
}

// quiet says that there is nothing to do.
func quiet(t testing.TB, th *Thread) {
	t.Helper()
	if w := th.NextWork(); w.Kind != WorkNone {
		t.Fatalf("thread %d: work %+v, want none", th.ID(), w)
	}
}

// background runs NextWork of a thread that is going to stop.
func background(th *Thread) <-chan Work {
	ch := make(chan Work, 1)
	go func() { ch <- th.NextWork() }()
	return ch
}

// reach waits for a state.
func reach(t testing.TB, th *Thread, want State) {
	t.Helper()
	if err := eventually(func() bool { return th.State() == want }); err != nil {
		t.Fatalf("thread %d is %v, want %v", th.ID(), th.State(), want)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
