package seccomp

import (
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Listener is where a filter sends calls that user space is to decide on
// (SECCOMP_FILTER_FLAG_NEW_LISTENER, struct notification).
//
//	             Ask            Receive          Answer, Close
//	(a call) ──────────► waiting ──────► received ──────────► answered
//	                        ▲               │ Return
//	                        └───────────────┘
//
// A call that a signal interrupts is withdrawn instead, from where it is.
//
// Lock order: mu, and below it that of waiters' queues. Whoever is called under it (the
// wake of Ask, fn of With) does not call this package.
type Listener struct {
	changes waiter.Queue // of Readiness

	// WaitKillable: a call that was received is not interrupted by signals that
	// only have a handler (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV).
	WaitKillable bool

	mu     sync.Mutex
	last   uint64
	list   []*Notification // the oldest first, answered ones not
	users  int             // threads that the filter is over
	closed bool
}

// Answer is what a call is told: to be made after all, or what it returns.
type Answer struct {
	Value    int64
	Error    int32 // negative, 0: Value counts
	Continue bool
}

// Notification is a call that waits for its answer.
type Notification struct {
	ID     uint64
	Data   Data
	Caller any // who makes it

	l        *Listener
	wake     func()
	received bool
	answered bool
	answer   Answer
}

// Join and Leave count the threads that the filter is over.
func (l *Listener) Join() {
	l.mu.Lock()
	l.users++
	l.mu.Unlock()
}

// Leave is explained there. With the last, there is nothing more to come.
func (l *Listener) Leave() {
	l.mu.Lock()
	l.users--
	if l.users == 0 {
		l.changes.Notify(waiter.EventHUp)
	}
	l.mu.Unlock()
}

// Ask makes a Notification of a call. wake is called when there is news, with a lock
// held. ENOSYS: nobody listens.
func (l *Listener) Ask(d *Data, caller any, wake func()) (*Notification, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, unix.ENOSYS
	}
	l.last++
	n := &Notification{ID: l.last, Data: *d, Caller: caller, l: l, wake: wake}
	l.list = append(l.list, n)
	l.changes.Notify(waiter.ReadableEvents)
	return n, nil
}

// Answered returns the answer, once it is there.
func (n *Notification) Answered() (Answer, bool) {
	n.l.mu.Lock()
	defer n.l.mu.Unlock()
	return n.answer, n.answered
}

// Killable reports whether only death is to interrupt the wait from now on.
func (n *Notification) Killable() bool {
	n.l.mu.Lock()
	defer n.l.mu.Unlock()
	return n.l.WaitKillable && n.received
}

// Withdraw takes the call back: false if it was answered meanwhile.
func (n *Notification) Withdraw() bool {
	n.l.mu.Lock()
	defer n.l.mu.Unlock()
	if n.answered {
		return false
	}
	n.l.remove(n)
	return true
}

func (l *Listener) remove(n *Notification) {
	for i, o := range l.list {
		if o == n {
			l.list = append(l.list[:i], l.list[i+1:]...)
			return
		}
	}
}

// finish answers a call. l.mu is held.
func (l *Listener) finish(n *Notification, a Answer) {
	n.answer, n.answered = a, true
	l.remove(n)
	n.wake()
}

// Receive takes the oldest call that nobody has received (SECCOMP_IOCTL_NOTIF_RECV).
// EAGAIN: there is none yet; ENOENT: there will be none.
func (l *Listener) Receive() (*Notification, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.list {
		if !n.received {
			n.received = true
			l.changes.Notify(waiter.WritableEvents)
			if l.WaitKillable {
				n.wake()
			}
			return n, nil
		}
	}
	if l.users == 0 {
		return nil, unix.ENOENT
	}
	return nil, unix.EAGAIN
}

// Return undoes Receive.
func (l *Listener) Return(n *Notification) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !n.answered {
		n.received = false
		l.changes.Notify(waiter.ReadableEvents)
	}
}

// find returns a call by its id: ENOENT if it is gone.
func (l *Listener) find(id uint64) (*Notification, error) {
	for _, n := range l.list {
		if n.ID == id {
			return n, nil
		}
	}
	return nil, unix.ENOENT
}

// Valid reports whether a call that was received still waits
// (SECCOMP_IOCTL_NOTIF_ID_VALID): ENOENT.
func (l *Listener) Valid(id uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.find(id)
	if err == nil && !n.received {
		err = unix.ENOENT
	}
	return err
}

// Answer answers a call (SECCOMP_IOCTL_NOTIF_SEND). ENOENT; EINPROGRESS: it was not
// received.
func (l *Listener) Answer(id uint64, a Answer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.find(id)
	if err != nil {
		return err
	}
	if !n.received {
		return unix.EINPROGRESS
	}
	l.finish(n, a)
	return nil
}

// With calls fn with who makes a call, which waits at least until fn returns. ENOENT;
// EINPROGRESS: it was not received.
func (l *Listener) With(id uint64, fn func(caller any)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.find(id)
	if err == nil && !n.received {
		err = unix.EINPROGRESS
	}
	if err == nil {
		fn(n.Caller)
	}
	return err
}

// Close says that nobody listens any more: all calls answer ENOSYS.
func (l *Listener) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for len(l.list) > 0 {
		l.finish(l.list[0], Answer{Error: -int32(unix.ENOSYS)})
	}
}

// EventRegister implements waiter.Waitable.
func (l *Listener) EventRegister(e *waiter.Entry) error {
	l.changes.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (l *Listener) EventUnregister(e *waiter.Entry) { l.changes.EventUnregister(e) }

// Readiness implements waiter.Waitable (seccomp_notify_poll).
func (l *Listener) Readiness(mask waiter.EventMask) waiter.EventMask {
	l.mu.Lock()
	defer l.mu.Unlock()
	ready := waiter.EventMask(0)
	for _, n := range l.list {
		if n.received {
			ready |= waiter.WritableEvents
		} else {
			ready |= waiter.ReadableEvents
		}
	}
	if l.users == 0 {
		ready |= waiter.EventHUp
	}
	return ready & mask
}
