package seccomp

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

func ask(t *testing.T, l *Listener, nr uint32) (*Notification, chan struct{}) {
	t.Helper()
	ch := make(chan struct{}, 1)
	n, err := l.Ask(&Data{nr}, nr, func() {
		select {
		case ch <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, ch
}

func TestListener(t *testing.T) {
	l := new(Listener)
	l.Join()
	if _, err := l.Receive(); err != unix.EAGAIN {
		t.Errorf("nothing to receive: %v", err)
	}
	first, woken := ask(t, l, 1)
	second, _ := ask(t, l, 2)
	if r := l.Readiness(^waiter.EventMask(0)); r != waiter.ReadableEvents {
		t.Errorf("ready for %v", r)
	}
	if err := l.Answer(first.ID, Answer{}); err != unix.EINPROGRESS {
		t.Errorf("an answer before it was received: %v", err)
	}
	if err := l.Valid(first.ID); err != unix.ENOENT {
		t.Errorf("valid before it was received: %v", err)
	}
	n, err := l.Receive()
	if n != first || err != nil {
		t.Fatalf("received %v, %v", n, err)
	}
	l.Return(n)
	if n, err = l.Receive(); n != first || err != nil {
		t.Fatalf("received %v, %v once it was returned", n, err)
	}
	if err := l.Valid(first.ID); err != nil {
		t.Errorf("not valid: %v", err)
	}
	if err := l.Answer(first.ID, Answer{Value: 5}); err != nil {
		t.Error(err)
	}
	<-woken
	if a, ok := first.Answered(); !ok || a.Value != 5 || first.Withdraw() {
		t.Errorf("the answer is %v, %v", a, ok)
	}
	if err := l.Answer(first.ID, Answer{}); err != unix.ENOENT {
		t.Errorf("a second answer: %v", err)
	}
	if n, err = l.Receive(); n != second || err != nil || !second.Withdraw() {
		t.Errorf("received %v, %v", n, err)
	}
	if err := l.Valid(second.ID); err != unix.ENOENT {
		t.Errorf("one that was withdrawn is valid: %v", err)
	}
	third, _ := ask(t, l, 3)
	l.Close()
	if a, ok := third.Answered(); !ok || a.Error != -int32(unix.ENOSYS) {
		t.Errorf("without a listener: %v, %v", a, ok)
	}
	if _, err := l.Ask(&Data{}, nil, func() {}); err != unix.ENOSYS {
		t.Errorf("nobody to ask: %v", err)
	}
	l.Leave()
	if r := l.Readiness(^waiter.EventMask(0)); r != waiter.EventHUp {
		t.Errorf("ready for %v at the end", r)
	}
	if _, err := l.Receive(); err != unix.ENOENT {
		t.Errorf("nothing to come: %v", err)
	}
}

// TestListenerRace asks, answers and withdraws from all sides.
func TestListenerRace(t *testing.T) {
	l := new(Listener)
	l.Join()
	var askers, listeners sync.WaitGroup
	end := make(chan struct{})
	for range 2 {
		listeners.Go(func() {
			for {
				n, err := l.Receive()
				if err == unix.EAGAIN {
					select {
					case <-end:
						return
					default:
						continue
					}
				}
				if l.Valid(n.ID) == nil {
					l.Answer(n.ID, Answer{Value: int64(n.Data[0])})
				}
			}
		})
	}
	for i := range uint32(4) {
		askers.Go(func() {
			for k := range 500 {
				n, woken := ask(t, l, i)
				if k%3 == 0 && n.Withdraw() {
					continue
				}
				<-woken
				if a, ok := n.Answered(); !ok || a.Value != int64(i) {
					t.Errorf("%d was told %v, %v", i, a, ok)
				}
			}
		})
	}
	askers.Wait()
	close(end)
	listeners.Wait()
	if len(l.list) != 0 {
		t.Errorf("%d are left", len(l.list))
	}
}
