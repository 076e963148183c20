package epoll

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/fs/eventfd"
	"runsc-lite/sentry/vfs"
)

func newEvent(t testing.TB, n uint32) *vfs.File {
	t.Helper()
	f, err := eventfd.NewFile(n, unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newSet(t testing.TB, p *Pool) (*vfs.File, *Epoll) {
	t.Helper()
	f, err := p.NewFile(0)
	if err != nil {
		t.Fatal(err)
	}
	return f, f.Ops().(*Epoll)
}

func post(f *vfs.File) { f.Write(nil, [][]byte{binary.LittleEndian.AppendUint64(nil, 1)}, -1) }

func take(f *vfs.File) error {
	var b [8]byte
	_, err := f.Read([][]byte{b[:]})
	return err
}

func mustAdd(t testing.TB, e *Epoll, f *vfs.File, fd int32, events uint32) {
	t.Helper()
	if err := e.Add(f, fd, f, Event{events, uint64(fd)}); err != nil {
		t.Fatalf("Add(%d): %v", fd, err)
	}
}

// collected returns the data of up to max events.
func collected(e *Epoll, max int) (data []uint64) {
	e.Collect(max, func(ev Event) error { data = append(data, ev.Data); return nil })
	return data
}

func wantEvents(t *testing.T, e *Epoll, max int, want ...uint64) {
	t.Helper()
	if got := collected(e, max); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("events of %v, want %v", got, want)
	}
}

// empty checks that e holds nothing, and p counts nothing.
func empty(t *testing.T, p *Pool, sets ...*Epoll) {
	t.Helper()
	if n := p.items.Load(); n != 0 {
		t.Errorf("%d items are counted", n)
	}
	for i, e := range sets {
		if len(e.items) != 0 || e.ready.n != 0 || e.ready.first != nil || len(e.above) != 0 || len(e.below) != 0 {
			t.Errorf("set %d has %d items, %d on the list, %d above, %d below", i, len(e.items), e.ready.n, len(e.above), len(e.below))
		}
	}
}

func TestFile(t *testing.T) {
	var p Pool
	if _, err := p.NewFile(unix.O_NONBLOCK); err != unix.EINVAL {
		t.Errorf("flags: %v, want EINVAL", err)
	}
	f, _ := newSet(t, &p)
	defer f.DecRef()
	if _, err := f.Read(nil); err != unix.EINVAL {
		t.Errorf("read: %v, want EINVAL", err)
	}
	if pos, err := f.Lseek(5, unix.SEEK_SET); pos != 0 || err != nil {
		t.Errorf("lseek = %d, %v", pos, err)
	}
}

// TestFaultLosesNothing: an event that cannot be stored stays, whatever its kind.
func TestFaultLosesNothing(t *testing.T) {
	for _, kind := range []uint32{0, edge, oneshot} {
		var p Pool
		f, e := newSet(t, &p)
		files := make([]*vfs.File, 3)
		for i := range files {
			files[i] = newEvent(t, 1)
			mustAdd(t, e, files[i], int32(i), unix.EPOLLIN|kind)
		}
		n, err := e.Collect(3, func(ev Event) error { return unix.EFAULT })
		if n != 0 || err != unix.EFAULT {
			t.Errorf("Collect = %d, %v, want EFAULT", n, err)
		}
		stored := 0
		n, err = e.Collect(3, func(ev Event) error {
			if stored == 2 {
				return unix.EFAULT
			}
			stored++
			return nil
		})
		if n != 2 || err != nil {
			t.Errorf("Collect = %d, %v, want 2", n, err)
		}
		if kind == 0 {
			wantEvents(t, e, 3, 2, 0, 1)
		} else {
			wantEvents(t, e, 3, 2)
		}
		f.DecRef()
		for _, f := range files {
			f.DecRef()
		}
		empty(t, &p, e)
	}
}

// TestTurn: an event wakes one thread, and what it leaves undone the next.
func TestTurn(t *testing.T) {
	var p Pool
	f, e := newSet(t, &p)
	defer f.DecRef()
	ev := newEvent(t, 0)
	defer ev.DecRef()
	mustAdd(t, e, ev, 1, unix.EPOLLIN|edge)
	var entries [3]waiter.Entry
	var chans [3]chan struct{}
	for i := range entries {
		entries[i], chans[i] = waiter.NewChannelEntry(waiter.EventIn)
		e.Turn().EventRegister(&entries[i])
	}
	told := func() (who []int) {
		for i, ch := range chans {
			select {
			case <-ch:
				who = append(who, i)
			default:
			}
		}
		return who
	}
	want := func(what string, who ...int) {
		t.Helper()
		if got := told(); fmt.Sprint(got) != fmt.Sprint(who) {
			t.Errorf("%s: woken %v, want %v", what, got, who)
		}
	}
	post(ev)
	want("an event", 0)
	if e.Turn().Readiness(waiter.EventIn) == 0 {
		t.Error("nothing is pending")
	}
	// The first gives up: it must not take the wake-up with it.
	e.Turn().EventUnregister(&entries[0])
	want("it was passed on", 1)
	wantEvents(t, e, 5, 1)
	want("an edge is gone when it was told")
	e.Turn().EventUnregister(&entries[2])
	e.Turn().EventUnregister(&entries[1])
	want("all are gone")
	// A level stays, and so wakes one after the other.
	for i := range entries {
		e.Turn().EventRegister(&entries[i])
	}
	if err := e.Modify(ev, 1, Event{unix.EPOLLIN, 7}); err != nil {
		t.Fatal(err)
	}
	want("a change", 0)
	wantEvents(t, e, 1, 7)
	want("level", 1)
	wantEvents(t, e, 1, 7)
	want("level", 2)
	take(ev)
	wantEvents(t, e, 1)
	if e.Pending() {
		t.Error("pending")
	}
	for i := range entries {
		e.Turn().EventUnregister(&entries[i])
	}
	if e.sleep.first != nil || e.sleep.last != nil {
		t.Error("somebody is left in the queue")
	}
}

func TestSleepersRemoveAnywhere(t *testing.T) {
	var s sleepers
	var w [5]waiter.Entry
	for i := range w {
		s.push(&w[i])
	}
	for _, i := range []int{2, 0, 4} {
		if !s.remove(&w[i]) {
			t.Errorf("%d was not there", i)
		}
		if s.remove(&w[i]) {
			t.Errorf("%d was there twice", i)
		}
	}
	if s.first != &w[1] || s.last != &w[3] || w[1].Next() != &w[3] || w[3].Prev() != &w[1] {
		t.Error("wrong order")
	}
}

// TestEntryIsReused: a thread has one entry for all its waits.
func TestEntryIsReused(t *testing.T) {
	var p Pool
	f, e := newSet(t, &p)
	defer f.DecRef()
	ev := newEvent(t, 0)
	defer ev.DecRef()
	mustAdd(t, e, ev, 1, unix.EPOLLIN)
	var all sync.WaitGroup
	var stop atomic.Bool
	for range 2 {
		all.Go(func() {
			ch := make(chan struct{}, 1)
			var entry waiter.Entry
			var other waiter.Queue
			for range 2000 {
				entry.Init(waiter.ChannelNotifier(ch), waiter.EventIn)
				e.Turn().EventRegister(&entry)
				select {
				case <-ch:
				default:
				}
				e.Turn().EventUnregister(&entry)
				entry.Init(waiter.ChannelNotifier(ch), waiter.EventOut)
				other.EventRegister(&entry)
				other.EventUnregister(&entry)
			}
			stop.Store(true)
		})
	}
	for !stop.Load() {
		post(ev)
		collected(e, 1)
		take(ev)
	}
	finish(t, &all)
}

// TestSpentIsQuiet: an item whose one shot is gone wakes nobody.
func TestSpentIsQuiet(t *testing.T) {
	var p Pool
	f, e := newSet(t, &p)
	defer f.DecRef()
	ev := newEvent(t, 1)
	defer ev.DecRef()
	mustAdd(t, e, ev, 1, unix.EPOLLIN|oneshot)
	wantEvents(t, e, 5, 1)
	entry, ch := waiter.NewChannelEntry(waiter.AllEvents)
	e.EventRegister(&entry)
	defer e.EventUnregister(&entry)
	post(ev)
	if len(ch) != 0 || e.Pending() {
		t.Error("told of what was switched off")
	}
}

// TestClosedFilesLeave: a file takes its items along, in all sets, and while they
// are on the list.
func TestClosedFilesLeave(t *testing.T) {
	var p Pool
	f1, e1 := newSet(t, &p)
	f2, e2 := newSet(t, &p)
	outer, o := newSet(t, &p)
	ev := newEvent(t, 1)
	mustAdd(t, e1, ev, 1, unix.EPOLLIN)
	mustAdd(t, e1, ev, 2, unix.EPOLLIN)
	mustAdd(t, e2, ev, 1, unix.EPOLLIN)
	mustAdd(t, o, f1, 5, unix.EPOLLIN)
	mustAdd(t, o, f2, 6, unix.EPOLLIN)
	wantEvents(t, o, 5, 5, 6)
	ev.DecRef()
	wantEvents(t, e1, 5)
	wantEvents(t, o, 5)
	if n := p.items.Load(); n != 2 {
		t.Errorf("%d items are counted, want 2", n)
	}
	f1.DecRef()
	outer.DecRef()
	f2.DecRef()
	empty(t, &p, e1, e2, o)
}

func TestBoundOnItems(t *testing.T) {
	var p Pool
	f, e := newSet(t, &p)
	ev := newEvent(t, 0)
	p.items.Store(maxItems - 1)
	mustAdd(t, e, ev, 1, unix.EPOLLIN)
	if err := e.Add(ev, 2, ev, Event{unix.EPOLLIN, 0}); err != unix.ENOSPC {
		t.Errorf("one too many: %v, want ENOSPC", err)
	}
	if err := e.Delete(ev, 1); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, e, ev, 2, unix.EPOLLIN)
	f.DecRef()
	ev.DecRef()
	if n := p.items.Load(); n != maxItems-1 {
		t.Errorf("%d items are counted", n)
	}
}

