package synth_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// tree mounts what build makes as the root of a namespace.
func tree(t testing.TB, build func(fs *synth.FS) *synth.Dir) *vfs.Caller {
	t.Helper()
	fs := synth.New(synth.Options{Type: "synth", Magic: 0x1234, Dev: unix.Mkdev(0, 9)})
	fs.SetRoot(build(fs))
	ns, err := vfs.NewNamespace(vfs.Config{}, fs, vfs.MountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &vfs.Caller{FSContext: vfs.NewFSContext(ns), Creds: vfs.RootCreds()}
}

func open(t testing.TB, c *vfs.Caller, path string, flags uint32) *vfs.File {
	t.Helper()
	f, err := c.Open(nil, path, vfs.OpenHow{Flags: flags})
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	t.Cleanup(f.DecRef)
	return f
}

func read(t testing.TB, f *vfs.File, n int) string {
	t.Helper()
	b := make([]byte, n)
	got, err := f.Read([][]byte{b})
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:got])
}

func TestTextIsMadeAtTheStart(t *testing.T) {
	made := 0
	c := tree(t, func(fs *synth.FS) *synth.Dir {
		return fs.Dir(0o555, fs.Text("n", func(b *bytes.Buffer) error {
			made++
			fmt.Fprintf(b, "version %d\n", made)
			return nil
		}))
	})
	f := open(t, c, "/n", unix.O_RDONLY)
	if made != 0 {
		t.Error("opening made the content")
	}
	if got := read(t, f, 9); got != "version 1" {
		t.Errorf("first piece %q", got)
	}
	if got := read(t, f, 9); got != "\n" || made != 1 {
		t.Errorf("second piece %q, made %d times", got, made)
	}
	if got := read(t, f, 9); got != "" || made != 1 {
		t.Errorf("after the end %q, made %d times", got, made)
	}
	if _, err := f.Lseek(0, unix.SEEK_SET); err != nil {
		t.Fatal(err)
	}
	if got := read(t, f, 99); got != "version 2\n" {
		t.Errorf("after lseek %q", got)
	}
	var b [4]byte
	if n, err := f.PRead([][]byte{b[:2], b[2:]}, 6); err != nil || string(b[:n]) != "n 3\n" {
		t.Errorf("pread from the middle: %q, %v", b[:n], err)
	}
	if n, err := f.PRead([][]byte{b[:]}, 600); err != nil || n != 0 {
		t.Errorf("pread behind the end: %d, %v", n, err)
	}
	g := open(t, c, "/n", unix.O_RDONLY)
	if got := read(t, g, 99); !strings.HasPrefix(got, "version ") {
		t.Errorf("another open file: %q", got)
	}
}

func TestLseek(t *testing.T) {
	c := tree(t, func(fs *synth.FS) *synth.Dir { return fs.Dir(0o555, fs.Const("f", "text")) })
	f := open(t, c, "/f", unix.O_RDONLY)
	for _, tt := range []struct {
		off    int64
		whence int32
		want   int64
		err    error
	}{
		{3, unix.SEEK_SET, 3, nil}, {2, unix.SEEK_CUR, 5, nil}, {-6, unix.SEEK_CUR, 0, unix.EINVAL},
		{-1, unix.SEEK_SET, 0, unix.EINVAL}, {0, unix.SEEK_END, 0, unix.EINVAL}, {0, unix.SEEK_DATA, 0, unix.EINVAL},
		{1<<63 - 1, unix.SEEK_CUR, 0, unix.EOVERFLOW},
	} {
		got, err := f.Lseek(tt.off, tt.whence)
		if got != tt.want || err != tt.err {
			t.Errorf("lseek(%d, %d) = %d, %v, want %d, %v", tt.off, tt.whence, got, err, tt.want, tt.err)
		}
	}
}

