// Package msg is System V's message queues (msgget(2), Linux's ipc/msg.c).
//
// Nothing here waits: EAGAIN and ENOMSG say that the caller has to, on the queue's
// Waitable, and EIDRM that there is nothing to wait for any more.
//
// Lock order: Manager.mu, and below it that of waiters' queues.
package msg

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/ipc"
)

// Flags and commands.
const (
	NoError = 0o10000 // MSG_NOERROR
	Except  = 0o20000 // MSG_EXCEPT
	Copy    = 0o40000 // MSG_COPY

	StatIdx = 11 // MSG_STAT
	InfoAll = 12 // MSG_INFO
	StatAny = 13 // MSG_STAT_ANY
)

const (
	// overhead is what a message costs besides its text.
	overhead = 64
	// sizeofQueue is what a queue costs by itself, about.
	sizeofQueue = 256
	// Budget is for all queues, in bytes: messages live in the sentry's own memory.
	Budget = 64 << 20
)

// Limits are those of /proc/sys/kernel: bytes of a message, bytes of a queue, queues.
type Limits struct{ Message, Queue, IDs atomic.Int64 }

// Manager keeps the queues of an ipc namespace.
type Manager struct {
	now    func() int64 // CLOCK_REALTIME in seconds
	budget *ipc.Budget
	Limits Limits

	mu       sync.Mutex
	ids      ipc.IDs[*queue]
	messages int
	bytes    int
}

// New makes a Manager. What its queues take comes out of budget (ENOMEM).
func New(now func() int64, budget *ipc.Budget) *Manager {
	m := &Manager{now: now, budget: budget}
	m.Limits.Message.Store(8192)
	m.Limits.Queue.Store(16384)
	m.Limits.IDs.Store(32000)
	return m
}

type message struct {
	kind int64
	text []byte
}

// queue is struct msg_queue; all but waiters is under Manager.mu.
type queue struct {
	perm                ipc.Perm
	messages            []message // the oldest first
	bytes, most         int
	stime, rtime, ctime int64
	lspid, lrpid        int32
	waiters             waiter.Queue
}

func (q *queue) Perms() *ipc.Perm { return &q.perm }

// Get is msgget(2).
func (m *Manager) Get(c *ipc.Caller, key int32, flags uint32) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids.GetOr(c, key, flags, func(*queue) error { return nil }, func() (*queue, error) {
		q := &queue{most: int(m.Limits.Queue.Load()), ctime: m.now()}
		if !m.budget.Take(sizeofQueue) {
			return nil, unix.ENOMEM
		}
		if err := m.ids.Add(q, c, key, flags, int(m.Limits.IDs.Load())); err != nil {
			m.budget.Give(sizeofQueue)
			return nil, err
		}
		return q, nil
	})
}

// find returns a queue, or, for who had it before, EIDRM.
func (m *Manager) find(id int32, had *queue) (*queue, error) {
	q, err := m.ids.Get(id)
	if had != nil && (err != nil || q != had) {
		return nil, unix.EIDRM
	}
	return q, err
}

// Call is a msgsnd(2) or msgrcv(2) in progress, which may take several tries. It is
// the Waitable to wait on in between.
type Call struct {
	m *Manager
	q *queue // nil before the first try
}

// NewCall begins a call.
func (m *Manager) NewCall() *Call { return &Call{m: m} }

// Readiness implements waiter.Waitable. Only trying again tells.
func (c *Call) Readiness(waiter.EventMask) waiter.EventMask { return 0 }

