package inotify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/vfs"
)

// emptyFS is a file system of one directory.
type emptyFS struct{}

func (emptyFS) Type() string                     { return "empty" }
func (f *emptyFS) Root() vfs.Inode               { return f }
func (emptyFS) Statfs() (unix.Statfs_t, error)   { return unix.Statfs_t{}, nil }
func (emptyFS) Open(uint32) (vfs.FileOps, error) { return nil, unix.ENXIO }
func (emptyFS) Lookup(string) (vfs.Inode, error) { return nil, unix.ENOENT }
func (emptyFS) Stat() (vfs.Stat, error) {
	return vfs.Stat{Dev: unix.Mkdev(1, 2), Ino: 7, Mode: unix.S_IFDIR | 0o755, Nlink: 2}, nil
}

// place is somewhere to put watches on.
func place(t testing.TB) vfs.Path {
	t.Helper()
	// The field makes file systems differ, which empty structures may not.
	ns, err := vfs.NewNamespace(vfs.Config{}, &struct {
		emptyFS
		_ int
	}{}, vfs.MountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Root()
}

func instance(t testing.TB, p *Pool) (*vfs.File, *FD) {
	t.Helper()
	f, err := p.NewFile(1, unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	return f, f.Ops().(*FD)
}

func watchOf(t testing.TB, fd *FD, p vfs.Path, mask uint32) *vfs.Mark {
	t.Helper()
	wd, err := fd.Watch(p, mask)
	if err != nil {
		t.Fatal(err)
	}
	return &fd.watches[wd].mark
}

// read spells what is queued.
func read(t testing.TB, f *vfs.File) string {
	t.Helper()
	var s []string
	for {
		b := make([]byte, 1000)
		n, err := f.Read([][]byte{b[:3], b[3:40], b[40:]})
		if err == unix.EAGAIN {
			return strings.Join(s, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		le := binary.LittleEndian
		for b = b[:n]; len(b) > 0; {
			size := le.Uint32(b[12:])
			name, _, _ := bytes.Cut(b[16:16+size], []byte{0})
			s = append(s, fmt.Sprintf("%d:%#x:%d:%s", int32(le.Uint32(b)), le.Uint32(b[4:]), le.Uint32(b[8:]), name))
			b = b[16+size:]
		}
	}
}

func TestEvents(t *testing.T) {
	at := place(t)
	f, fd := instance(t, NewPool())
	defer f.DecRef()
	m := watchOf(t, fd, at, unix.IN_MODIFY|unix.IN_ACCESS)
	if fd.Readiness(waiter.ReadableEvents) != 0 {
		t.Error("ready without events")
	}
	fd.Event(m, unix.IN_MODIFY, 0, "name")
	fd.Event(m, unix.IN_MODIFY, 0, "name") // the same again
	fd.Event(m, unix.IN_MODIFY|unix.IN_ISDIR, 0, "name")
	fd.Event(m, unix.IN_OPEN, 0, "name") // not asked for
	fd.Event(m, unix.IN_ACCESS, 3, "a-name-of-sixteen")
	if got, want := fd.Queued(), 32+32+48; got != want {
		t.Errorf("%d bytes are queued, want %d", got, want)
	}
	if fd.Readiness(waiter.ReadableEvents) == 0 {
		t.Error("not ready")
	}
	if _, err := f.Read([][]byte{make([]byte, 31)}); err != unix.EINVAL {
		t.Errorf("too little room: %v", err)
	}
	if got, want := read(t, f), "1:0x2:0:name 1:0x40000002:0:name 1:0x1:3:a-name-of-sixteen"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	fd.Event(m, unix.IN_DELETE_SELF, 0, "")
	fd.Event(m, unix.IN_MODIFY, 0, "late")
	if got, want := read(t, f), "1:0x8000:0:"; got != want {
		t.Errorf("%s, want %s: it was not asked for", got, want)
	}
	if err := fd.Unwatch(1); err != unix.EINVAL {
		t.Errorf("an old number: %v", err)
	}
}

func TestLimits(t *testing.T) {
	p := NewPool()
	p.Limits.MaxInstances.Store(2)
	p.Limits.MaxWatches.Store(1)
	p.Limits.MaxQueued.Store(3)
	f, fd := instance(t, p)
	g, other := instance(t, p)
	if _, err := p.NewFile(1, 0); err != unix.EMFILE {
		t.Errorf("a third instance: %v", err)
	}
	if h, err := p.NewFile(2, 0); err != nil {
		t.Errorf("another user's: %v", err)
	} else {
		h.DecRef()
	}
	if _, err := p.NewFile(1, 1); err != unix.EINVAL {
		t.Errorf("an unknown flag: %v", err)
	}
	at := place(t)
	m := watchOf(t, fd, at, unix.IN_ALL_EVENTS)
	if _, err := other.Watch(at, unix.IN_OPEN); err != unix.ENOSPC {
		t.Errorf("a second watch: %v", err)
	}
	for round := range 2 {
		for i := range 6 {
			fd.Event(m, unix.IN_MODIFY, uint32(i), "")
		}
		if got, want := read(t, f), "1:0x2:0: 1:0x2:1: 1:0x2:2: -1:0x4000:0:"; got != want {
			t.Errorf("round %d: %s, want %s", round, got, want)
		}
	}
	f.DecRef()
	if _, err := other.Watch(at, unix.IN_OPEN); err != nil {
		t.Errorf("a watch once there is room: %v", err)
	}
	g.DecRef()
	if len(p.users) != 0 {
		t.Errorf("left over: %v", p.users)
	}
}

func TestMasks(t *testing.T) {
	for mask, want := range map[uint32]error{
		0:            unix.EINVAL,
		unix.IN_OPEN: nil,
		unix.IN_MASK_ADD | unix.IN_MASK_CREATE | unix.IN_OPEN: unix.EINVAL,
		unix.IN_ONLYDIR: nil,
		1 << 20:         unix.EINVAL,
	} {
		if err := CheckMask(mask); err != want {
			t.Errorf("%#x: %v, want %v", mask, err, want)
		}
	}
	at := place(t)
	f, fd := instance(t, NewPool())
	defer f.DecRef()
	m := watchOf(t, fd, at, unix.IN_OPEN|unix.IN_ONESHOT)
	fd.Event(m, unix.IN_OPEN, 0, "")
	if got, want := read(t, f), "1:0x20:0: 1:0x8000:0:"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	m = watchOf(t, fd, at, unix.IN_OPEN)
	if o := watchOf(t, fd, at, unix.IN_ACCESS|unix.IN_MASK_ADD); o != m || m.Mask() != unix.IN_OPEN|unix.IN_ACCESS {
		t.Errorf("mask %#x", m.Mask())
	}
	if _, err := fd.Watch(at, unix.IN_OPEN|unix.IN_MASK_CREATE); err != unix.EEXIST {
		t.Errorf("IN_MASK_CREATE: %v", err)
	}
	var b bytes.Buffer
	fd.FDInfo(&b)
	if got, want := b.String(), "inotify wd:2 ino:7 sdev:100002 mask:21 ignored_mask:0\n"; got != want {
		t.Errorf("fdinfo %q, want %q", got, want)
	}
}

// TestNumbers holds that numbers in use are passed over when they begin anew.
func TestNumbers(t *testing.T) {
	f, fd := instance(t, NewPool())
	defer f.DecRef()
	if wd, err := fd.Watch(place(t), unix.IN_OPEN); wd != 1 || err != nil {
		t.Fatal(wd, err)
	}
	fd.lastWD = 1<<31 - 1
	if wd, err := fd.Watch(place(t), unix.IN_OPEN); wd != 2 || err != nil {
		t.Errorf("%d, %v", wd, err)
	}
}

// TestRace has watches come and go while events do.
func TestRace(t *testing.T) {
	p, at := NewPool(), place(t)
	f, fd := instance(t, p)
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(2)
		go func() {
			defer wg.Done()
			for range 300 {
				if wd, err := fd.Watch(at, unix.IN_ALL_EVENTS); err == nil {
					fd.mu.Lock()
					w := fd.watches[wd]
					fd.mu.Unlock()
					if w != nil {
						fd.Event(&w.mark, unix.IN_OPEN, 0, "x")
					}
					fd.Unwatch(wd)
				}
			}
		}()
		go func() {
			defer wg.Done()
			b := make([]byte, 500)
			for range 300 {
				f.Read([][]byte{b})
				fd.Readiness(waiter.ReadableEvents)
			}
		}()
	}
	wg.Wait()
	f.DecRef()
	if len(p.users) != 0 {
		t.Errorf("left over: %v", p.users)
	}
}
