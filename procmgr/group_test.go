package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestSetpgid(t *testing.T) {
	tb, init := newTable(t)
	shell := fork(t, init)
	if _, err := tb.Setsid(shell.p); err != nil {
		t.Fatal(err)
	}
	a, b := fork(t, shell), fork(t, shell)
	thread := newThread(t, a)
	grandchild := fork(t, a)
	execd := fork(t, shell)
	exec(t, execd)
	away := fork(t, shell)
	if _, err := tb.Setsid(away.p); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		caller    *Thread
		pid, pgid int
		want      error
	}{
		{"a negative group", shell, 0, -1, unix.EINVAL},
		{"nobody", shell, 999, 0, unix.ESRCH},
		{"a negative process", shell, -5, 0, unix.EINVAL},
		{"a negative process, into a group", shell, -5, 1, unix.ESRCH},
		{"a thread", shell, thread.ID(), 0, unix.EINVAL},
		{"neither itself nor a child", shell, grandchild.ID(), 0, unix.ESRCH},
		{"its parent", a, shell.ID(), 0, unix.ESRCH},
		{"a session leader", shell, 0, 0, unix.EPERM},
		{"a child in another session", shell, away.ID(), 0, unix.EPERM},
		{"a child that executed a program", shell, execd.ID(), 0, unix.EACCES},
		{"itself after exec", execd, 0, 0, nil},
		{"no such group", shell, a.ID(), 999, unix.EPERM},
		{"a group of another session", shell, a.ID(), 1, unix.EPERM},
		{"a process that leads no group", shell, a.ID(), b.ID(), unix.EPERM},
		{"a group of its own", shell, a.ID(), a.ID(), nil},
		{"the same again", shell, a.ID(), 0, nil},
		{"an existing group", shell, b.ID(), a.ID(), nil},
		{"back", b, 0, shell.ID(), nil},
	} {
		if err := tb.Setpgid(tt.caller.p, tt.pid, tt.pgid); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if got, _ := tb.Getpgid(shell.p, a.ID()); got != a.ID() {
		t.Errorf("group %d, want %d", got, a.ID())
	}
	for _, pid := range []int{999, -1} {
		_, err := tb.Getpgid(shell.p, pid)
		wantErr(t, "getpgid", err, unix.ESRCH)
		_, err = tb.Getsid(shell.p, pid)
		wantErr(t, "getsid", err, unix.ESRCH)
	}
	if got, err := tb.Getsid(init.p, thread.ID()); err != nil || got != shell.ID() {
		t.Errorf("session of a thread: %d, %v", got, err)
	}
}

func TestSetsid(t *testing.T) {
	tb, init := newTable(t)
	_, err := tb.Setsid(init.p)
	wantErr(t, "a session leader", err, unix.EPERM)
	a := fork(t, init)
	if err := tb.Setpgid(a.p, 0, 0); err != nil {
		t.Fatal(err)
	}
	_, err = tb.Setsid(a.p)
	wantErr(t, "a group leader", err, unix.EPERM)
	b := fork(t, a)
	if err := tb.Setpgid(a.p, 0, 1); err != nil {
		t.Fatal(err)
	}
	_, err = tb.Setsid(a.p)
	wantErr(t, "its old group still has members", err, unix.EPERM)
	if err := tb.Setpgid(b.p, 0, 1); err != nil {
		t.Fatal(err)
	}
	if sid, err := tb.Setsid(a.p); err != nil || sid != a.ID() || a.p.SessionID() != sid || a.p.GroupID() != sid {
		t.Errorf("%d, %v", sid, err)
	}
}

// The number of a group or session is in use as long as anybody is in it.
func TestGroupKeepsID(t *testing.T) {
	tb, init := newTable(t)
	leader := fork(t, init)
	pid := leader.ID()
	if _, err := tb.Setsid(leader.p); err != nil {
		t.Fatal(err)
	}
	member := fork(t, leader)
	exits(t, leader, 0)
	reap(t, init, pid)
	taken := func() bool {
		th, err := tb.Fork(init, CloneOptions{SetTID: []int{pid}})
		if err != nil {
			wantErr(t, "a number in use", err, unix.EEXIST)
			return true
		}
		th.Abort()
		return false
	}
	if !taken() {
		t.Error("the number of a group is free")
	}
	if err := tb.Setpgid(member.p, 0, 0); err != nil {
		t.Fatal(err)
	}
	if !taken() {
		t.Error("the number of a session is free")
	}
	wantErr(t, "kill of the group", tb.Kill(init, -pid, 0), unix.ESRCH)
	exits(t, member, 0)
	if !taken() {
		t.Error("a zombie is in the session")
	}
	reap(t, init, -1)
	if taken() {
		t.Error("the number is still in use")
	}
}

// A stopped job that nobody can continue any more is told.
func TestOrphanedGroup(t *testing.T) {
	for _, how := range []string{"the parent ends", "the link ends"} {
		tb, init := newTable(t)
		shell := fork(t, init)
		if _, err := tb.Setsid(shell.p); err != nil {
			t.Fatal(err)
		}
		first := fork(t, shell)
		if err := tb.Setpgid(first.p, 0, 0); err != nil {
			t.Fatal(err)
		}
		second := fork(t, first) // its parent is in the same group
		catch(t, second, unix.SIGHUP, unix.SIGCONT)
		kill(t, init, second.ID(), unix.SIGTSTP)
		work := background(second)
		reach(t, second, Stopped)
		if how == "the parent ends" {
			exits(t, shell, 0)
		} else {
			exits(t, first, 0)
		}
		if w := <-work; w.Kind != WorkDeliver || w.Info.Signo != int32(unix.SIGHUP) {
			t.Errorf("%s: %+v, want SIGHUP", how, w)
		}
		if i := delivered(t, second); i.Signo != int32(unix.SIGCONT) {
			t.Errorf("%s: %+v, want SIGCONT", how, i)
		}
		// Orphaned, it does not stop for the terminal.
		kill(t, init, second.ID(), unix.SIGTSTP)
		quiet(t, second)
		kill(t, init, second.ID(), unix.SIGSTOP)
		work = background(second)
		reach(t, second, Stopped)
		kill(t, init, second.ID(), unix.SIGKILL)
		<-work
	}
}
