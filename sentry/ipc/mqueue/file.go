package mqueue

import (
	"fmt"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/vfs"
)

// file is a queue that somebody has open.
type file struct{ n *node }

// Queue is an open message queue.
type Queue struct{ n *node }

// Of returns the queue that f is; false if it is none.
func Of(f *vfs.File) (Queue, bool) {
	o, ok := f.Ops().(*file)
	if !ok {
		return Queue{}, false
	}
	return Queue{o.n}, true
}

// Attr returns the bounds, and how many messages there are.
func (q Queue) Attr() (Attr, int64) {
	u := q.n.queue
	u.mu.Lock()
	defer u.mu.Unlock()
	return Attr{u.maxCount, u.maxSize}, int64(len(u.messages))
}

// Send sends m. EAGAIN: the queue is full, and wake is nil; otherwise the Wait that is
// returned then calls wake, once, when m was sent. EMSGSIZE, ENOMEM.
func (q Queue) Send(m Message, from any, wake func()) (*Wait, error) {
	w, err := q.n.queue.send(m, from, wake)
	if err == nil {
		q.n.touch(true)
	}
	return w, err
}

// Receive takes the oldest message of those with the highest priority. EAGAIN: there is
// none, and wake is nil; otherwise see Send.
func (q Queue) Receive(wake func()) (Message, *Wait, error) {
	m, w, err := q.n.queue.receive(wake)
	if err == nil {
		q.n.touch(false)
	}
	return m, w, err
}

// Notify registers n: EBUSY if somebody's is there. nil removes owner's own.
func (q Queue) Notify(owner any, n *Notification) error {
	if n == nil {
		q.n.queue.dropNotify(owner)
		return nil
	}
	n.Owner = owner
	return q.n.queue.setNotify(n)
}

// Flush implements vfs.Flusher: who closes the queue is told of nothing any more.
func (f *file) Flush(owner any) { f.n.queue.dropNotify(owner) }

// Release implements vfs.FileOps.
func (f *file) Release() { f.n.drop(false) }

// ReadAt implements vfs.ReaderAt: a line about the queue (mqueue_read_file).
func (f *file) ReadAt(dst [][]byte, off int64) (int64, error) {
	q := f.n.queue
	q.mu.Lock()
	var n Notification
	if q.notify != nil {
		n = *q.notify
	}
	line := fmt.Appendf(nil, "QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", q.bytes, n.Kind, n.signo(), n.PID)
	q.mu.Unlock()
	if off < 0 {
		return 0, unix.EINVAL
	}
	line = line[min(off, int64(len(line))):]
	var done int64
	for _, b := range dst {
		k := copy(b, line)
		line, done = line[k:], done+int64(k)
	}
	f.n.touch(false)
	return done, nil
}

// signo is shown of those that are signals only.
func (n *Notification) signo() int32 {
	if n.Kind == sigevSignal {
		return n.Signo
	}
	return 0
}

const sigevSignal = 0 // SIGEV_SIGNAL

// SetFlags implements vfs.FlagSetter: there is nothing to set but O_NONBLOCK, which is
// the caller's business.
func (f *file) SetFlags(flags uint32) error {
	if flags&unix.O_DIRECT != 0 {
		return unix.EINVAL
	}
	return nil
}

// Readiness implements waiter.Waitable.
func (f *file) Readiness(mask waiter.EventMask) waiter.EventMask {
	return f.n.queue.readiness() & mask
}

// EventRegister implements waiter.Waitable.
func (f *file) EventRegister(e *waiter.Entry) error {
	f.n.queue.waiters.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (f *file) EventUnregister(e *waiter.Entry) { f.n.queue.waiters.EventUnregister(e) }
