package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"runsc-lite/archive"
	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/fs/image"
	"runsc-lite/sentry/fs/overlay"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/vfs"
)

// tree makes a small random tree, the same in a directory of the host's and as
// what goes into an archive.
func tree(t *testing.T, top string, seed uint64) *archive.Node {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	names := []string{"a", "b", "c", "d", "dir", "e"}
	if err := unix.Chmod(top, 0o1777); err != nil {
		t.Fatal(err)
	}
	type place struct {
		path string
		node *archive.Node
	}
	newDir := func(mode uint32) *archive.Node {
		return &archive.Node{Mode: unix.S_IFDIR | mode, Children: map[string]*archive.Node{}}
	}
	root := newDir(0o1777)
	dirs := []place{{top, root}}
	for i := range 20 {
		at := dirs[r.IntN(len(dirs))]
		name := names[r.IntN(len(names))]
		p := filepath.Join(at.path, name)
		if at.node.Children[name] != nil {
			continue
		}
		var n *archive.Node
		var err error
		switch r.IntN(5) {
		case 0, 1:
			n = newDir(0o755)
			err = os.Mkdir(p, 0o755)
			dirs = append(dirs, place{p, n})
		case 2, 3:
			data := bytes.Repeat([]byte{byte('A' + i)}, r.IntN(12000))
			n = &archive.Node{Mode: unix.S_IFREG | 0o644, Size: int64(len(data)), Open: opener(data)}
			err = os.WriteFile(p, data, 0o644)
		case 4:
			n = &archive.Node{Mode: unix.S_IFLNK | 0o777, Target: names[r.IntN(len(names))]}
			err = os.Symlink(n.Target, p)
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.IntN(3) == 0 {
			n.UID, n.GID = 1000, 1000
			if err := os.Lchown(p, 1000, 1000); err != nil {
				t.Skip(err)
			}
		}
		at.node.Children[name] = n
	}
	return root
}

func opener(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

func pack(t *testing.T, root *archive.Node) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := archive.Write(&b, root, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func show(t *testing.T, b []byte, o image.Options) *image.FS {
	t.Helper()
	a, err := archive.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	fs, err := image.New(a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fs.Close)
	return fs
}

// TestAgainstHost makes the same calls on a plain directory and on an overlay
// whose lower layer is an image with the same content.
func TestAgainstHost(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			plain, err := os.MkdirTemp("/dev/shm", "image")
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { os.RemoveAll(plain) })
			b := pack(t, tree(t, plain, seed))
			mem := fstest.NewMemory(t, 64<<20, false)
			down := show(t, b, image.Options{Memory: mem, Dev: 7, Report: func(err error) { t.Error(err) }})
			fs, err := overlay.New(down, tmpfs.New(tmpfs.Options{Memory: mem}), 77)
			if err != nil {
				t.Fatal(err)
			}
			host := fstest.NewHost(t, plain)
			defer host.Done()
			sentry := fstest.NewSentry(t, fs, vfs.Config{CacheSize: 12})
			defer sentry.Done()
			fstest.Differ(t, seed, fstest.Options{Steps: 500, Holes: true, Users: true, Links: true}, host, sentry)
		})
	}
}

// large is a file of several blocks.
func large() []byte {
	data := make([]byte, 3<<20+77)
	rand.NewChaCha8([32]byte{4}).Read(data)
	return data
}

// lookup opens a file of the root.
func lookup(t *testing.T, fs *image.FS, name string) vfs.Inode {
	t.Helper()
	n, err := fs.Root().(vfs.Dir).Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestContents reads and maps files of all sizes, and gives all memory back.
func TestContents(t *testing.T) {
	mem := fstest.NewMemory(t, 64<<20, false)
	all := large()
	root := &archive.Node{Mode: unix.S_IFDIR | 0o755, Children: map[string]*archive.Node{}}
	sizes := []int{0, 1, 4095, 4096, 4097, archive.BlockSize - 1, archive.BlockSize, archive.BlockSize + 1, 1 << 20, 1<<20 + 1, len(all)}
	for _, n := range sizes {
		root.Children[fmt.Sprint(n)] = &archive.Node{Mode: unix.S_IFREG | 0o644, Size: int64(n), Open: opener(all[:n])}
	}
	root.Children["hard"] = root.Children["4097"]
	fs := show(t, pack(t, root), image.Options{Memory: mem})
	for _, n := range sizes {
		f, err := lookup(t, fs, fmt.Sprint(n)).Open(unix.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, n+10)
		done, err := f.(vfs.ReaderAt).ReadAt([][]byte{got[:n/2], got[n/2:]}, 0)
		if err != nil || done != int64(n) || !bytes.Equal(got[:n], all[:n]) {
			t.Errorf("%d bytes: read %d, %v", n, done, err)
		}
		p := f.(vfs.Mappable).Pager()
		for off := uint64(0); off < uint64(n); {
			r, err := p.Page(off, 1<<20, false)
			if err != nil {
				t.Fatalf("%d bytes: page at %d: %v", n, off, err)
			}
			b := mem.Bytes(r)
			want := all[off:min(n, int(off)+len(b))]
			if !bytes.Equal(b[:len(want)], want) || len(bytes.Trim(b[len(want):], "\x00")) > 0 {
				t.Errorf("%d bytes: other content is mapped at %d", n, off)
			}
			mem.DecRef(r)
			off += r.Length()
		}
		if _, err := p.Page((uint64(n)+4095)&^4095, 4096, false); err != unix.ENXIO {
			t.Errorf("%d bytes: beyond the end: %v", n, err)
		}
		f.Release()
	}
	if lookup(t, fs, "hard") != lookup(t, fs, "4097") {
		t.Error("two names of one file are two inodes")
	}
	if _, err := lookup(t, fs, "1").Open(unix.O_RDWR); err != unix.EROFS {
		t.Errorf("open for writing: %v", err)
	}
	fs.Close()
	if n := mem.InUse(); n > 0 {
		t.Errorf("%d pages are still in use", n)
	}
}

// TestDamage: a block that is damaged is found when it is read; it is EIO inside
// and told once outside. What lies in other blocks can still be read.
func TestDamage(t *testing.T) {
	all := large()
	root := &archive.Node{Mode: unix.S_IFDIR | 0o755, Children: map[string]*archive.Node{
		"f": {Mode: unix.S_IFREG | 0o644, Size: int64(len(all)), Open: opener(all)},
	}}
	b := pack(t, root)
	b[2*archive.BlockSize+5] ^= 1 // noise is stored as it is: this is in the third block
	var reports []error
	mem := fstest.NewMemory(t, 64<<20, false)
	fs := show(t, b, image.Options{Memory: mem, Report: func(err error) { reports = append(reports, err) }})
	f, err := lookup(t, fs, "f").Open(unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	buf := make([]byte, 100)
	for range 3 {
		if _, err := f.(vfs.ReaderAt).ReadAt([][]byte{buf}, 2*archive.BlockSize+1000); err != unix.EIO {
			t.Errorf("reading: %v", err)
		}
		if _, err := f.(vfs.Mappable).Pager().Page(2*archive.BlockSize, 4096, false); err != unix.EIO {
			t.Errorf("mapping: %v", err)
		}
	}
	if n, err := f.(vfs.ReaderAt).ReadAt([][]byte{buf}, 0); n != 100 || err != nil || !bytes.Equal(buf, all[:100]) {
		t.Errorf("before it: %d, %v", n, err)
	}
	if len(reports) == 0 || len(reports) > 2 || !errors.Is(reports[0], archive.ErrDamaged) {
		t.Errorf("reported: %v", reports)
	}
}
