package hostcall

import (
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { CloseFD(fds[0]); CloseFD(fds[1]) })
	return fds[0], fds[1]
}

// wait returns what comes from ch, within a while.
func wait(t *testing.T, ch chan uint32) uint32 {
	t.Helper()
	select {
	case ev := <-ch:
		return ev
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happens")
		return 0
	}
}

func TestNotifier(t *testing.T) {
	defer goleak.VerifyNone(t)
	n := NewNotifier()
	a, b := pair(t)
	events := make(chan uint32, 100)
	if err := n.Watch(a, unix.EPOLLIN, func(ev uint32) { events <- ev }); err != nil {
		t.Fatal(err)
	}
	if err := n.Watch(a, unix.EPOLLIN, func(uint32) {}); err != unix.EEXIST {
		t.Errorf("twice: %v", err)
	}
	for range 3 {
		unix.Write(b, []byte("x"))
		if ev := wait(t, events); ev&unix.EPOLLIN == 0 {
			t.Errorf("events %#x", ev)
		}
	}
	// What is ready already is told of too; what nobody reads, not again and
	// again.
	c, d := pair(t)
	unix.Write(d, []byte("x"))
	ready := make(chan uint32, 100)
	if err := n.Watch(c, unix.EPOLLIN|unix.EPOLLOUT, func(ev uint32) { ready <- ev }); err != nil {
		t.Fatal(err)
	}
	if ev := wait(t, ready); ev&unix.EPOLLIN == 0 || ev&unix.EPOLLOUT == 0 {
		t.Errorf("events %#x", ev)
	}
	time.Sleep(20 * time.Millisecond)
	if len(ready) > 2 {
		t.Errorf("told %d times more", len(ready))
	}
	CloseFD(d)
	if ev := wait(t, ready); ev&unix.EPOLLHUP == 0 && ev&unix.EPOLLIN == 0 {
		t.Errorf("events %#x", ev)
	}
	// Nothing is told of what is watched no more.
	n.Unwatch(a)
	n.Unwatch(a)
	n.Unwatch(12345)
	unix.Write(b, []byte("x"))
	time.Sleep(20 * time.Millisecond)
	if len(events) != 0 {
		t.Error("told of what is not watched")
	}
	if err := n.Watch(a, unix.EPOLLIN, func(ev uint32) { events <- ev }); err != nil {
		t.Fatal(err)
	}
	wait(t, events)
	if err := n.Watch(mustOpen(t, "/dev/null", unix.O_RDONLY), unix.EPOLLIN, func(uint32) {}); err != nil && err != unix.EPERM {
		t.Error(err)
	}
	if err := n.Watch(mustOpen(t, "/proc/self/exe", unix.O_RDONLY), unix.EPOLLIN, func(uint32) {}); err != unix.EPERM {
		t.Errorf("a regular file: %v", err)
	}
	if err := n.Watch(-1, unix.EPOLLIN, func(uint32) {}); err != unix.EBADF {
		t.Error(err)
	}
	n.Close()
	n.Close()
	if err := n.Watch(b, unix.EPOLLIN, func(uint32) {}); err != unix.ESHUTDOWN {
		t.Errorf("after Close: %v", err)
	}
	NewNotifier().Close() // which nobody used
}

// TestNotifierFromFunction watches and unwatches from within a function, and from
// several goroutines.
func TestNotifierFromFunction(t *testing.T) {
	defer goleak.VerifyNone(t)
	n := NewNotifier()
	defer n.Close()
	var count atomic.Int32
	done := make(chan uint32, 10)
	for range 8 {
		a, b := pair(t)
		unix.Write(b, []byte("x"))
		go func() {
			var again func(uint32)
			again = func(ev uint32) {
				n.Unwatch(a)
				if count.Add(1) >= 100 {
					select {
					case done <- ev:
					default:
					}
					return
				}
				if err := n.Watch(a, unix.EPOLLIN, again); err != nil && err != unix.ESHUTDOWN {
					t.Error(err)
				}
			}
			if err := n.Watch(a, unix.EPOLLIN, again); err != nil && err != unix.ESHUTDOWN {
				t.Error(err)
			}
		}()
	}
	wait(t, done)
}