// EventRegister implements waiter.Waitable; Send or Receive was tried before.
func (c *Call) EventRegister(e *waiter.Entry) error {
	c.q.waiters.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (c *Call) EventUnregister(e *waiter.Entry) { c.q.waiters.EventUnregister(e) }

// Send appends a message, whose text it keeps. EINVAL: its type is not positive, or
// there is no such queue. EAGAIN: the queue is full. ENOMEM: all together are.
func (c *Call) Send(who *ipc.Caller, id int32, kind int64, text []byte) error {
	m := c.m
	if kind < 1 {
		return unix.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.find(id, c.q)
	if err != nil {
		return err
	}
	c.q = q
	if err := q.perm.Allows(who, ipc.Write); err != nil {
		return err
	}
	if q.bytes+len(text) > q.most || len(q.messages)+1 > q.most {
		return unix.EAGAIN
	}
	if !m.budget.Take(len(text) + overhead) {
		return unix.ENOMEM
	}
	q.messages = append(q.messages, message{kind, text})
	q.stime, q.lspid = m.now(), who.PID
	m.count(q, 1, len(text))
	q.waiters.Notify(waiter.ReadableEvents)
	return nil
}

// count notes that messages came or went. m.mu is held.
func (m *Manager) count(q *queue, messages, bytes int) {
	q.bytes += bytes
	m.bytes += bytes
	m.messages += messages
	if messages < 0 {
		m.budget.Give(-bytes - messages*overhead)
	}
}

// matches reports whether msgrcv(2) with the type want takes a message (testmsg).
func matches(kind, want int64, flags uint32) bool {
	switch {
	case want == 0:
		return true
	case want < 0:
		return kind <= -want || want == -1<<63
	case flags&Except != 0:
		return kind != want
	}
	return kind == want
}

// Receive takes the first message of the type want, and up to size bytes of its text.
// E2BIG: it is longer, and flags have no MSG_NOERROR. EAGAIN: there is none yet.
func (c *Call) Receive(who *ipc.Caller, id int32, want int64, size uint64, flags uint32) (kind int64, text []byte, err error) {
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.find(id, c.q)
	if err != nil {
		return 0, nil, err
	}
	c.q = q
	if err := q.perm.Allows(who, ipc.Read); err != nil {
		return 0, nil, err
	}
	if flags&Copy != 0 { // the message of that number stays where it is
		if want < 0 || want >= int64(len(q.messages)) {
			return 0, nil, unix.EAGAIN
		}
		x := q.messages[want]
		if uint64(len(x.text)) > size && flags&NoError == 0 {
			return 0, nil, unix.E2BIG
		}
		return x.kind, slices.Clone(x.text[:min(uint64(len(x.text)), size)]), nil
	}
	at := -1
	for i, x := range q.messages {
		if !matches(x.kind, want, flags) {
			continue
		}
		// Of several types, the lowest comes first.
		if at < 0 || want < 0 && x.kind < q.messages[at].kind {
			at = i
		}
		if want >= 0 || x.kind == 1 {
			break
		}
	}
	if at < 0 {
		return 0, nil, unix.EAGAIN
	}
	x := q.messages[at]
	if uint64(len(x.text)) > size && flags&NoError == 0 {
		return 0, nil, unix.E2BIG
	}
	q.messages = slices.Delete(q.messages, at, at+1)
	q.rtime, q.lrpid = m.now(), who.PID
	m.count(q, -1, -len(x.text))
	q.waiters.Notify(waiter.WritableEvents)
	return x.kind, x.text[:min(uint64(len(x.text)), size)], nil
}

// Remove removes a queue and wakes all who wait (IPC_RMID). EPERM.
func (m *Manager) Remove(c *ipc.Caller, id int32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.ids.Owned(c, id)
	if err != nil {
		return err
	}
	m.remove(q)
	return nil
}

func (m *Manager) remove(q *queue) {
	m.ids.Remove(q)
	m.count(q, -len(q.messages), -q.bytes)
	m.budget.Give(sizeofQueue)
	q.messages = nil
	q.waiters.Notify(waiter.ReadableEvents | waiter.WritableEvents)
}

// Close removes all queues.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.ids.All() {
		m.remove(q)
	}
}

// Change is IPC_SET; most is the new msg_qbytes. EPERM: more than the limit needs
// CAP_SYS_RESOURCE.
func (m *Manager) Change(c *ipc.Caller, id int32, to ipc.Change, most uint64, resource bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.ids.Owned(c, id)
	if err != nil {
		return err
	}
	if most > uint64(m.Limits.Queue.Load()) && !resource {
		return unix.EPERM
	}
	if err := q.perm.Apply(to); err != nil {
		return err
	}
	q.most = int(min(most, Budget))
	q.ctime = m.now()
	q.waiters.Notify(waiter.ReadableEvents | waiter.WritableEvents)
	return nil
}

// SizeofStat is sizeof(struct msqid64_ds).
const SizeofStat = 120

// Stat is IPC_STAT, MSG_STAT and MSG_STAT_ANY; see shm.
func (m *Manager) Stat(c *ipc.Caller, id, cmd int32, b []byte) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, result, err := m.ids.ForStat(c, id, cmd, StatAny)
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	q.perm.Encode(b)
	for i, v := range [...]uint64{
		uint64(q.stime), uint64(q.rtime), uint64(q.ctime), uint64(q.bytes), uint64(len(q.messages)), uint64(q.most),
	} {
		le.PutUint64(b[48+8*i:], v)
	}
	le.PutUint32(b[96:], uint32(q.lspid))
	le.PutUint32(b[100:], uint32(q.lrpid))
	return result, nil
}

// Info is IPC_INFO and MSG_INFO: it returns struct msginfo and the highest index.
func (m *Manager) Info(cmd int32) ([]byte, int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &m.Limits
	ids := l.IDs.Load()
	pool, maps, tql := ids*l.Queue.Load()/1024, l.Queue.Load(), l.Queue.Load()
	if cmd == InfoAll {
		pool, maps, tql = int64(m.ids.Len()), int64(m.messages), int64(m.bytes)
	}
	b := make([]byte, 32)
	le := binary.LittleEndian
	for i, v := range [...]int64{pool, maps, l.Message.Load(), l.Queue.Load(), ids, 16, tql} {
		le.PutUint32(b[4*i:], uint32(v))
	}
	le.PutUint16(b[28:], 0xffff) // MSGSEG
	return b, m.ids.MaxIndex()
}

// Proc writes /proc/sysvipc/msg.
func (m *Manager) Proc(b *bytes.Buffer) error {
	b.WriteString("       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n")
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.ids.All() {
		p := &q.perm
		fmt.Fprintf(b, "%10d %10d  %4o  %10d %10d %5d %5d %5d %5d %5d %5d %10d %10d %10d\n",
			p.Key, p.ID, p.Mode, q.bytes, len(q.messages), q.lspid, q.lrpid, p.UID, p.GID, p.CUID, p.CGID,
			q.stime, q.rtime, q.ctime)
	}
	return nil
}
