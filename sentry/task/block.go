package task

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/vfs"
)

// Block waits until ch delivers or deadline (the zero Time: never) is past.
// nil: ch delivered. procmgr.ErrInterrupted: a signal, a stop or death is
// pending. unix.ETIMEDOUT: the deadline.
func (t *Task) Block(ch <-chan struct{}, deadline time.Time) error {
	return t.th.Block(ch, deadline)
}

// noDeadline is a wait's without one.
var noDeadline time.Time

// Notifier returns what wakes a wait of t's on ch, which has a buffer of one.
func (t *Task) Notifier(ch chan struct{}) waiter.EventListener { return &notifier{t.th, ch} }

// notifier wakes a thread by a channel.
type notifier struct {
	th *procmgr.Thread
	ch chan struct{}
}

// NotifyEvent implements waiter.EventListener.
func (n *notifier) NotifyEvent(waiter.EventMask) {
	select {
	case n.ch <- struct{}{}:
	default:
	}
	n.th.Unpark()
}

// Subscribe registers the task's one entry with w for mask and returns the
// channel that tells of events, and how to end it.
func (t *Task) Subscribe(w waiter.Waitable, mask waiter.EventMask) (<-chan struct{}, error) {
	if t.ready == nil {
		t.ready = make(chan struct{}, 1)
		t.notifier = t.Notifier(t.ready)
	}
	select {
	case <-t.ready: // left over from the wait before
	default:
	}
	t.entry.Init(t.notifier, mask)
	return t.ready, w.EventRegister(&t.entry)
}

// Unsubscribe ends a Subscribe.
func (t *Task) Unsubscribe(w waiter.Waitable) { w.EventUnregister(&t.entry) }

// WaitFile calls try until it answers something other than EAGAIN, waiting
// for mask on f in between unless f is non-blocking. A wait that is
// interrupted answers RestartSys.
func (t *Task) WaitFile(f *vfs.File, mask waiter.EventMask, deadline time.Time, try func() error) error {
	err := try()
	if err != unix.EAGAIN || f.Flags()&unix.O_NONBLOCK != 0 {
		return err
	}
	ch, err := t.Subscribe(f, mask|waiter.EventHUp|waiter.EventErr)
	if err != nil {
		return err
	}
	defer t.Unsubscribe(f)
	for {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		if err := t.Block(ch, deadline); err != nil {
			return Interrupted(err, RestartSys)
		}
	}
}
