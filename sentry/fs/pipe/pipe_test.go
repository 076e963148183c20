package pipe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/vfs"
)

// ends makes a pipe.
func ends(t testing.TB, flags uint32) (r, w *vfs.File) {
	t.Helper()
	r, w = NewPool(nil).Create(flags, 1, 2)
	return r, w
}

func bufs(b []byte) [][]byte { return [][]byte{b} }

func mustWrite(t *testing.T, w *vfs.File, b []byte) {
	t.Helper()
	if n, err := w.Write(nil, bufs(b), -1); int(n) != len(b) || err != nil {
		t.Fatalf("write of %d = %d, %v", len(b), n, err)
	}
}

func mustRead(t *testing.T, r *vfs.File, room int) []byte {
	t.Helper()
	b := make([]byte, room)
	n, err := r.Read(bufs(b))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return b[:n]
}

func wantReady(t *testing.T, f *vfs.File, want waiter.EventMask) {
	t.Helper()
	if got := f.Readiness(waiter.EventIn | waiter.EventOut); got != want {
		t.Errorf("ready for %#x, want %#x", got, want)
	}
}

func TestEnds(t *testing.T) {
	r, w := ends(t, unix.O_NONBLOCK|unix.O_CLOEXEC)
	defer r.DecRef()
	defer w.DecRef()
	if r.Flags() != unix.O_RDONLY|unix.O_NONBLOCK || w.Flags() != unix.O_WRONLY|unix.O_NONBLOCK {
		t.Errorf("flags %#x, %#x", r.Flags(), w.Flags())
	}
	if r.Path().Dentry != w.Path().Dentry {
		t.Error("the ends are in different places")
	}
	st, err := w.Stat()
	if err != nil || st.Mode != unix.S_IFIFO|0o600 || st.UID != 1 || st.GID != 2 {
		t.Errorf("stat = %+v, %v", st, err)
	}
	if _, err := r.Write(nil, bufs([]byte("x")), -1); err != unix.EBADF {
		t.Errorf("write to the wrong end: %v", err)
	}
	if _, err := w.Read(bufs(make([]byte, 1))); err != unix.EBADF {
		t.Errorf("read from the wrong end: %v", err)
	}
	wantReady(t, r, 0)
	wantReady(t, w, waiter.EventOut)
	if _, err := r.Read(bufs(make([]byte, 1))); err != unix.EAGAIN {
		t.Errorf("read of nothing: %v, want EAGAIN", err)
	}
	mustWrite(t, w, []byte("text"))
	wantReady(t, r, waiter.EventIn)
	if got := mustRead(t, r, 10); string(got) != "text" {
		t.Errorf("read %q", got)
	}
}

func TestHangUp(t *testing.T) {
	r, w := ends(t, 0)
	mustWrite(t, w, []byte("last"))
	w.DecRef()
	wantReady(t, r, waiter.EventIn|waiter.EventHUp)
	if got := mustRead(t, r, 2); string(got) != "la" {
		t.Errorf("read %q", got)
	}
	mustRead(t, r, 10)
	if got := mustRead(t, r, 10); len(got) != 0 {
		t.Errorf("read %q at the end", got)
	}
	wantReady(t, r, waiter.EventHUp)
	r.DecRef()

	r, w = ends(t, 0)
	r.DecRef()
	wantReady(t, w, waiter.EventOut|waiter.EventErr)
	if _, err := w.Write(nil, bufs([]byte("x")), -1); err != unix.EPIPE {
		t.Errorf("write that nobody reads: %v, want EPIPE", err)
	}
	if n, err := w.Write(nil, nil, -1); n != 0 || err != nil {
		t.Errorf("write of nothing = %d, %v", n, err)
	}
	w.DecRef()
}

