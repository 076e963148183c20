// Package ipc is what System V's shared memory, semaphores and message queues have
// in common (Linux's ipc/util.c): keys, ids, owners and permissions.
//
//	IDs     a table of objects of one sort, by id and by key
//	Perm    whose an object is (struct kern_ipc_perm)
//	Caller  who asks
//
// An IDs has no lock of its own: that of the package that keeps it guards all.
package ipc

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// Flags and commands of all sorts.
const (
	Create = 0o1000 // IPC_CREAT
	Excl   = 0o2000 // IPC_EXCL
	NoWait = 0o4000 // IPC_NOWAIT

	RmID = 0 // IPC_RMID
	Set  = 1 // IPC_SET
	Stat = 2 // IPC_STAT
	Info = 3 // IPC_INFO

	Private = 0 // IPC_PRIVATE
)

// Permissions that Perm.Allows asks for.
const (
	Read  = 0o444
	Write = 0o222
	Exec  = 0o111
)

// Caller is who makes a call: effective ids, and capabilities.
type Caller struct {
	PID    int32
	UID    uint32
	GID    uint32
	Groups []uint32
	Owner  bool // CAP_IPC_OWNER
	Admin  bool // CAP_SYS_ADMIN
}

func (c *Caller) inGroup(gid uint32) bool { return c.GID == gid || slices.Contains(c.Groups, gid) }

// Perm is whose an object is.
type Perm struct {
	ID         int32
	Key        int32
	UID, GID   uint32
	CUID, CGID uint32 // who made it
	Mode       uint32 // permissions, and flags of the object's sort
}

// Seq is the part of an id that changes when its slot is used again.
func (p *Perm) Seq() uint16 { return uint16(p.ID >> idShift) }

// Allows checks access, a set of Read, Write and Exec or what is in flags of a
// *get(2) call (ipcperms): EACCES.
func (p *Perm) Allows(c *Caller, flags uint32) error {
	want := (flags>>6 | flags>>3 | flags) & 7
	granted := p.Mode
	switch {
	case c.UID == p.CUID || c.UID == p.UID:
		granted >>= 6
	case c.inGroup(p.CGID) || c.inGroup(p.GID):
		granted >>= 3
	}
	if want&^granted != 0 && !c.Owner {
		return unix.EACCES
	}
	return nil
}

// Owned checks that the caller may change or remove the object (ipcctl_obtain_check):
// EPERM.
func (p *Perm) Owned(c *Caller) error {
	if c.UID == p.CUID || c.UID == p.UID || c.Admin {
		return nil
	}
	return unix.EPERM
}

// SizeofPerm is sizeof(struct ipc64_perm).
const SizeofPerm = 48

// Encode writes struct ipc64_perm.
func (p *Perm) Encode(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(p.Key))
	for i, v := range [...]uint32{p.UID, p.GID, p.CUID, p.CGID, p.Mode} {
		le.PutUint32(b[4+4*i:], v)
	}
	le.PutUint16(b[24:], p.Seq())
}

// Change is what IPC_SET sets, of a struct ipc64_perm.
type Change struct{ UID, GID, Mode uint32 }

// DecodeChange reads it.
func DecodeChange(b []byte) Change {
	le := binary.LittleEndian
	return Change{UID: le.Uint32(b[4:]), GID: le.Uint32(b[8:]), Mode: le.Uint32(b[20:]) & 0o777}
}

// Apply makes the change (ipc_update_perm): EINVAL for ids that are none.
func (p *Perm) Apply(c Change) error {
	if c.UID == ^uint32(0) || c.GID == ^uint32(0) {
		return unix.EINVAL
	}
	p.UID, p.GID = c.UID, c.GID
	p.Mode = p.Mode&^0o777 | c.Mode&0o777
	return nil
}

// MaxIDs is how many objects of one sort there can be at most (IPCMNI).
const (
	MaxIDs  = 1 << idShift
	idShift = 15
	maxSeq  = 1<<16 - 1
)

// Object is what is kept in an IDs.
type Object interface {
	comparable
	Perms() *Perm
}

// IDs is a table of objects. The zero value is empty.
type IDs[T Object] struct {
	slots []T // by index; the zero T where there is none
	byKey map[int32]T
	n     int
	next  int // one past the index that was given last
	seq   int32
}

// Len returns how many objects there are.
func (t *IDs[T]) Len() int { return t.n }

// MaxIndex returns the highest index in use, 0 if there is none.
func (t *IDs[T]) MaxIndex() int32 {
	var none T
	for i := len(t.slots) - 1; i > 0; i-- {
		if t.slots[i] != none {
			return int32(i)
		}
	}
	return 0
}

// Get finds the object with an id: EINVAL.
func (t *IDs[T]) Get(id int32) (T, error) {
	var none T
	if id >= 0 {
		if o, err := t.At(id & (MaxIDs - 1)); err == nil && o.Perms().ID == id {
			return o, nil
		}
	}
	return none, unix.EINVAL
}

