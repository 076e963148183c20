package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestIO(t *testing.T) {
	tb := NewTable(Config{})
	init, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tb.CreateProcess(init, "p", 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := tb.Fork(p.Leader(), CloneOptions{Flags: unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM})
	if err != nil {
		t.Fatal(err)
	}
	other.Start()
	p.Leader().AccountRead(10)
	p.Leader().AccountRead(0)
	other.AccountRead(5)
	other.AccountWrite(7)
	if n, want := other.IO(), (IO{ReadBytes: 5, WrittenBytes: 7, Reads: 1, Writes: 1}); n != want {
		t.Errorf("thread: %+v, want %+v", n, want)
	}
	want := IO{ReadBytes: 15, WrittenBytes: 7, Reads: 3, Writes: 1}
	if n := p.IO(); n != want {
		t.Errorf("process: %+v, want %+v", n, want)
	}
	other.Exit(0)
	other.NextWork()
	other.setState(Running)
	other.FinishExit()
	if n := p.IO(); n != want {
		t.Errorf("after the thread's end: %+v, want %+v", n, want)
	}
}

func TestOOMScoreAdj(t *testing.T) {
	tb := NewTable(Config{})
	init, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		set        int
		privileged bool
		want       error
	}{
		{500, false, nil}, {100, false, nil}, {-1, false, unix.EACCES}, {-900, true, nil}, {-950, false, unix.EACCES},
		{0, false, nil}, {-900, false, nil}, {300, true, nil}, {299, false, unix.EACCES},
	} {
		before := init.OOMScoreAdj()
		err := init.SetOOMScoreAdj(tt.set, tt.privileged)
		if err != tt.want {
			t.Errorf("set %d, privileged %v: %v, want %v", tt.set, tt.privileged, err, tt.want)
		}
		want := tt.set
		if err != nil {
			want = before
		}
		if got := init.OOMScoreAdj(); got != want {
			t.Errorf("it is %d, want %d", got, want)
		}
	}
	child, err := tb.CreateProcess(init, "child", 0)
	if err != nil {
		t.Fatal(err)
	}
	if child.OOMScoreAdj() != 300 || child.SetOOMScoreAdj(0, false) != unix.EACCES {
		t.Error("a child begins with its parent's")
	}
}