func TestWakeUps(t *testing.T) {
	r, w := ends(t, 0)
	in, inCh := waiter.NewChannelEntry(waiter.EventIn)
	out, outCh := waiter.NewChannelEntry(waiter.EventOut)
	end, endCh := waiter.NewChannelEntry(waiter.EventHUp | waiter.EventErr)
	r.EventRegister(&in)
	w.EventRegister(&out)
	r.EventRegister(&end)
	told := func(ch chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	for range 2 {
		mustWrite(t, w, []byte("x"))
		if !told(inCh) { // each write is an edge
			t.Error("readers were not told of a write")
		}
	}
	mustRead(t, r, 10)
	if told(outCh) {
		t.Error("writers were told, and the pipe was not full")
	}
	mustWrite(t, w, make([]byte, DefaultSlots*PageSize))
	mustRead(t, r, PageSize-1)
	if told(outCh) {
		t.Error("writers were told before a slot was free")
	}
	mustRead(t, r, 1)
	if !told(outCh) {
		t.Error("writers were not told of a free slot")
	}
	w.EventUnregister(&out)
	w.DecRef()
	if !told(endCh) {
		t.Error("readers were not told of the end")
	}
	r.EventUnregister(&in)
	r.EventUnregister(&end)
	r.DecRef()
}

func TestCapacity(t *testing.T) {
	r, w := ends(t, 0)
	defer r.DecRef()
	defer w.DecRef()
	p := w.Ops().(*end)
	for _, c := range []struct {
		n, want int64
		err     error
	}{
		{0, PageSize, nil}, {1, PageSize, nil}, {PageSize + 1, 2 * PageSize, nil}, {100000, 131072, nil},
		{MaxSize, MaxSize, nil}, {MaxSize + 1, 0, unix.EPERM}, {1 << 31, 0, unix.EPERM}, {1<<31 + 1, 0, unix.EINVAL},
		{-1, 0, unix.EINVAL}, {65536, 65536, nil},
	} {
		n, err := p.SetCapacity(c.n, true)
		if n != c.want || err != c.err {
			t.Errorf("SetCapacity(%d) = %d, %v, want %d, %v", c.n, n, err, c.want, c.err)
		}
		if err == nil && p.Capacity() != c.want {
			t.Errorf("Capacity = %d, want %d", p.Capacity(), c.want)
		}
	}
	mustWrite(t, w, make([]byte, 5*PageSize))
	if _, err := p.SetCapacity(4*PageSize, true); err != unix.EBUSY {
		t.Errorf("less than there is: %v, want EBUSY", err)
	}
	if n, err := p.SetCapacity(5*PageSize, true); n != 8*PageSize || err != nil {
		t.Errorf("= %d, %v", n, err)
	}
}

// TestPoolBound: the pipes of a sandbox have a bound together, and give back what
// they had.
func TestPoolBound(t *testing.T) {
	l := NewPool(nil)
	var all []*vfs.File
	for range softSlots / (MaxSize / PageSize) {
		r, w := l.Create(0, 0, 0)
		all = append(all, r, w)
		if _, err := w.Ops().(*end).SetCapacity(MaxSize, true); err != nil {
			t.Fatal(err)
		}
	}
	r, w := l.Create(0, 0, 0)
	all = append(all, r, w)
	p := w.Ops().(*end)
	if got := p.Capacity(); got != minSlots*PageSize {
		t.Errorf("a pipe too many has %d bytes", got)
	}
	if _, err := p.SetCapacity(DefaultSlots*PageSize, true); err != unix.EPERM {
		t.Errorf("growing it: %v, want EPERM", err)
	}
	for _, f := range all {
		f.DecRef()
	}
	if n := l.slots.Load(); n != 0 {
		t.Errorf("%d slots are left", n)
	}
}

func TestPackets(t *testing.T) {
	r, w := ends(t, unix.O_DIRECT)
	defer r.DecRef()
	defer w.DecRef()
	mustWrite(t, w, []byte("one"))
	mustWrite(t, w, []byte("second"))
	mustWrite(t, w, make([]byte, PageSize+10))
	for _, c := range []struct{ room, want int }{{100, 3}, {4, 4}, {1 << 16, PageSize}, {1 << 16, 10}} {
		if got := mustRead(t, r, c.room); len(got) != c.want {
			t.Errorf("read %d bytes, want %d", len(got), c.want)
		}
	}
	// The rest of "second" went with it. Without the flag it is a stream again.
	if err := w.SetFlags(0); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, w, []byte("a"))
	mustWrite(t, w, []byte("b"))
	if got := mustRead(t, r, 10); string(got) != "ab" {
		t.Errorf("read %q", got)
	}
}

// word is memory for one ioctl.
type word struct{ b [4]byte }

func (m *word) CopyIn(hostarch.Addr, []byte) (int, error) { return 0, unix.EFAULT }

func (m *word) CopyOut(a hostarch.Addr, src []byte) (int, error) {
	if a != 8 {
		return 0, unix.EFAULT
	}
	return copy(m.b[:], src), nil
}

