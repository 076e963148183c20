package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// content is a file of data.
func content(data []byte) *Node {
	return &Node{Mode: unix.S_IFREG | 0o644, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

func dir(children map[string]*Node) *Node {
	return &Node{Mode: unix.S_IFDIR | 0o755, Children: children}
}

// text is something that compresses, the same for a seed.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = "etaoin shrdlu\n"[r.IntN(14)]
	}
	return b
}

func pack(t testing.TB, root *Node, config string) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := Write(&b, root, []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	if n != uint64(b.Len()) {
		t.Fatalf("Write says %d bytes, there are %d", n, b.Len())
	}
	return b.Bytes()
}

func open(t testing.TB, b []byte) *Reader {
	t.Helper()
	r, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sample is a tree with some of everything.
func sample() (*Node, map[string][]byte) {
	files := map[string][]byte{
		"empty": nil, "small": []byte("hello\n"), "exact": text(1, BlockSize), "more": text(2, BlockSize+1),
		"large": text(3, 5*BlockSize+12345), "zeros": make([]byte, 3*BlockSize+7), "again": text(3, 5*BlockSize+12345),
		"noise": noise(2*BlockSize + 99),
	}
	root := dir(map[string]*Node{})
	for name, data := range files {
		root.Children[name] = content(data)
	}
	sub := map[string]*Node{}
	for i := range 3000 { // more than a page of everything
		name := fmt.Sprintf("a-name-that-is-rather-long-%04d", i)
		data := fmt.Appendf(nil, "content %d\n", i)
		sub[name] = content(data)
		files["sub/"+name] = data
	}
	root.Children["sub"] = dir(sub)
	root.Children["link"] = &Node{Mode: unix.S_IFLNK | 0o777, Target: "sub/../small"}
	root.Children["hard"] = root.Children["small"]
	files["hard"] = files["small"]
	root.Children["null"] = &Node{Mode: unix.S_IFCHR | 0o666, Rdev: unix.Mkdev(1, 3)}
	root.Children["small"].UID, root.Children["small"].Sec, root.Children["small"].Nsec = 1000, -5, 7
	return root, files
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func TestRoundTrip(t *testing.T) {
	root, files := sample()
	before := []byte("a program goes before it")
	packed := pack(t, root, "the configuration")
	r := open(t, append(before, packed...))
	if string(r.Config()) != "the configuration" {
		t.Errorf("configuration %q", r.Config())
	}
	if r.Start() != int64(len(before)) {
		t.Errorf("it begins at %d", r.Start())
	}
	found := 0
	err := r.Walk(func(path string, n *Inode) error {
		if n.Mode&unix.S_IFMT != unix.S_IFREG {
			return nil
		}
		found++
		want, ok := files[path]
		if !ok || int64(len(want)) != n.Size {
			t.Errorf("%s has %d bytes", path, n.Size)
			return nil
		}
		got := make([]byte, n.Size)
		if err := r.ReadAt(n, got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: other content, %v", path, err)
		}
		return nil
	})
	if err != nil || found != len(files) {
		t.Errorf("%d of %d files, %v", found, len(files), err)
	}
	top, err := r.Inode(0)
	if err != nil {
		t.Fatal(err)
	}
	small, err := r.Lookup(top, "small")
	if err != nil || small.Nlink != 2 || small.UID != 1000 || small.Sec != -5 || small.Nsec != 7 {
		t.Errorf("small is %+v, %v", small, err)
	}
	link, err := r.Lookup(top, "link")
	if err != nil {
		t.Fatal(err)
	}
	if to, err := r.Readlink(link); to != "sub/../small" || err != nil {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if null, err := r.Lookup(top, "null"); err != nil || null.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("the device is %+v, %v", null, err)
	}
	for _, name := range []string{"", "a", "smal", "small0", "zzz", ".", ".."} {
		if n, err := r.Lookup(top, name); n != nil || err != nil {
			t.Errorf("%q is %+v, %v", name, n, err)
		}
	}
	if err := r.Verify(); err != nil {
		t.Error(err)
	}
}

// TestPieces reads everywhere across the borders of pieces.
func TestPieces(t *testing.T) {
	want := text(9, 3*BlockSize+500)
	r := open(t, pack(t, dir(map[string]*Node{"f": content(want)}), ""))
	n, err := r.Inode(1)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		off := rnd.IntN(len(want))
		got := make([]byte, rnd.IntN(len(want)-off)+1)
		if err := r.ReadAt(n, got, int64(off)); err != nil || !bytes.Equal(got, want[off:off+len(got)]) {
			t.Fatalf("%d bytes at %d: %v", len(got), off, err)
		}
	}
	if err := r.ReadAt(n, make([]byte, 2), n.Size-1); err == nil {
		t.Error("it reads beyond the end")
	}
}

// TestReproducible: the same tree, the same bytes.
func TestReproducible(t *testing.T) {
	root, _ := sample()
	first := pack(t, root, "c")
	for range 3 {
		again, _ := sample()
		if !bytes.Equal(first, pack(t, again, "c")) {
			t.Fatal("other bytes")
		}
	}
}

// TestDeduplicated: what is there twice, and zeros, cost nothing.
func TestDeduplicated(t *testing.T) {
	data := noise(10*BlockSize + 777)
	once := len(pack(t, dir(map[string]*Node{"a": content(data)}), ""))
	twice := len(pack(t, dir(map[string]*Node{"a": content(data), "b": content(data), "z": content(make([]byte, 100*BlockSize))}), ""))
	if twice-once > 500 {
		t.Errorf("%d bytes more", twice-once)
	}
}

// countingReader counts what is read.
type countingReader struct {
	io.ReaderAt
	bytes int
}

func (c *countingReader) ReadAt(b []byte, off int64) (int, error) {
	c.bytes += len(b)
	return c.ReaderAt.ReadAt(b, off)
}

// TestLazy: opening reads nothing but the header, and reading a file its blocks
// and what of the index leads there.
func TestLazy(t *testing.T) {
	root, files := sample()
	root.Children["huge"] = content(noise(200 * BlockSize))
	b := pack(t, root, "")
	c := &countingReader{ReaderAt: bytes.NewReader(b)}
	r, err := Open(c, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if c.bytes > 2000 {
		t.Errorf("opening %d bytes reads %d", len(b), c.bytes)
	}
	c.bytes = 0
	top, err := r.Inode(0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := r.Lookup(top, "exact")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.ReadAt(n, make([]byte, len(files["exact"])), 0); err != nil {
		t.Fatal(err)
	}
	if c.bytes > 2*BlockSize {
		t.Errorf("one block of %d bytes takes %d", len(b), c.bytes)
	}
}

// TestDamage: whatever bit is flipped and wherever the file is cut, reading
// everything finds it.
func TestDamage(t *testing.T) {
	root := dir(map[string]*Node{"f": content(text(1, 3000)), "g": content(noise(200)), "d": dir(map[string]*Node{
		"l": {Mode: unix.S_IFLNK | 0o777, Target: "x"},
	})})
	good := pack(t, root, "config")
	readAll := func(b []byte) error {
		r, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return err
		}
		return r.Verify()
	}
	if err := readAll(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if err := readAll(b); err == nil {
				t.Fatalf("bit %d of byte %d of %d is not missed", bit, i, len(good))
			}
		}
	}
	for n := range good {
		if err := readAll(good[:n]); err == nil {
			t.Fatalf("cut to %d of %d bytes, it is as good", n, len(good))
		}
	}
}

// forge makes an archive with right checksums of whatever is given.
func forge(h header, index, blocks []byte) []byte {
	out := bytes.Clone(blocks)
	h.index = uint64(len(out))
	h.pages = nil
	_, _, _, _, end := h.sections()
	if end > 1<<22 {
		return nil
	}
	index = append(index, make([]byte, max(0, int(end)-len(index)))...)[:end]
	for len(index) > 0 {
		page := index[:min(pageSize, len(index))]
		index = index[len(page):]
		h.pages = append(h.pages, pageRef{stored: uint32(len(page)), sum: sum(page)})
		out = append(out, page...)
	}
	head := h.encode()
	out = append(out, head...)
	t := trailer{header: uint32(len(head)), length: uint64(len(out)), sum: sha256.Sum256(head)}
	return append(out, t.encode()...)
}

// explore uses an archive in every way that there is, within bounds: a forged
// one can be very large.
func explore(b []byte) error {
	r, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	steps := 0
	buf := make([]byte, 3*BlockSize)
	err = r.Walk(func(path string, n *Inode) error {
		if steps++; steps > 2000 {
			return errors.New("enough")
		}
		for part := range strings.SplitSeq(path, "/") {
			if path != "" && !ValidName(part) {
				panic("a path climbs out: " + path)
			}
		}
		switch n.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			for _, off := range []int64{0, n.Size / 2, max(0, n.Size-int64(len(buf)))} {
				_ = r.ReadAt(n, buf[:min(int64(len(buf)), n.Size-off)], off)
			}
		case unix.S_IFLNK:
			_, _ = r.Readlink(n)
		case unix.S_IFDIR:
			_, _ = r.Lookup(n, "name")
		}
		return nil
	})
	if r.header.blocks > 200 {
		return err // a forged table can make it last
	}
	return errors.Join(err, r.Verify())
}

