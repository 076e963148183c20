package epoll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
	"pgregory.net/rapid"

	"runsc-lite/sentry/fs/eventfd"
	"runsc-lite/sentry/vfs"
)

// object is a file of ours and a descriptor of the host that is the same there.
type object struct {
	file *vfs.File
	host int
	set  *Epoll // nil: an eventfd
	fds  []int32
}

// world is epolls and eventfds, of ours and of the host's, to which the same is
// done. Descriptors are the host's numbers.
type world struct {
	pool    Pool
	objects []*object
}

// again repeats a call that one of the runtime's signals interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

func errno(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

func (w *world) add(t *rapid.T, epoll bool) {
	o := &object{}
	var err error
	if epoll {
		o.file, err = w.pool.NewFile(unix.EPOLL_CLOEXEC)
		if err == nil {
			o.set = o.file.Ops().(*Epoll)
			o.host, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		}
	} else {
		o.file, err = eventfd.NewFile(0, unix.EFD_NONBLOCK)
		if err == nil {
			o.host, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	o.fds = []int32{int32(o.host)}
	w.objects = append(w.objects, o)
}

func (w *world) close() {
	for _, o := range w.objects {
		for _, fd := range o.fds {
			unix.Close(int(fd))
		}
		o.file.DecRef()
	}
}

// pick draws an object that is open.
func (w *world) pick(t *rapid.T, what string, sets bool) *object {
	var of []*object
	for _, o := range w.objects {
		if o.set != nil || !sets {
			of = append(of, o)
		}
	}
	if len(of) == 0 {
		t.Skip("none is open")
	}
	return of[rapid.IntRange(0, len(of)-1).Draw(t, what)]
}

// nested reports whether epolls are in each other.
func (w *world) nested() bool {
	for _, o := range w.objects {
		if o.set != nil && len(o.set.below) > 0 {
			return true
		}
	}
	return false
}

// wait compares what both sets report, in order. With nested epolls one write
// notifies several items, the host's the youngest first, and then order says
// nothing.
func (w *world) wait(t *rapid.T, o *object, most int) {
	nested := w.nested()
	if nested {
		most = 64
	}
	hostEvents := make([]unix.EpollEvent, most)
	n, err := again(func() (int, error) { return unix.EpollWait(o.host, hostEvents, 0) })
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, e := range hostEvents[:n] {
		want = append(want, fmt.Sprintf("%#x of %d", e.Events, e.Fd))
	}
	m, err := o.set.Collect(most, func(e Event) error {
		got = append(got, fmt.Sprintf("%#x of %d", e.Events, int32(e.Data)))
		return nil
	})
	if err != nil || m != len(got) {
		t.Fatalf("Collect = %d, %v, with %d events", m, err, len(got))
	}
	if nested {
		slices.Sort(got)
		slices.Sort(want)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("set %d: events %v, the host's %v", o.host, got, want)
	}
}

func (w *world) check(t *rapid.T) {
	for _, o := range w.objects {
		pf := []unix.PollFd{{Fd: int32(o.host), Events: unix.POLLIN | unix.POLLOUT}}
		if _, err := again(func() (int, error) { return unix.Poll(pf, 0) }); err != nil {
			t.Fatal(err)
		}
		if got := o.file.Readiness(waiter.EventIn | waiter.EventOut); got.ToLinux() != uint32(pf[0].Revents) {
			t.Fatalf("%d is ready for %#x, the host's for %#x", o.host, got, pf[0].Revents)
		}
	}
}

func TestHost(t *testing.T) { rapid.Check(t, differ) }

func FuzzHost(f *testing.F) { f.Fuzz(rapid.MakeFuzz(differ)) }

// differ compares with the host's epoll: results of epoll_ctl, and events.
func differ(t *rapid.T) {
	w := &world{}
	defer w.close()
	for range 2 {
		w.add(t, true)
	}
	for range 3 {
		w.add(t, false)
	}
	interest := rapid.Custom(func(t *rapid.T) uint32 {
		ev := rapid.SampledFrom([]uint32{0, unix.EPOLLIN, unix.EPOLLOUT, unix.EPOLLIN | unix.EPOLLOUT}).Draw(t, "events")
		return ev | rapid.SampledFrom([]uint32{0, 0, edge, oneshot, edge | oneshot, exclusive}).Draw(t, "kind")
	})
	t.Repeat(map[string]func(*rapid.T){
		"make": func(t *rapid.T) {
			if len(w.objects) > 12 {
				t.Skip("enough")
			}
			w.add(t, rapid.Bool().Draw(t, "epoll"))
		},
		"control": func(t *rapid.T) {
			set, o := w.pick(t, "set", true), w.pick(t, "file", false)
			fd := rapid.SampledFrom(o.fds).Draw(t, "fd")
			ev := Event{Events: interest.Draw(t, "interest"), Data: uint64(uint32(fd))}
			he := unix.EpollEvent{Events: ev.Events, Fd: fd}
			op := rapid.SampledFrom([]int{unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_MOD, unix.EPOLL_CTL_DEL}).Draw(t, "op")
			for k := range set.set.items {
				if k.file == o.file && k.fd != fd {
					t.Skip("of two items of one file either may be notified first")
				}
			}
			var err error
			switch op {
			case unix.EPOLL_CTL_ADD:
				err = set.set.Add(o.file, fd, o.file, ev)
			case unix.EPOLL_CTL_MOD:
				err = set.set.Modify(o.file, fd, ev)
			case unix.EPOLL_CTL_DEL:
				err = set.set.Delete(o.file, fd)
			}
			want := unix.EpollCtl(set.host, op, int(fd), &he)
			if errno(err) != errno(want) {
				t.Fatalf("control %d of %d in %d, events %#x: %v, the host's %v", op, fd, set.host, ev.Events, err, want)
			}
		},
		"write": func(t *rapid.T) {
			o := w.pick(t, "file", false)
			if o.set != nil {
				t.Skip("an epoll")
			}
			n := rapid.SampledFrom([]uint64{0, 1, math.MaxUint64 - 1}).Draw(t, "n")
			b := binary.LittleEndian.AppendUint64(nil, n)
			_, err := o.file.Write(nil, [][]byte{b}, -1)
			_, want := unix.Write(o.host, b)
			if errno(err) != errno(want) {
				t.Fatalf("write %d: %v, the host's %v", n, err, want)
			}
		},
		"read": func(t *rapid.T) {
			o := w.pick(t, "file", false)
			if o.set != nil {
				t.Skip("an epoll")
			}
			var b [8]byte
			_, err := o.file.Read([][]byte{b[:]})
			_, want := unix.Read(o.host, b[:])
			if errno(err) != errno(want) {
				t.Fatalf("read: %v, the host's %v", err, want)
			}
		},
		"wait": func(t *rapid.T) {
			w.wait(t, w.pick(t, "set", true), rapid.IntRange(1, 5).Draw(t, "most"))
		},
		"duplicate": func(t *rapid.T) {
			o := w.pick(t, "file", false)
			if len(o.fds) > 2 {
				t.Skip("enough")
			}
			fd, err := unix.Dup(o.host)
			if err != nil {
				t.Fatal(err)
			}
			o.fds = append(o.fds, int32(fd))
		},
		"close": func(t *rapid.T) {
			o := w.pick(t, "file", false)
			last := len(o.fds) - 1
			unix.Close(int(o.fds[last]))
			if o.fds = o.fds[:last]; last == 0 {
				o.file.DecRef()
				w.objects = slices.DeleteFunc(w.objects, func(x *object) bool { return x == o })
			}
		},
		"look": w.check, // which changes what nested epolls know
	})
	n := 0
	for _, o := range w.objects {
		if o.set != nil {
			n += len(o.set.items)
		}
	}
	if got := int(w.pool.items.Load()); got != n {
		t.Fatalf("%d items are counted, there are %d", got, n)
	}
}