// TestRecords reads files of records in all sorts of pieces.
func TestRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(0, 3*synth.PieceSize), 0, 20).Draw(t, "sizes")
		var want bytes.Buffer
		record := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, sizes[i]) }
		for i := range sizes {
			want.Write(record(i))
		}
		largest := 0
		ops, err := synth.Records(func(pos uint64, b *bytes.Buffer) (uint64, error) {
			for b.Len() < synth.PieceSize {
				if pos == uint64(len(sizes)) {
					return synth.End, nil
				}
				b.Write(record(int(pos)))
				pos++
			}
			largest = max(largest, b.Len())
			return pos, nil
		}).Open(nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := ops.(vfs.ReaderAt)
		at := int64(0)
		for range 30 {
			if rapid.IntRange(0, 9).Draw(t, "jump") == 0 {
				at = rapid.Int64Range(0, int64(want.Len())+10).Draw(t, "to")
			}
			var dst [][]byte
			room := 0
			for _, n := range rapid.SliceOfN(rapid.IntRange(0, 5000), 0, 3).Draw(t, "buffers") {
				dst = append(dst, make([]byte, n))
				room += n
			}
			n, err := f.ReadAt(dst, at)
			if err != nil {
				t.Fatal(err)
			}
			from := min(at, int64(want.Len()))
			expect := want.Bytes()[from:min(from+int64(room), int64(want.Len()))]
			if got := bytes.Join(dst, nil)[:n]; !bytes.Equal(got, expect) {
				t.Fatalf("%d bytes at %d: got %d bytes, want %d", room, at, len(got), len(expect))
			}
			at += n
		}
		if largest > 4*synth.PieceSize {
			t.Fatalf("%d bytes were made at once", largest)
		}
	})
}

// TestMuchIsOpen leaves so many large files open in the middle that their contents
// are not kept.
func TestMuchIsOpen(t *testing.T) {
	big := strings.Repeat("0123456789", 30_000)
	made := 0
	c := tree(t, func(fs *synth.FS) *synth.Dir {
		return fs.Dir(0o555, fs.Text("f", func(b *bytes.Buffer) error {
			made++
			b.WriteString(big)
			return nil
		}))
	})
	var files []*vfs.File
	for range 200 {
		f := open(t, c, "/f", unix.O_RDONLY)
		if got := read(t, f, 15); got != big[:15] {
			t.Fatalf("it begins with %q", got)
		}
		files = append(files, f)
	}
	for _, f := range files {
		if got := read(t, f, 10); got != big[15:25] {
			t.Fatalf("it goes on with %q", got)
		}
	}
	if made <= 200 || made > 399 {
		t.Errorf("it was made %d times for 200 files: some have to be made anew, and some not", made)
	}
}

func TestContentError(t *testing.T) {
	fail := true
	c := tree(t, func(fs *synth.FS) *synth.Dir {
		return fs.Dir(0o555, fs.Text("f", func(b *bytes.Buffer) error {
			b.WriteString("part")
			if fail {
				return unix.ESRCH
			}
			return nil
		}))
	})
	f := open(t, c, "/f", unix.O_RDONLY)
	var b [8]byte
	if n, err := f.Read([][]byte{b[:]}); n != 0 || err != unix.ESRCH {
		t.Errorf("%d, %v, want ESRCH and nothing of the content", n, err)
	}
	fail = false
	if got := read(t, f, 8); got != "part" {
		t.Errorf("once it can be made: %q", got)
	}
}

func TestWritable(t *testing.T) {
	var written []string
	var refuse error
	c := tree(t, func(fs *synth.FS) *synth.Dir {
		open := synth.Writable(synth.Const("old\n").Open, 8, func(c *vfs.Caller) synth.WriteFunc {
			who := c.Task
			return func(p []byte) error {
				if refuse == nil {
					written = append(written, fmt.Sprintf("%v: %s", who, p))
				}
				return refuse
			}
		})
		return fs.Dir(0o555, synth.Entry{Name: "f", Inode: fs.File(synth.Attr{Mode: 0o644}, open)})
	})
	c.Task = "me"
	f := open(t, c, "/f", unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC)
	for _, tt := range []struct {
		text   string
		refuse error
		n      int64
		err    error
	}{
		{"12345678", nil, 8, nil},
		{"123456789", nil, 0, unix.EINVAL},
		{"x", unix.EPERM, 0, unix.EPERM},
		{"y", nil, 1, nil},
	} {
		refuse = tt.refuse
		half := len(tt.text) / 2
		n, err := f.Write(c.Creds, [][]byte{[]byte(tt.text[:half]), []byte(tt.text[half:])}, -1)
		if n != tt.n || err != tt.err {
			t.Errorf("write %q = %d, %v, want %d, %v", tt.text, n, err, tt.n, tt.err)
		}
	}
	if got, want := fmt.Sprint(written), "[me: 12345678 me: y]"; got != want {
		t.Errorf("written %s, want %s", got, want)
	}
	if _, err := f.Lseek(0, unix.SEEK_SET); err != nil {
		t.Error(err)
	}
	if got := read(t, f, 9); got != "old\n" {
		t.Errorf("it reads %q", got)
	}
	if n, err := open(t, c, "/f", unix.O_RDONLY).Write(c.Creds, [][]byte{{1}}, -1); n != 0 || err != unix.EBADF {
		t.Errorf("write to a file open for reading: %d, %v", n, err)
	}
}

