package epoll

import (
	"gvisor.dev/gvisor/pkg/waiter"
)

// list is items in the order in which they were notified.
type list struct {
	first, last *item
	n           int
}

func (l *list) append(it *item) {
	it.prev, it.next, it.queued = l.last, nil, true
	if l.last != nil {
		l.last.next = it
	} else {
		l.first = it
	}
	l.last = it
	l.n++
}

func (l *list) prepend(it *item) {
	it.prev, it.next, it.queued = nil, l.first, true
	if l.first != nil {
		l.first.prev = it
	} else {
		l.last = it
	}
	l.first = it
	l.n++
}

func (l *list) remove(it *item) {
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		l.first = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		l.last = it.prev
	}
	it.prev, it.next, it.queued = nil, nil, false
	l.n--
}

// push puts an item on the ready list and wakes who is to collect it. It may be
// called under the locks of whoever notifies.
func (e *Epoll) push(it *item) {
	e.readyMu.Lock()
	if !it.queued {
		e.ready.append(it)
	}
	e.sleep.wake()
	e.readyMu.Unlock()
	e.queue.Notify(waiter.ReadableEvents)
}

// pop takes the oldest item from the list; nil if there is none.
func (e *Epoll) pop() *item {
	e.readyMu.Lock()
	defer e.readyMu.Unlock()
	it := e.ready.first
	if it != nil {
		e.ready.remove(it)
	}
	return it
}

// giveBack puts an item that pop took on the list again, unless it was notified
// meanwhile.
func (e *Epoll) giveBack(it *item, first bool) {
	e.readyMu.Lock()
	defer e.readyMu.Unlock()
	switch {
	case it.queued:
	case first:
		e.ready.prepend(it)
	default:
		e.ready.append(it)
	}
}

// Pending reports whether Collect may find something.
func (e *Epoll) Pending() bool {
	e.readyMu.Lock()
	defer e.readyMu.Unlock()
	return e.ready.n != 0
}

// Collect hands up to max events to emit and returns how many (ep_send_events).
// An error of emit ends it, and the event stays; the error is Collect's if it was
// the first event.
func (e *Epoll) Collect(max int, emit func(Event) error) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readyMu.Lock()
	left := e.ready.n
	e.readyMu.Unlock()
	var err error
	sent := 0
	// What is given back goes behind those that are looked at now.
	for ; left > 0 && sent < max; left-- {
		it := e.pop()
		if it == nil {
			break
		}
		is := it.is()
		if is == 0 {
			continue
		}
		if err = emit(Event{Events: is, Data: it.event.Data}); err != nil {
			e.giveBack(it, true)
			break
		}
		sent++
		switch {
		case it.event.Events&oneshot != 0:
			it.event.Events &= private
			it.spent.Store(true)
		case it.event.Events&edge == 0:
			e.giveBack(it, false)
		}
	}
	if sent > 0 {
		err = nil
	}
	e.wakeNext()
	return sent, err
}

// wakeNext wakes another thread for what is left on the list.
func (e *Epoll) wakeNext() {
	e.readyMu.Lock()
	defer e.readyMu.Unlock()
	if e.ready.n > 0 {
		e.sleep.wake()
	}
}

// Readiness implements waiter.Waitable (ep_eventpoll_poll).
func (e *Epoll) Readiness(mask waiter.EventMask) waiter.EventMask {
	e.mu.Lock()
	defer e.mu.Unlock()
	for it := e.pop(); it != nil; it = e.pop() {
		if it.is() != 0 {
			e.giveBack(it, true)
			return mask & waiter.ReadableEvents
		}
	}
	return 0
}

// EventRegister implements waiter.Waitable.
func (e *Epoll) EventRegister(w *waiter.Entry) error {
	e.queue.EventRegister(w)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (e *Epoll) EventUnregister(w *waiter.Entry) { e.queue.EventUnregister(w) }

// sleepers is the threads in epoll_wait(2), oldest first. An event wakes only one
// of them, which leaves the list by that.
type sleepers struct {
	first, last *waiter.Entry
}

func (s *sleepers) push(w *waiter.Entry) {
	w.SetPrev(s.last)
	w.SetNext(nil)
	if s.last != nil {
		s.last.SetNext(w)
	} else {
		s.first = w
	}
	s.last = w
}

// wake wakes the oldest. Under the lock: who unregisters may use its entry for
// something else at once.
func (s *sleepers) wake() {
	if w := s.first; w != nil {
		s.remove(w)
		w.NotifyEvent(waiter.EventIn)
	}
}

// remove takes w out. It reports false if w is not in the list.
func (s *sleepers) remove(w *waiter.Entry) bool {
	if s.first != w && w.Prev() == nil {
		return false
	}
	if p := w.Prev(); p != nil {
		p.SetNext(w.Next())
	} else {
		s.first = w.Next()
	}
	if n := w.Next(); n != nil {
		n.SetPrev(w.Prev())
	} else {
		s.last = w.Prev()
	}
	w.SetPrev(nil)
	w.SetNext(nil)
	return true
}

// Turn is the queue of epoll_wait(2) of an Epoll: a waiter.Waitable that wakes one
// entry at a time, and forgets it by that. Who was woken has to Collect; who
// unregisters instead passes the wake-up on. Listeners take no locks.
type Turn Epoll

// Turn returns the queue.
func (e *Epoll) Turn() *Turn { return (*Turn)(e) }

// Readiness implements waiter.Waitable.
func (t *Turn) Readiness(mask waiter.EventMask) waiter.EventMask {
	if (*Epoll)(t).Pending() {
		return mask & waiter.ReadableEvents
	}
	return 0
}

// EventRegister implements waiter.Waitable.
func (t *Turn) EventRegister(w *waiter.Entry) error {
	t.readyMu.Lock()
	t.sleep.push(w)
	t.readyMu.Unlock()
	return nil
}

// EventUnregister implements waiter.Waitable.
func (t *Turn) EventUnregister(w *waiter.Entry) {
	t.readyMu.Lock()
	waiting := t.sleep.remove(w)
	t.readyMu.Unlock()
	if !waiting {
		(*Epoll)(t).wakeNext()
	}
}
