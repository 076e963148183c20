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

// id is a number in use: as a thread, a process group, a session, as what a
// terminal remembers as its foreground group, or several.
type id struct {
	nr      int
	thread  atomic.Pointer[Thread]
	group   *Group   // Table.mu
	session *Session // Table.mu
	fronts  int      // terminals in whose foreground it is; Table.mu
}

// idTable finds ids by number. Look-ups take no lock; changes are made under
// Table.mu.
type idTable struct {
	pages [MaxPID / idPage]atomic.Pointer[[idPage]atomic.Pointer[id]]
	max   int
	last  int
	used  int
}

func (t *idTable) get(nr int) *id {
	if nr <= 0 || nr >= MaxPID {
		return nil
	}
	page := t.pages[nr/idPage].Load()
	if page == nil {
		return nil
	}
	return page[nr%idPage].Load()
}

func (t *idTable) put(nr int) *id {
	slot := &t.pages[nr/idPage]
	page := slot.Load()
	if page == nil {
		page = new([idPage]atomic.Pointer[id])
		slot.Store(page)
	}
	n := &id{nr: nr}
	page[nr%idPage].Store(n)
	t.used++
	return n
}

// alloc takes the next free number, or the one that is wanted (0: any). EAGAIN:
// all are in use. EEXIST: the wanted one is. EINVAL: it cannot exist.
func (t *idTable) alloc(want int) (*id, error) {
	if want != 0 {
		switch {
		case want < 0 || want >= t.max:
			return nil, unix.EINVAL
		case t.get(want) != nil:
			return nil, unix.EEXIST
		}
		return t.put(want), nil
	}
	if t.used >= t.max-1 {
		return nil, unix.EAGAIN
	}
	nr := t.last
	for range 2 * t.max {
		if nr++; nr >= t.max {
			nr = min(firstReuse, t.max/2)
		}
		if t.get(nr) == nil {
			t.last = nr
			return t.put(nr), nil
		}
	}
	return nil, unix.EAGAIN
}

// release frees the number if nobody uses it any more.
func (t *idTable) release(n *id) {
	if n.thread.Load() == nil && n.group == nil && n.session == nil && n.fronts == 0 {
		t.pages[n.nr/idPage].Load()[n.nr%idPage].Store(nil)
		t.used--
	}
}
