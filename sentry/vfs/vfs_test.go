package vfs_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/vfs"
	"runsc-lite/sentry/vfs/lock"
)

func newFS(tb testing.TB, dev uint64) *tmpfs.FS {
	return tmpfs.New(tmpfs.Options{Memory: fstest.NewMemory(tb, 16<<20, false), Dev: dev})
}

func newCaller(tb testing.TB, c vfs.Config) *vfs.Caller {
	ns, err := vfs.NewNamespace(c, newFS(tb, 1), vfs.MountOptions{Source: "root"})
	if err != nil {
		tb.Fatal(err)
	}
	return &vfs.Caller{FSContext: vfs.NewFSContext(ns), Creds: vfs.RootCreds()}
}

func must(tb testing.TB, errs ...error) {
	tb.Helper()
	for _, err := range errs {
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func create(tb testing.TB, c *vfs.Caller, path string) {
	tb.Helper()
	f, err := c.Open(nil, path, vfs.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o644})
	must(tb, err)
	f.DecRef()
}

func mount(tb testing.TB, c *vfs.Caller, path string, fs vfs.FileSystem, flags uint32) {
	tb.Helper()
	p, err := c.Walk(nil, path, 0)
	must(tb, err)
	_, err = c.Namespace().Mount(p, fs, vfs.MountOptions{Flags: flags})
	must(tb, err)
}

func TestOpenat2(t *testing.T) {
	c := newCaller(t, vfs.Config{})
	must(t, c.Mkdir(nil, "/d", 0o755), c.Mkdir(nil, "/d/sub", 0o755), c.Mkdir(nil, "/mnt", 0o755),
		c.Symlink("/d/f", nil, "/d/abs"), c.Symlink("../d/f", nil, "/d/up"), c.Symlink("f", nil, "/d/rel"),
		c.Symlink("/f", nil, "/d/rooted"), c.Symlink("loop", nil, "/d/loop"), c.Symlink("../mnt", nil, "/d/mnt"))
	create(t, c, "/d/f")
	mount(t, c, "/mnt", newFS(t, 2), 0)
	at, err := c.Open(nil, "/d", vfs.OpenHow{Flags: unix.O_PATH})
	must(t, err)
	defer at.DecRef()
	for _, tt := range []struct {
		path    string
		resolve uint64
		flags   uint32
		want    error
	}{
		{"f", unix.RESOLVE_BENEATH, 0, nil},
		{"sub/../f", unix.RESOLVE_BENEATH, 0, nil},
		{"../d/f", unix.RESOLVE_BENEATH, 0, unix.EXDEV},
		{"/d/f", unix.RESOLVE_BENEATH, 0, unix.EXDEV},
		{"abs", unix.RESOLVE_BENEATH, 0, unix.EXDEV},
		{"up", unix.RESOLVE_BENEATH, 0, unix.EXDEV},
		{"rel", unix.RESOLVE_BENEATH, 0, nil},
		{"rooted", unix.RESOLVE_IN_ROOT, 0, nil},
		{"/f", unix.RESOLVE_IN_ROOT, 0, nil},
		{"../../f", unix.RESOLVE_IN_ROOT, 0, nil},
		{"abs", unix.RESOLVE_IN_ROOT, 0, unix.ENOENT},
		{"rel", unix.RESOLVE_NO_SYMLINKS, 0, unix.ELOOP},
		{"rel", unix.RESOLVE_NO_SYMLINKS, unix.O_PATH | unix.O_NOFOLLOW, nil},
		{"rel", unix.RESOLVE_NO_MAGICLINKS, 0, nil},
		{"loop", 0, 0, unix.ELOOP},
		{"rel", 0, unix.O_NOFOLLOW, unix.ELOOP},
		{"../mnt", 0, 0, nil},
		{"../mnt", unix.RESOLVE_NO_XDEV, 0, unix.EXDEV},
		{"mnt", unix.RESOLVE_NO_XDEV, 0, unix.EXDEV},
		{"f", unix.RESOLVE_NO_XDEV, 0, nil},
		{"f/", 0, 0, unix.ENOTDIR},
		{"f/x", 0, 0, unix.ENOTDIR},
		{"", 0, 0, unix.ENOENT},
		{strings.Repeat("n", 256), 0, 0, unix.ENAMETOOLONG},
		{strings.Repeat("n/", 2048), 0, 0, unix.ENAMETOOLONG},
		{"new", unix.RESOLVE_BENEATH, unix.O_CREAT | unix.O_RDWR, nil},
		{"../new", unix.RESOLVE_BENEATH, unix.O_CREAT | unix.O_RDWR, unix.EXDEV},
	} {
		f, err := c.Open(at, tt.path, vfs.OpenHow{Flags: tt.flags, Resolve: tt.resolve})
		if err != tt.want {
			t.Errorf("openat2(%.20q, flags %#x, resolve %#x) = %v, want %v", tt.path, tt.flags, tt.resolve, err, tt.want)
		}
		if err == nil {
			f.DecRef()
		}
	}
}

func TestLinkLimit(t *testing.T) {
	c := newCaller(t, vfs.Config{})
	create(t, c, "/l0")
	for i := range 41 {
		must(t, c.Symlink(fmt.Sprintf("l%d", i), nil, fmt.Sprintf("/l%d", i+1)))
	}
	if _, err := c.Stat(nil, "/l40", 0); err != nil {
		t.Errorf("40 links: %v", err)
	}
	if _, err := c.Stat(nil, "/l41", 0); err != unix.ELOOP {
		t.Errorf("41 links: %v, want ELOOP", err)
	}
}

func TestMounts(t *testing.T) {
	c := newCaller(t, vfs.Config{})
	ns := c.Namespace()
	must(t, c.Mkdir(nil, "/a", 0o755), c.Mkdir(nil, "/b", 0o755))
	create(t, c, "/a/below")
	mount(t, c, "/a", newFS(t, 2), 0)
	if _, err := c.Stat(nil, "/a/below", 0); err != unix.ENOENT {
		t.Errorf("a covered name: %v", err)
	}
	must(t, c.Mkdir(nil, "/a/x", 0o755))
	create(t, c, "/a/x/f")
	if err := c.Rename(nil, "/a/x/f", nil, "/f", 0); err != unix.EXDEV {
		t.Errorf("rename across mounts: %v", err)
	}
	if err := c.Rmdir(nil, "/a"); err != unix.EBUSY {
		t.Errorf("rmdir of a mount point: %v", err)
	}
	src, err := c.Walk(nil, "/a/x", 0)
	must(t, err)
	to, err := c.Walk(nil, "/b", 0)
	must(t, err)
	bound, err := ns.Bind(to, src, false)
	must(t, err)
	must(t, ns.Remount(bound.Root(), unix.MS_RDONLY|unix.MS_NOEXEC))
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"read", c.Access(nil, "/b/f", vfs.MayRead, 0), nil},
		{"write", c.Access(nil, "/b/f", vfs.MayWrite, 0), unix.EROFS},
		{"mkdir", c.Mkdir(nil, "/b/d", 0o755), unix.EROFS},
		{"mkdir of what is there", c.Mkdir(nil, "/b/f", 0o755), unix.EEXIST},
		{"chmod", c.Chmod(nil, "/b/f", 0o755, 0), unix.EROFS},
		{"the other mount", c.Chmod(nil, "/a/x/f", 0o755, 0), nil},
		{"exec", c.Access(nil, "/b/f", vfs.MayExec, 0), unix.EACCES},
	} {
		if tt.err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
		}
	}
	must(t, c.Chdir(nil, "/b", 0))
	if cwd, err := c.Getcwd(); cwd != "/b" || err != nil {
		t.Errorf("getcwd: %q, %v", cwd, err)
	}
	if st, _ := c.Stat(nil, "..", 0); st.Dev != 1 {
		t.Errorf("..: device %d, want the root's", st.Dev)
	}
	if err := ns.Unmount(bound.Root(), 0); err != unix.EBUSY {
		t.Errorf("umount of the working directory: %v", err)
	}
	must(t, c.Chdir(nil, "/", 0), ns.Unmount(bound.Root(), 0))
	if got := len(ns.Mounts(c.Root())); got != 2 {
		t.Errorf("%d mounts, want 2: %+v", got, ns.Mounts(c.Root()))
	}
	a, err := c.Walk(nil, "/a", 0)
	must(t, err)
	b, err := c.Walk(nil, "/b", 0)
	must(t, err)
	must(t, ns.Move(a, b))
	if _, err := c.Stat(nil, "/b/x/f", 0); err != nil {
		t.Errorf("after the move: %v", err)
	}
	if _, err := c.Stat(nil, "/a/below", 0); err != nil {
		t.Errorf("what was covered: %v", err)
	}
}

