// Package sem is System V's semaphores (semget(2), Linux's ipc/sem.c).
//
// A call that cannot proceed leaves a Waiter behind; whoever changes the set goes
// through them, the oldest first, and makes the calls that have become possible, so
// that semaphores are given in the order in which they were asked for.
//
// Lock order: Manager.mu alone. A Waiter is woken under it, which must not wait.
package sem

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/ipc"
)

// Commands.
const (
	GetPID  = 11 // GETPID
	GetVal  = 12 // GETVAL
	GetAll  = 13 // GETALL
	GetNCnt = 14 // GETNCNT
	GetZCnt = 15 // GETZCNT
	SetVal  = 16 // SETVAL
	SetAll  = 17 // SETALL
	StatIdx = 18 // SEM_STAT
	InfoAll = 19 // SEM_INFO
	StatAny = 20 // SEM_STAT_ANY

	// Undo is SEM_UNDO.
	Undo = 0x1000
)

const (
	// MaxValue is SEMVMX.
	MaxValue = 32767
	// maxTotal bounds the semaphores of all sets of a namespace (SEMMNS is a thousand
	// times that on Linux), and the entries of all undo lists.
	maxTotal = 1000000

	// What a semaphore, a set and an entry of an undo list cost the sentry, in bytes,
	// and what all of them may.
	sizeofSemaphore = 8
	sizeofSet       = 256
	sizeofUndo      = 64
	// Budget is for all sets.
	Budget = 128 << 20
)

// Limits are those of /proc/sys/kernel/sem: semaphores of a set, of all sets,
// operations of a call, sets.
type Limits struct{ PerSet, All, Ops, Sets atomic.Int64 }

// Manager keeps the sets of an ipc namespace.
type Manager struct {
	now    func() int64 // CLOCK_REALTIME in seconds
	budget *ipc.Budget
	Limits Limits

	mu    sync.Mutex
	ids   ipc.IDs[*set]
	total int // semaphores
	undos int // entries of undo lists
}

// New makes a Manager. What its sets take comes out of budget (ENOMEM).
func New(now func() int64, budget *ipc.Budget) *Manager {
	m := &Manager{now: now, budget: budget}
	m.Limits.PerSet.Store(32000)
	m.Limits.All.Store(maxTotal)
	m.Limits.Ops.Store(500)
	m.Limits.Sets.Store(32000)
	return m
}

type semaphore struct {
	value int32
	pid   int32 // of who changed it last
}

// set is struct sem_array; all is under Manager.mu.
type set struct {
	perm         ipc.Perm
	sems         []semaphore
	otime, ctime int64
	waiters      []*Waiter // the oldest first
	undo         map[*List]struct{}
}

func (s *set) Perms() *ipc.Perm { return &s.perm }

// Op is struct sembuf.
type Op struct {
	Num   uint16
	Value int16
	Flags int16
}

// SizeofOp is sizeof(struct sembuf).
const SizeofOp = 6

// DecodeOps reads an array of struct sembuf.
func DecodeOps(b []byte) []Op {
	ops := make([]Op, len(b)/SizeofOp)
	le := binary.LittleEndian
	for i := range ops {
		p := b[SizeofOp*i:]
		ops[i] = Op{le.Uint16(p), int16(le.Uint16(p[2:])), int16(le.Uint16(p[4:]))}
	}
	return ops
}

// Waiter is a call that waits. Its result is there once Done says so.
type Waiter struct {
	m    *Manager
	s    *set
	ops  []Op
	pid  int32
	undo *List
	wake func()

	stuck int // index of the operation that cannot proceed
	done  bool
	err   error
}

// Done returns the result if the call was made.
func (w *Waiter) Done() (err error, done bool) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return w.err, w.done
}

// Cancel gives up, unless the call was made meanwhile.
func (w *Waiter) Cancel() (err error, done bool) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if !w.done {
		w.s.waiters = slices.DeleteFunc(w.s.waiters, func(o *Waiter) bool { return o == w })
	}
	return w.err, w.done
}

// List is what is undone when the last who shares it ends (SEM_UNDO).
type List struct {
	m    *Manager
	refs atomic.Int32
	adj  map[adjustment]int32 // under Manager.mu
}