func names(t *testing.T, c *vfs.Caller, path string, piece int) (list []string) {
	t.Helper()
	f := open(t, c, path, unix.O_RDONLY|unix.O_DIRECTORY)
	for {
		n := 0
		err := f.ReadDir(c, func(e vfs.Entry) bool {
			if n == piece {
				return false
			}
			n++
			list = append(list, fmt.Sprintf("%s/%d", e.Name, e.Type))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if n < piece {
			return list
		}
	}
}

func TestDir(t *testing.T) {
	made := false
	c := tree(t, func(fs *synth.FS) *synth.Dir {
		return fs.Dir(0o555,
			fs.Sub("sub", fs.Const("x", "1")),
			fs.Const("b", "2"),
			fs.To("a", "sub/x"),
			synth.Entry{Name: "lazy", Inode: fs.Lazy(func() *synth.Dir {
				made = true
				return fs.Dir(0o755, fs.Const("in", "3"))
			})},
		)
	})
	if made {
		t.Error("the lazy directory was made at once")
	}
	want := "[./4 ../4 sub/4 b/8 a/10 lazy/4]"
	for piece := 1; piece < 8; piece++ {
		if got := fmt.Sprint(names(t, c, "/", piece)); got != want {
			t.Errorf("in pieces of %d: %s, want %s", piece, got, want)
		}
	}
	if got := fmt.Sprint(names(t, c, "/lazy", 9)); got != "[./4 ../4 in/8]" || !made {
		t.Errorf("the lazy directory has %s", got)
	}
	for path, want := range map[string]string{"/a": "1", "/sub/x": "1", "/b": "2", "/lazy/in": "3"} {
		if got := read(t, open(t, c, path, unix.O_RDONLY), 9); got != want {
			t.Errorf("%s reads %q, want %q", path, got, want)
		}
	}
	st, err := c.Stat(nil, "/", 0)
	if err != nil || st.Nlink != 4 || st.Mode != unix.S_IFDIR|0o555 || st.Dev != unix.Mkdev(0, 9) {
		t.Errorf("stat of the root: %+v, %v", st, err)
	}
	for path, want := range map[string]error{"/none": unix.ENOENT, "/b/x": unix.ENOTDIR, "/sub/none": unix.ENOENT} {
		if _, err := c.Stat(nil, path, 0); err != want {
			t.Errorf("stat %s: %v, want %v", path, err, want)
		}
	}
	if err := c.Chmod(nil, "/b", 0o777, 0); err != unix.EPERM {
		t.Errorf("chmod: %v, want EPERM", err)
	}
	if err := c.Mkdir(nil, "/new", 0o755); err != unix.EPERM && err != unix.EACCES {
		t.Errorf("mkdir: %v", err)
	}
	if s, err := c.Statfs(nil, "/b", 0); err != nil || s.Type != 0x1234 || s.Namelen != 255 {
		t.Errorf("statfs: %+v, %v", s, err)
	}
	seen := map[uint64]string{}
	for _, path := range []string{"/", "/sub", "/sub/x", "/b", "/lazy", "/lazy/in"} {
		st, err := c.Stat(nil, path, 0)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[st.Ino]; ok {
			t.Errorf("%s and %s have the same inode number", path, other)
		}
		seen[st.Ino] = path
	}
}

func TestTree(t *testing.T) {
	leaf := func(path string) synth.Leaf { return synth.Leaf{Path: path, Open: synth.Const(path).Open} }
	c := tree(t, func(fs *synth.FS) *synth.Dir {
		return fs.Tree(0o755, []synth.Leaf{
			leaf("b/x"), leaf("a"), leaf("b/c/d"), {Path: "b/l", Target: "../a"}, {Path: "w", Mode: 0o640, Open: synth.Const("").Open}, leaf("b/y"),
		})
	})
	for path, want := range map[string]string{"/": "[b/4 a/8 w/8]", "/b": "[x/8 c/4 l/10 y/8]", "/b/c": "[d/8]"} {
		if got := fmt.Sprint(names(t, c, path, 9)[2:]); got != want {
			t.Errorf("%s has %s, want %s", path, got, want)
		}
	}
	for path, want := range map[string]string{"/a": "a", "/b/x": "b/x", "/b/c/d": "b/c/d", "/b/l": "a"} {
		if got := read(t, open(t, c, path, unix.O_RDONLY), 9); got != want {
			t.Errorf("%s reads %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]uint32{"/a": 0o100444, "/w": 0o100640, "/b": 0o40755} {
		if st, err := c.Stat(nil, path, 0); err != nil || st.Mode != want {
			t.Errorf("%s has mode %o, %v, want %o", path, st.Mode, err, want)
		}
	}
}

func TestMagic(t *testing.T) {
	c := tree(t, func(fs *synth.FS) *synth.Dir {
		sub := fs.Sub("sub", fs.Const("x", "1"))
		text := func(c *vfs.Caller) (string, error) { return fmt.Sprintf("seen by %v", c.Task), nil }
		return fs.Dir(0o555, sub,
			synth.Entry{Name: "self", Inode: fs.Link(synth.Attr{}, func(c *vfs.Caller) (string, error) { return fmt.Sprint(c.Task), nil })},
			synth.Entry{Name: "magic", Inode: fs.Magic(synth.Attr{Mode: 0o500, Size: 64}, text, func(c *vfs.Caller) (vfs.Path, error) {
				if c.Task == "nobody" {
					return vfs.Path{}, unix.EACCES
				}
				return c.Walk(nil, "/sub", 0)
			})},
		)
	})
	c.Task = "sub"
	if s, err := c.Readlink(nil, "/magic"); err != nil || s != "seen by sub" {
		t.Errorf("readlink: %q, %v", s, err)
	}
	for _, path := range []string{"/magic/x", "/self/x"} {
		if got := read(t, open(t, c, path, unix.O_RDONLY), 9); got != "1" {
			t.Errorf("%s reads %q", path, got)
		}
	}
	st, err := c.Stat(nil, "/magic", unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || st.Mode != unix.S_IFLNK|0o500 || st.Size != 64 {
		t.Errorf("lstat: %+v, %v", st, err)
	}
	c.Task = "nobody"
	if _, err := c.Stat(nil, "/magic", 0); err != unix.EACCES {
		t.Errorf("a link that may not be followed: %v", err)
	}
}

func TestBits(t *testing.T) {
	for _, tt := range []struct {
		set    []uint64
		n      int
		bitmap string
		ranges string
	}{
		{synth.FirstBits(1), 1, "1", "0"},
		{synth.FirstBits(2), 2, "3", "0-1"},
		{synth.FirstBits(6), 6, "3f", "0-5"},
		{[]uint64{0b101101}, 6, "2d", "0,2-3,5"},
		{synth.FirstBits(33), 33, "1,ffffffff", "0-32"},
		{synth.FirstBits(64), 64, "ffffffff,ffffffff", "0-63"},
		{[]uint64{1 << 63, 1}, 70, "01,80000000,00000000", "63-64"},
		{[]uint64{0}, 4, "0", ""},
		{nil, 8, "00", ""},
	} {
		if got := synth.Bitmap(tt.set, tt.n); got != tt.bitmap {
			t.Errorf("Bitmap(%#x, %d) = %s, want %s", tt.set, tt.n, got, tt.bitmap)
		}
		if got := synth.Ranges(tt.set, tt.n); got != tt.ranges {
			t.Errorf("Ranges(%#x, %d) = %s, want %s", tt.set, tt.n, got, tt.ranges)
		}
	}
}
