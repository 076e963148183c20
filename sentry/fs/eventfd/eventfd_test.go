package eventfd

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
	"pgregory.net/rapid"
)

func le(n uint64) [][]byte {
	return [][]byte{binary.LittleEndian.AppendUint64(nil, n)}
}

func read(e *FD) (uint64, error) {
	var b [8]byte
	n, err := e.Read([][]byte{b[:]})
	if err == nil && n != 8 {
		panic("a short read")
	}
	return binary.LittleEndian.Uint64(b[:]), err
}

func TestNewFile(t *testing.T) {
	for _, flags := range []uint32{2, 4, 0x80000000, unix.O_APPEND} {
		if f, err := NewFile(0, flags); err != unix.EINVAL || f != nil {
			t.Errorf("flags %#x: %v, want EINVAL", flags, err)
		}
	}
	f, err := NewFile(math.MaxUint32, unix.EFD_SEMAPHORE|unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer f.DecRef()
	if got := f.Flags(); got != unix.O_RDWR|unix.O_NONBLOCK {
		t.Errorf("flags = %#x", got)
	}
	if e := f.Ops().(*FD); e.Count() != math.MaxUint32 || !e.semaphore {
		t.Errorf("count %d, semaphore %v", e.Count(), e.semaphore)
	}
}

func TestSizes(t *testing.T) {
	e := New(1, false)
	for _, c := range []struct {
		bufs        [][]byte
		read, write error
	}{
		{nil, unix.EINVAL, unix.EINVAL},
		{[][]byte{make([]byte, 7)}, unix.EINVAL, unix.EINVAL},
		{[][]byte{make([]byte, 3), nil, make([]byte, 4)}, unix.EINVAL, unix.EINVAL},
		{[][]byte{make([]byte, 9)}, nil, unix.EINVAL},
		{[][]byte{make([]byte, 3), nil, make([]byte, 5)}, nil, nil},
	} {
		e.Add(1)
		if _, err := e.Read(c.bufs); err != c.read {
			t.Errorf("read of %d pieces: %v, want %v", len(c.bufs), err, c.read)
		}
		if _, err := e.Write(c.bufs); err != c.write {
			t.Errorf("write of %d pieces: %v, want %v", len(c.bufs), err, c.write)
		}
	}
}

func TestPieces(t *testing.T) {
	e := New(0x0102030405060708, false)
	a, b := make([]byte, 3), make([]byte, 7)
	b[5], b[6] = 0xaa, 0xbb
	if n, err := e.Read([][]byte{a, {}, b}); n != 8 || err != nil {
		t.Fatalf("= %d, %v", n, err)
	}
	if got := append(a, b...); string(got) != "\x08\x07\x06\x05\x04\x03\x02\x01\xaa\xbb" {
		t.Errorf("read % x", got)
	}
}

// TestModel compares with a number.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		semaphore := rapid.Bool().Draw(t, "semaphore")
		count := uint64(rapid.Uint32().Draw(t, "initial"))
		e := New(count, semaphore)
		amount := rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64Range(math.MaxUint64-3, math.MaxUint64), rapid.Uint64())
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				n := amount.Draw(t, "n")
				var want error
				switch {
				case n == math.MaxUint64:
					want = unix.EINVAL
				case n > maxCount-count:
					want = unix.EAGAIN
				default:
					count += n
				}
				if _, err := e.Write(le(n)); err != want {
					t.Fatalf("write %d: %v, want %v", n, err, want)
				}
			},
			"read": func(t *rapid.T) {
				want, wantErr := count, error(nil)
				switch {
				case count == 0:
					wantErr = unix.EAGAIN
				case semaphore:
					want = 1
				}
				count -= want
				got, err := read(e)
				if err != wantErr || err == nil && got != want {
					t.Fatalf("read = %d, %v, want %d, %v", got, err, want, wantErr)
				}
			},
			"": func(t *rapid.T) {
				var want waiter.EventMask
				if count > 0 {
					want |= waiter.EventIn
				}
				if count < maxCount {
					want |= waiter.EventOut
				}
				if got := e.Readiness(waiter.AllEvents); got != want {
					t.Fatalf("ready for %#x at %d, want %#x", got, count, want)
				}
			},
		})
	})
}

func TestNotifies(t *testing.T) {
	e := New(0, false)
	in, inCh := waiter.NewChannelEntry(waiter.EventIn)
	out, outCh := waiter.NewChannelEntry(waiter.EventOut)
	e.EventRegister(&in)
	e.EventRegister(&out)
	told := func(ch chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	e.Write(le(5))
	if !told(inCh) || told(outCh) {
		t.Error("a write tells readers")
	}
	e.Write(le(math.MaxUint64))
	if told(inCh) {
		t.Error("a write that fails tells nobody")
	}
	read(e)
	if told(inCh) || !told(outCh) {
		t.Error("a read tells writers")
	}
	read(e)
	if told(outCh) {
		t.Error("a read that fails tells nobody")
	}
	e.EventUnregister(&in)
	e.EventUnregister(&out)
	e.Write(le(5))
	if told(inCh) {
		t.Error("told after the end")
	}
}

// TestRace adds and takes at the same time; nothing is lost or made.
func TestRace(t *testing.T) {
	const writers, rounds = 4, 1000
	for _, semaphore := range []bool{false, true} {
		e := New(0, semaphore)
		entry, ch := waiter.NewChannelEntry(waiter.EventIn)
		e.EventRegister(&entry)
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for range rounds {
					if _, err := e.Write(le(1)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for sum := uint64(0); sum < writers*rounds; {
			n, err := read(e)
			if err == unix.EAGAIN {
				<-ch // hangs if a write told nobody
				continue
			}
			if sum += n; sum > writers*rounds {
				t.Fatalf("read %d", sum)
			}
		}
		all.Wait()
		if n := e.Count(); n != 0 {
			t.Errorf("%d are left", n)
		}
		e.EventUnregister(&entry)
	}
}

func TestAllocations(t *testing.T) {
	e, b := New(0, false), le(1)
	if n := testing.AllocsPerRun(100, func() { e.Write(b); e.Read(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFDInfo(t *testing.T) {
	var b bytes.Buffer
	New(0xab, true).FDInfo(&b)
	if got, want := b.String(), "eventfd-count:               ab\neventfd-semaphore: 1\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
