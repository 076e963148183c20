package procmgr

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestIOPriority(t *testing.T) {
	tb, init := newTable(t)
	io := func(class, level int) int { return class<<ioClassShift | level }
	is := func(what string, th *Thread, which, who, want int) {
		t.Helper()
		if got, err := tb.IOPriority(th, which, who); err != nil || got != want {
			t.Errorf("%s: %#x, %v; want %#x", what, got, err, want)
		}
	}
	is("from the beginning", init, ioWhoProcess, 0, 0)
	wantErr(t, "its own", tb.SetIOPriority(init, ioWhoProcess, 0, io(2, 5)), nil)
	child := fork(t, init)
	is("a child's", init, ioWhoProcess, child.ID(), io(2, 5))
	wantErr(t, "the child's", tb.SetIOPriority(init, ioWhoProcess, child.ID(), io(3, 0)), nil)
	is("the parent's", init, ioWhoProcess, 0, io(2, 5))
	is("the best of both", init, ioWhoGroup, 0, io(2, 5))
	shared := cloneWith(t, init, CloneOptions{Flags: unix.CLONE_IO})
	wantErr(t, "a shared one", tb.SetIOPriority(init, ioWhoProcess, shared.ID(), io(1, 1)), nil)
	is("by the other", init, ioWhoProcess, 0, io(1, 1))

	wantErr(t, "no class again", tb.SetIOPriority(init, ioWhoProcess, child.ID(), 0), nil)
	child.setNice(10)
	is("by nice value", init, ioWhoUser, 0, io(1, 1))
	if got := child.effectiveIOPriority(); got != io(2, 6) {
		t.Errorf("with nice value 10: %#x", got)
	}
	child.policy.Store(schedParam{policy: SchedIdle}.pack())
	if got := child.effectiveIOPriority(); got != io(3, 6) {
		t.Errorf("idle: %#x", got)
	}
	for _, c := range []struct {
		which, who, priority int
		want                 error
	}{
		{0, 0, io(2, 0), unix.EINVAL},
		{4, 0, io(2, 0), unix.EINVAL},
		{ioWhoProcess, 999, io(2, 0), unix.ESRCH},
		{ioWhoGroup, 999, io(2, 0), unix.ESRCH},
		{ioWhoUser, 999, io(2, 0), unix.ESRCH},
		{ioWhoProcess, 0, io(4, 0), unix.EINVAL},
		{ioWhoProcess, 0, io(0, 1), unix.EINVAL},
	} {
		wantErr(t, "ioprio_set", tb.SetIOPriority(init, c.which, c.who, c.priority), c.want)
	}
	child.SetCredentials(&Credentials{RUID: 5, EUID: 5, SUID: 5})
	wantErr(t, "real time without privilege", tb.SetIOPriority(child, ioWhoProcess, 0, io(1, 0)), unix.EPERM)
	wantErr(t, "somebody else's", tb.SetIOPriority(child, ioWhoProcess, init.ID(), io(2, 0)), unix.EPERM)
	wantErr(t, "its own", tb.SetIOPriority(child, ioWhoProcess, 0, io(2, 0)), nil)
}

// told is a Runner that hears of nice values.
type told struct {
	nobody
	n []int
}

func (r *told) SetNice(n int) { r.n = append(r.n, n) }

// TestNicer holds that a Runner hears of what concerns the host, and of nothing that
// would put a guest before others.
func TestNicer(t *testing.T) {
	tb, init := newTable(t)
	init.setNice(4)
	th, err := tb.Fork(init, CloneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := new(told)
	th.Start()
	th.SetRunner(r)
	th.setNice(-10)
	th.setNice(12)
	set := func(policy, priority int) {
		t.Helper()
		wantErr(t, "sched_setscheduler", tb.SetScheduler(init, th, policy, priority, false), nil)
	}
	set(SchedFIFO, 5)
	set(SchedIdle, 0)
	set(SchedOther, 0)
	want := []int{4, 0, 12, 0, 19, 12}
	if len(r.n) != len(want) {
		t.Fatalf("it heard %v, want %v", r.n, want)
	}
	for i := range want {
		if r.n[i] != want[i] {
			t.Fatalf("it heard %v, want %v", r.n, want)
		}
	}
	if _, ok := th.RealtimeUsed(); ok {
		t.Error("SCHED_OTHER is real-time")
	}
	set(SchedRR, 1)
	th.AccountUser(5)
	if d, ok := th.RealtimeUsed(); !ok || d != 5 {
		t.Errorf("it used %v, %v", d, ok)
	}
	if err := th.Block(nil, time.Now().Add(time.Millisecond)); err != unix.ETIMEDOUT {
		t.Fatal(err)
	}
	if d, ok := th.RealtimeUsed(); !ok || d != 0 {
		t.Errorf("it used %v, %v since it waited", d, ok)
	}
}
