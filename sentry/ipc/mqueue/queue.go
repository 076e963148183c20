package mqueue

import (
	"container/heap"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// MaxPriority is one more than the highest priority of a message (MQ_PRIO_MAX).
const MaxPriority = 32768

// Message is what is sent.
type Message struct {
	Priority uint32
	Text     []byte
	order    uint64
}

// messages is a heap: the highest priority first, and of one the oldest.
type messages []Message

func (m messages) Len() int { return len(m) }
func (m messages) Less(i, j int) bool {
	if m[i].Priority != m[j].Priority {
		return m[i].Priority > m[j].Priority
	}
	return m[i].order < m[j].order
}
func (m messages) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *messages) Push(x any)   { *m = append(*m, x.(Message)) }
func (m *messages) Pop() any {
	last := len(*m) - 1
	x := (*m)[last]
	(*m)[last] = Message{}
	*m = (*m)[:last]
	return x
}

// Notification is what a process asked for with mq_notify(2). One of the two functions
// is called at its end, without a lock held.
type Notification struct {
	Owner any   // whose it is: a descriptor table
	PID   int32 // what reading the queue's file shows
	Kind  int32 // SIGEV_*
	Signo int32
	// Arrived is called when a message came to the empty queue, with what Send was told
	// of its sender.
	Arrived func(from any)
	// Removed is called when the owner gave it up, or closed the queue.
	Removed func()
}

// queue is the part of a queue's inode that has messages.
type queue struct {
	fs        *FS
	maxCount  int64
	maxSize   int64
	waiters   waiter.Queue // of poll(2)
	mu        sync.Mutex
	messages  messages
	order     uint64
	bytes     int64   // of the messages' text
	receivers []*Wait // the longest waiting first
	senders   []*Wait
	notify    *Notification
}

// Wait is a mq_timedsend(2) or mq_timedreceive(2) that has to wait.
type Wait struct {
	q    *queue
	m    Message
	done bool // under q.mu
	wake func()
}

// Message returns what was received, after Done.
func (w *Wait) Message() Message { return w.m }

// Done reports whether w has been served.
func (w *Wait) Done() bool {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	return w.done
}

// Cancel ends w, unless it was served already, which it reports.
func (w *Wait) Cancel() (done bool) {
	q := w.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.done {
		return true
	}
	same := func(x *Wait) bool { return x == w }
	q.receivers, q.senders = slices.DeleteFunc(q.receivers, same), slices.DeleteFunc(q.senders, same)
	q.fs.o.Budget.Give(w.m.cost())
	return false
}

// messageCost is what a message takes besides its text.
const messageCost = 64

// cost is 0 for that of a receiver, who has none yet.
func (m *Message) cost() int {
	if m.Text == nil {
		return 0
	}
	return len(m.Text) + messageCost
}

// send gives m to who waits for one, or puts it into the queue. EAGAIN: it is full,
// and wake is nil; otherwise there is a Wait then, which calls wake when it is over.
// EMSGSIZE: m is too long. ENOMEM: all queues together hold too much.
func (q *queue) send(m Message, from any, wake func()) (*Wait, error) {
	if int64(len(m.Text)) > q.maxSize {
		return nil, unix.EMSGSIZE
	}
	if !q.fs.o.Budget.Take(m.cost()) {
		return nil, unix.ENOMEM
	}
	var told *Notification
	q.mu.Lock()
	switch {
	case len(q.receivers) > 0:
		w := q.receivers[0]
		q.receivers = slices.Delete(q.receivers, 0, 1)
		q.fs.o.Budget.Give(m.cost())
		w.m = m
		w.finish()
	case int64(len(q.messages)) >= q.maxCount:
		if wake == nil {
			q.mu.Unlock()
			q.fs.o.Budget.Give(m.cost())
			return nil, unix.EAGAIN
		}
		w := &Wait{q: q, m: m, wake: wake}
		q.senders = append(q.senders, w)
		q.mu.Unlock()
		return w, nil
	default:
		q.insert(m)
		if len(q.messages) == 1 {
			told, q.notify = q.notify, nil
		}
	}
	q.mu.Unlock()
	q.waiters.Notify(waiter.ReadableEvents)
	if told != nil {
		told.Arrived(from)
	}
	return nil, nil
}

func (q *queue) insert(m Message) {
	q.order++
	m.order = q.order
	q.bytes += int64(len(m.Text))
	heap.Push(&q.messages, m)
}

// finish tells who waits that it is over. q.mu is held.
func (w *Wait) finish() {
	w.done = true
	w.wake()
}

// receive takes the first message, and lets who waits to send send. EAGAIN: there is
// none, and wake is nil; see send.
func (q *queue) receive(wake func()) (Message, *Wait, error) {
	q.mu.Lock()
	if len(q.messages) == 0 {
		defer q.mu.Unlock()
		if wake == nil {
			return Message{}, nil, unix.EAGAIN
		}
		w := &Wait{q: q, wake: wake}
		q.receivers = append(q.receivers, w)
		return Message{}, w, nil
	}
	m := heap.Pop(&q.messages).(Message)
	q.bytes -= int64(len(m.Text))
	q.fs.o.Budget.Give(m.cost())
	if len(q.senders) > 0 {
		w := q.senders[0]
		q.senders = slices.Delete(q.senders, 0, 1)
		q.insert(w.m)
		w.finish()
	}
	q.mu.Unlock()
	q.waiters.Notify(waiter.WritableEvents)
	return m, nil, nil
}

// setNotify registers n: EBUSY if there is one already.
func (q *queue) setNotify(n *Notification) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.notify != nil {
		return unix.EBUSY
	}
	q.notify = n
	return nil
}

// dropNotify ends owner's notification, if it has one.
func (q *queue) dropNotify(owner any) {
	q.mu.Lock()
	n := q.notify
	if n == nil || n.Owner != owner {
		q.mu.Unlock()
		return
	}
	q.notify = nil
	q.mu.Unlock()
	n.Removed()
}

// drain gives back what the queue holds: it is gone.
func (q *queue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.messages {
		q.fs.o.Budget.Give(q.messages[i].cost())
	}
	q.messages = nil
}

// readiness is mqueue_poll_file.
func (q *queue) readiness() (ready waiter.EventMask) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.messages) > 0 {
		ready |= waiter.ReadableEvents
	}
	if int64(len(q.messages)) < q.maxCount {
		ready |= waiter.WritableEvents
	}
	return ready
}
