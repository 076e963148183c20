package msg

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/ipc"
)

var me = &ipc.Caller{PID: 1, Owner: true, Admin: true}

func newQueue(t testing.TB) (*Manager, int32) {
	t.Helper()
	m := New(func() int64 { return 1 }, ipc.NewBudget(Budget))
	id, err := m.Get(me, ipc.Private, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return m, id
}

func TestTypes(t *testing.T) {
	for _, c := range []struct {
		want  int64
		flags uint32
		kind  int64
		text  string
	}{
		{0, 0, 5, "a"}, {3, 0, 3, "b"}, {-4, 0, 2, "d"}, {-3, 0, 2, "d"}, {-5, 0, 2, "d"}, {5, Except, 3, "b"}, {-1 << 63, 0, 2, "d"},
	} {
		m, id := newQueue(t)
		for _, x := range []message{{5, []byte("a")}, {3, []byte("b")}, {5, []byte("c")}, {2, []byte("d")}, {2, []byte("e")}} {
			if err := m.NewCall().Send(me, id, x.kind, x.text); err != nil {
				t.Fatal(err)
			}
		}
		kind, text, err := m.NewCall().Receive(me, id, c.want, 10, c.flags)
		if kind != c.kind || string(text) != c.text || err != nil {
			t.Errorf("type %d, flags %#o: %d %q, %v; want %d %q", c.want, c.flags, kind, text, err, c.kind, c.text)
		}
		if err := m.Remove(me, id); err != nil || m.messages != 0 || m.bytes != 0 {
			t.Errorf("%v; %d bytes, %d messages are left", err, m.bytes, m.messages)
		}
	}
}

// TestHeld holds that messages without text are bounded, too.
func TestHeld(t *testing.T) {
	m, id := newQueue(t)
	n := 0
	for {
		err := m.NewCall().Send(me, id, 1, nil)
		if err == unix.EAGAIN {
			break
		}
		if n++; err != nil || n > 1<<20 {
			t.Fatal(n, err)
		}
	}
	if n != 16384 {
		t.Errorf("%d messages", n)
	}
	other, _ := m.Get(me, ipc.Private, 0o600)
	for m.budget.Take(1) {
	}
	if err := m.NewCall().Send(me, other, 1, nil); err != unix.ENOMEM {
		t.Errorf("too much together: %v", err)
	}
}

// TestRemoved holds that a call goes on with the queue that it began with.
func TestRemoved(t *testing.T) {
	m, id := newQueue(t)
	call := m.NewCall()
	if _, _, err := call.Receive(me, id, 0, 1, 0); err != unix.EAGAIN {
		t.Fatal(err)
	}
	woken := 0
	e := waiter.NewFunctionEntry(waiter.ReadableEvents, func(waiter.EventMask) { woken++ })
	call.EventRegister(&e)
	defer call.EventUnregister(&e)
	if err := m.Remove(me, id); err != nil || woken == 0 {
		t.Fatal(err, woken)
	}
	if _, _, err := call.Receive(me, id, 0, 1, 0); err != unix.EIDRM {
		t.Errorf("%v, want EIDRM", err)
	}
	if _, _, err := m.NewCall().Receive(me, id, 0, 1, 0); err != unix.EINVAL {
		t.Errorf("%v, want EINVAL", err)
	}
}

// TestRace passes messages between threads.
func TestRace(t *testing.T) {
	m, id := newQueue(t)
	var wg sync.WaitGroup
	run := func(try func(*Call) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 200 {
				call := m.NewCall()
				err := try(call)
				if err == unix.EAGAIN {
					ch := make(chan struct{}, 1)
					e := waiter.NewFunctionEntry(waiter.ReadableEvents|waiter.WritableEvents, func(waiter.EventMask) {
						select {
						case ch <- struct{}{}:
						default:
						}
					})
					call.EventRegister(&e)
					for err = try(call); err == unix.EAGAIN; err = try(call) {
						<-ch
					}
					call.EventUnregister(&e)
				}
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	text := make([]byte, 5000)
	for range 3 {
		run(func(c *Call) error { return c.Send(me, id, 1, text) })
		run(func(c *Call) error {
			_, _, err := c.Receive(me, id, 0, 5000, 0)
			return err
		})
	}
	wg.Wait()
	if m.bytes != 0 || !m.budget.Take(Budget-sizeofQueue) {
		t.Errorf("%d bytes are left", m.bytes)
	}
}
