package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestPrlimit(t *testing.T) {
	tb, init := newTable(t)
	p, other := fork(t, init), fork(t, init)
	user := &Credentials{RUID: 5, EUID: 5, SUID: 5}
	p.SetCredentials(user)
	for _, tt := range []struct {
		name          string
		who           *Thread
		pid, resource int
		next          *Limit
		want          error
	}{
		{"a resource that is none", p, 0, -1, nil, unix.EINVAL},
		{"one too high", p, 0, NumLimits, nil, unix.EINVAL},
		{"nobody", p, 999, -1, nil, unix.ESRCH},
		{"somebody else's", p, other.ID(), 0, nil, unix.EPERM},
		{"somebody else's, as root", init, p.ID(), 0, nil, nil},
		{"soft above hard", p, 0, unix.RLIMIT_CORE, &Limit{2, 1}, unix.EINVAL},
		{"more files than there can be", init, 0, unix.RLIMIT_NOFILE, &Limit{1, 1<<20 + 1}, unix.EPERM},
		{"lower", p, 0, unix.RLIMIT_CORE, &Limit{1, 2}, nil},
		{"soft up to hard", p, 0, unix.RLIMIT_CORE, &Limit{2, 2}, nil},
		{"hard again", p, 0, unix.RLIMIT_CORE, &Limit{0, 3}, unix.EPERM},
		{"hard, as root", init, p.ID(), unix.RLIMIT_CORE, &Limit{0, Infinity}, nil},
	} {
		before := tt.who.p.limits.All()
		old, err := tb.Prlimit(tt.who, tt.pid, tt.resource, tt.next)
		if err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && tt.who == p && old != before[tt.resource] {
			t.Errorf("%s: it was %+v, want %+v", tt.name, old, before[tt.resource])
		}
	}
	if got := p.p.Limits().Get(unix.RLIMIT_CORE); got != (Limit{0, Infinity}) {
		t.Errorf("%+v", got)
	}
	if got := other.p.Limits().Get(unix.RLIMIT_CORE); got != DefaultLimits()[unix.RLIMIT_CORE] {
		t.Errorf("a sibling's: %+v", got)
	}
	child := fork(t, p)
	if child.p.Limits().All() != p.p.Limits().All() {
		t.Error("a child begins with other limits")
	}
}

func TestForkLimit(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	p.SetCredentials(&Credentials{RUID: 5, EUID: 5, SUID: 5})
	if _, err := tb.Prlimit(init, p.ID(), unix.RLIMIT_NPROC, &Limit{3, 3}); err != nil {
		t.Fatal(err)
	}
	a := fork(t, p)
	newThread(t, p)
	_, err := tb.Fork(p, CloneOptions{})
	wantErr(t, "a fourth thread", err, unix.EAGAIN)
	// It is the user's, not the process's.
	_, err = tb.Fork(a, CloneOptions{})
	wantErr(t, "a child's", err, unix.EAGAIN)
	exits(t, a, 0)
	_, err = tb.Fork(p, CloneOptions{})
	wantErr(t, "with a zombie", err, unix.EAGAIN)
	reap(t, p, -1)
	if th, err := tb.Fork(p, CloneOptions{}); err != nil {
		t.Error(err)
	} else {
		th.Abort()
	}
	for _, capability := range []int{unix.CAP_SYS_RESOURCE, unix.CAP_SYS_ADMIN} {
		q := fork(t, p)
		q.SetCredentials(&Credentials{RUID: 5, EUID: 5, SUID: 5, CapEffective: 1 << capability})
		c := fork(t, q)
		exits(t, c, 0)
		reap(t, q, c.ID())
		exits(t, q, 0)
		reap(t, p, q.ID())
	}
}

// Users that have nothing are forgotten, however many a program tries.
func TestUsersForgotten(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	for uid := range uint32(1000) {
		c, err := p.Credentials().Setresuid(uid, NoID, NoID)
		if err != nil {
			t.Fatal(err)
		}
		p.SetCredentials(c)
	}
	if n := len(tb.users); n != 2 {
		t.Errorf("%d users are known", n)
	}
}

func TestPriority(t *testing.T) {
	tb, init := newTable(t)
	p, q := fork(t, init), fork(t, init)
	thread := newThread(t, p)
	if err := tb.Setpgid(p.p, 0, 0); err != nil {
		t.Fatal(err)
	}
	set := func(who *Thread, which, id, nice int, want error) {
		t.Helper()
		if err := tb.Setpriority(who, which, id, nice); err != want {
			t.Errorf("setpriority(%d, %d, %d): %v, want %v", which, id, nice, err, want)
		}
	}
	get := func(which, id, want int) {
		t.Helper()
		if got, err := tb.Getpriority(init, which, id); err != nil || got != want {
			t.Errorf("getpriority(%d, %d): %d, %v, want %d", which, id, got, err, want)
		}
	}
	set(init, 5, 0, 0, unix.EINVAL)
	set(init, unix.PRIO_PROCESS, 999, 0, unix.ESRCH)
	set(init, unix.PRIO_PGRP, 999, 0, unix.ESRCH)
	set(init, unix.PRIO_USER, 999, 0, unix.ESRCH)
	set(init, unix.PRIO_PROCESS, p.ID(), 100, nil)
	get(unix.PRIO_PROCESS, p.ID(), 19)
	get(unix.PRIO_PROCESS, thread.ID(), 0)
	set(init, unix.PRIO_PROCESS, thread.ID(), -100, nil)
	get(unix.PRIO_PROCESS, thread.ID(), -20)
	get(unix.PRIO_PGRP, p.ID(), -20) // the lowest of all
	set(init, unix.PRIO_PGRP, p.ID(), 7, nil)
	get(unix.PRIO_PROCESS, thread.ID(), 7)
	get(unix.PRIO_PGRP, p.ID(), 7)
	get(unix.PRIO_PROCESS, q.ID(), 0)
	get(unix.PRIO_USER, 0, 0)
	if c := fork(t, thread); c.Nice() != 7 {
		t.Errorf("a child's: %d", c.Nice())
	}

	q.SetCredentials(&Credentials{RUID: 5, EUID: 5, SUID: 5})
	set(q, unix.PRIO_PROCESS, p.ID(), 10, unix.EPERM)
	set(q, unix.PRIO_PROCESS, 0, 10, nil)
	set(q, unix.PRIO_PROCESS, 0, 9, unix.EACCES)
	if _, err := tb.Prlimit(init, q.ID(), rlimitNice, &Limit{15, 15}); err != nil {
		t.Fatal(err)
	}
	set(q, unix.PRIO_PROCESS, 0, 5, nil)
	set(q, unix.PRIO_PROCESS, 0, 4, unix.EACCES)
	set(init, unix.PRIO_USER, 5, 3, nil)
	get(unix.PRIO_USER, 5, 3)
}

func TestLimitTasks(t *testing.T) {
	tb, init := newTable(t)
	tb.LimitTasks(3)
	first, err := tb.Fork(init, CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		t.Fatal(err)
	}
	second, err := tb.Fork(init, CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tb.Fork(init, CloneOptions{ExitSignal: unix.SIGCHLD}); err != unix.EAGAIN {
		t.Errorf("one more than the limit: %v", err)
	}
	first.Abort()
	third, err := tb.Fork(init, CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		t.Errorf("after one is gone: %v", err)
	}
	tb.LimitTasks(0)
	fourth, err := tb.Fork(init, CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		t.Errorf("without a limit: %v", err)
	}
	for _, th := range []*Thread{second, third, fourth} {
		th.Abort()
	}
}
