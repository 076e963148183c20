package futex

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func always() error { return nil }

// queued is how many Waiters are in m's queues, by the lists and by the counts.
func queued(t testing.TB, m *Manager) int {
	t.Helper()
	n := 0
	for i := range m.buckets {
		b := &m.buckets[i]
		b.mu.Lock()
		in := 0
		for w := b.first; w != nil; w = w.next {
			in++
		}
		if c := int(b.count.Load()); c != in {
			t.Errorf("bucket %d: %d waiters are listed, %d counted", i, in, c)
		}
		if b.fixing != nil {
			t.Errorf("bucket %d: a state is still to be fixed", i)
		}
		b.mu.Unlock()
		n += in
	}
	return n
}

func wait(t testing.TB, w *Waiter) {
	t.Helper()
	select {
	case <-w.C():
	case <-time.After(10 * time.Second):
		t.Fatal("not woken")
	}
}

func awake(w *Waiter) bool {
	select {
	case <-w.C():
		return true
	default:
		return false
	}
}

func TestPrepareChecksFirst(t *testing.T) {
	m, w, k := NewManager(), NewWaiter(), Key{"a", 4}
	if err := m.Prepare(w, k, AnyMask, func() error { return unix.EAGAIN }); err != unix.EAGAIN {
		t.Fatalf("Prepare: %v, want EAGAIN", err)
	}
	if n := m.Wake(k, 1, AnyMask); n != 0 {
		t.Errorf("Wake found %d waiters", n)
	}
	if !m.Cancel(w) {
		t.Error("Cancel took a Waiter out that was in no queue")
	}
	if n := queued(t, m); n != 0 {
		t.Errorf("%d are queued", n)
	}
}

func TestWakeIsInOrder(t *testing.T) {
	m, k := NewManager(), Key{"a", 0}
	ws := make([]*Waiter, 5)
	for i := range ws {
		ws[i] = NewWaiter()
		if err := m.Prepare(ws[i], k, AnyMask, always); err != nil {
			t.Fatal(err)
		}
	}
	// Less than one means one.
	for i, n := range []int{1, 0, -3} {
		if got := m.Wake(k, n, AnyMask); got != 1 {
			t.Errorf("Wake(%d) = %d, want 1", n, got)
		}
		for j, w := range ws {
			if got := awake(w); got != (j == i) {
				t.Errorf("after wake %d: waiter %d awake: %v", i, j, got)
			}
		}
	}
	if got := m.Wake(k, 100, AnyMask); got != 2 {
		t.Errorf("Wake(100) = %d, want 2", got)
	}
}

func TestStaleTokenIsNoWake(t *testing.T) {
	m, w, k := NewManager(), NewWaiter(), Key{"a", 0}
	m.Prepare(w, k, AnyMask, always)
	m.Wake(k, 1, AnyMask)
	// The caller's deadline came first; the token stays.
	if !m.Cancel(w) {
		t.Fatal("Cancel: not woken")
	}
	m.Prepare(w, k, AnyMask, always)
	if awake(w) {
		t.Error("woken by what was meant for the wait before")
	}
	if m.Cancel(w) {
		t.Error("Cancel: woken")
	}
}

func TestWakeOp(t *testing.T) {
	m, k1, k2 := NewManager(), Key{"a", 0}, Key{"b", 0}
	ws := make([]*Waiter, 4)
	for i := range ws {
		ws[i] = NewWaiter()
		m.Prepare(ws[i], [...]Key{k1, k1, k2, k2}[i], AnyMask, always)
	}
	if _, err := m.WakeOp(k1, k2, 1, 1, func() (bool, error) { return true, unix.EFAULT }); err != unix.EFAULT {
		t.Errorf("error = %v, want EFAULT", err)
	}
	if n, err := m.WakeOp(k1, k2, 1, 1, func() (bool, error) { return false, nil }); n != 1 || err != nil {
		t.Errorf("= %d, %v, want 1", n, err)
	}
	if n, err := m.WakeOp(k1, k2, 5, 1, func() (bool, error) { return true, nil }); n != 2 || err != nil {
		t.Errorf("= %d, %v, want 2", n, err)
	}
	for i, want := range []bool{true, true, true, false} {
		if got := awake(ws[i]); got != want {
			t.Errorf("waiter %d awake: %v", i, got)
		}
	}
	if n, _ := m.WakeOp(k2, k2, 1, 1, func() (bool, error) { return true, nil }); n != 1 {
		t.Errorf("with one key twice: %d, want 1", n)
	}
}

