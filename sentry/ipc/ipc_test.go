package ipc

import (
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

type thing struct{ perm Perm }

func (t *thing) Perms() *Perm { return &t.perm }

var root = &Caller{Owner: true, Admin: true}

func fits(*thing) error { return nil }

// TestLookUps: what the calls need besides an id, and in which order it is asked for.
func TestLookUps(t *testing.T) {
	var ids IDs[*thing]
	owner, other := &Caller{UID: 1}, &Caller{UID: 2}
	o := &thing{}
	if err := ids.Add(o, owner, 7, 0o600, 1); err != nil {
		t.Fatal(err)
	}
	id := o.perm.ID
	for _, c := range []struct {
		what string
		got  func() error
		want error
	}{
		{"allowed", func() error { _, err := ids.Allowed(owner, id, Write); return err }, nil},
		{"not allowed", func() error { _, err := ids.Allowed(other, id, Read); return err }, unix.EACCES},
		{"allowed, no such", func() error { _, err := ids.Allowed(owner, id+1, Read); return err }, unix.EINVAL},
		{"owned", func() error { _, err := ids.Owned(owner, id); return err }, nil},
		{"not owned", func() error { _, err := ids.Owned(other, id); return err }, unix.EPERM},
		{"change", func() error { _, err := ids.Change(other, id, Change{}); return err }, unix.EPERM},
		{"change to nobody", func() error { _, err := ids.Change(owner, id, Change{UID: ^uint32(0)}); return err }, unix.EINVAL},
		{"stat", func() error { _, _, err := ids.ForStat(other, id, Stat, 20); return err }, unix.EACCES},
		{"stat by index", func() error { _, _, err := ids.ForStat(other, id&(MaxIDs-1), 18, 20); return err }, unix.EACCES},
		{"stat by index for all", func() error { _, _, err := ids.ForStat(other, id&(MaxIDs-1), 20, 20); return err }, nil},
		{"get", func() error { _, err := ids.GetOr(other, 7, 0o400, fits, nil); return err }, unix.EACCES},
		{"get, no such", func() error { _, err := ids.GetOr(owner, 8, 0, fits, nil); return err }, unix.ENOENT},
		{"get, does not fit", func() error {
			_, err := ids.GetOr(other, 7, 0o400, func(*thing) error { return unix.ENOMEM }, nil)
			return err
		}, unix.ENOMEM},
	} {
		if err := c.got(); err != c.want {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

// TestIDs compares a table with a map.
func TestIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ids IDs[*thing]
		live := map[int32]*thing{}
		seen := map[int32]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				key := rapid.Int32Range(0, 5).Draw(t, "key")
				var made *thing
				id, err := ids.GetOr(root, key, Create|0o640, fits, func() (*thing, error) {
					made = &thing{}
					return made, ids.Add(made, root, key, 0o640, 100)
				})
				switch {
				case made == nil: // there is one
					if err != nil || live[id] == nil || live[id].perm.Key != key {
						t.Fatalf("key %d: id %d, %v", key, id, err)
					}
				case err != nil:
					if err != unix.ENOSPC || len(live) < 100 {
						t.Fatal(err, len(live))
					}
				case seen[id] || id != made.perm.ID:
					t.Fatalf("id %d again, or not %d", id, made.perm.ID)
				default:
					seen[id] = true
					live[id] = made
				}
			},
			"remove": func(t *rapid.T) {
				for id, o := range live {
					ids.Remove(o)
					delete(live, id)
					if _, err := ids.Get(id); err != unix.EINVAL {
						t.Fatalf("%d is still there", id)
					}
					return
				}
			},
			"": func(t *rapid.T) {
				if ids.Len() != len(live) || len(ids.All()) != len(live) {
					t.Fatalf("%d, %d, want %d", ids.Len(), len(ids.All()), len(live))
				}
				highest := int32(0)
				for id, o := range live {
					if got, err := ids.Get(id); got != o || err != nil {
						t.Fatalf("%d: %v", id, err)
					}
					if got, err := ids.At(id & (MaxIDs - 1)); got != o || err != nil {
						t.Fatalf("%d: %v", id, err)
					}
					if k := o.perm.Key; k != Private {
						if got, err := ids.GetOr(root, k, 0, fits, nil); got != id || err != nil {
							t.Fatalf("key %d: %v", k, err)
						}
						if _, err := ids.GetOr(root, k, Create|Excl, fits, nil); err != unix.EEXIST {
							t.Fatalf("key %d: %v", k, err)
						}
					}
					highest = max(highest, id&(MaxIDs-1))
				}
				if got := ids.MaxIndex(); got != highest {
					t.Fatalf("highest %d, want %d", got, highest)
				}
				for _, id := range []int32{-1, 1 << 30, 1<<31 - 1} {
					if _, err := ids.Get(id); err == nil && live[id] == nil {
						t.Fatalf("id %d", id)
					}
				}
			},
		})
	})
}

func TestPermissions(t *testing.T) {
	p := Perm{UID: 1, GID: 2, CUID: 3, CGID: 4, Mode: 0o640}
	for _, c := range []struct {
		who  Caller
		want uint32
		err  error
	}{
		{Caller{UID: 1}, Read | Write, nil},
		{Caller{UID: 3}, Read | Write, nil},
		{Caller{UID: 9, GID: 2}, Read, nil},
		{Caller{UID: 9, GID: 2}, Write, unix.EACCES},
		{Caller{UID: 9, Groups: []uint32{4}}, 0o400, nil},
		{Caller{UID: 9}, Read, unix.EACCES},
		{Caller{UID: 9}, 0, nil},
		{Caller{UID: 9, Owner: true}, Read | Write, nil},
	} {
		if err := p.Allows(&c.who, c.want); err != c.err {
			t.Errorf("%+v wants %#o: %v", c.who, c.want, err)
		}
	}
	if p.Owned(&Caller{UID: 9}) != unix.EPERM || p.Owned(&Caller{UID: 9, Admin: true}) != nil || p.Owned(&Caller{UID: 3}) != nil {
		t.Error("owners")
	}
	if p.Apply(Change{UID: ^uint32(0)}) != unix.EINVAL {
		t.Error("no user")
	}
	p.Mode |= 0o1000
	var b [SizeofPerm]byte
	if err := p.Apply(Change{UID: 7, GID: 8, Mode: 0o777}); err != nil {
		t.Fatal(err)
	}
	p.Encode(b[:])
	if got := DecodeChange(b[:]); got != (Change{7, 8, 0o777}) || p.Mode != 0o1777 {
		t.Errorf("%+v, mode %#o", got, p.Mode)
	}
}
