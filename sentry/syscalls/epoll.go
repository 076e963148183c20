package syscalls

import (
	"encoding/binary"
	"math"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/fs/epoll"
	"runsc-lite/sentry/task"
)

const (
	// epollEventSize is the size of struct epoll_event, packed on x86-64.
	epollEventSize = 12
	// maxEpollEvents is EP_MAX_EVENTS.
	maxEpollEvents = math.MaxInt32 / epollEventSize
)

// sysEpollCreate is epoll_create(2): the size means nothing, and is positive.
func sysEpollCreate(t *task.Task, a *task.Args) (uint64, error) {
	if a.Int(0) <= 0 {
		return 0, unix.EINVAL
	}
	return makeEpoll(t, 0)
}

func sysEpollCreate1(t *task.Task, a *task.Args) (uint64, error) { return makeEpoll(t, a.Uint(0)) }

func makeEpoll(t *task.Task, flags uint32) (uint64, error) {
	f, err := t.Kernel().Epolls.NewFile(flags)
	if err != nil {
		return 0, err
	}
	return install(t, f, flags&unix.EPOLL_CLOEXEC != 0)
}

// sysEpollCtl is epoll_ctl(2).
func sysEpollCtl(t *task.Task, a *task.Args) (uint64, error) {
	op, fd := a.Int(1), a.Int(2)
	var ev epoll.Event
	if op != unix.EPOLL_CTL_DEL {
		var b [epollEventSize]byte
		if _, err := t.Memory().Space.CopyIn(a.Addr(3), b[:]); err != nil {
			return 0, err
		}
		ev = epoll.Event{Events: binary.LittleEndian.Uint32(b[0:]), Data: binary.LittleEndian.Uint64(b[4:])}
	}
	set, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer set.DecRef()
	f, err := t.File(fd)
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	w := t.Waitable(f)
	if w == waiter.Waitable(f) && !f.Pollable() {
		return 0, unix.EPERM
	}
	e, ok := set.Ops().(*epoll.Epoll)
	if !ok {
		return 0, unix.EINVAL
	}
	switch op {
	case unix.EPOLL_CTL_ADD:
		return 0, e.Add(f, fd, w, ev)
	case unix.EPOLL_CTL_MOD:
		return 0, e.Modify(f, fd, ev)
	case unix.EPOLL_CTL_DEL:
		return 0, e.Delete(f, fd)
	}
	return 0, unix.EINVAL
}

// sysEpollWait is epoll_wait(2).
func sysEpollWait(t *task.Task, a *task.Args) (uint64, error) {
	n, err := epollWait(t, a, millis(a.Int(3)), a.Int(3) == 0)
	return n, task.Interrupted(err, eintr)
}

// millis is the deadline of a timeout in milliseconds, negative for none.
func millis(ms int32) time.Time {
	if ms < 0 {
		return never
	}
	return after(time.Duration(ms) * time.Millisecond)
}

// sysEpollPwait is epoll_pwait(2).
func sysEpollPwait(t *task.Task, a *task.Args) (uint64, error) {
	return epollPwait(t, a, millis(a.Int(3)), a.Int(3) == 0)
}

// sysEpollPwait2 is epoll_pwait2(2): epoll_pwait with a struct timespec, which
// stays as it is.
func sysEpollPwait2(t *task.Task, a *task.Args) (uint64, error) {
	deadline, zero := never, false
	if a[3] != 0 {
		ts, ok, err := copyInTimespec(t, a.Addr(3))
		if err != nil {
			return 0, err
		}
		if !ok {
			return 0, unix.EINVAL
		}
		deadline, zero = after(duration(ts)), ts.Sec == 0 && ts.Nsec == 0
	}
	return epollPwait(t, a, deadline, zero)
}

func epollPwait(t *task.Task, a *task.Args, deadline time.Time, zero bool) (uint64, error) {
	n, err := withMask(t, a.Addr(4), a[5], func() (uint64, error) { return epollWait(t, a, deadline, zero) })
	if err == task.RestartNoHand {
		// signal(7): epoll_wait and its like are never restarted.
		err = eintr
	}
	return n, err
}

// epollWait is do_epoll_wait: a holds the set, where events go, and how many at
// most.
func epollWait(t *task.Task, a *task.Args, deadline time.Time, zero bool) (uint64, error) {
	most := a.Int(2)
	if most <= 0 || most > maxEpollEvents {
		return 0, unix.EINVAL
	}
	limit := uint64(t.Kernel().Platform.MaxAddress())
	if n := uint64(most) * epollEventSize; a[1] > limit || n > limit-a[1] {
		return 0, unix.EFAULT
	}
	f, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	e, ok := f.Ops().(*epoll.Epoll)
	if !ok {
		return 0, unix.EINVAL
	}
	for {
		n, err := collect(t, e, a.Addr(1), int(most))
		if n > 0 || err != nil || zero {
			return uint64(n), err
		}
		if err := epollSleep(t, e, deadline); err == unix.ETIMEDOUT {
			n, err := collect(t, e, a.Addr(1), int(most))
			return uint64(n), err
		} else if err != nil {
			return 0, err
		}
	}
}

// collect stores the events that there are.
func collect(t *task.Task, e *epoll.Epoll, addr hostarch.Addr, most int) (int, error) {
	if !e.Pending() {
		return 0, nil
	}
	space := t.Memory().Space
	return e.Collect(most, func(ev epoll.Event) error {
		var b [epollEventSize]byte
		binary.LittleEndian.PutUint32(b[0:], ev.Events)
		binary.LittleEndian.PutUint64(b[4:], ev.Data)
		_, err := space.CopyOut(addr, b[:])
		addr += epollEventSize
		return err
	})
}

// epollSleep waits until it is t's turn to collect. The errors are Task.Block's.
func epollSleep(t *task.Task, e *epoll.Epoll, deadline time.Time) error {
	turn := e.Turn()
	ch, err := t.Subscribe(turn, waiter.EventIn)
	if err != nil {
		return err
	}
	if e.Pending() {
		t.Unsubscribe(turn)
		return nil
	}
	if err := t.Block(ch, deadline); err != nil {
		t.Unsubscribe(turn)
		return err
	}
	return nil
}
