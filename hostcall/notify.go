package hostcall

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// Notifier tells of the readiness of host descriptors. One goroutine waits for
// all of them in epoll_wait(2); it starts with the first Watch. An eventfd wakes
// it for Close.
//
// Lock order: Notifier.mu alone. Functions are called without it.
type Notifier struct {
	mu     sync.Mutex
	epoll  int // -1: not started
	wake   int
	closed bool
	watch  map[int32]func(events uint32)
	done   chan struct{}
}

// NewNotifier makes a Notifier, which costs nothing until it is used.
func NewNotifier() *Notifier {
	return &Notifier{epoll: -1, wake: -1, watch: map[int32]func(uint32){}}
}

// Watch has fn called with the events (POLLIN …) that fd becomes ready for, at
// least once if it is ready already. fn must not block, and may be called once
// more while Unwatch runs. fd is watched once at a time: EEXIST. EPERM: files of
// this kind are always ready. ESHUTDOWN: the Notifier is closed.
func (n *Notifier) Watch(fd int, events uint32, fn func(events uint32)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return unix.ESHUTDOWN
	}
	if n.epoll < 0 {
		if err := n.start(); err != nil {
			return err
		}
	}
	// Edge-triggered: what is ready and not read must not keep the goroutine
	// busy.
	ev := unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(fd)}
	if err := unix.EpollCtl(n.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return err
	}
	n.watch[int32(fd)] = fn
	return nil
}

// Unwatch ends a Watch.
func (n *Notifier) Unwatch(fd int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.watch[int32(fd)]; ok {
		delete(n.watch, int32(fd))
		_ = unix.EpollCtl(n.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	}
}

// Close ends the goroutine and returns when it is gone. Calling it from a
// watching function would never return.
func (n *Notifier) Close() {
	n.mu.Lock()
	started := n.epoll >= 0 && !n.closed
	n.closed = true
	n.mu.Unlock()
	if !started {
		return
	}
	var one [8]byte
	binary.LittleEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(n.wake, one[:])
	<-n.done
	_ = unix.Close(n.epoll)
	_ = unix.Close(n.wake)
}

// start begins to wait. n.mu is held.
func (n *Notifier) start() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}
		if err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &ev); err != nil {
			_ = unix.Close(wake)
		}
	}
	if err != nil {
		_ = unix.Close(epoll)
		return err
	}
	n.epoll, n.wake, n.done = epoll, wake, make(chan struct{})
	go n.run()
	return nil
}

func (n *Notifier) run() {
	defer close(n.done)
	var evs [16]unix.EpollEvent
	for {
		k, err := unix.EpollWait(n.epoll, evs[:], -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, ev := range evs[:k] {
			n.mu.Lock()
			fn, closed := n.watch[ev.Fd], n.closed
			n.mu.Unlock()
			if closed {
				return
			}
			if fn != nil {
				fn(ev.Events)
			}
		}
	}
}