type adjustment struct {
	s   *set
	num uint16
}

// NewList makes a list with one reference.
func (m *Manager) NewList() *List {
	l := &List{m: m}
	l.refs.Store(1)
	return l
}

// Share adds a reference (CLONE_SYSVSEM).
func (l *List) Share() *List {
	l.refs.Add(1)
	return l
}

// Release drops one; with the last, the adjustments are made (exit_sem).
func (l *List) Release(pid int32) {
	if l.refs.Add(-1) != 0 {
		return
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	changed := make(map[*set]bool)
	for a, by := range l.adj {
		sem := &a.s.sems[a.num]
		sem.value = min(max(sem.value+by, 0), MaxValue)
		sem.pid = pid
		changed[a.s] = true
	}
	l.m.dropUndos(len(l.adj))
	l.adj = nil
	for s := range changed {
		delete(s.undo, l)
		s.otime = l.m.now()
		l.m.proceed(s)
	}
}

// Get is semget(2).
func (m *Manager) Get(c *ipc.Caller, key, n int32, flags uint32) (int32, error) {
	if n < 0 || int64(n) > m.Limits.PerSet.Load() {
		return 0, unix.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids.GetOr(c, key, flags, func(s *set) error {
		if int(n) > len(s.sems) {
			return unix.EINVAL
		}
		return nil
	}, func() (*set, error) { return m.create(c, key, n, flags) })
}

func (m *Manager) create(c *ipc.Caller, key, n int32, flags uint32) (*set, error) {
	if n == 0 {
		return nil, unix.EINVAL
	}
	if int64(m.total)+int64(n) > min(m.Limits.All.Load(), maxTotal) {
		return nil, unix.ENOSPC
	}
	size := sizeofSet + int(n)*sizeofSemaphore
	if !m.budget.Take(size) {
		return nil, unix.ENOMEM
	}
	s := &set{sems: make([]semaphore, n), ctime: m.now()}
	if err := m.ids.Add(s, c, key, flags, int(m.Limits.Sets.Load())); err != nil {
		m.budget.Give(size)
		return nil, err
	}
	m.total += int(n)
	return s, nil
}

// dropUndos notes that n entries of undo lists go.
func (m *Manager) dropUndos(n int) {
	m.undos -= n
	m.budget.Give(n * sizeofUndo)
}

// Op is semop(2). If the call has to wait, the Waiter is not nil: wake is called,
// once, when it was made, or cannot be any more (EIDRM). newList makes the caller's
// undo list when it is needed.
func (m *Manager) Op(c *ipc.Caller, id int32, ops []Op, newList func() *List, wake func()) (*Waiter, error) {
	if len(ops) == 0 {
		return nil, unix.EINVAL
	}
	alters, undoes, highest := false, false, uint16(0)
	for _, o := range ops {
		alters = alters || o.Value != 0
		undoes = undoes || o.Flags&Undo != 0 && o.Value != 0
		highest = max(highest, o.Num)
	}
	w := &Waiter{m: m, ops: ops, pid: c.PID, wake: wake}
	if undoes {
		w.undo = newList()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Get(id)
	if err != nil {
		return nil, err
	}
	if int(highest) >= len(s.sems) {
		return nil, unix.EFBIG
	}
	want := uint32(ipc.Read)
	if alters {
		want = ipc.Write
	}
	if err := s.perm.Allows(c, want); err != nil {
		return nil, err
	}
	w.s = s
	switch err := m.try(w); err {
	case nil:
		s.otime = m.now()
		if alters {
			m.proceed(s)
		}
		return nil, nil
	case errWait:
		if ops[w.stuck].Flags&ipc.NoWait != 0 {
			return nil, unix.EAGAIN
		}
		s.waiters = append(s.waiters, w)
		return w, nil
	default:
		return nil, err
	}
}

// errWait says that a call cannot be made yet. It never leaves the package.
const errWait = unix.EAGAIN

// try makes a call, all of it or nothing (perform_atomic_semop). m.mu is held.
func (m *Manager) try(w *Waiter) (err error) {
	s := w.s
	i := 0
	defer func() {
		if err != nil { // take back
			w.stuck = i
			for i--; i >= 0; i-- {
				s.sems[w.ops[i].Num].value -= int32(w.ops[i].Value)
			}
		}
	}()
	for ; i < len(w.ops); i++ {
		o := &w.ops[i]
		sem := &s.sems[o.Num]
		switch v := sem.value + int32(o.Value); {
		case o.Value == 0 && sem.value != 0, v < 0:
			return errWait
		case v > MaxValue:
			return unix.ERANGE
		default:
			sem.value = v
		}
	}
	if w.undo != nil {
		if err := m.note(w); err != nil {
			return err
		}
	}
	for _, o := range w.ops {
		s.sems[o.Num].pid = w.pid
	}
	return nil
}

// note remembers what is to be undone: ERANGE, ENOMEM.
func (m *Manager) note(w *Waiter) error {
	l := w.undo
	by := make(map[uint16]int32)
	for _, o := range w.ops {
		if o.Flags&Undo != 0 {
			by[o.Num] -= int32(o.Value)
		}
	}
	more := 0
	for num, n := range by {
		old, there := l.adj[adjustment{w.s, num}]
		if v := old + n; v < -MaxValue-1 || v > MaxValue {
			return unix.ERANGE
		}
		if !there {
			more++
		}
	}
	if m.undos+more > maxTotal || !m.budget.Take(more*sizeofUndo) {
		return unix.ENOMEM
	}
	m.undos += more
	if l.adj == nil {
		l.adj = make(map[adjustment]int32)
	}
	if w.s.undo == nil {
		w.s.undo = make(map[*List]struct{})
	}
	w.s.undo[l] = struct{}{}
	for num, n := range by {
		l.adj[adjustment{w.s, num}] += n
	}
	return nil
}

// proceed makes the calls that have become possible (do_smart_update). m.mu is held.
func (m *Manager) proceed(s *set) {
	for again := true; again; {
		again = false
		for i := 0; i < len(s.waiters); i++ {
			w := s.waiters[i]
			err := m.try(w)
			if err == errWait {
				if w.ops[w.stuck].Flags&ipc.NoWait == 0 {
					continue
				}
			}
			s.waiters = slices.Delete(s.waiters, i, i+1)
			i--
			if err == nil {
				s.otime = m.now()
				again = true
			}
			w.finish(err)
		}
	}
}

func (w *Waiter) finish(err error) {
	w.done, w.err = true, err
	w.wake()
}

// Remove removes a set (IPC_RMID): who waits for it gets EIDRM. EPERM.
func (m *Manager) Remove(c *ipc.Caller, id int32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Owned(c, id)
	if err != nil {
		return err
	}
	m.remove(s)
	return nil
}

func (m *Manager) remove(s *set) {
	m.ids.Remove(s)
	m.total -= len(s.sems)
	m.budget.Give(sizeofSet + len(s.sems)*sizeofSemaphore)
	m.forget(s, 0, len(s.sems))
	for _, w := range s.waiters {
		w.finish(unix.EIDRM)
	}
	s.waiters = nil
}

// Close removes all sets.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.ids.All() {
		m.remove(s)
	}
}

// forget drops what is to be undone to the semaphores from num on, n of them. m.mu is
// held.
func (m *Manager) forget(s *set, num, n int) {
	for l := range s.undo {
		for a := range l.adj {
			if a.s == s && int(a.num) >= num && int(a.num) < num+n {
				delete(l.adj, a)
				m.dropUndos(1)
			}
		}
	}
}

// Change is IPC_SET.
func (m *Manager) Change(c *ipc.Caller, id int32, to ipc.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Change(c, id, to)
	if err != nil {
		return err
	}
	s.ctime = m.now()
	return nil
}

// Value answers GETVAL, GETPID, GETNCNT and GETZCNT for one semaphore.
func (m *Manager) Value(c *ipc.Caller, id, num, cmd int32) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Allowed(c, id, ipc.Read)
	if err != nil {
		return 0, err
	}
	if num < 0 || int(num) >= len(s.sems) {
		return 0, unix.EINVAL
	}
	switch cmd {
	case GetVal:
		return s.sems[num].value, nil
	case GetPID:
		return s.sems[num].pid, nil
	}
	n := int32(0)
	for _, w := range s.waiters {
		if o := w.ops[w.stuck]; int32(o.Num) == num && (o.Value == 0) == (cmd == GetZCnt) {
			n++
		}
	}
	return n, nil
}

