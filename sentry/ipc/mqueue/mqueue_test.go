package mqueue

import (
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/ipc"
	"runsc-lite/sentry/vfs"
)

func newFS() *FS {
	return New(Options{Now: func() unix.Timespec { return unix.Timespec{Sec: 1} }, Budget: ipc.NewBudget(Budget)})
}

func newQueue(t testing.TB, fs *FS, a Attr) *node {
	t.Helper()
	by := &vfs.Caller{Creds: vfs.RootCreds()}
	n, err := fs.create(fmt.Sprint("q", fs.count), vfs.CreateArgs{Mode: unix.S_IFREG | 0o600, By: by, Special: &a})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// held returns what the messages of fs take of its Budget.
func held(fs *FS) int {
	left := 0
	for n := Budget; n > 0; n /= 2 {
		for fs.o.Budget.Take(n) {
			left += n
		}
	}
	fs.o.Budget.Give(left)
	return Budget - left
}

func text(s string) Message { return Message{Text: []byte(s)} }

// TestMany has many who send and receive at once: all messages arrive, and nothing of
// them is held afterwards.
func TestMany(t *testing.T) {
	const threads, each = 8, 500
	fs := newFS()
	q := Queue{newQueue(t, fs, Attr{MaxCount: 3, MaxSize: 10})}
	var wg sync.WaitGroup
	got := make([][]byte, threads)
	for i := range threads {
		wg.Go(func() {
			for range each {
				ch := make(chan struct{}, 1)
				w, err := q.Send(Message{Priority: uint32(i), Text: []byte{byte(i)}}, nil, func() { ch <- struct{}{} })
				if err != nil {
					t.Error(err)
				}
				if w != nil {
					<-ch
				}
			}
		})
		wg.Go(func() {
			for len(got[i]) < each {
				ch := make(chan struct{}, 1)
				m, w, err := q.Receive(func() { ch <- struct{}{} })
				if err != nil {
					t.Error(err)
				}
				if w != nil {
					if len(got[i])%7 == 3 && !w.Cancel() {
						continue
					}
					<-ch
					m = w.Message()
				}
				got[i] = append(got[i], m.Text...)
			}
		})
	}
	wg.Wait()
	counts := map[byte]int{}
	for _, b := range got {
		for _, c := range b {
			counts[c]++
		}
	}
	for i := range threads {
		if counts[byte(i)] != each {
			t.Errorf("of thread %d came %d messages of %d", i, counts[byte(i)], each)
		}
	}
	if n := held(fs); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestGone holds that what a queue was charged for comes back, with its messages, once
// it has neither name nor descriptor.
func TestGone(t *testing.T) {
	fs := newFS()
	n := newQueue(t, fs, Attr{MaxCount: 2, MaxSize: 10})
	f, err := n.Open(unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := (Queue{n}).Send(text("abc"), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	w, err := Queue{n}.Send(text("d"), nil, func() {})
	if w == nil || err != nil {
		t.Fatal(w, err)
	}
	if want := 3 + 3 + 1 + 3*messageCost; held(fs) != want {
		t.Errorf("%d bytes are held, want %d", held(fs), want)
	}
	w.Cancel()
	if want := uint64(2*10 + 4*48); fs.charged[0] != want {
		t.Errorf("charged: %d, want %d", fs.charged[0], want)
	}
	if err := fs.root.Unlink("q0"); err != nil {
		t.Fatal(err)
	}
	if fs.count != 1 {
		t.Error("an open queue is gone")
	}
	f.Release()
	if fs.count != 0 || len(fs.charged) != 0 || held(fs) != 0 {
		t.Errorf("left: %d queues, %v charged, %d held", fs.count, fs.charged, held(fs))
	}
}

// TestBounds holds what a guest can make the sentry keep.
func TestBounds(t *testing.T) {
	fs := newFS()
	n := newQueue(t, fs, Attr{MaxCount: hardCount, MaxSize: hardSize})
	fs.o.Budget.Take(Budget)
	if _, err := (Queue{n}).Send(text("x"), nil, nil); err != unix.ENOMEM {
		t.Errorf("%v, want ENOMEM", err)
	}
	fs.o.Budget.Give(Budget)
	nobody := &vfs.Caller{Creds: &vfs.Creds{UID: 1}}
	fs.o.Quota = func(any) uint64 { return 1 << 20 }
	a := vfs.CreateArgs{Mode: unix.S_IFREG, UID: 1, By: nobody}
	for i := 0; ; i++ {
		_, err := fs.create(fmt.Sprint("n", i), a)
		if err == unix.EMFILE {
			if i != 12 { // of 82,880 bytes each
				t.Errorf("%d queues", i)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	a.Special = &Attr{MaxCount: 11, MaxSize: 1}
	if _, err := fs.create("more", a); err != unix.EINVAL {
		t.Errorf("more messages than msg_max: %v, want EINVAL", err)
	}
	fs.Limits.Queues.Store(2)
	a.Special = nil
	if _, err := fs.create("another", a); err != unix.ENOSPC {
		t.Errorf("more queues than queues_max: %v, want ENOSPC", err)
	}
}

// TestNotification holds that one of its functions is called, once.
func TestNotification(t *testing.T) {
	fs := newFS()
	q := Queue{newQueue(t, fs, Attr{MaxCount: 4, MaxSize: 10})}
	var log []string
	note := func(name string) *Notification {
		return &Notification{
			Arrived: func(from any) { log = append(log, fmt.Sprint(name, " from ", from)) },
			Removed: func() { log = append(log, name+" removed") },
		}
	}
	send := func() {
		if _, err := q.Send(text("x"), "me", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Notify(1, note("a")); err != nil {
		t.Fatal(err)
	}
	if err := q.Notify(2, note("b")); err != unix.EBUSY {
		t.Errorf("%v, want EBUSY", err)
	}
	q.Notify(2, nil)
	send()
	send()
	if err := q.Notify(2, note("b")); err != nil {
		t.Fatal(err)
	}
	send()
	(&file{q.n}).Flush(1)
	(&file{q.n}).Flush(2)
	(&file{q.n}).Flush(2)
	if got := fmt.Sprint(log); got != "[a from me b removed]" {
		t.Error(got)
	}
}
