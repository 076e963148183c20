package pagecache

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/fs/fstest"
)

// memorySource is a file in memory that counts what is asked of it.
type memorySource struct {
	data                []byte
	fills, reads, close int
	err                 error
}

func (s *memorySource) Fill(dst []byte, off int64) error {
	s.fills++
	copy(dst, s.data[off:])
	return s.err
}

func (s *memorySource) ReadAt(dst [][]byte, off int64) (n int64, err error) {
	s.reads++
	for _, b := range dst {
		n += int64(copy(b, s.data[min(int64(len(s.data)), off+n):]))
	}
	return n, s.err
}

func (s *memorySource) Close() { s.close++ }

func data(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i / 100)
	}
	return b
}

func newCache(t *testing.T, idle uint64) (*Cache, *fstest.Memory) {
	mem := fstest.NewMemory(t, 8<<20, true)
	c := New(Options{Memory: mem, Idle: idle, Whole: 16 << 10, Chunk: 16 << 10, Through: 64 << 10})
	t.Cleanup(c.Close)
	return c, mem
}

func read(t *testing.T, f *File, off int64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	got, err := f.ReadAt([][]byte{b[:n/3], b[n/3:]}, off)
	if err != nil {
		t.Fatal(err)
	}
	return b[:got]
}

// TestPortions: a small file is filled once, one of medium size in portions, and a
// large one is read past the cache except where it is mapped.
func TestPortions(t *testing.T) {
	c, mem := newCache(t, 1<<20)
	for _, x := range []struct{ size, fills, reads int }{{10000, 1, 0}, {50000, 4, 0}, {100000, 0, 1}} {
		s := &memorySource{data: data(x.size)}
		f := c.Open(Key{Ino: uint64(x.size)}, Version{Size: int64(x.size)}, s)
		if got := read(t, f, 0, x.size+100); !bytes.Equal(got, s.data) {
			t.Errorf("%d bytes: read %d", x.size, len(got))
		}
		if s.fills != x.fills || s.reads != x.reads {
			t.Errorf("%d bytes: %d fills, %d reads", x.size, s.fills, s.reads)
		}
		r, err := f.Page(8192, 4096, false)
		if err != nil || !bytes.Equal(mem.Bytes(r)[:1000], s.data[8192:9192]) {
			t.Errorf("%d bytes: a page: %v", x.size, err)
		}
		mem.DecRef(r)
		if _, err := f.Page(0, 4096, true); err != unix.EIO {
			t.Errorf("a page to write to: %v", err)
		}
		f.Release()
		if s.close != 1 {
			t.Errorf("closed %d times", s.close)
		}
	}
}

// TestVersions: another version of a file is another content; the old one stays as
// long as somebody has it open.
func TestVersions(t *testing.T) {
	c, _ := newCache(t, 1<<20)
	old, now := &memorySource{data: []byte("old")}, &memorySource{data: []byte("new")}
	f := c.Open(Key{Ino: 1}, Version{Size: 3, Mtime: unix.Timespec{Sec: 1}}, old)
	g := c.Open(Key{Ino: 1}, Version{Size: 3, Mtime: unix.Timespec{Sec: 2}}, now)
	if a, b := read(t, f, 0, 9), read(t, g, 0, 9); string(a) != "old" || string(b) != "new" {
		t.Errorf("%q and %q", a, b)
	}
	f.Release()
	same := &memorySource{data: []byte("not asked")}
	h := c.Open(Key{Ino: 1}, Version{Size: 3, Mtime: unix.Timespec{Sec: 2}}, same)
	if h != g || same.close != 1 {
		t.Error("the same version is another file")
	}
	g.Release()
	h.Release()
}

// TestIdle: what nobody has open goes when there is too much of it, the oldest
// first.
func TestIdle(t *testing.T) {
	c, mem := newCache(t, 3*4096)
	sources := make([]*memorySource, 5)
	open := func(i int) *File {
		sources[i] = &memorySource{data: data(100)}
		return c.Open(Key{Ino: uint64(i)}, Version{Size: 100}, sources[i])
	}
	for i := range sources {
		f := open(i)
		read(t, f, 0, 100)
		f.Release()
	}
	if n := mem.InUse(); n != 3 {
		t.Errorf("%d pages stay", n)
	}
	for i := 2; i < len(sources); i++ {
		f := open(i)
		read(t, f, 0, 100)
		if sources[i].fills != 0 {
			t.Errorf("file %d is filled again", i)
		}
		f.Release()
	}
}

// TestErrors: what cannot be read leaves nothing behind.
func TestErrors(t *testing.T) {
	c, mem := newCache(t, 1<<20)
	s := &memorySource{data: data(100), err: unix.EIO}
	f := c.Open(Key{}, Version{Size: 100}, s)
	if _, err := f.ReadAt([][]byte{make([]byte, 10)}, 0); err != unix.EIO {
		t.Errorf("reading: %v", err)
	}
	if _, err := f.Page(0, 4096, false); err != unix.EIO {
		t.Errorf("mapping: %v", err)
	}
	if n := mem.InUse(); n != 0 {
		t.Errorf("%d pages stay", n)
	}
	s.err = nil
	if got := read(t, f, 0, 100); !bytes.Equal(got, s.data) {
		t.Error("it stays unreadable")
	}
	f.Release()
}