func TestWaitForSeveral(t *testing.T) {
	m := NewManager()
	ws := NewWaiters(4)
	keys := []Key{{"a", 0}, {"a", 4}, {"a", 8}, {"a", 0}} // a key may come twice
	prepare := func() {
		t.Helper()
		if i, err := m.PrepareAll(ws, keys, func(int) error { return nil }); i != -1 || err != nil {
			t.Fatalf("PrepareAll = %d, %v", i, err)
		}
	}
	prepare()
	if i := m.CancelAll(ws); i != -1 {
		t.Errorf("CancelAll = %d, want -1", i)
	}
	prepare()
	m.Wake(keys[2], 1, AnyMask)
	wait(t, ws[0])
	if i := m.CancelAll(ws); i != 2 {
		t.Errorf("CancelAll = %d, want 2", i)
	}
	if n := queued(t, m); n != 0 {
		t.Errorf("%d are queued", n)
	}
	// A wake-up between two of them is not lost when a later word differs.
	i, err := m.PrepareAll(ws, keys, func(i int) error {
		if i == 2 {
			m.Wake(keys[1], 1, AnyMask)
			return unix.EAGAIN
		}
		return nil
	})
	if i != 1 || err != nil {
		t.Errorf("PrepareAll = %d, %v, want 1", i, err)
	}
	if i, err := m.PrepareAll(ws, keys, func(i int) error {
		if i == 3 {
			return unix.EFAULT
		}
		return nil
	}); i != -1 || err != unix.EFAULT {
		t.Errorf("PrepareAll = %d, %v, want EFAULT", i, err)
	}
	if n := queued(t, m); n != 0 {
		t.Errorf("%d are queued", n)
	}
	if i, err := m.PrepareAll(nil, nil, nil); i != -1 || err != nil {
		t.Errorf("PrepareAll of none = %d, %v", i, err)
	}
}

// TestModel compares with a list.
func TestModel(t *testing.T) { rapid.Check(t, checkModel) }

func FuzzModel(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkModel)) }

func checkModel(t *rapid.T) {
	m := NewManager()
	keys := []Key{{"a", 0}, {"a", 4}, {"b", 0}}
	key := rapid.IntRange(0, len(keys)-1)
	count := rapid.IntRange(-1, 4)
	mask := rapid.Uint32Range(1, 7)
	type waiting struct {
		id, key int
		mask    uint32
	}
	var list []waiting // in order for each key
	ws := make([]*Waiter, 8)
	for i := range ws {
		ws[i] = NewWaiter()
	}
	where := func(id int) int { return slices.IndexFunc(list, func(w waiting) bool { return w.id == id }) }
	// wake is what a wake of up to n, at least atLeast, does.
	wake := func(k, n int, mask uint32) (ids []int) {
		list = slices.DeleteFunc(list, func(w waiting) bool {
			if len(ids) < n && w.key == k && w.mask&mask != 0 {
				ids = append(ids, w.id)
				return true
			}
			return false
		})
		return ids
	}
	check := func(ids []int) {
		for _, id := range ids {
			if !awake(ws[id]) {
				t.Fatalf("waiter %d was to be woken", id)
			}
		}
		for id, w := range ws {
			if awake(w) {
				t.Fatalf("waiter %d was woken", id)
			}
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"wait": func(t *rapid.T) {
			id := rapid.IntRange(0, len(ws)-1).Draw(t, "waiter")
			if where(id) >= 0 {
				t.Skip("it waits already")
			}
			k, mk := key.Draw(t, "key"), mask.Draw(t, "mask")
			if err := m.Prepare(ws[id], keys[k], mk, always); err != nil {
				t.Fatal(err)
			}
			list = append(list, waiting{id, k, mk})
		},
		"cancel": func(t *rapid.T) {
			id := rapid.IntRange(0, len(ws)-1).Draw(t, "waiter")
			i := where(id)
			if got := m.Cancel(ws[id]); got != (i < 0) {
				t.Fatalf("Cancel(%d) = %v", id, got)
			}
			if i >= 0 {
				list = slices.Delete(list, i, i+1)
			}
		},
		"wake": func(t *rapid.T) {
			k, n, mk := key.Draw(t, "key"), count.Draw(t, "n"), mask.Draw(t, "mask")
			ids := wake(k, max(n, 1), mk)
			if got := m.Wake(keys[k], n, mk); got != len(ids) {
				t.Fatalf("Wake = %d, want %d", got, len(ids))
			}
			check(ids)
		},
		"wakeOp": func(t *rapid.T) {
			k1, k2 := key.Draw(t, "key"), key.Draw(t, "key2")
			n1, n2 := count.Draw(t, "n"), count.Draw(t, "n2")
			also := rapid.Bool().Draw(t, "also")
			ids := wake(k1, max(n1, 1), AnyMask)
			if also {
				ids = append(ids, wake(k2, max(n2, 1), AnyMask)...)
			}
			got, err := m.WakeOp(keys[k1], keys[k2], n1, n2, func() (bool, error) { return also, nil })
			if got != len(ids) || err != nil {
				t.Fatalf("WakeOp = %d, %v, want %d", got, err, len(ids))
			}
			check(ids)
		},
		"requeue": func(t *rapid.T) {
			from, to := key.Draw(t, "from"), key.Draw(t, "to")
			n, move := rapid.IntRange(0, 3).Draw(t, "n"), rapid.IntRange(0, 4).Draw(t, "move")
			ids := wake(from, n, AnyMask)
			moved := 0
			var kept, gone []waiting
			for _, w := range list {
				if w.key == from && moved < move {
					moved++
					if from != to {
						w.key = to
						gone = append(gone, w)
						continue
					}
				}
				kept = append(kept, w)
			}
			list = append(kept, gone...)
			woken, shifted, err := m.Requeue(keys[from], keys[to], n, move, always)
			if woken != len(ids) || shifted != moved || err != nil {
				t.Fatalf("Requeue = %d, %d, %v, want %d, %d", woken, shifted, err, len(ids), moved)
			}
			check(ids)
		},
		"": func(t *rapid.T) {
			n := 0
			for i := range m.buckets {
				n += int(m.buckets[i].count.Load())
			}
			if n != len(list) {
				t.Fatalf("%d wait, want %d", n, len(list))
			}
		},
	})
}

