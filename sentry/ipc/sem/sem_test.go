package sem

import (
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"runsc-lite/sentry/ipc"
)

var me = &ipc.Caller{PID: 1, Owner: true, Admin: true}

func newSet(t interface{ Fatal(...any) }, n int32) (*Manager, int32) {
	m := New(func() int64 { return 1 }, ipc.NewBudget(Budget))
	id, err := m.Get(me, ipc.Private, n, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return m, id
}

// TestModel holds that calls are made whole and in turn: the oldest that can be made
// never waits, values stay in their range, and what was undone adds up.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 3
		m, id := newSet(t, n)
		lists := []*List{m.NewList(), m.NewList()}
		woken := map[*Waiter]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"op": func(t *rapid.T) {
				var ops []Op
				for range rapid.IntRange(1, 4).Draw(t, "n") {
					ops = append(ops, Op{
						Num:   uint16(rapid.IntRange(0, n-1).Draw(t, "num")),
						Value: int16(rapid.IntRange(-3, 3).Draw(t, "value")),
						Flags: int16(rapid.SampledFrom([]int{0, 0, ipc.NoWait, Undo}).Draw(t, "flags")),
					})
				}
				l := rapid.SampledFrom(lists).Draw(t, "list")
				before := values(t, m, id)
				var w *Waiter
				w, err := m.Op(me, id, ops, func() *List { return l }, func() { woken[w] = true })
				if w != nil || err != nil {
					if after := values(t, m, id); after != before {
						t.Fatalf("half a call: %v, %v", before, after)
					}
				}
			},
			"set": func(t *rapid.T) {
				if err := m.SetValue(me, id, int32(rapid.IntRange(0, n-1).Draw(t, "num")), rapid.Int32Range(0, 5).Draw(t, "value")); err != nil {
					t.Fatal(err)
				}
			},
			"end": func(t *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(t, "list")
				lists[i].Release(1)
				lists[i] = m.NewList()
			},
			"": func(t *rapid.T) {
				s, err := m.ids.Get(id)
				if err != nil {
					t.Fatal(err)
				}
				for _, sem := range s.sems {
					if sem.value < 0 || sem.value > MaxValue {
						t.Fatalf("value %d", sem.value)
					}
				}
				for _, w := range s.waiters {
					if w.done {
						t.Fatal("done, and yet it waits")
					}
					// Nobody who could go on is left waiting.
					probe := *w
					probe.undo = nil
					if err := m.try(&probe); err != errWait {
						t.Fatalf("%v could be made: %v", w.ops, err)
					}
				}
				undos := 0
				for l := range s.undo {
					undos += len(l.adj)
				}
				if undos != m.undos {
					t.Fatalf("%d are to be undone, %d are counted", undos, m.undos)
				}
			},
		})
		if err := m.Remove(me, id); err != nil || m.undos != 0 || m.total != 0 {
			t.Fatalf("%v, %d, %d", err, m.undos, m.total)
		}
	})
}

func values(t interface{ Fatal(...any) }, m *Manager, id int32) string {
	b, err := m.Values(me, id)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(b)
}

// TestRace has threads take and give one semaphore.
func TestRace(t *testing.T) {
	m, id := newSet(t, 1)
	if err := m.SetValue(me, id, 0, 1); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	inside := 0
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			l := m.NewList()
			defer l.Release(1)
			newList := func() *List { return l }
			for range 200 {
				ch := make(chan struct{}, 1)
				w, err := m.Op(me, id, []Op{{0, -1, Undo}}, newList, func() { ch <- struct{}{} })
				if w != nil {
					<-ch
					err, _ = w.Done()
				}
				if err != nil {
					t.Error(err)
					return
				}
				if inside++; inside != 1 {
					t.Error("somebody else is inside")
				}
				inside--
				if _, err := m.Op(me, id, []Op{{0, 1, Undo}}, newList, nil); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	if v, err := m.Value(me, id, 0, GetVal); v != 1 || err != nil || m.undos != 0 {
		t.Errorf("%d, %v; %d to undo", v, err, m.undos)
	}
}

func TestLimits(t *testing.T) {
	m, id := newSet(t, 10)
	m.Limits.All.Store(15)
	m.Limits.Sets.Store(2)
	if _, err := m.Get(me, ipc.Private, 6, 0o600); err != unix.ENOSPC {
		t.Errorf("too many semaphores: %v", err)
	}
	if _, err := m.Get(me, ipc.Private, 1, 0o600); err != nil {
		t.Error(err)
	}
	if _, err := m.Get(me, ipc.Private, 1, 0o600); err != unix.ENOSPC {
		t.Errorf("too many sets: %v", err)
	}
	m.undos = maxTotal
	l := m.NewList()
	if _, err := m.Op(me, id, []Op{{0, 1, Undo}}, func() *List { return l }, nil); err != unix.ENOMEM {
		t.Errorf("too much to undo: %v", err)
	}
	if v, _ := m.Value(me, id, 0, GetVal); v != 0 {
		t.Errorf("value %d", v)
	}
	m.undos = 0
}

func FuzzDecodeOps(f *testing.F) {
	f.Add([]byte{0, 0, 255, 255, 0, 16})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, id := newSet(t, 4)
		ops := DecodeOps(b[:len(b)/SizeofOp*SizeofOp])
		if len(ops) > 500 {
			return
		}
		l := m.NewList()
		w, err := m.Op(me, id, ops, func() *List { return l }, func() {})
		if w != nil && err != nil {
			t.Error("waits, and failed")
		}
		if w != nil {
			w.Cancel()
		}
		l.Release(1)
	})
}
