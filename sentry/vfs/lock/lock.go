// Package lock keeps the advisory locks of files: POSIX record locks and open
// file description locks (fcntl(2)), and flock(2) locks.
//
// Nothing here blocks. What would have to wait answers unix.EAGAIN; the caller
// registers with Wait and tries again when told.
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
	PID   int32 // for F_GETLK; -1 for OFD locks
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
}

// fileLocks are the locks of one file; all but queue under Table.mu.
type fileLocks struct {
	ranges  []Range // sorted by Start; those of one owner do not overlap
	flocks  map[any]Kind
	waiting int
	queue   waiter.Queue
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
	f := t.file(key)
	defer t.mu.Unlock()
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
// is in the way; as on Linux, a conversion has lost the old lock by then.
func (t *Table) Flock(key any, owner any, kind Kind) error {
	t.mu.Lock()
	f := t.file(key)
	defer t.mu.Unlock()
	defer t.trim(key, f)
	had, held := f.flocks[owner]
	if held && had == kind {
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
		if k == Exclusive || kind == Exclusive {
			return unix.EAGAIN
		}
	}
	if f.flocks == nil {
		f.flocks = make(map[any]Kind)
	}
	f.flocks[owner] = kind
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

// Held calls fn for every record lock of the file (/proc/locks, fdinfo).
func (t *Table) Held(key any, fn func(Range)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.m[key]; f != nil {
		for _, r := range f.ranges {
			fn(r)
		}
	}
}