// mutex is the third of Drepper's "Futexes Are Tricky", on a word of ours.
type mutex struct {
	m    *Manager
	word atomic.Uint32
	key  Key
}

func (l *mutex) lock(w *Waiter, impatient bool) {
	if l.word.CompareAndSwap(0, 1) {
		return
	}
	for l.word.Swap(2) != 0 {
		err := l.m.Prepare(w, l.key, AnyMask, func() error {
			if l.word.Load() != 2 {
				return unix.EAGAIN
			}
			return nil
		})
		if err != nil {
			continue
		}
		if !impatient {
			<-w.C()
			continue
		}
		select {
		case <-w.C():
		case <-time.After(10 * time.Microsecond):
			l.m.Cancel(w)
		}
	}
}

func (l *mutex) unlock() {
	if l.word.Swap(0) == 2 {
		l.m.Wake(l.key, 1, AnyMask)
	}
}

// TestNoWakeIsLost hangs if one is.
func TestNoWakeIsLost(t *testing.T) {
	const threads, rounds = 8, 400
	m := NewManager()
	locks := make([]mutex, 2)
	counts := make([]int, len(locks))
	for i := range locks {
		locks[i].m, locks[i].key = m, Key{m, uint64(4 * i)}
	}
	var all sync.WaitGroup
	for i := range threads {
		all.Go(func() {
			w := NewWaiter()
			for r := range rounds {
				n := (i + r) % len(locks)
				locks[n].lock(w, i%3 == 0)
				counts[n]++
				locks[n].unlock()
			}
		})
	}
	all.Wait()
	if sum := counts[0] + counts[1]; sum != threads*rounds {
		t.Errorf("counted to %d, want %d", sum, threads*rounds)
	}
	if n := queued(t, m); n != 0 {
		t.Errorf("%d are queued", n)
	}
}