// SetValue is SETVAL. ERANGE.
func (m *Manager) SetValue(c *ipc.Caller, id, num, value int32) error {
	if value < 0 || value > MaxValue {
		return unix.ERANGE
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Get(id)
	if err != nil {
		return err
	}
	if num < 0 || int(num) >= len(s.sems) {
		return unix.EINVAL
	}
	if err := s.perm.Allows(c, ipc.Write); err != nil {
		return err
	}
	m.forget(s, int(num), 1)
	s.sems[num] = semaphore{value, c.PID}
	s.ctime = m.now()
	m.proceed(s)
	return nil
}

// Count returns how many semaphores a set has, for SETALL, which the caller must be
// allowed to make.
func (m *Manager) Count(c *ipc.Caller, id int32) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Allowed(c, id, ipc.Write)
	if err != nil {
		return 0, err
	}
	return len(s.sems), nil
}

// Values is GETALL.
func (m *Manager) Values(c *ipc.Caller, id int32) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Allowed(c, id, ipc.Read)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 2*len(s.sems))
	for i, sem := range s.sems {
		binary.LittleEndian.PutUint16(b[2*i:], uint16(sem.value))
	}
	return b, nil
}

// SetValues is SETALL: b has as many values as Count said. EIDRM: it is another set
// by now. ERANGE.
func (m *Manager) SetValues(c *ipc.Caller, id int32, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Allowed(c, id, ipc.Write)
	if err == unix.EINVAL || err == nil && len(b) != 2*len(s.sems) {
		return unix.EIDRM
	}
	if err != nil {
		return err
	}
	for i := range s.sems {
		if binary.LittleEndian.Uint16(b[2*i:]) > MaxValue {
			return unix.ERANGE
		}
	}
	m.forget(s, 0, len(s.sems))
	for i := range s.sems {
		s.sems[i] = semaphore{int32(binary.LittleEndian.Uint16(b[2*i:])), c.PID}
	}
	s.ctime = m.now()
	m.proceed(s)
	return nil
}