func TestIoctl(t *testing.T) {
	r, w := ends(t, 0)
	defer r.DecRef()
	defer w.DecRef()
	mustWrite(t, w, make([]byte, 5000))
	mustRead(t, r, 7)
	var m word
	if _, err := r.Ioctl(&m, unix.TIOCINQ, 8); err != nil || binary.LittleEndian.Uint32(m.b[:]) != 4993 {
		t.Errorf("FIONREAD = %v, %v", m.b, err)
	}
	if _, err := r.Ioctl(&m, unix.TIOCINQ, 9); err != unix.EFAULT {
		t.Errorf("bad address: %v", err)
	}
	if _, err := r.Ioctl(&m, unix.TCGETS, 8); err != unix.ENOTTY {
		t.Errorf("TCGETS: %v", err)
	}
}

// open opens a FIFO as fifo_open.
func open(t *testing.T, f vfs.FIFO, flags uint32) *end {
	t.Helper()
	ops, err := f.Open(flags)
	if err != nil {
		t.Fatal(err)
	}
	return ops.(*end)
}

func TestFIFO(t *testing.T) {
	l := NewPool(nil)
	f := l.FIFO()
	if _, err := f.Open(unix.O_WRONLY | unix.O_NONBLOCK); err != unix.ENXIO {
		t.Errorf("a writer alone: %v, want ENXIO", err)
	}
	if _, err := f.Open(unix.O_ACCMODE); err != unix.EINVAL {
		t.Errorf("no mode: %v, want EINVAL", err)
	}
	r := open(t, f, unix.O_RDONLY)
	if err := r.Connected(); err != unix.EAGAIN {
		t.Errorf("a reader alone: %v, want EAGAIN", err)
	}
	entry, ch := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.WritableEvents)
	r.EventRegister(&entry)
	w := open(t, f, unix.O_WRONLY)
	if len(ch) != 1 {
		t.Error("the reader was not told of a writer")
	}
	r.EventUnregister(&entry)
	if r.Connected() != nil || w.Connected() != nil {
		t.Error("both are there")
	}
	// The writer that the reader waited for may be gone again.
	w.Release()
	if err := r.Connected(); err != nil {
		t.Errorf("after a writer that came and went: %v", err)
	}
	if n, err := r.Read(bufs(make([]byte, 1))); n != 0 || err != nil {
		t.Errorf("read = %d, %v, want the end", n, err)
	}
	r.Release()
	// With both sides in one nobody is waited for.
	both := open(t, f, unix.O_RDWR)
	if err := both.Connected(); err != nil {
		t.Error(err)
	}
	if n, err := both.Write(bufs([]byte("kept"))); n != 4 || err != nil {
		t.Errorf("write = %d, %v", n, err)
	}
	both.Release()
	// The contents go with the last one.
	both = open(t, f, unix.O_RDWR|unix.O_NONBLOCK)
	if _, err := both.Read(bufs(make([]byte, 1))); err != unix.EAGAIN {
		t.Errorf("read: %v, want EAGAIN", err)
	}
	both.Release()
	if n := l.slots.Load(); n != 0 {
		t.Errorf("%d slots are left", n)
	}
}

// TestFIFOWithoutWriter: a reader that did not wait sees a hang-up only once a
// writer has been there.
func TestFIFOWithoutWriter(t *testing.T) {
	f := NewPool(nil).FIFO()
	r := open(t, f, unix.O_RDONLY|unix.O_NONBLOCK)
	if err := r.Connected(); err != nil {
		t.Error(err)
	}
	if got := r.Readiness(waiter.AllEvents); got != 0 {
		t.Errorf("ready for %#x", got)
	}
	open(t, f, unix.O_WRONLY|unix.O_NONBLOCK).Release()
	if got := r.Readiness(waiter.AllEvents); got != waiter.EventHUp {
		t.Errorf("ready for %#x, want a hang-up", got)
	}
	r.Release()
}

// blocking reads and writes through an end by waiting for its events.
type blocking struct {
	f    *vfs.File
	mask waiter.EventMask
}

func (b blocking) do(try func() (int64, error)) (int, error) {
	entry, ch := waiter.NewChannelEntry(b.mask | waiter.EventHUp | waiter.EventErr)
	b.f.EventRegister(&entry)
	defer b.f.EventUnregister(&entry)
	for {
		n, err := try()
		if err != unix.EAGAIN {
			return int(n), err
		}
		<-ch
	}
}

