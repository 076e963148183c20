package namespaces_test

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/ipc"
	"runsc-lite/sentry/ipc/mqueue"
	"runsc-lite/sentry/ipc/msg"
	"runsc-lite/sentry/ipc/sem"
	"runsc-lite/sentry/ipc/shm"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/socket/netns"
)

var me = &ipc.Caller{PID: 1, Owner: true, Admin: true}

func first(t *testing.T) *namespaces.Set {
	now := func() int64 { return 1 }
	segments, sets, queues := ipc.NewBudget(shm.Budget), ipc.NewBudget(sem.Budget), ipc.NewBudget(msg.Budget)
	net := netns.New()
	t.Cleanup(net.Close)
	return namespaces.New(namespaces.Config{Host: "host", Net: net, NewIPC: func() namespaces.Objects {
		return namespaces.Objects{
			Shm: shm.New(shm.Config{Now: now, Budget: segments}), Sem: sem.New(now, sets), Msg: msg.New(now, queues),
			Queues: mqueue.New(mqueue.Options{Now: func() (t unix.Timespec) { return t }, Budget: ipc.NewBudget(mqueue.Budget)}),
		}
	}})
}

func unshare(t *testing.T, s *namespaces.Set, flags uint64, owner *procmgr.UserNamespace) *namespaces.Set {
	t.Helper()
	n, err := s.Unshare(flags, owner)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestUnshare holds that only what flags name is new, and that the rest is shared.
func TestUnshare(t *testing.T) {
	a := first(t)
	for _, c := range []struct {
		flags                 uint64
		uts, ipc, net, cgroup bool
	}{
		{0, false, false, false, false},
		{unix.CLONE_NEWUTS, true, false, false, false},
		{unix.CLONE_NEWIPC, false, true, false, false},
		{unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP, false, false, true, true},
		{namespaces.Flags, true, true, true, true},
	} {
		b := unshare(t, a, c.flags, nil)
		if b.UTS != a.UTS != c.uts || b.IPC != a.IPC != c.ipc || b.Net != a.Net != c.net || b.Cgroup != a.Cgroup != c.cgroup {
			t.Errorf("%#x: others are new", c.flags)
		}
		if host, domain := b.UTS.Names(); host != "host" || domain != "(none)" {
			t.Errorf("the names are %s and %s", host, domain)
		}
		if c.uts && b.UTS.Serial() == 0 {
			t.Error("a new one is the first")
		}
		b.Release()
		if b.UTS.TryHold() == c.uts {
			t.Errorf("%#x: the uts namespace lives: %v", c.flags, !c.uts)
		}
	}
}

// TestEnd holds that a namespace ends with the last of threads and files, and gives
// back what it held.
func TestEnd(t *testing.T) {
	a := first(t)
	b := unshare(t, a, unix.CLONE_NEWIPC, nil)
	c := b.Share()
	d := a.Enter(namespaces.Members{IPC: b.IPC})
	if d.IPC != b.IPC || d.UTS != a.UTS {
		t.Error("it entered others")
	}
	if _, err := b.IPC.Msg.Get(me, ipc.Private, 0o600); err != nil {
		t.Fatal(err)
	}
	if !b.IPC.TryHold() {
		t.Fatal("it has ended before its time")
	}
	b.Release()
	c.Release()
	d.Release()
	if _, highest := b.IPC.Msg.Info(ipc.Info); highest != 0 {
		t.Errorf("the highest queue is %d", highest)
	}
	b.IPC.Release() // the file's
	if b.IPC.TryHold() {
		t.Error("it lives for ever")
	}
	if err := b.IPC.Msg.Remove(me, 0); err != unix.EINVAL {
		t.Errorf("its queue is left: %v", err)
	}
}

// TestMany holds that there is a bound, and that those that have ended do not count;
// a set that failed leaves nothing behind.
func TestMany(t *testing.T) {
	s := first(t)
	for range 3 {
		var all []*namespaces.Set
		for {
			n, err := s.Unshare(unix.CLONE_NEWUTS|unix.CLONE_NEWNET, nil)
			if err == unix.ENOSPC {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, n)
		}
		if len(all) != 1024 {
			t.Errorf("there may be %d", len(all))
		}
		// The host name's is made first, and is undone.
		one := all[0]
		all[0] = unshare(t, s, unix.CLONE_NEWIPC, nil)
		one.Release()
		for range 3 {
			unshare(t, s, unix.CLONE_NEWUTS, nil).Release()
		}
		for _, n := range all {
			n.Release()
		}
	}
}

// TestRace makes, enters and leaves from several goroutines.
func TestRace(t *testing.T) {
	s := first(t)
	shared := unshare(t, s, namespaces.Flags, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				a := shared.Share()
				b, err := a.Unshare(unix.CLONE_NEWUTS|unix.CLONE_NEWIPC, nil)
				if err != nil {
					t.Error(err)
					return
				}
				c := b.Enter(namespaces.Members{Net: a.Net, UTS: a.UTS})
				a.Release()
				b.Release()
				c.UTS.SetHost("x")
				c.Release()
			}
		})
	}
	wg.Wait()
	shared.Release()
	if shared.Net.TryHold() {
		t.Error("references are left")
	}
}
