package futex

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// flatMemory is memory from base on. It counts what is read of it.
type flatMemory struct {
	base  hostarch.Addr
	bytes []byte
	reads int
}

func (m *flatMemory) at(a hostarch.Addr, n int) []byte {
	m.reads++
	if a < m.base || uint64(a-m.base) > uint64(len(m.bytes)) || uint64(len(m.bytes))-uint64(a-m.base) < uint64(n) {
		return nil
	}
	return m.bytes[a-m.base:][:n]
}

func (m *flatMemory) CopyIn(a hostarch.Addr, dst []byte) (int, error) {
	b := m.at(a, len(dst))
	if b == nil {
		return 0, unix.EFAULT
	}
	return copy(dst, b), nil
}

func (m *flatMemory) LoadUint32(a hostarch.Addr) (uint32, error) {
	b := m.at(a, 4)
	if b == nil {
		return 0, unix.EFAULT
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (m *flatMemory) CompareAndSwapUint32(a hostarch.Addr, old, v uint32) (uint32, error) {
	was, err := m.LoadUint32(a)
	if err == nil && was == old {
		binary.LittleEndian.PutUint32(m.at(a, 4), v)
	}
	return was, err
}

func (m *flatMemory) Key(a hostarch.Addr) (Key, error) { return Key{m, uint64(a)}, nil }

func (m *flatMemory) put(a hostarch.Addr, v uint64) { binary.LittleEndian.PutUint64(m.at(a, 8), v) }

func (m *flatMemory) word(a hostarch.Addr) uint32 {
	v, _ := m.LoadUint32(a)
	return v
}

func (m *flatMemory) setWord(a hostarch.Addr, v uint32) { binary.LittleEndian.PutUint32(m.at(a, 4), v) }

const (
	me    = 77
	base  = hostarch.Addr(0x1000)
	head  = base
	entry = base + 0x100 // entries are 32 bytes, with their word at 8
)

// newList makes a list of n entries, with all their words mine.
func newList(n int) *flatMemory {
	m := &flatMemory{base: base, bytes: make([]byte, 0x4000)}
	m.put(head+8, 8)
	at := head
	for i := range n {
		e := entry + hostarch.Addr(32*i)
		m.put(at, uint64(e))
		m.setWord(e+8, me)
		at = e
	}
	m.put(at, uint64(head))
	return m
}

func at(i int) hostarch.Addr { return entry + hostarch.Addr(32*i) }

func TestRobustList(t *testing.T) {
	mem, m := newList(4), NewManager()
	mem.setWord(at(1)+8, me|flagWaiters)
	mem.setWord(at(2)+8, 78|flagWaiters) // another's
	ws := make([]*Waiter, 4)
	for i := range ws {
		ws[i] = NewWaiter()
		m.Prepare(ws[i], Key{mem, uint64(at(i) + 8)}, AnyMask, always)
	}
	m.ReleaseRobust(mem, head, me)
	for i, want := range []uint32{flagOwnerDied, flagOwnerDied | flagWaiters, 78 | flagWaiters, flagOwnerDied} {
		if got := mem.word(at(i) + 8); got != want {
			t.Errorf("word %d = %#x, want %#x", i, got, want)
		}
		// The word says whether somebody waits; nobody else is woken.
		if got := awake(ws[i]); got != (i == 1) {
			t.Errorf("waiter %d awake: %v", i, got)
		}
	}
}

func TestRobustListOfPI(t *testing.T) {
	mem, m := newList(2), NewManager()
	mem.put(head, uint64(at(0))|1)
	mem.setWord(at(0)+8, me|flagWaiters)
	w := NewWaiter()
	m.Prepare(w, Key{mem, uint64(at(0) + 8)}, AnyMask, always)
	m.ReleaseRobust(mem, head, me)
	if got := mem.word(at(0) + 8); got != flagOwnerDied|flagWaiters {
		t.Errorf("word = %#x", got)
	}
	if awake(w) {
		t.Error("a futex with an owner is given on by ReleasePI")
	}
	if got := mem.word(at(1) + 8); got != flagOwnerDied {
		t.Errorf("the next word = %#x", got)
	}
}

func TestRobustPending(t *testing.T) {
	for _, c := range []struct {
		name   string
		word   uint32
		pi     uint64
		want   uint32
		wakes  bool
		listed bool
	}{
		{"locked, not yet in the list", me | flagWaiters, 0, flagOwnerDied | flagWaiters, true, false},
		{"unlocked, not yet woken", 0, 0, 0, true, false},
		{"unlocked with waiters noted", flagWaiters, 0, flagWaiters, true, false},
		{"another's already", 78, 0, 78, false, false},
		{"with an owner, unlocked", 0, 1, 0, false, false},
		{"in the list, too", me | flagWaiters, 0, flagOwnerDied | flagWaiters, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := 1
			if c.listed {
				n = 2
			}
			mem, m := newList(n), NewManager()
			mem.put(head+16, uint64(at(1))|c.pi)
			mem.setWord(at(1)+8, c.word)
			w := NewWaiter()
			m.Prepare(w, Key{mem, uint64(at(1) + 8)}, AnyMask, always)
			m.ReleaseRobust(mem, head, me)
			if got := mem.word(at(1) + 8); got != c.want {
				t.Errorf("word = %#x, want %#x", got, c.want)
			}
			if got := awake(w); got != c.wakes {
				t.Errorf("awake: %v", got)
			}
			if got := mem.word(at(0) + 8); got != flagOwnerDied {
				t.Errorf("word in the list = %#x", got)
			}
		})
	}
}

func TestRobustListIsBounded(t *testing.T) {
	mem := newList(3)
	mem.put(at(2), uint64(at(0))) // a ring that does not come back to the head
	NewManager().ReleaseRobust(mem, head, me)
	if mem.reads > 10*maxRobust {
		t.Errorf("%d reads", mem.reads)
	}
	if got := mem.word(at(2) + 8); got != flagOwnerDied {
		t.Errorf("word = %#x", got)
	}
	// A list longer than the bound is given up at it.
	mem = newList(3)
	mem.bytes = append(mem.bytes, make([]byte, 32*3000)...)
	for i := range 3000 {
		mem.put(at(i), uint64(at(i+1)))
		mem.setWord(at(i)+8, me)
	}
	NewManager().ReleaseRobust(mem, head, me)
	if got := mem.word(at(maxRobust-1) + 8); got != flagOwnerDied {
		t.Errorf("the last word inside the bound = %#x", got)
	}
	if got := mem.word(at(maxRobust) + 8); got != me {
		t.Errorf("the first word beyond = %#x", got)
	}
}

func TestRobustListEndsAtFaults(t *testing.T) {
	mem := newList(3)
	mem.put(at(0), 0xdead0000)
	NewManager().ReleaseRobust(mem, head, me)
	if got := mem.word(at(0) + 8); got != flagOwnerDied {
		t.Errorf("word before the fault = %#x", got)
	}
	if got := mem.word(at(1) + 8); got != me {
		t.Errorf("word behind the fault = %#x", got)
	}
	mem = newList(2)
	mem.put(head+8, 9) // words that are not aligned
	NewManager().ReleaseRobust(mem, head, me)
	NewManager().ReleaseRobust(mem, 8, me) // no head
}

// FuzzRobustList walks arbitrary lists: it comes back, and changes only words that
// name the thread.
func FuzzRobustList(f *testing.F) {
	f.Add(newList(4).bytes[:0x200], uint16(0))
	ring := newList(2)
	ring.put(at(1), uint64(at(0)))
	f.Add(ring.bytes[:0x200], uint16(0))
	f.Add(make([]byte, 40), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, from uint16) {
		if len(b) > 1<<16 {
			return
		}
		mem := &flatMemory{base: base, bytes: append([]byte(nil), b...)}
		m := NewManager()
		m.ReleaseRobust(mem, base+hostarch.Addr(from), me)
		if mem.reads > 20*maxRobust {
			t.Errorf("%d reads", mem.reads)
		}
		for i := 0; i+4 <= len(b); i += 4 {
			was, is := binary.LittleEndian.Uint32(b[i:]), binary.LittleEndian.Uint32(mem.bytes[i:])
			if was != is && (was&tidMask != me || is != was&flagWaiters|flagOwnerDied) {
				t.Errorf("word at %d: %#x became %#x", i, was, is)
			}
		}
		if n := queued(t, m); n != 0 {
			t.Errorf("%d are queued", n)
		}
	})
}