// TestWakesAreCounted lets wakes, requeues and cancellations race: who was woken
// was woken once, and by somebody who says so.
func TestWakesAreCounted(t *testing.T) {
	const waiters, rounds = 8, 300
	m := NewManager()
	keys := []Key{{m, 0}, {m, 4}, {m, 8}}
	var woken, wakes atomic.Int64
	var done atomic.Bool
	var all, wakers sync.WaitGroup
	for i := range waiters {
		all.Go(func() {
			w := NewWaiter()
			for r := range rounds {
				if m.Prepare(w, keys[(i+r)%len(keys)], AnyMask, always) != nil {
					t.Error("Prepare failed")
					return
				}
				select {
				case <-w.C():
					woken.Add(1)
				case <-time.After(time.Duration(r%4) * 5 * time.Microsecond):
					if m.Cancel(w) {
						woken.Add(1)
					}
				}
			}
		})
	}
	for i := range 2 {
		wakers.Go(func() {
			for r := 0; !done.Load(); r++ {
				a, b := keys[r%3], keys[(r/3+i)%3]
				switch r % 3 {
				case 0:
					wakes.Add(int64(m.Wake(a, 1+r%2, AnyMask)))
				case 1:
					n, _, _ := m.Requeue(a, b, r%2, 2, always)
					wakes.Add(int64(n))
				case 2:
					n, _ := m.WakeOp(a, b, 1, 1, func() (bool, error) { return r%2 == 0, nil })
					wakes.Add(int64(n))
				}
			}
		})
	}
	all.Wait()
	done.Store(true)
	wakers.Wait()
	if woken.Load() != wakes.Load() {
		t.Errorf("%d were woken, wakers say %d", woken.Load(), wakes.Load())
	}
	if n := queued(t, m); n != 0 {
		t.Errorf("%d are queued", n)
	}
}

// TestSeveralRace wakes one of many words that many wait for.
func TestSeveralRace(t *testing.T) {
	const threads, rounds = 4, 200
	m := NewManager()
	words := make([]atomic.Uint32, 6)
	keys := make([]Key, len(words))
	for i := range keys {
		keys[i] = Key{m, uint64(4 * i)}
	}
	var got atomic.Int64
	var all sync.WaitGroup
	for range threads {
		all.Go(func() {
			ws := NewWaiters(len(keys))
			for range rounds {
				seen := make([]uint32, len(words))
				for i := range words {
					seen[i] = words[i].Load()
				}
				woken, err := m.PrepareAll(ws, keys, func(i int) error {
					if words[i].Load() != seen[i] {
						return unix.EAGAIN
					}
					return nil
				})
				if err == nil && woken < 0 {
					<-ws[0].C()
					woken = m.CancelAll(ws)
				}
				if err == nil && woken < 0 {
					t.Error("woken by nobody")
					return
				}
				got.Add(1)
			}
		})
	}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for i := 0; got.Load() < threads*rounds; i++ {
			n := i % len(words)
			words[n].Add(1)
			m.Wake(keys[n], 1+i%threads, AnyMask)
		}
	}()
	all.Wait()
	<-stop
	if n := queued(t, m); n != 0 {
		t.Errorf("%d are queued", n)
	}
}

func TestAllocations(t *testing.T) {
	m, w, k := NewManager(), NewWaiter(), Key{&Manager{}, 4}
	for _, c := range []struct {
		name string
		fn   func()
	}{
		{"nobody waits", func() { m.Wake(k, 1, AnyMask) }},
		{"wait and cancel", func() { m.Prepare(w, k, AnyMask, always); m.Cancel(w) }},
		{"wait and wake", func() { m.Prepare(w, k, AnyMask, always); m.Wake(k, 1, AnyMask); <-w.C() }},
		{"requeue", func() { m.Requeue(k, Key{k.Object, 8}, 1, 1, always) }},
	} {
		if n := testing.AllocsPerRun(100, c.fn); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func BenchmarkWakeNobody(b *testing.B) {
	m, k := NewManager(), Key{b, 4}
	for b.Loop() {
		m.Wake(k, 1, AnyMask)
	}
}

func BenchmarkPingPong(b *testing.B) {
	m := NewManager()
	for _, pairs := range []int{1, 4} {
		b.Run(fmt.Sprint(pairs), func(b *testing.B) {
			var all sync.WaitGroup
			for p := range pairs {
				var turn atomic.Uint32
				k := Key{&turn, uint64(p)}
				side := func(me uint32) {
					w := NewWaiter()
					for range b.N {
						for turn.Load() != me {
							if m.Prepare(w, k, AnyMask, func() error {
								if turn.Load() == me {
									return unix.EAGAIN
								}
								return nil
							}) == nil {
								<-w.C()
							}
						}
						turn.Store(1 - me)
						m.Wake(k, 1, AnyMask)
					}
				}
				all.Go(func() { side(0) })
				all.Go(func() { side(1) })
			}
			all.Wait()
		})
	}
}
