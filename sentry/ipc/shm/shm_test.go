package shm

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/ipc"
	"runsc-lite/sentry/vfs"
)

var me = &ipc.Caller{PID: 7, Owner: true, Admin: true}

// memory counts the files that are open.
type memory struct{ open int }

type file struct{ m *memory }

func (f file) Release() { f.m.open-- }

func (m *memory) manager() *Manager {
	return New(Config{Budget: ipc.NewBudget(Budget),
		NewFile: func(uint64) (*vfs.File, error) {
			m.open++
			return vfs.NewFile(file{m}, &vfs.AnonInode{}, unix.O_RDWR, "x"), nil
		},
		Now:     func() int64 { return 5 },
		MaxSize: 1 << 30,
	})
}

func TestLife(t *testing.T) {
	var mem memory
	m := mem.manager()
	id, err := m.Get(me, 1, 5000, ipc.Create|0o600)
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.Attach(me, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	a.IncRef() // as a mapping that was split, or copied by fork
	a.DecRef()
	if a.Size() != 5000 || a.MappedName() != "/SYSV00000001 (deleted)" || Of(a) != a || Of(5) != nil {
		t.Errorf("%d, %s", a.Size(), a.MappedName())
	}
	if err := m.Remove(me, id); err != nil || mem.open != 1 {
		t.Fatal(err, mem.open)
	}
	if _, err := m.Get(me, 1, 1, 0); err != unix.ENOENT {
		t.Errorf("the key: %v", err)
	}
	b := make([]byte, SizeofStat)
	if _, err := m.Stat(me, id, ipc.Stat, b); err != nil || b[88] != 1 || b[80] != 7 {
		t.Errorf("%v, % x", err, b)
	}
	a.DecRef()
	if mem.open != 0 || m.pages != 0 || m.ids.Len() != 0 {
		t.Errorf("%d files, %d pages are left", mem.open, m.pages)
	}
	if _, err := m.Attach(me, id, 0); err != unix.EINVAL {
		t.Errorf("gone: %v", err)
	}
}

func TestLimits(t *testing.T) {
	var mem memory
	m := mem.manager()
	for _, c := range []struct {
		size uint64
		want error
	}{{0, unix.EINVAL}, {1 << 40, unix.ENOMEM}, {1 << 63, unix.EINVAL}} {
		if _, err := m.Get(me, ipc.Private, c.size, 0o600); err != c.want {
			t.Errorf("%d bytes: %v, want %v", c.size, err, c.want)
		}
	}
	m.Limits.IDs.Store(2)
	m.Limits.All.Store(3)
	for i, want := range []error{nil, unix.ENOSPC, nil, unix.ENOSPC} {
		if _, err := m.Get(me, ipc.Private, []uint64{5000, 4097, 1, 1}[i], 0o600); err != want {
			t.Errorf("%d: %v, want %v", i, err, want)
		}
	}
	m = New(Config{Budget: ipc.NewBudget(Budget), NewFile: func(uint64) (*vfs.File, error) { return nil, unix.ENOMEM }, Now: func() int64 { return 0 }, MaxSize: 1 << 30})
	if _, err := m.Get(me, ipc.Private, 1, 0o600); !errors.Is(err, unix.ENOMEM) || m.ids.Len() != 0 {
		t.Errorf("no memory: %v", err)
	}
}
