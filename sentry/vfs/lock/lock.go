// Package lock keeps the advisory locks of files: POSIX record locks and open
// file description locks (fcntl(2)), and flock(2) locks.
//
// Nothing here blocks. What would have to wait answers unix.EAGAIN; the caller
// registers with Wait and tries again when told. A Waiter says meanwhile what is
// waited for, so that a circle of waits is found out.
//
// Lock order:
//
//	Table.mu
//	  fileLocks.queue
package lock

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Kind is what a lock allows others.
type Kind uint8

const (
	None Kind = iota // removes
	Shared
	Exclusive
)

// End is the Range.End of a lock that reaches to the end of the file and beyond.
const End = math.MaxInt64

// maxRanges bounds the record locks of one file, so that a guest cannot make
// the sentry hold memory without end: ENOLCK beyond.
const maxRanges = 4096

// Range is a record lock on bytes Start to End, both included.
type Range struct {
	Owner any   // comparable: a descriptor table (POSIX) or an open file (OFD)
	PID   int32 // for F_GETLK and /proc/locks; -1 for OFD locks
	Kind  Kind
	Start int64
	End   int64
}

func (r Range) overlaps(o Range) bool { return r.Start <= o.End && o.Start <= r.End }

// Table holds the locks of many files. The zero Table is ready for use. Files
// are named by a comparable key (their inode).
type Table struct {
	files atomic.Int32 // number of entries in m, to be cheap when unused
	mu    sync.Mutex
	m     map[any]*fileLocks
	// waiters are the waits for record locks of processes, by their owners.
	waiters map[any][]*Waiter
}

// Waiter is a wait for a record lock. The zero Waiter waits for nothing.
type Waiter struct {
	key     any
	r       Range
	waiting bool
}

// fileLocks are the locks of one file; all but queue under Table.mu.
type fileLocks struct {
	ranges  []Range // sorted by Start; those of one owner do not overlap
	flocks  map[any]flock
	waiting int
	queue   waiter.Queue
}

// flock is a lock of flock(2).
type flock struct {
	kind Kind
	pid  int32 // of who placed it
}

func (f *fileLocks) empty() bool {
	return len(f.ranges) == 0 && len(f.flocks) == 0 && f.waiting == 0
}

// file returns the locks of key, made if they are not there. t.mu is held.
func (t *Table) file(key any) *fileLocks {
	f := t.m[key]
	if f == nil {
		if t.m == nil {
			t.m = make(map[any]*fileLocks)
		}
		f = &fileLocks{}
		t.m[key] = f
		t.files.Add(1)
	}
	return f
}

// trim drops the locks of key if there are none. t.mu is held.
func (t *Table) trim(key any, f *fileLocks) {
	if f.empty() && t.m[key] == f {
		delete(t.m, key)
		t.files.Add(-1)
	}
}

// Set places or, for Kind None, removes a record lock (posix_lock_inode in
// fs/locks.c). EAGAIN: another owner's lock is in the way. ENOLCK: too many.
func (t *Table) Set(key any, r Range) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.set(key, r)
}

// SetWait is Set for a caller that is going to wait after EAGAIN: until EndWait, w
// says so. EDEADLK: it would wait for itself.
func (t *Table) SetWait(key any, r Range, w *Waiter) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.set(key, r)
	switch {
	case err != unix.EAGAIN:
		t.endWait(w)
	case t.deadlock(key, r):
		t.endWait(w)
		return unix.EDEADLK
	case !w.waiting:
		*w = Waiter{key: key, r: r, waiting: true}
		if t.waiters == nil {
			t.waiters = make(map[any][]*Waiter)
		}
		t.waiters[r.Owner] = append(t.waiters[r.Owner], w)
	}
	return err
}

// EndWait ends a wait, if there is one.
func (t *Table) EndWait(w *Waiter) {
	t.mu.Lock()
	t.endWait(w)
	t.mu.Unlock()
}

func (t *Table) endWait(w *Waiter) {
	if !w.waiting {
		return
	}
	w.waiting = false
	owner := w.r.Owner
	list := slices.DeleteFunc(t.waiters[owner], func(o *Waiter) bool { return o == w })
	if len(list) == 0 {
		delete(t.waiters, owner)
	} else {
		t.waiters[owner] = list
	}
}

// maxDeadlock is how far a chain of waits is followed (MAX_DEADLK_ITERATIONS).
const maxDeadlock = 10

// deadlock reports whether who wants r waits for itself in the end
// (posix_locks_deadlock). Locks of open files, which anybody may hold, are left
// out, as on Linux.
func (t *Table) deadlock(key any, r Range) bool {
	owner := r.Owner
	for range maxDeadlock {
		f := t.m[key]
		if f == nil || r.PID < 0 {
			return false
		}
		by, found := f.conflict(r)
		if !found || by.PID < 0 {
			return false
		}
		if by.Owner == owner {
			return true
		}
		waits := t.waiters[by.Owner]
		if len(waits) == 0 {
			return false
		}
		key, r = waits[0].key, waits[0].r
	}
	return false
}

func (t *Table) set(key any, r Range) error {
	f := t.file(key)
	defer t.trim(key, f)
	if r.Kind != None {
		if _, found := f.conflict(r); found {
			return unix.EAGAIN
		}
	}
	out, freed := replace(f.ranges, r)
	if len(out) > maxRanges && len(out) > len(f.ranges) {
		return unix.ENOLCK
	}
	f.ranges = out
	if freed {
		f.queue.Notify(waiter.EventOut)
	}
	return nil
}

