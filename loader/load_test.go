package loader

import (
	"bytes"
	"encoding/binary"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/mm/memfile"
)

// noGuest is the guest side of a Space that no guest runs in.
type noGuest struct{}

func (noGuest) Map(hostarch.Addr, uint64, uint64, hostarch.AccessType) {}
func (noGuest) Unmap(hostarch.Addr, uint64)                            {}
func (noGuest) Protect(hostarch.Addr, uint64, hostarch.AccessType)     {}
func (noGuest) AfterFlush(fn func())                                   { fn() }
func (noGuest) Release()                                               {}

// testFile is a file in the memory file.
type testFile struct {
	name string
	data []byte
	mem  *memfile.File
	r    memfile.Range
	refs atomic.Int32
}

func newFile(tb testing.TB, mem *memfile.File, name string, data []byte) *testFile {
	f := &testFile{name: name, data: data, mem: mem}
	r, err := mem.Allocate(pageUp(uint64(len(data))+1), memfile.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	copy(mem.Bytes(r), data)
	f.r = r
	f.refs.Store(1)
	return f
}

func (f *testFile) IncRef()                        { f.refs.Add(1) }
func (f *testFile) DecRef()                        { f.refs.Add(-1) }
func (f *testFile) MappedName() string             { return f.name }
func (f *testFile) DeviceInode() (dev, ino uint64) { return 1, 1 }
func (f *testFile) Size() uint64                   { return uint64(len(f.data)) }
func (f *testFile) Pager() (memfile.Pager, error)  { return f, nil }
func (f *testFile) ReadAt(p []byte, o int64) (int, error) {
	return bytes.NewReader(f.data).ReadAt(p, o)
}

func (f *testFile) Page(off, max uint64, write bool) (memfile.Range, error) {
	if off >= f.r.Length() {
		return memfile.Range{}, unix.ENXIO
	}
	r := memfile.Range{Start: f.r.Start + off, End: f.r.Start + min(off+max, f.r.Length())}
	f.mem.IncRef(r)
	return r, nil
}

func (f *testFile) AddMapping(memfile.Invalidator, uint64, bool) error {
	return nil
}
func (f *testFile) RemoveMapping(memfile.Invalidator, uint64, bool) {}

// world is a memory file with files in it by path.
type world struct {
	tb    testing.TB
	mem   *memfile.File
	files map[string]*testFile
}

func newWorld(tb testing.TB) *world {
	mem, err := memfile.New(memfile.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{tb, mem, map[string]*testFile{}}
	tb.Cleanup(w.close)
	return w
}

// close checks that no reference is left behind.
func (w *world) close() {
	for path, f := range w.files {
		if n := f.refs.Load(); n != 1 {
			w.tb.Errorf("%s: %d references, want 1", path, n)
		}
		w.mem.DecRef(f.r)
	}
	if n := w.mem.Allocated(); n != 0 {
		w.tb.Errorf("%d bytes of memory are left", n)
	}
	w.mem.Close()
}

func (w *world) add(path string, data []byte) { w.files[path] = newFile(w.tb, w.mem, path, data) }

func (w *world) open(path string) (File, error) {
	f := w.files[path]
	if f == nil {
		return nil, unix.ENOENT
	}
	f.IncRef()
	return f, nil
}

func (w *world) space() *mm.Space {
	return mm.NewSpace(mm.Config{File: w.mem, Mapper: noGuest{}, Min: 0x10000, Max: 0x7ffffff00000})
}

func (w *world) request(path string, argv ...string) Request {
	return Request{
		Space: w.space(), File: w.files[path], Path: path, Argv: argv, Env: []string{"A=1", "PATH=/bin"},
		Open: w.open, StackLimit: 8 << 20, UID: 1, EUID: 2, GID: 3, EGID: 4,
	}
}

// load loads a file.
func (w *world) load(r Request) (*Image, error) {
	img, err := Load(r)
	if err == nil && img.Exe == nil {
		w.tb.Fatal("no Exe")
	}
	w.tb.Cleanup(func() {
		if err == nil {
			img.Exe.DecRef()
		}
		r.Space.DecUsers()
	})
	return img, err
}

func host(tb testing.TB, path string) []byte {
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Skipf("no %s here: %v", path, err)
	}
	return b
}

// stackContent is what a program finds on its stack.
type stackContent struct {
	argv, env []string
	aux       map[uint64]uint64
}

func readStack(tb testing.TB, s *mm.Space, img *Image) (c stackContent) {
	at := img.Stack
	if at%16 != 0 {
		tb.Errorf("RSP %#x is not aligned", at)
	}
	word := func() uint64 {
		var b [8]byte
		if _, err := s.CopyIn(at, b[:]); err != nil {
			tb.Fatalf("at %#x: %v", at, err)
		}
		at += 8
		return binary.LittleEndian.Uint64(b[:])
	}
	strs := func() (out []string) {
		for p := word(); p != 0; p = word() {
			str, err := s.CopyInString(hostarch.Addr(p), 1<<20)
			if err != nil {
				tb.Fatal(err)
			}
			out = append(out, str)
		}
		return out
	}
	argc := word()
	c.argv = strs()
	if uint64(len(c.argv)) != argc {
		tb.Errorf("argc %d, %d arguments", argc, len(c.argv))
	}
	c.env = strs()
	c.aux = map[uint64]uint64{}
	for tag := word(); tag != atNull; tag = word() {
		c.aux[tag] = word()
	}
	return c
}
