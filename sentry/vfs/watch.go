package vfs

import "sync"

// Watcher is told of the end of a File to which it holds no reference (epoll).
type Watcher interface {
	// FileClosed is called once, without locks, and the operations are released
	// after it. It may be under way while Unwatch returns.
	FileClosed()
}

// Watch is a Watcher's place in the list of one File.
type Watch struct {
	Watcher Watcher

	prev, next *Watch
	on         bool
}

// watches is who watches a File.
type watches struct {
	mu    sync.Mutex
	first *Watch
}

func (l *watches) remove(w *Watch) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.on = nil, nil, false
}

// Watch adds w, which is in no list. The caller holds a reference to f.
func (f *File) Watch(w *Watch) {
	l := f.watches.Load()
	if l == nil {
		f.watches.CompareAndSwap(nil, &watches{})
		l = f.watches.Load()
	}
	l.mu.Lock()
	w.next, w.on = l.first, true
	if l.first != nil {
		l.first.prev = w
	}
	l.first = w
	l.mu.Unlock()
}

// Unwatch removes w if it is there. The caller needs no reference to f.
func (f *File) Unwatch(w *Watch) {
	l := f.watches.Load()
	if l == nil {
		return
	}
	l.mu.Lock()
	if w.on {
		l.remove(w)
	}
	l.mu.Unlock()
}

// closed tells all who watch.
func (l *watches) closed() {
	for {
		l.mu.Lock()
		w := l.first
		if w != nil {
			l.remove(w)
		}
		l.mu.Unlock()
		if w == nil {
			return
		}
		w.Watcher.FileClosed()
	}
}