// conflict returns the first lock of another owner that excludes r.
func (f *fileLocks) conflict(r Range) (Range, bool) {
	for _, o := range f.ranges {
		if o.Owner != r.Owner && o.overlaps(r) && (o.Kind == Exclusive || r.Kind == Exclusive) {
			return o, true
		}
	}
	return Range{}, false
}

// replace returns old with r in place of whatever r's owner had there.
// Neighbours of one kind and owner become one. freed tells that somebody may
// get a lock now that could not before.
func replace(old []Range, r Range) (out []Range, freed bool) {
	out = make([]Range, 0, len(old)+2)
	for _, o := range old {
		if o.Owner != r.Owner {
			out = append(out, o)
			continue
		}
		if o.Kind == r.Kind && touches(o, r) {
			r.Start, r.End = min(r.Start, o.Start), max(r.End, o.End)
			continue
		}
		if !o.overlaps(r) {
			out = append(out, o)
			continue
		}
		if r.Kind < o.Kind {
			freed = true
		}
		if o.Start < r.Start {
			left := o
			left.End = r.Start - 1
			out = append(out, left)
		}
		if o.End > r.End {
			right := o
			right.Start = r.End + 1
			out = append(out, right)
		}
	}
	if r.Kind != None {
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b Range) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	return out, freed
}

// touches reports whether a and b overlap or are neighbours.
func touches(a, b Range) bool {
	return (b.End == End || a.Start <= b.End+1) && (a.End == End || b.Start <= a.End+1)
}

// Get returns the first lock that would keep r out (F_GETLK); ok is false if
// there is none.
func (t *Table) Get(key any, r Range) (found Range, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.m[key]; f != nil {
		return f.conflict(r)
	}
	return Range{}, false
}

// Flock places, converts or removes a flock(2) lock. EAGAIN: somebody else's
// is in the way; as on Linux, a conversion has lost the old lock by then. pid is for
// List.
func (t *Table) Flock(key any, owner any, kind Kind, pid int32) error {
	t.mu.Lock()
	f := t.file(key)
	defer t.mu.Unlock()
	defer t.trim(key, f)
	had, held := f.flocks[owner]
	if held && had.kind == kind {
		return nil
	}
	if held {
		delete(f.flocks, owner)
		defer f.queue.Notify(waiter.EventOut)
	}
	if kind == None {
		return nil
	}
	for _, k := range f.flocks {
		if k.kind == Exclusive || kind == Exclusive {
			return unix.EAGAIN
		}
	}
	if f.flocks == nil {
		f.flocks = make(map[any]flock)
	}
	f.flocks[owner] = flock{kind, pid}
	return nil
}

// Release drops every lock that owner has on the file, of all sorts.
func (t *Table) Release(key any, owner any) {
	if t.files.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.m[key]
	if f == nil {
		return
	}
	n := len(f.ranges)
	f.ranges = slices.DeleteFunc(f.ranges, func(r Range) bool { return r.Owner == owner })
	_, held := f.flocks[owner]
	delete(f.flocks, owner)
	if held || n != len(f.ranges) {
		f.queue.Notify(waiter.EventOut)
	}
	t.trim(key, f)
}

// Wait returns a Waitable that is notified (EventOut) whenever a lock of the
// file goes away. Every EventRegister needs its EventUnregister.
func (t *Table) Wait(key any) waiter.Waitable { return &wait{t: t, key: key} }

type wait struct {
	t   *Table
	key any
	f   *fileLocks
}

// Readiness implements waiter.Waitable. Only trying again tells.
func (w *wait) Readiness(waiter.EventMask) waiter.EventMask { return 0 }

// EventRegister implements waiter.Waitable.
func (w *wait) EventRegister(e *waiter.Entry) error {
	w.t.mu.Lock()
	w.f = w.t.file(w.key)
	w.f.waiting++
	w.t.mu.Unlock()
	w.f.queue.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (w *wait) EventUnregister(e *waiter.Entry) {
	w.f.queue.EventUnregister(e)
	w.t.mu.Lock()
	w.f.waiting--
	w.t.trim(w.key, w.f)
	w.t.mu.Unlock()
}

// Held is a lock, or a wait for one, as /proc/locks shows it.
type Held struct {
	Key     any
	Range   // the whole file for a lock of flock(2)
	Flock   bool
	Waiting bool
}

// List returns at most n locks of all files, in no particular order, each followed
// by the waits for it.
func (t *Table) List(n int) []Held {
	if t.files.Load() == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []Held
	for key, f := range t.m {
		for owner, l := range f.flocks {
			list = append(list, Held{Key: key, Flock: true, Range: Range{Owner: owner, PID: l.pid, Kind: l.kind, End: End}})
		}
		for _, r := range f.ranges {
			list = append(list, Held{Key: key, Range: r})
			for _, waits := range t.waiters {
				for _, w := range waits {
					if by, found := f.conflict(w.r); w.key == key && found && by == r {
						list = append(list, Held{Key: key, Range: w.r, Waiting: true})
					}
				}
			}
		}
		if len(list) >= n {
			return list[:n]
		}
	}
	return list
}
