package hostshare

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/vfs"
)

func share(t *testing.T) (string, *FS, *fstest.Memory) {
	t.Helper()
	path := t.TempDir()
	fd, err := hostcall.OpenTree(path)
	if err != nil {
		t.Fatal(err)
	}
	mem := fstest.NewMemory(t, 8<<20, true)
	fs, err := New(fd, Options{Memory: mem})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fs.Close)
	return path, fs, mem
}

// space is an address space that maps nothing for true.
type space struct{}

func (*space) Invalidate(memfile.Pager, uint64, uint64, bool) {}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestNames(t *testing.T) {
	path, fs, _ := share(t)
	root := fs.Root().(*dir)
	inode := must[vfs.Inode](t)
	f := inode(root.Create("f", vfs.CreateArgs{Mode: unix.S_IFREG | 0o4750}))
	d := inode(root.Create("d", vfs.CreateArgs{Mode: unix.S_IFDIR | 0o1777})).(*dir)
	inode(root.Symlink("l", "../../somewhere", vfs.CreateArgs{}))
	if err := d.Link("g", f); err != nil {
		t.Fatal(err)
	}
	if got := inode(d.Lookup("g")); got != f {
		t.Error("two names of one file are two inodes")
	}
	if st, err := f.Stat(); err != nil || st.Nlink != 2 || st.Mode != unix.S_IFREG|0o4750 {
		t.Errorf("the file: %+v, %v", st, err)
	}
	if fi, err := os.Stat(filepath.Join(path, "d")); err != nil || fi.Mode()&(os.ModeSticky|0o777) != os.ModeSticky|0o777 {
		t.Errorf("the directory on the host: %v, %v", fi.Mode(), err)
	}
	if text, err := inode(root.Lookup("l")).(vfs.Symlinker).Readlink(); err != nil || text != "../../somewhere" {
		t.Errorf("the link: %q, %v", text, err)
	}
	if _, err := root.Create("f", vfs.CreateArgs{Mode: unix.S_IFREG}); err != unix.EEXIST {
		t.Errorf("making it twice: %v", err)
	}
	if err := root.Rename("f", d, "h", unix.RENAME_NOREPLACE); err != nil {
		t.Fatal(err)
	}
	if err := root.Rmdir("d"); err != unix.ENOTEMPTY {
		t.Errorf("removing a directory with something in it: %v", err)
	}
	if root.Revalidate("f", f) || !d.Revalidate("h", f) {
		t.Error("a name that was moved is still believed, or its new one is not")
	}
	// What the host does is seen.
	if err := os.WriteFile(filepath.Join(path, "new"), []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	inode(root.Lookup("new"))
}

// TestUnlinked: a file without a name lives as long as somebody has it open, and not
// longer.
func TestUnlinked(t *testing.T) {
	_, fs, _ := share(t)
	root := fs.Root().(*dir)
	f := must[vfs.Inode](t)(root.Create("f", vfs.CreateArgs{Mode: unix.S_IFREG | 0o600})).(*file)
	o := must[vfs.FileOps](t)(f.Open(unix.O_RDWR)).(*openFile)
	if err := root.Unlink("f"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.WriteAt([][]byte{[]byte("still")}, 0, false); err != nil {
		t.Errorf("writing to it: %v", err)
	}
	if st, err := f.Stat(); err != nil || st.Nlink != 0 || st.Size != 5 {
		t.Errorf("its attributes: %+v, %v", st, err)
	}
	o.Release()
	if _, err := f.Stat(); err != unix.ESTALE {
		t.Errorf("after it was closed it is still held: %v", err)
	}
}

// TestMapped: what is mapped and what is read and written agree, and the host gets it.
func TestMapped(t *testing.T) {
	path, fs, mem := share(t)
	name := filepath.Join(path, "f")
	text := bytes.Repeat([]byte("0123456789abcdef"), 700) // some pages, and a part
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f := must[vfs.Inode](t)(fs.Root().(*dir).Lookup("f")).(*file)
	o := must[vfs.FileOps](t)(f.Open(unix.O_RDWR)).(*openFile)
	defer o.Release()
	m := &space{}
	if err := f.AddMapping(m, 12288, true); err != nil {
		t.Fatal(err)
	}
	r, err := f.Page(4096, 8192, true)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.DecRef(r)
	page := mem.Bytes(r)
	if !bytes.Equal(page[:100], text[4096:4196]) {
		t.Error("the page is not the file's")
	}
	copy(page, "mapped")
	got := make([]byte, 6)
	if _, err := o.ReadAt([][]byte{got}, 4096); err != nil || string(got) != "mapped" {
		t.Errorf("read(2) sees %q, %v", got, err)
	}
	if _, _, err := o.WriteAt([][]byte{[]byte("wri"), []byte("tten")}, 4100, false); err != nil {
		t.Fatal(err)
	}
	if string(page[:11]) != "mappwritten" {
		t.Errorf("the page after write(2): %q", page[:11])
	}
	copy(page[20:], "last")
	f.RemoveMapping(m, 12288, true)
	onHost := must[[]byte](t)(os.ReadFile(name))
	if len(onHost) != len(text) || string(onHost[4096:4107]) != "mappwritten" || string(onHost[4116:4120]) != "last" {
		t.Errorf("on the host: %d bytes, %q", len(onHost), onHost[4096:4120])
	}
	if !f.pages.Empty() || f.fd >= 0 {
		t.Error("pages are kept that nobody maps")
	}
}

// TestTruncate takes pages back.
func TestTruncate(t *testing.T) {
	path, fs, mem := share(t)
	name := filepath.Join(path, "f")
	if err := os.WriteFile(name, bytes.Repeat([]byte{'x'}, 12288), 0o600); err != nil {
		t.Fatal(err)
	}
	f := must[vfs.Inode](t)(fs.Root().(*dir).Lookup("f")).(*file)
	m := &space{}
	if err := f.AddMapping(m, 12288, true); err != nil {
		t.Fatal(err)
	}
	r, err := f.Page(0, 4096, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SetStat(vfs.SetStat{Mask: vfs.SetSize, Size: 100}); err != nil {
		t.Fatal(err)
	}
	if b := mem.Bytes(r); b[99] != 'x' || b[100] != 0 {
		t.Errorf("around the new end: %q", b[98:102])
	}
	mem.DecRef(r)
	if _, err := f.Page(4096, 4096, false); err != unix.ENXIO {
		t.Errorf("a page beyond the end: %v", err)
	}
	f.RemoveMapping(m, 12288, true)
	if st, err := os.Stat(name); err != nil || st.Size() != 100 {
		t.Errorf("on the host it has %d bytes, %v", st.Size(), err)
	}
}

// TestTogether uses one file from many goroutines.
func TestTogether(t *testing.T) {
	_, fs, mem := share(t)
	root := fs.Root().(*dir)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 50 {
				i, err := root.Create("f", vfs.CreateArgs{Mode: unix.S_IFREG | 0o600})
				if err == unix.EEXIST {
					i, err = root.Lookup("f")
				}
				if err != nil {
					continue // somebody has removed it meanwhile
				}
				f := i.(*file)
				ops, err := f.Open(unix.O_RDWR)
				if err != nil {
					continue
				}
				o := ops.(*openFile)
				if _, _, err := o.WriteAt([][]byte{bytes.Repeat([]byte{byte(g)}, 8192)}, 0, false); err != nil {
					t.Error(err)
				}
				m := &space{}
				if err := f.AddMapping(m, 8192, true); err == nil {
					if r, err := f.Page(0, 8192, g%2 == 0); err == nil {
						mem.DecRef(r)
					}
					f.RemoveMapping(m, 8192, true)
				}
				if g%4 == 0 {
					_ = root.Unlink("f")
				}
				o.Release()
			}
		}()
	}
	wg.Wait()
}