// failing is a file for which nobody can wait.
type failing struct{ waiter.Queue }

func (*failing) Release()                                    {}
func (*failing) Readiness(waiter.EventMask) waiter.EventMask { return 0 }
func (*failing) EventRegister(*waiter.Entry) error           { return unix.ENOMEM }

func TestRegistrationFails(t *testing.T) {
	var p Pool
	f, e := newSet(t, &p)
	defer f.DecRef()
	bad := vfs.NewFile(&failing{}, &vfs.AnonInode{}, unix.O_RDWR, "bad")
	defer bad.DecRef()
	if err := e.Add(bad, 3, bad, Event{unix.EPOLLIN, 0}); err != unix.ENOMEM {
		t.Errorf("%v, want ENOMEM", err)
	}
	if err := e.Add(bad, 3, nil, Event{unix.EPOLLIN, 0}); err != unix.EPERM {
		t.Errorf("without readiness: %v, want EPERM", err)
	}
	empty(t, &p, e)
}

// TestPaths: so many ways may lead up from one epoll, and no more; what is given
// up counts no longer.
func TestPaths(t *testing.T) {
	var p Pool
	bottom, low := newSet(t, &p)
	var outer []*vfs.File
	for range maxPaths[1] {
		f, e := newSet(t, &p)
		mustAdd(t, e, bottom, 1, unix.EPOLLIN)
		outer = append(outer, f)
	}
	one, e := newSet(t, &p)
	if err := e.Add(bottom, 1, bottom, Event{unix.EPOLLIN, 0}); err != unix.EINVAL {
		t.Errorf("one way too many: %v, want EINVAL", err)
	}
	outer[7].DecRef()
	outer[7] = nil
	mustAdd(t, e, bottom, 1, unix.EPOLLIN)
	// Longer ways may be fewer: 100 of them, and 500 there are.
	top, te := newSet(t, &p)
	if err := te.Add(one, 1, one, Event{unix.EPOLLIN, 0}); err != nil {
		t.Errorf("one longer way: %v", err)
	}
	for _, f := range append(outer, one, top) {
		if f != nil {
			f.DecRef()
		}
	}
	bottom.DecRef()
	empty(t, &p, low, e, te)
}