// SizeofStat is sizeof(struct semid64_ds).
const SizeofStat = 104

// Stat is IPC_STAT, SEM_STAT and SEM_STAT_ANY; see shm.
func (m *Manager) Stat(c *ipc.Caller, id, cmd int32, b []byte) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, result, err := m.ids.ForStat(c, id, cmd, StatAny)
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	s.perm.Encode(b)
	le.PutUint64(b[48:], uint64(s.otime))
	le.PutUint64(b[64:], uint64(s.ctime))
	le.PutUint64(b[80:], uint64(len(s.sems)))
	return result, nil
}

// Info is IPC_INFO and SEM_INFO: it returns struct seminfo and the highest index.
func (m *Manager) Info(cmd int32) ([]byte, int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &m.Limits
	usz, aem := int64(20), int64(MaxValue) // SEMUSZ, SEMAEM
	if cmd == InfoAll {
		usz, aem = int64(m.ids.Len()), int64(m.total)
	}
	all := l.All.Load()
	b := make([]byte, 40)
	for i, v := range [...]int64{
		all, l.Sets.Load(), all, all, l.PerSet.Load(), l.Ops.Load(), l.Ops.Load(), usz, MaxValue, aem,
	} {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
	}
	return b, m.ids.MaxIndex()
}

// Proc writes /proc/sysvipc/sem.
func (m *Manager) Proc(b *bytes.Buffer) error {
	b.WriteString("       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n")
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.ids.All() {
		p := &s.perm
		fmt.Fprintf(b, "%10d %10d  %4o %10d %5d %5d %5d %5d %10d %10d\n",
			p.Key, p.ID, p.Mode, len(s.sems), p.UID, p.GID, p.CUID, p.CGID, s.otime, s.ctime)
	}
	return nil
}
