// Package epoll is sets of files that are waited for together, as in Linux's
// fs/eventpoll.c.
//
// An Epoll has an item for each file and descriptor in it. A file's notification
// puts the item on the ready list and wakes one thread that waits; what the file
// is ready for is asked only when events are collected. Items of level-triggered
// interest go back to the end of the list while their files are ready, so that
// every file has its turn.
//
// Items hold no reference to their files: a file that is closed takes its items
// along (vfs.Watch). Until then the operations of the file are safe to use under
// Epoll.mu.
//
// An epoll is a file too, and may be in another one. Edges between epolls have no
// cycle and chains of them are short: see graph.go. EPOLLEXCLUSIVE is checked,
// and wakes all epolls of a file as the man page allows.
//
// Lock order:
//
//	Epoll.mu of the outer epoll, then of inner ones
//	  what files take in Readiness, EventRegister and EventUnregister
//	    waiter.Queue's lock
//	      Epoll.readyMu
//	      Epoll.queue's lock: then those of the epolls around
//	  vfs.File's list of Watches
//	  Pool.mu
//
// Notifications come under the locks of whoever sends them, and take no
// Epoll.mu.
package epoll

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/vfs"
)

// Name is what /proc/PID/fd shows of such a file.
const Name = "anon_inode:[eventpoll]"

// Bits of the events word that are no events (EP_PRIVATE_BITS).
const (
	exclusive = unix.EPOLLEXCLUSIVE
	wakeup    = unix.EPOLLWAKEUP
	oneshot   = unix.EPOLLONESHOT
	edge      = uint32(unix.EPOLLET & 0xffffffff)

	private = uint32(exclusive|wakeup|oneshot) | edge
	// exclusiveOK is what may go with EPOLLEXCLUSIVE (EPOLLEXCLUSIVE_OK_BITS).
	exclusiveOK = uint32(unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP|wakeup|exclusive) | edge
)

// Event is struct epoll_event.
type Event struct {
	Events uint32
	Data   uint64
}

// key tells items apart: a duplicate of a descriptor is another item.
type key struct {
	file *vfs.File
	fd   int32
}

// item is one file in an Epoll (struct epitem).
type item struct {
	entry waiter.Entry
	watch vfs.Watch
	ep    *Epoll
	key   key
	of    waiter.Waitable // the file, or what it is for the thread that added it
	inner *Epoll          // the file is this epoll

	// spent says that EPOLLONESHOT has fired: notifications mean nothing until
	// the next Modify. It changes under ep.mu.
	spent atomic.Bool

	// Under ep.mu.
	event Event
	gone  bool

	// Under ep.readyMu.
	prev, next *item
	queued     bool
}

// Epoll is an epoll instance: a vfs.FileOps.
type Epoll struct {
	vfs.NoPosition

	pool  *Pool
	queue waiter.Queue // who polls the epoll itself

	mu    sync.Mutex
	items map[key]*item
	// above and below are the epolls around, and how many items make the edge.
	// Under Pool.mu.
	above, below map[*Epoll]int

	readyMu sync.Mutex
	ready   list
	sleep   sleepers
}

// New makes an Epoll.
func (p *Pool) New() *Epoll {
	return &Epoll{pool: p, items: map[key]*item{}}
}

// NewFile makes the file of epoll_create1(2): EINVAL for flags other than
// EPOLL_CLOEXEC.
func (p *Pool) NewFile(flags uint32) (*vfs.File, error) {
	if flags&^unix.EPOLL_CLOEXEC != 0 {
		return nil, unix.EINVAL
	}
	return vfs.NewFile(p.New(), &vfs.AnonInode{}, unix.O_RDWR, Name), nil
}

// Release implements vfs.FileOps.
func (e *Epoll) Release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, it := range e.items {
		e.remove(it)
	}
}

// events returns what is waited for.
func (i *item) events() waiter.EventMask {
	return waiter.EventMaskFromLinux(i.event.Events &^ private)
}

// is asks the file what it is ready for. ep.mu is held.
func (i *item) is() uint32 {
	if i.spent.Load() {
		return 0
	}
	m := i.events()
	return (i.of.Readiness(m) & m).ToLinux()
}

// NotifyEvent implements waiter.EventListener (ep_poll_callback).
func (i *item) NotifyEvent(waiter.EventMask) {
	if !i.spent.Load() {
		i.ep.push(i)
	}
}

// FileClosed implements vfs.Watcher (eventpoll_release_file).
func (i *item) FileClosed() {
	e := i.ep
	e.mu.Lock()
	defer e.mu.Unlock()
	if !i.gone {
		e.remove(i)
	}
}