// TestForged: archives with right checksums that are wrong otherwise.
func TestForged(t *testing.T) {
	type table struct {
		inodes  []Inode
		dirents []Entry
		pieces  [][2]uint32
		blocks  []blockRef
	}
	root := Inode{Mode: unix.S_IFDIR | 0o755, entries: 1}
	file := Inode{Mode: unix.S_IFREG | 0o644, Size: 10, Nlink: 1}
	build := func(x table) []byte {
		h := header{inodes: uint32(len(x.inodes)), dirents: uint32(len(x.dirents)), pieces: uint32(len(x.pieces)), blocks: uint32(len(x.blocks))}
		var names []byte
		for _, e := range x.dirents {
			names = append(names, e.Name...)
		}
		h.names = uint64(len(names))
		dirents, pieces, blocks, at, _ := h.sections()
		index := make([]byte, 0, 4096)
		for _, n := range x.inodes {
			index = n.encode(index)
		}
		index = append(index, make([]byte, int(dirents)-len(index))...)
		off := 0
		for _, e := range x.dirents {
			index = binary.LittleEndian.AppendUint64(index, uint64(off))
			index = binary.LittleEndian.AppendUint32(index, e.Inode)
			index = append(index, byte(len(e.Name)), e.Type, 0, 0)
			off += len(e.Name)
		}
		index = append(index, make([]byte, int(pieces)-len(index))...)
		for _, p := range x.pieces {
			index = binary.LittleEndian.AppendUint32(index, p[0])
			index = binary.LittleEndian.AppendUint32(index, p[1])
		}
		index = append(index, make([]byte, int(blocks)-len(index))...)
		index = append(index, (&packer{blocks: refs(x.blocks)}).table()...)
		index = append(index, make([]byte, int(at)-len(index))...)
		return forge(h, append(index, names...), []byte("0123456789"))
	}
	block := blockRef{stored: 10, size: 10, sum: sum([]byte("0123456789"))}
	good := table{[]Inode{root, file}, []Entry{{"f", 1, unix.DT_REG}}, [][2]uint32{{0, 0}}, []blockRef{block}}
	if err := explore(build(good)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, change := range map[string]func(*table){
		"a name that climbs out": func(x *table) { x.dirents[0].Name = ".." },
		"a name with a slash":    func(x *table) { x.dirents[0].Name = "../etc/passwd" },
		"an empty name":          func(x *table) { x.dirents[0].Name = "" },
		"a name with a zero":     func(x *table) { x.dirents[0].Name = "a\x00b" },
		"an inode that is not":   func(x *table) { x.dirents[0].Inode = 7 },
		"another type":           func(x *table) { x.dirents[0].Type = unix.DT_LNK },
		"a circle":               func(x *table) { x.dirents[0] = Entry{"d", 0, unix.DT_DIR} },
		"too many entries":       func(x *table) { x.inodes[0].entries = 1 << 30 },
		"entries far away":       func(x *table) { x.inodes[0].first = 1 << 60 },
		"a negative size":        func(x *table) { x.inodes[1].Size = -1 },
		"a size beyond pieces":   func(x *table) { x.inodes[1].Size = BlockSize + 1 },
		"a very large size":      func(x *table) { x.inodes[1].Size = 1 << 60 },
		"a root that is a file":  func(x *table) { x.inodes[0] = file },
		"no such type":           func(x *table) { x.inodes[1].Mode = 0o644 },
		"bits beyond the mode":   func(x *table) { x.inodes[1].Mode |= 1 << 20 },
		"a block beyond the end": func(x *table) { x.blocks[0].at = 1 << 62 },
		"a block too large":      func(x *table) { x.blocks[0].size = 1 << 30 },
		"a block too long":       func(x *table) { x.blocks[0].stored = 1 << 30 },
		"a wrong checksum":       func(x *table) { x.blocks[0].sum[0]++ },
		"not compressed":         func(x *table) { x.blocks[0].size = 100 },
		"two names out of order": func(x *table) {
			x.inodes[0].entries = 2
			x.dirents = []Entry{{"f", 1, unix.DT_REG}, {"a", 1, unix.DT_REG}}
		},
		"a directory with two names": func(x *table) {
			x.inodes[0].entries = 2
			x.inodes[1] = Inode{Mode: unix.S_IFDIR}
			x.dirents = []Entry{{"a", 1, unix.DT_DIR}, {"b", 1, unix.DT_DIR}}
		},
	} {
		x := table{append([]Inode(nil), good.inodes...), append([]Entry(nil), good.dirents...), append([][2]uint32(nil), good.pieces...), append([]blockRef(nil), good.blocks...)}
		change(&x)
		if err := explore(build(x)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A piece beyond its block, or in none, is found when it is read.
	for _, p := range [][2]uint32{{0, 1}, {0, 1 << 31}, {5, 0}} {
		x := good
		x.pieces = [][2]uint32{p}
		b := build(x)
		r := open(t, b)
		n, err := r.Inode(1)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.ReadAt(n, make([]byte, 10), 0); !errors.Is(err, ErrDamaged) {
			t.Errorf("piece %v: %v", p, err)
		}
	}
}

func refs(list []blockRef) (out []*blockRef) {
	for i := range list {
		out = append(out, &list[i])
	}
	return out
}

func TestWriteRefuses(t *testing.T) {
	twice := dir(nil)
	for name, root := range map[string]*Node{
		"a file as root":             content(nil),
		"a name that climbs out":     dir(map[string]*Node{"..": content(nil)}),
		"a directory with two names": dir(map[string]*Node{"a": twice, "b": twice}),
		"a link to nothing":          dir(map[string]*Node{"l": {Mode: unix.S_IFLNK}}),
		"a file that is shorter": dir(map[string]*Node{"f": {Mode: unix.S_IFREG, Size: 9, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("short")), nil
		}}}),
		"a file that does not open": dir(map[string]*Node{"f": {Mode: unix.S_IFREG, Size: 9, Open: func() (io.ReadCloser, error) {
			return nil, unix.EACCES
		}}}),
	} {
		if _, err := Write(io.Discard, root, nil); err == nil {
			t.Errorf("%s is written", name)
		}
	}
	full, _ := sample()
	if _, err := Write(fullDisk{}, full, nil); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("on a full disk: %v", err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, unix.ENOSPC }

// FuzzReader: an archive whose checksums are right and whose numbers are
// anybody's does no more than give an error.
func FuzzReader(f *testing.F) {
	root, _ := sample()
	small := pack(f, dir(map[string]*Node{"f": content(text(1, 300)), "d": dir(map[string]*Node{
		"l": {Mode: unix.S_IFLNK | 0o777, Target: "x"}, "h": content(make([]byte, 100))})}), "config")
	for _, b := range [][]byte{small, pack(f, root, "")} {
		r := open(f, b)
		var index []byte
		for i := range r.pages {
			p, err := r.page(uint64(i))
			if err != nil {
				f.Fatal(err)
			}
			index = append(index, p...)
		}
		h := r.header
		f.Add(h.inodes, h.dirents, h.pieces, h.blocks, h.names, index, b[:h.index], []byte(nil))
	}
	f.Add(uint32(0), uint32(0), uint32(0), uint32(0), uint64(0), []byte(nil), []byte(nil), small)
	f.Fuzz(func(t *testing.T, inodes, dirents, pieces, blocks uint32, names uint64, index, stored, raw []byte) {
		_ = explore(raw)
		h := header{inodes: inodes, dirents: dirents, pieces: pieces, blocks: blocks, names: names}
		if max(inodes, dirents, pieces, blocks) > 1<<16 || names > 1<<20 {
			return // forge would take the memory that a reader does not
		}
		if b := forge(h, bytes.Clone(index), stored); b != nil {
			_ = explore(b)
		}
	})
}

// FuzzHeader: nor do the header and the trailer.
func FuzzHeader(f *testing.F) {
	b := pack(f, dir(map[string]*Node{"f": content(text(1, 300))}), "config")
	r := open(f, b)
	f.Add(r.header.encode(), b[:r.header.index])
	f.Fuzz(func(t *testing.T, head, before []byte) {
		out := append(bytes.Clone(before), head...)
		x := trailer{header: uint32(len(head)), length: uint64(len(out)), sum: sha256.Sum256(head)}
		_ = explore(append(out, x.encode()...))
	})
}

func BenchmarkReadBlock(b *testing.B) {
	data := text(1, BlockSize)
	r := open(b, pack(b, dir(map[string]*Node{"f": content(data)}), ""))
	n, err := r.Inode(1)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(BlockSize)
	for b.Loop() {
		if err := r.ReadAt(n, data, 0); err != nil {
			b.Fatal(err)
		}
	}
}