// TestDiamond: a file under two epolls of a third one.
func TestDiamond(t *testing.T) {
	var p Pool
	ff, top := newSet(t, &p)
	fa, a := newSet(t, &p)
	fb, b := newSet(t, &p)
	ev := newEvent(t, 0)
	mustAdd(t, top, fa, 1, unix.EPOLLIN)
	mustAdd(t, top, fb, 2, unix.EPOLLIN)
	mustAdd(t, a, ev, 3, unix.EPOLLIN)
	mustAdd(t, b, ev, 4, unix.EPOLLIN)
	post(ev)
	wantEvents(t, top, 5, 1, 2)
	take(ev)
	wantEvents(t, top, 5)
	for _, f := range []*vfs.File{ff, fa, fb, ev} {
		f.DecRef()
	}
	empty(t, &p, top, a, b)
}

// TestNestRace adds epolls to each other from many sides: never a cycle, never a
// deadlock.
func TestNestRace(t *testing.T) {
	const sets, rounds = 6, 300
	var p Pool
	var files [sets]*vfs.File
	var es [sets]*Epoll
	for i := range files {
		files[i], es[i] = newSet(t, &p)
	}
	ev := newEvent(t, 1)
	mustAdd(t, es[0], ev, 100, unix.EPOLLIN)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for r := range rounds {
				i, j := (r*7+g)%sets, (r*3+g*5+1)%sets
				err := es[i].Add(files[j], int32(j), files[j], Event{unix.EPOLLIN, uint64(j)})
				switch err {
				case nil, unix.EEXIST, unix.ELOOP, unix.EINVAL:
				default:
					t.Errorf("Add: %v", err)
				}
				collected(es[(i+1)%sets], 3)
				files[(j+2)%sets].Readiness(waiter.EventIn)
				if r%2 == 0 {
					es[i].Delete(files[j], int32(j))
				}
				if r%8 == 0 {
					post(ev)
				}
			}
		})
	}
	finish(t, &all)
	for i := range files {
		if n := height(es[i]); n > maxNests {
			t.Errorf("a chain of %d", n)
		}
	}
	for _, f := range files {
		f.DecRef()
	}
	ev.DecRef()
	empty(t, &p, es[:]...)
}