// At finds the object at an index: EINVAL.
func (t *IDs[T]) At(index int32) (T, error) {
	var none T
	if index < 0 || int(index) >= len(t.slots) || t.slots[index] == none {
		return none, unix.EINVAL
	}
	return t.slots[index], nil
}

// GetOr is a *get(2) call (ipcget): it returns the id of the object with a key, which
// has to be accepted by fits and to allow c what flags ask for, or of a new one, which
// is made by create. ENOENT, EEXIST, EACCES, and the errors of both.
func (t *IDs[T]) GetOr(c *Caller, key int32, flags uint32, fits func(T) error, create func() (T, error)) (int32, error) {
	o, ok := t.byKey[key]
	var err error
	switch {
	case !ok && (key == Private || flags&Create != 0):
		if o, err = create(); err != nil {
			return 0, err
		}
		return o.Perms().ID, nil
	case !ok:
		return 0, unix.ENOENT
	case flags&(Create|Excl) == Create|Excl:
		return 0, unix.EEXIST
	}
	if err = fits(o); err == nil {
		err = o.Perms().Allows(c, flags)
	}
	return o.Perms().ID, err
}

// Allowed finds the object with an id for who needs the access that want names
// (see Perm.Allows): EINVAL, EACCES.
func (t *IDs[T]) Allowed(c *Caller, id int32, want uint32) (T, error) {
	o, err := t.Get(id)
	if err == nil {
		err = o.Perms().Allows(c, want)
	}
	return o, err
}

// Owned finds the object with an id for who changes or removes it: EINVAL, EPERM.
func (t *IDs[T]) Owned(c *Caller, id int32) (T, error) {
	o, err := t.Get(id)
	if err == nil {
		err = o.Perms().Owned(c)
	}
	return o, err
}

// Change is IPC_SET, as far as all sorts have it in common: EINVAL, EPERM.
func (t *IDs[T]) Change(c *Caller, id int32, to Change) (T, error) {
	o, err := t.Owned(c, id)
	if err == nil {
		err = o.Perms().Apply(to)
	}
	return o, err
}

// ForStat finds the object that a command asks about, and the command's result:
// IPC_STAT names it by id, and its sort's own two by index, whose result is the id;
// open is the one of them that needs no permission. EINVAL, EACCES.
func (t *IDs[T]) ForStat(c *Caller, n, cmd, open int32) (o T, result int32, err error) {
	if cmd == Stat {
		o, err = t.Allowed(c, n, Read)
		return o, 0, err
	}
	if o, err = t.At(n); err != nil {
		return o, 0, err
	}
	if cmd != open {
		err = o.Perms().Allows(c, Read)
	}
	return o, o.Perms().ID, err
}

// Add gives o, made by c with a key and the permissions in flags, an id. ENOSPC:
// there are limit objects.
func (t *IDs[T]) Add(o T, c *Caller, key int32, flags uint32, limit int) error {
	if t.n >= min(limit, MaxIDs) {
		return unix.ENOSPC
	}
	i := t.free(min(max(t.n*3/2, minCycle), MaxIDs))
	if i < t.next {
		if t.seq++; t.seq > maxSeq {
			t.seq = 0
		}
	}
	t.next = i + 1
	var none T
	for len(t.slots) <= i {
		t.slots = append(t.slots, none)
	}
	t.slots[i] = o
	t.n++
	*o.Perms() = Perm{
		ID: t.seq<<idShift | int32(i), Key: key, UID: c.UID, GID: c.GID, CUID: c.UID, CGID: c.GID, Mode: flags & 0o777,
	}
	if key != Private {
		if t.byKey == nil {
			t.byKey = make(map[int32]T)
		}
		t.byKey[key] = o
	}
	return nil
}

// minCycle is how many indices are gone through before one is used again
// (ipc_min_cycle).
const minCycle = 64

// free returns an index below end that is not in use: the next one, or the first
// after it (idr_alloc_cyclic). There is one, for end is larger than t.n.
func (t *IDs[T]) free(end int) int {
	var none T
	start := t.next
	if start >= end {
		start = 0
	}
	for k := range end {
		if i := (start + k) % end; i >= len(t.slots) || t.slots[i] == none {
			return i
		}
	}
	return len(t.slots)
}

// Hide takes an object's key away: only its id leads to it.
func (t *IDs[T]) Hide(o T) {
	p := o.Perms()
	if t.byKey[p.Key] == o {
		delete(t.byKey, p.Key)
	}
	p.Key = Private
}

// Remove takes an object out.
func (t *IDs[T]) Remove(o T) {
	var none T
	t.Hide(o)
	i := o.Perms().ID & (MaxIDs - 1)
	t.slots[i] = none
	t.n--
	for len(t.slots) > 0 && t.slots[len(t.slots)-1] == none {
		t.slots = t.slots[:len(t.slots)-1]
	}
}

// All returns the objects in the order of their indices.
func (t *IDs[T]) All() []T {
	var none T
	return slices.DeleteFunc(slices.Clone(t.slots), func(o T) bool { return o == none })
}
