package procmgr

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newPID(t testing.TB, from *Thread) *Thread {
	t.Helper()
	return cloneWith(t, from, CloneOptions{Flags: unix.CLONE_NEWPID, ExitSignal: unix.SIGCHLD})
}

func TestNamespaceIDs(t *testing.T) {
	tb, root := newTable(t)
	p := fork(t, root)
	one := newPID(t, p)
	two := fork(t, one)
	deep := newPID(t, two)
	if got := []int{tb.Getpid(one), tb.Getpid(two), tb.Getpid(deep), tb.Gettid(deep)}; got[0] != 1 || got[1] != 2 || got[2] != 1 || got[3] != 1 {
		t.Errorf("own ids %v", got)
	}
	if got := deep.p.IDs(); len(got) != 3 || got[0] != deep.ID() || got[1] != 3 || got[2] != 1 {
		t.Errorf("ids of the inner init: %v", got)
	}
	if got := []int{tb.Getppid(one), tb.Getppid(two), tb.Getppid(deep)}; got[0] != 0 || got[1] != 1 || got[2] != 0 {
		t.Errorf("parents %v", got)
	}
	inner := one.Namespace()
	if inner.GetProcess(2) != two.p || inner.GetProcess(3) != deep.p || inner.GetThread(1) != one || inner.GetProcess(4) != nil {
		t.Error("look-up in the namespace")
	}
	if p.IDIn(inner) != 0 || two.IDIn(deep.Namespace()) != 0 || two.IDIn(tb.Root()) != two.ID() {
		t.Error("what is not visible has an id")
	}
	if deep.Namespace().Level() != 2 || deep.Namespace().Parent() != inner || inner.Init() != one.p {
		t.Error("hierarchy of namespaces")
	}
	var seen []int
	inner.ForEach(func(p *Process) { seen = append(seen, p.IDIn(inner)) })
	if len(seen) != 3 || seen[0] != 1 || seen[1] != 2 || seen[2] != 3 {
		t.Errorf("processes in the namespace: %v", seen)
	}
	// Groups and sessions have numbers everywhere, too; those of outside are 0.
	if got, err := tb.Getpgid(two.p, 0); got != 0 || err != nil {
		t.Errorf("a group of outside: %d, %v", got, err)
	}
	if sid, err := tb.Setsid(two.p); sid != 2 || err != nil {
		t.Errorf("setsid: %d, %v", sid, err)
	}
	if got := two.p.GroupID(); got != two.ID() {
		t.Errorf("its group outside: %d, want %d", got, two.ID())
	}
	if got := two.p.GroupIDIn(inner); got != 2 {
		t.Errorf("its group inside: %d", got)
	}
	wantErr(t, "a child's group", tb.Setpgid(two.p, 3, 3), unix.EPERM) // another session
	if _, err := tb.Getpgid(two.p, 99); err != unix.ESRCH {
		t.Errorf("a process of outside: %v", err)
	}
}

func TestNamespaceSignals(t *testing.T) {
	tb, root := newTable(t)
	p := fork(t, root)
	one := newPID(t, p)
	two := fork(t, one)
	catch(t, one, unix.SIGUSR1)
	// From inside, init is safe; from outside, SIGKILL and SIGSTOP reach it.
	kill(t, two, 1, unix.SIGKILL)
	kill(t, two, 1, unix.SIGSTOP)
	kill(t, two, 1, unix.SIGTERM)
	kill(t, p, one.ID(), unix.SIGTERM)
	quiet(t, one)
	kill(t, two, 1, unix.SIGUSR1)
	if i := delivered(t, one); i.PID != 2 {
		t.Errorf("from inside: %+v", i)
	}
	kill(t, p, one.ID(), unix.SIGUSR1)
	if i := delivered(t, one); i.PID != 0 {
		t.Errorf("from outside: %+v", i)
	}
	raw := make([]byte, siginfoSize)
	raw[16] = 77
	info := DecodeSigInfo(raw)
	info.Signo, info.Code = int32(unix.SIGUSR1), SIQueue
	if err := tb.Sigqueue(p, one.ID(), 0, info); err != nil {
		t.Fatal(err)
	}
	if i := delivered(t, one); i.PID != 0 {
		t.Errorf("queued from outside: %+v", i)
	}
	kill(t, p, one.ID(), unix.SIGSTOP)
	work := background(one)
	reach(t, one, Stopped)
	kill(t, p, one.ID(), unix.SIGCONT)
	<-work
	wantErr(t, "an id of outside", tb.Kill(two, one.ID()+100, 0), unix.ESRCH)
	wantErr(t, "kill(-1)", tb.Kill(two, -1, unix.SIGKILL), unix.ESRCH) // all but init and itself
	three := fork(t, two)
	kill(t, two, -1, unix.SIGKILL)
	if !three.Killed() || one.Killed() || p.Killed() || root.Killed() {
		t.Error("kill(-1) goes beyond the namespace")
	}
	exits(t, three, 0)
	// The parent hears of a child by its own number.
	two.SetSignalMask(SetOf(unix.SIGCHLD))
	four := fork(t, two)
	exits(t, four, 0)
	if i, _ := two.Dequeue(SetOf(unix.SIGCHLD)); int(i.PID) != four.IDIn(one.Namespace()) && i.PID != 4 {
		t.Errorf("SIGCHLD: %+v", i)
	}
	if r, err := two.Waitpid(4, 0); err != nil || r.PID != 4 {
		t.Errorf("wait: %+v, %v", r, err)
	}
}