func finish(t *testing.T, all *sync.WaitGroup) {
	t.Helper()
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("stuck")
	}
}

// TestCloseRace closes files, and the set, under those who use them.
func TestCloseRace(t *testing.T) {
	const rounds = 200
	var p Pool
	for r := range rounds {
		f, e := newSet(t, &p)
		shared := newEvent(t, 1)
		var all sync.WaitGroup
		for g := range 3 {
			f.IncRef()
			shared.IncRef()
			all.Go(func() {
				for i := range 5 {
					ev := newEvent(t, 1)
					mustAdd(t, e, ev, int32(10*g+i), unix.EPOLLIN|edge)
					post(ev)
					e.Modify(ev, int32(10*g+i), Event{unix.EPOLLIN, 0})
					collected(e, 2)
					ev.DecRef()
				}
				if err := e.Add(shared, int32(g), shared, Event{unix.EPOLLIN, 0}); err != nil {
					t.Error(err)
				}
				if g == r%3 {
					shared.DecRef()
					f.DecRef()
				} else {
					f.DecRef()
					shared.DecRef()
				}
			})
		}
		all.Go(func() { post(shared); shared.DecRef() })
		all.Go(func() { f.Readiness(waiter.EventIn); f.DecRef() })
		finish(t, &all)
		if t.Failed() {
			return
		}
		empty(t, &p, e)
	}
}

