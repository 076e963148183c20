package procmgr

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	idPage = 1024
	// MaxPID is the highest id there can be (Linux's PID_MAX_LIMIT on 64 bits).
	MaxPID = 4 << 20
	// firstReuse is where ids begin again after a wrap-around (RESERVED_PIDS).
	firstReuse = 300
)

// id is what a thread, a process group, a session and the foreground of a terminal
// are known by (struct pid): a number in its pid namespace, and another one in each
// namespace above. The numbers are in use as long as one of the four is.
type id struct {
	nr    int // in the root namespace
	ns    *PIDNamespace
	inner []int // in the namespaces below the root, outermost first

	thread  atomic.Pointer[Thread]
	process atomic.Pointer[Process] // whose leader the thread is, once it is started
	group   *group                  // Table.mu
	session *session                // Table.mu
	fronts  int                     // terminals in whose foreground it is; Table.mu
}

// in returns the number in a namespace, 0 if the id is not visible there
// (pid_nr_ns).
func (n *id) in(ns *PIDNamespace) int {
	if ns.level == 0 {
		return n.nr
	}
	own := n.ns
	for own.level > ns.level {
		own = own.parent
	}
	if own != ns {
		return 0
	}
	return n.inner[ns.level-1]
}

// own returns the number in the id's own namespace (pid_vnr of the thread itself).
func (n *id) own() int {
	if n.ns.level == 0 {
		return n.nr
	}
	return n.inner[n.ns.level-1]
}

// release gives the numbers back if nobody uses them any more. Table.mu is held.
func (n *id) release() {
	if n.thread.Load() != nil || n.group != nil || n.session != nil || n.fronts != 0 {
		return
	}
	for ns := n.ns; ns != nil; ns = ns.parent {
		ns.ids.remove(n.in(ns))
	}
}

// idTable finds ids by number. Look-ups take no lock; changes are made under
// Table.mu.
type idTable struct {
	pages []atomic.Pointer[page]
	taken bitset
	max   int // one more than the highest number
	last  int // given last
	used  int
}

// page holds ids of neighbouring numbers. It stays once it is there.
type page [idPage]atomic.Pointer[id]

func (t *idTable) init(limit int) {
	t.pages = make([]atomic.Pointer[page], (limit+idPage-1)/idPage)
	t.taken = newBitset(limit)
	t.taken.add(0)
	t.max = limit
}

func (t *idTable) get(nr int) *id {
	if nr <= 0 || nr >= t.max {
		return nil
	}
	p := t.pages[nr/idPage].Load()
	if p == nil {
		return nil
	}
	return p[nr%idPage].Load()
}

// take finds the next free number, or the one that is wanted (0: any), and takes
// it for put. EAGAIN: all are in use. EEXIST: the wanted one is. EINVAL: it cannot
// exist.
func (t *idTable) take(want int) (int, error) {
	nr := want
	if want != 0 {
		switch {
		case want < 0 || want >= t.max:
			return 0, unix.EINVAL
		case t.taken.has(want):
			return 0, unix.EEXIST
		}
	} else {
		// Low numbers are not given again (idr_alloc_cyclic with RESERVED_PIDS).
		nr = t.taken.next(t.last + 1)
		if nr < 0 {
			nr = t.taken.next(min(firstReuse, t.max/2))
		}
		if nr < 0 {
			return 0, unix.EAGAIN
		}
		t.last = nr
	}
	t.taken.add(nr)
	t.used++
	return nr, nil
}

// put makes n what is found by a number that was taken.
func (t *idTable) put(nr int, n *id) {
	slot := &t.pages[nr/idPage]
	p := slot.Load()
	if p == nil {
		p = new(page)
		slot.Store(p)
	}
	p[nr%idPage].Store(n)
}

// remove gives a number back.
func (t *idTable) remove(nr int) {
	if p := t.pages[nr/idPage].Load(); p != nil {
		p[nr%idPage].Store(nil)
	}
	t.taken.remove(nr)
	t.used--
}

// each calls fn for all ids in the order of their numbers. It needs no lock; an id
// that comes or goes meanwhile may be missed.
func (t *idTable) each(fn func(*id)) {
	for i := range t.pages {
		p := t.pages[i].Load()
		if p == nil {
			continue
		}
		for j := range p {
			if n := p[j].Load(); n != nil {
				fn(n)
			}
		}
	}
}
