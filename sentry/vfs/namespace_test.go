package vfs_test

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/vfs"
)

// ended is a file system that counts when it is over.
type ended struct {
	*tmpfs.FS
	n *int
}

func (e ended) Unmounted() {
	*e.n++
	e.FS.Unmounted()
}

func mountable(m *fstest.Memory) (ended, func() (vfs.FileSystem, vfs.MountOptions, error)) {
	e := ended{tmpfs.New(tmpfs.Options{Memory: m, Size: 1 << 20}), new(int)}
	return e, func() (vfs.FileSystem, vfs.MountOptions, error) { return e, vfs.MountOptions{Source: "x"}, nil }
}

func within(t *testing.T) *vfs.Caller {
	t.Helper()
	c := newCaller(t, vfs.Config{})
	must(t, c.Mkdir(nil, "/a", 0o755), c.Mkdir(nil, "/b", 0o755))
	return c
}

// TestUnmounted holds that a file system is over once all of its mounts are, and
// all files in it closed.
func TestUnmounted(t *testing.T) {
	c := within(t)
	mem := fstest.NewMemory(t, 1<<20, true)
	e, open := mountable(mem)
	must(t, c.Mount("/a", open))
	must(t, c.BindMount("/a", "/b", false))
	f, err := c.Open(nil, "/a/f", vfs.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o600})
	must(t, err)
	must(t, c.Unmount("/b", 0))
	if err := c.Unmount("/a", 0); err != unix.EBUSY {
		t.Fatalf("a file is open: %v", err)
	}
	must(t, c.Unmount("/a", unix.MNT_DETACH))
	if *e.n != 0 {
		t.Error("over while a file is open")
	}
	if _, err := f.Write(nil, [][]byte{[]byte("abc")}, -1); err != nil {
		t.Error(err)
	}
	if mem.InUse() == 0 {
		t.Error("nothing is stored")
	}
	f.DecRef()
	if *e.n != 1 {
		t.Errorf("over %d times", *e.n)
	}
	if st, _ := e.Statfs(); st.Bfree != st.Blocks {
		t.Errorf("%d of %d blocks are free", st.Bfree, st.Blocks)
	}
}

// TestNamespaceEnds holds that the mounts of a namespace go with the last context in
// it.
func TestNamespaceEnds(t *testing.T) {
	c := within(t)
	own, err := c.FSContext.CopyNamespace(nil)
	must(t, err)
	if own.Namespace().ID() == c.Namespace().ID() {
		t.Error("the same number")
	}
	in := &vfs.Caller{FSContext: own, Creds: vfs.RootCreds()}
	e, open := mountable(fstest.NewMemory(t, 1<<20, true))
	must(t, in.Mount("/a", open))
	second := own.Copy()
	if n := len(in.Namespace().Mounts(in.Root())); n != 2 {
		t.Errorf("%d mounts", n)
	}
	if n := len(c.Namespace().Mounts(c.Root())); n != 1 {
		t.Errorf("%d mounts in the first namespace", n)
	}
	own.Release()
	if *e.n != 0 {
		t.Error("over while somebody is in it")
	}
	second.Release()
	if *e.n != 1 {
		t.Errorf("over %d times", *e.n)
	}
	must(t, c.Rmdir(nil, "/a")) // nothing is mounted there any more
}

// TestNamespaceRace has namespaces come and go while files are opened.
func TestNamespaceRace(t *testing.T) {
	c, mem := within(t), fstest.NewMemory(t, 16<<20, true)
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 100 {
				own, err := c.FSContext.CopyNamespace(nil)
				if err != nil {
					t.Error(err)
					return
				}
				in := &vfs.Caller{FSContext: own, Creds: vfs.RootCreds()}
				_, open := mountable(mem)
				if err := in.Mount("/a", open); err != nil {
					t.Error(err)
				}
				f, err := in.Open(nil, "/a/f", vfs.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o600})
				if err != nil {
					t.Error(err)
					return
				}
				own.Release()
				f.DecRef()
			}
		}()
	}
	wg.Wait()
	if n := len(c.Namespace().Mounts(c.Root())); n != 1 {
		t.Errorf("%d mounts are left", n)
	}
}

// TestBindIntoItself holds that a recursive bind ends when it is made inside what it
// copies.
func TestBindIntoItself(t *testing.T) {
	c := within(t)
	_, open := mountable(fstest.NewMemory(t, 1<<20, true))
	must(t, c.Mount("/a", open), c.Mkdir(nil, "/a/in", 0o755))
	for _, want := range []int{4, 8, 16} {
		must(t, c.BindMount("/", "/a/in", true))
		if n := len(c.Namespace().Mounts(c.Root())); n != want {
			t.Errorf("%d mounts, want %d", n, want)
		}
	}
	must(t, c.Unmount("/a", unix.MNT_DETACH))
	if n := len(c.Namespace().Mounts(c.Root())); n != 1 {
		t.Errorf("%d mounts are left", n)
	}
}