// sleep waits for a turn, as epoll_wait does.
func sleep(e *Epoll, limit time.Duration) {
	entry, ch := waiter.NewChannelEntry(waiter.EventIn)
	e.Turn().EventRegister(&entry)
	if e.Pending() {
		e.Turn().EventUnregister(&entry)
		return
	}
	select {
	case <-ch:
	case <-time.After(limit):
		e.Turn().EventUnregister(&entry)
	}
}

// TestNoEventIsLost: many threads wait, some of them without patience, and each
// event is told, edges once and levels until they are gone.
func TestNoEventIsLost(t *testing.T) {
	const threads, rounds = 4, 500
	for _, kind := range []uint32{0, edge, oneshot} {
		var p Pool
		f, e := newSet(t, &p)
		events := make([]*vfs.File, 3)
		for i := range events {
			events[i] = newEvent(t, 0)
			mustAdd(t, e, events[i], int32(i), unix.EPOLLIN|kind)
		}
		var taken, posted atomic.Int64
		var stop atomic.Bool
		var all sync.WaitGroup
		for g := range threads {
			all.Go(func() {
				limit := 10 * time.Second
				if g == 0 {
					limit = 20 * time.Microsecond
				}
				for !stop.Load() {
					for _, i := range collected(e, 2) {
						if take(events[i]) == nil {
							taken.Add(1)
						}
						if kind == oneshot {
							e.Modify(events[i], int32(i), Event{unix.EPOLLIN | oneshot, i})
						}
					}
					if stop.Load() {
						return
					}
					sleep(e, limit)
				}
			})
		}
		for i := range rounds {
			ev := events[i%len(events)]
			post(ev)
			posted.Add(1)
			// One at a time, so that each write is one read.
			for deadline := time.Now().Add(10 * time.Second); taken.Load() != posted.Load(); {
				if time.Now().After(deadline) {
					t.Fatalf("kind %#x: event %d was lost", kind, i)
				}
				time.Sleep(time.Microsecond)
			}
		}
		stop.Store(true)
		for range 2 * threads {
			post(events[0])
			if kind == oneshot {
				e.Modify(events[0], 0, Event{unix.EPOLLIN, 0})
			}
			time.Sleep(time.Millisecond)
		}
		finish(t, &all)
		f.DecRef()
		for _, ev := range events {
			ev.DecRef()
		}
		empty(t, &p, e)
	}
}

func TestAllocations(t *testing.T) {
	var p Pool
	f, e := newSet(t, &p)
	defer f.DecRef()
	ev := newEvent(t, 1)
	defer ev.DecRef()
	mustAdd(t, e, ev, 1, unix.EPOLLIN)
	emit := func(Event) error { return nil }
	b := [][]byte{binary.LittleEndian.AppendUint64(nil, 1)}
	if n := testing.AllocsPerRun(100, func() {
		ev.Write(nil, b, -1)
		if n, _ := e.Collect(10, emit); n != 1 {
			t.Error("no event")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCollect(b *testing.B) {
	for _, ready := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d of 1000", ready), func(b *testing.B) {
			var p Pool
			f, e := newSet(b, &p)
			defer f.DecRef()
			for i := range 1000 {
				n := uint32(0)
				if i < ready {
					n = 1
				}
				mustAdd(b, e, newEvent(b, n), int32(i), unix.EPOLLIN)
			}
			emit := func(Event) error { return nil }
			for b.Loop() {
				e.Collect(ready, emit)
			}
		})
	}
}

func TestFDInfo(t *testing.T) {
	var p Pool
	f, e := newSet(t, &p)
	defer f.DecRef()
	for _, fd := range []int32{30, 4} {
		ev := newEvent(t, 0)
		defer ev.DecRef()
		if err := e.Add(ev, fd, ev, Event{unix.EPOLLIN | edge, uint64(fd)}); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	e.FDInfo(&b)
	const want = "tfd:        4 events: 80000019 data:                4  pos:0 ino:0 sdev:e\n" +
		"tfd:       30 events: 80000019 data:               1e  pos:0 ino:0 sdev:e\n"
	if got := b.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