func TestChroot(t *testing.T) {
	c := newCaller(t, vfs.Config{})
	must(t, c.Mkdir(nil, "/jail", 0o755), c.Symlink("/in", nil, "/jail/link"))
	create(t, c, "/jail/in")
	must(t, c.Chroot("/jail"))
	for _, p := range []string{"/in", "/../in", "/link", "/../../link"} {
		if _, err := c.Stat(nil, p, 0); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	if cwd, _ := c.Getcwd(); cwd != "(unreachable)/" {
		t.Errorf("getcwd outside of the root: %q", cwd)
	}
}

func TestNames(t *testing.T) {
	c := newCaller(t, vfs.Config{})
	must(t, c.Mkdir(nil, "/d", 0o755))
	create(t, c, "/d/f")
	f, err := c.Open(nil, "/d/f", vfs.OpenHow{})
	must(t, err)
	defer f.DecRef()
	check := func(want string) {
		t.Helper()
		if got := c.PathName(f.Path()); got != want {
			t.Errorf("name %q, want %q", got, want)
		}
	}
	check("/d/f")
	must(t, c.Rename(nil, "/d", nil, "/e", 0))
	check("/e/f")
	must(t, c.Unlink(nil, "/e/f"))
	check("/e/f (deleted)")
}

// TestCacheRace lets goroutines rename, remove and make the same names while
// others look them up, with a cache so small that it always drops something.
func TestCacheRace(t *testing.T) {
	c := newCaller(t, vfs.Config{CacheSize: 4})
	for i := range 3 {
		must(t, c.Mkdir(nil, fmt.Sprintf("/d%d", i), 0o755))
	}
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			own := &vfs.Caller{FSContext: c.FSContext, Creds: vfs.RootCreds()}
			for i := range 400 {
				a, b := fmt.Sprintf("/d%d/x", (g+i)%3), fmt.Sprintf("/d%d/x", i%3)
				var err error
				switch (g + i) % 5 {
				case 0:
					var f *vfs.File
					if f, err = own.Open(nil, a, vfs.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: 0o600}); err == nil {
						_, err = f.Write(nil, [][]byte{[]byte("x")}, -1)
						f.DecRef()
					}
				case 1:
					err = own.Rename(nil, a, nil, b, 0)
				case 2:
					err = own.Unlink(nil, a)
				case 3:
					_, err = own.Stat(nil, a, 0)
				case 4:
					err = own.Rename(nil, fmt.Sprintf("/d%d", i%3), nil, fmt.Sprintf("/d%d", g%3), unix.RENAME_EXCHANGE)
				}
				switch err {
				case nil, unix.ENOENT, unix.EEXIST:
				default:
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	// What the cache says is what the file system says.
	for i := range 3 {
		d := fmt.Sprintf("/d%d", i)
		p, err := c.Walk(nil, d, 0)
		must(t, err)
		_, want := p.Inode().(vfs.Dir).Lookup("x")
		if _, got := c.Stat(nil, d+"/x", 0); got != want {
			t.Errorf("%s/x: %v in the cache, %v in the file system", d, got, want)
		}
	}
}

func TestLocks(t *testing.T) {
	c := newCaller(t, vfs.Config{})
	create(t, c, "/f")
	open := func() *vfs.File {
		f, err := c.Open(nil, "/f", vfs.OpenHow{Flags: unix.O_RDWR})
		must(t, err)
		return f
	}
	f, g := open(), open()
	a, b := fdtable.New(), fdtable.New()
	set := func(f *vfs.File, owner any, k lock.Kind, start, end int64) error {
		return f.SetLock(lock.Range{Owner: owner, Kind: k, Start: start, End: end})
	}
	must(t, set(f, a, lock.Exclusive, 0, 9), set(g, b, lock.Exclusive, 10, lock.End))
	if err := set(g, b, lock.Shared, 5, 5); err != unix.EAGAIN {
		t.Errorf("a lock in the way: %v", err)
	}
	must(t, set(f, a, lock.None, 3, 6), set(g, b, lock.Exclusive, 5, 5))
	if l, ok := g.GetLock(lock.Range{Owner: b, Kind: lock.Shared, Start: 0, End: lock.End}); !ok || l.Start != 0 || l.End != 2 {
		t.Errorf("GetLock: %+v, %v", l, ok)
	}
	f.Closed(a)
	must(t, set(g, b, lock.Exclusive, 0, 4))
	must(t, f.Flock(lock.Shared, 1), g.Flock(lock.Shared, 1))
	if err := g.Flock(lock.Exclusive, 1); err != unix.EAGAIN {
		t.Errorf("flock: %v", err)
	}
	f.DecRef()
	must(t, g.Flock(lock.Exclusive, 1))
	g.DecRef()
}

func BenchmarkStat4(b *testing.B) {
	c := newCaller(b, vfs.Config{})
	must(b, c.Mkdir(nil, "/usr", 0o755), c.Mkdir(nil, "/usr/share", 0o755), c.Mkdir(nil, "/usr/share/doc", 0o755))
	create(b, c, "/usr/share/doc/file")
	for _, who := range []string{"root", "user"} {
		b.Run(who, func(b *testing.B) {
			if who == "user" {
				c.Creds = &vfs.Creds{UID: 1000, GID: 1000}
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Stat(nil, "/usr/share/doc/file", 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpenClose(b *testing.B) {
	c := newCaller(b, vfs.Config{})
	must(b, c.Mkdir(nil, "/tmp", 0o755))
	create(b, c, "/tmp/file")
	t := fdtable.New()
	b.ReportAllocs()
	for b.Loop() {
		f, err := c.Open(nil, "/tmp/file", vfs.OpenHow{})
		must(b, err)
		fd, err := t.Install(f, 0, 1024, false)
		must(b, err)
		must(b, t.Close(fd))
	}
}

func BenchmarkCreateUnlink(b *testing.B) {
	c := newCaller(b, vfs.Config{})
	b.ReportAllocs()
	for b.Loop() {
		create(b, c, "/file")
		must(b, c.Unlink(nil, "/file"))
	}
}

func BenchmarkRead1(b *testing.B) {
	c := newCaller(b, vfs.Config{})
	f, err := c.Open(nil, "/f", vfs.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: 0o644})
	must(b, err)
	buf := [][]byte{make([]byte, 1)}
	_, err = f.Write(nil, buf, -1)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := f.PRead(buf, 0); n != 1 || err != nil {
			b.Fatal(n, err)
		}
	}
}