func (b blocking) Read(p []byte) (int, error) {
	n, err := b.do(func() (int64, error) { return b.f.Read(bufs(p)) })
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return n, err
}

func (b blocking) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = b.do(func() (int64, error) { return b.f.Write(nil, bufs(p[n:]), -1) })
		n += k
	}
	return n, err
}

// TestStream sends a lot through a pipe in pieces of all sizes.
func TestStream(t *testing.T) {
	r, w := ends(t, 0)
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	go func() {
		out := blocking{w, waiter.WritableEvents}
		for left := data; len(left) > 0; {
			n := min(len(left), 1+rng.IntN(3*PageSize))
			if _, err := out.Write(left[:n]); err != nil {
				t.Errorf("write: %v", err)
				break
			}
			left = left[n:]
		}
		w.DecRef()
	}()
	got, err := io.ReadAll(blocking{r, waiter.ReadableEvents})
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes of %d, %v", len(got), len(data), err)
	}
	r.DecRef()
}

// TestAtomicWrites: pieces of up to PIPE_BUF do not mix, whoever writes and reads.
func TestAtomicWrites(t *testing.T) {
	const writers, each = 4, 300
	r, w := ends(t, 0)
	sizes := []int{8, 100, PageSize - 1, PageSize}
	var all sync.WaitGroup
	for i := range writers {
		w.IncRef()
		all.Go(func() {
			defer w.DecRef()
			out := blocking{w, waiter.WritableEvents}
			for k := range each {
				b := make([]byte, sizes[(i+k)%len(sizes)])
				binary.LittleEndian.PutUint32(b, uint32(len(b)))
				for j := 4; j < len(b); j++ {
					b[j] = byte('a' + i)
				}
				if _, err := out.Write(b); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	w.DecRef()
	var count [writers]int
	in := blocking{r, waiter.ReadableEvents}
	for {
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n := binary.LittleEndian.Uint32(size[:])
		if n < 8 || n > PageSize {
			t.Fatalf("a piece of %d bytes", n)
		}
		b := make([]byte, n-4)
		if _, err := io.ReadFull(in, b); err != nil {
			t.Fatal(err)
		}
		for _, c := range b {
			if c != b[0] {
				t.Fatalf("%q in a piece of %q", c, b[0])
			}
		}
		count[b[0]-'a']++
	}
	all.Wait()
	for i, n := range count {
		if n != each {
			t.Errorf("%d pieces of writer %d, want %d", n, i, each)
		}
	}
	r.DecRef()
}

// TestCloseRace: ends that are closed under those who wait.
func TestCloseRace(t *testing.T) {
	l := NewPool(nil)
	for range 200 {
		r, w := l.Create(0, 0, 0)
		var all sync.WaitGroup
		all.Go(func() {
			in := blocking{r, waiter.ReadableEvents}
			b := make([]byte, 100)
			for {
				if _, err := in.Read(b); err == io.EOF {
					break
				}
			}
			r.DecRef()
		})
		all.Go(func() {
			out := blocking{w, waiter.WritableEvents}
			for range 5 {
				if _, err := out.Write(make([]byte, 3000)); err != nil && !errors.Is(err, unix.EPIPE) {
					t.Error(err)
				}
			}
			w.DecRef()
		})
		all.Wait()
	}
	if n := l.slots.Load(); n != 0 {
		t.Errorf("%d slots are left", n)
	}
}

func TestAllocations(t *testing.T) {
	r, w := ends(t, 0)
	defer r.DecRef()
	defer w.DecRef()
	in, out := bufs(make([]byte, 100)), bufs(make([]byte, 100))
	w.Write(nil, out, -1)
	w.Write(nil, out, -1) // so that a page stays
	if n := testing.AllocsPerRun(10, func() { w.Write(nil, out, -1); r.Read(in) }); n > 0.5 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSmall(b *testing.B) {
	r, w := ends(b, 0)
	in, out := bufs(make([]byte, 1)), bufs(make([]byte, 1))
	for b.Loop() {
		w.Write(nil, out, -1)
		r.Read(in)
	}
}

func BenchmarkLarge(b *testing.B) {
	r, w := ends(b, 0)
	in, out := bufs(make([]byte, 1<<16)), bufs(make([]byte, 1<<16))
	b.SetBytes(1 << 16)
	for b.Loop() {
		w.Write(nil, out, -1)
		r.Read(in)
	}
}