// Add is EPOLL_CTL_ADD for descriptor fd, which is f. of is what f is for the
// caller. The caller holds a reference to f for the length of the call. EEXIST;
// EINVAL: the events do not go together, f is e, or too many ways lead to f
// through epolls; ELOOP: epolls would be in each other, or nested too deeply;
// ENOSPC: too many items; EPERM: f cannot be waited for.
func (e *Epoll) Add(f *vfs.File, fd int32, of waiter.Waitable, ev Event) error {
	if of == nil {
		return unix.EPERM
	}
	inner, _ := f.Ops().(*Epoll)
	if inner == e {
		return unix.EINVAL
	}
	if ev.Events&exclusive != 0 && (inner != nil || ev.Events&^exclusiveOK != 0) {
		return unix.EINVAL
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	k := key{f, fd}
	if e.items[k] != nil {
		if inner != nil {
			if err := e.pool.mayNest(e, inner); err != nil {
				return err
			}
		}
		return unix.EEXIST
	}
	if !e.pool.charge() {
		return unix.ENOSPC
	}
	it := &item{ep: e, key: k, of: of, inner: inner, event: withErrors(ev)}
	it.watch.Watcher = it
	if inner != nil {
		if err := e.pool.nest(e, inner); err != nil {
			e.pool.discharge()
			return err
		}
	}
	it.entry.Init(it, it.events())
	if err := of.EventRegister(&it.entry); err != nil {
		e.pool.discharge()
		if inner != nil {
			e.pool.unnest(e, inner)
		}
		return err
	}
	e.items[k] = it
	f.Watch(&it.watch)
	e.look(it)
	return nil
}

// withErrors adds what epoll_ctl(2) always waits for.
func withErrors(ev Event) Event {
	ev.Events = ev.Events&^wakeup | unix.EPOLLERR | unix.EPOLLHUP
	return ev
}

// Modify is EPOLL_CTL_MOD: ENOENT; EINVAL for an item with EPOLLEXCLUSIVE.
func (e *Epoll) Modify(f *vfs.File, fd int32, ev Event) error {
	if f.Ops() == vfs.FileOps(e) || ev.Events&exclusive != 0 {
		return unix.EINVAL
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	it := e.items[key{f, fd}]
	if it == nil {
		return unix.ENOENT
	}
	if it.event.Events&exclusive != 0 {
		return unix.EINVAL
	}
	// What is notified while the entry is in no queue is seen by look.
	it.of.EventUnregister(&it.entry)
	it.event = withErrors(ev)
	it.spent.Store(false)
	it.entry.Init(it, it.events())
	if err := it.of.EventRegister(&it.entry); err != nil {
		e.drop(it)
		return err
	}
	e.look(it)
	return nil
}

// look puts an item on the ready list if its file is ready now. For one that is
// there already nobody is woken again.
func (e *Epoll) look(it *item) {
	if it.is() == 0 {
		return
	}
	e.readyMu.Lock()
	queued := it.queued
	e.readyMu.Unlock()
	if !queued {
		e.push(it)
	}
}

// Delete is EPOLL_CTL_DEL: ENOENT.
func (e *Epoll) Delete(f *vfs.File, fd int32) error {
	if f.Ops() == vfs.FileOps(e) {
		return unix.EINVAL
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	it := e.items[key{f, fd}]
	if it == nil {
		return unix.ENOENT
	}
	e.remove(it)
	return nil
}

// remove takes an item out (ep_remove). e.mu is held.
func (e *Epoll) remove(it *item) {
	it.of.EventUnregister(&it.entry)
	e.drop(it)
}

// drop takes an item out whose entry is in no queue. The Watch goes last: until
// then the file cannot release what EventUnregister used.
func (e *Epoll) drop(it *item) {
	it.gone = true
	delete(e.items, it.key)
	e.readyMu.Lock()
	if it.queued {
		e.ready.remove(it)
	}
	e.readyMu.Unlock()
	if it.inner != nil {
		e.pool.unnest(e, it.inner)
	}
	it.key.file.Unwatch(&it.watch)
	e.pool.discharge()
}

// FDInfo implements proc.FDInfoer (ep_show_fdinfo): a line for each item.
func (e *Epoll) FDInfo(b *bytes.Buffer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	items := slices.SortedFunc(maps.Values(e.items), func(x, y *item) int { return cmp.Compare(x.key.fd, y.key.fd) })
	for _, it := range items {
		dev, ino := it.key.file.DeviceInode()
		fmt.Fprintf(b, "tfd: %8d events: %8x data: %16x  pos:%d ino:%x sdev:%x\n",
			it.key.fd, it.event.Events, it.event.Data, it.key.file.Position(), ino, dev)
	}
}