func TestEndOfNamespace(t *testing.T) {
	tb, root := newTable(t)
	p := fork(t, root)
	one := newPID(t, p)
	two := fork(t, one)
	deep := newPID(t, two)
	inner := fork(t, deep)
	zombie := fork(t, one)
	exits(t, zombie, 0)
	ended := make(chan struct{})
	go func() {
		one.Exit(ExitStatus(3))
		one.NextWork()
		one.FinishExit()
		close(ended)
	}()
	// Everything in it is told to go, and init is the last.
	if err := eventually(func() bool { return two.Killed() && deep.Killed() && inner.Killed() }); err != nil {
		t.Fatal("the rest lives on")
	}
	if _, err := tb.Fork(one, CloneOptions{}); err != ErrInterrupted {
		t.Errorf("fork in a namespace that ends: %v", err)
	}
	deepEnded := make(chan struct{})
	go func() {
		deep.NextWork()
		deep.FinishExit()
		close(deepEnded)
	}()
	exits(t, two, 0)
	time.Sleep(time.Millisecond)
	select {
	case <-ended:
		t.Error("init ended before the others")
	case <-deepEnded:
		t.Error("the inner init ended before the others")
	default:
	}
	exits(t, inner, 0)
	<-deepEnded
	<-ended
	if r, err := p.Waitpid(-1, 0); err != nil || r.Status != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	if n := tb.ProcessCount(); n != 2 {
		t.Errorf("%d processes are left", n)
	}
	if tb.root.ids.used != 2 || tb.root.threads != 2 {
		t.Errorf("%d ids, %d threads are left", tb.root.ids.used, tb.root.threads)
	}
}

func TestNamespaceOfChildren(t *testing.T) {
	tb, root := newTable(t)
	p := fork(t, root)
	if err := p.UnshareNamespace(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "unshare again", p.UnshareNamespace(), unix.EINVAL)
	_, err := tb.Fork(p, CloneOptions{Flags: threadFlags})
	wantErr(t, "a thread", err, unix.EINVAL)
	_, err = tb.Fork(p, CloneOptions{Flags: unix.CLONE_NEWPID})
	wantErr(t, "CLONE_NEWPID", err, unix.EINVAL)
	_, err = tb.Fork(p, CloneOptions{SetTID: []int{7}})
	wantErr(t, "another id for init", err, unix.EINVAL)
	one := fork(t, p)
	if one.Namespace() != p.ChildNamespace() || tb.Getpid(one) != 1 || one.Namespace() == p.Namespace() {
		t.Error("the child is not the init of the new namespace")
	}
	two := cloneWith(t, p, CloneOptions{SetTID: []int{7, 500}})
	if tb.Getpid(two) != 7 || two.ID() != 500 {
		t.Errorf("chosen ids: %v", two.p.IDs())
	}
	wantErr(t, "into one below", setns(root, one.Namespace()), nil)
	wantErr(t, "into one above", setns(two, tb.Root()), unix.EINVAL)
	three := fork(t, root)
	if tb.Getpid(three) != 2 { // a chosen id is not where the next ones go on
		t.Errorf("ids %v", three.p.IDs())
	}
	// An orphan of the namespace goes to its init, not out of it.
	four := fork(t, three)
	p.p.SetChildSubreaper(true)
	exits(t, three, 0)
	if four.p.Parent() != one.p {
		t.Errorf("the orphan is %d's", four.p.ParentID())
	}
	p.SetCredentials(&Credentials{RUID: 1, EUID: 1, SUID: 1})
	_, err = tb.Fork(root, CloneOptions{SetTID: []int{1, 2, 3}})
	wantErr(t, "too many ids", err, unix.EINVAL)
	_, err = tb.Fork(p, CloneOptions{SetTID: []int{600}})
	wantErr(t, "ids without privilege", err, unix.EPERM)
}

func TestNamespaceDepth(t *testing.T) {
	tb, th := newTable(t)
	for range maxLevel {
		th = newPID(t, th)
	}
	_, err := tb.Fork(th, CloneOptions{Flags: unix.CLONE_NEWPID})
	wantErr(t, "one too deep", err, unix.ENOSPC)
	if ids := th.p.IDs(); len(ids) != maxLevel+1 || ids[maxLevel] != 1 || ids[1] != maxLevel {
		t.Errorf("ids %v", ids)
	}
}

func TestUnprivilegedNamespace(t *testing.T) {
	tb, root := newTable(t)
	p := fork(t, root)
	p.SetCredentials(&Credentials{RUID: 1, EUID: 1, SUID: 1})
	_, err := tb.Fork(p, CloneOptions{Flags: unix.CLONE_NEWPID})
	wantErr(t, "clone", err, unix.EPERM)
	wantErr(t, "unshare", p.UnshareNamespace(), unix.EPERM)
	wantErr(t, "setns", setns(p, tb.Root()), unix.EPERM)
}

// setns puts what th forks from now on into a namespace, if it may.
func setns(th *Thread, ns *PIDNamespace) error {
	err := th.MaySetChildNamespace(ns, th.Credentials())
	if err == nil {
		th.SetChildNamespace(ns)
	}
	return err
}
