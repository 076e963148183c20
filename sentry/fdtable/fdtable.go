// Package fdtable maps a process's descriptor numbers to open files.
//
// A Table is shared by the threads of a process (CLONE_FILES) and reference
// counted. Get, which nearly every system call begins with, takes no lock: the
// slots are an array of atomic pointers, and a File that is on its way out is
// not handed out (File.TryIncRef). What changes the table is under one mutex.
//
// Lock order:
//
//	Table.mu
//	  nothing: files are closed after it is released
package fdtable

import (
	"iter"
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs"
)

// MaxFDs is the largest RLIMIT_NOFILE that counts (fs.nr_open).
const MaxFDs = 1 << 20

// Table is a descriptor table.
type Table struct {
	refs  atomic.Int32
	slots atomic.Pointer[[]slot] // replaced, under mu, when it grows

	mu      sync.Mutex
	used    []uint64 // a bit for each descriptor in use
	cloexec []uint64 // a bit for each that exec closes
	first   int      // no descriptor below is free
	count   int
}

type slot = atomic.Pointer[vfs.File]

// New makes an empty table with one reference.
func New() *Table {
	t := &Table{}
	t.refs.Store(1)
	t.grow(64)
	return t
}

// grow makes room for at least n descriptors. t.mu is held, or nobody else has
// t yet.
func (t *Table) grow(n int) {
	size := 64
	if old := t.slots.Load(); old != nil {
		size = len(*old)
		if n <= size {
			return
		}
	}
	for size < n {
		size *= 2
	}
	slots := make([]slot, size)
	if old := t.slots.Load(); old != nil {
		for i := range *old {
			slots[i].Store((*old)[i].Load())
		}
	}
	words := make([]uint64, 2*size/64)
	used, cloexec := words[:size/64:size/64], words[size/64:]
	copy(used, t.used)
	copy(cloexec, t.cloexec)
	t.used, t.cloexec = used, cloexec
	t.slots.Store(&slots)
}

// IncRef adds a user (CLONE_FILES).
func (t *Table) IncRef() { t.refs.Add(1) }

// DecRef ends one user's use. With the last one every descriptor is closed.
func (t *Table) DecRef() {
	if t.refs.Add(-1) == 0 {
		t.closeAll()
	}
}

// Release is DecRef.
func (t *Table) Release() { t.DecRef() }

// Users returns how many share t.
func (t *Table) Users() int { return int(t.refs.Load()) }

// Get returns the file behind fd with a reference for the caller: nil if there
// is none (EBADF).
func (t *Table) Get(fd int) *vfs.File {
	for {
		slots := *t.slots.Load()
		if uint(fd) >= uint(len(slots)) {
			return nil
		}
		f := slots[fd].Load()
		if f == nil {
			return nil
		}
		if !f.TryIncRef() {
			continue // just being closed: the slot changes at once
		}
		// The slot may have been given to another file meanwhile; the one at
		// hand was there during the call, which is all that is asked.
		return f
	}
}

// lowest returns the lowest free descriptor from min on. t.mu is held.
func (t *Table) lowest(min int) int {
	from := max(min, t.first)
	for w := from / 64; w < len(t.used); w++ {
		free := ^t.used[w]
		if w == from/64 {
			free &= ^uint64(0) << (from % 64)
		}
		if free != 0 {
			return w*64 + bits.TrailingZeros64(free)
		}
	}
	return max(from, len(t.used)*64)
}

// put stores f, whose reference it takes over, and returns what was there.
// t.mu is held and there is room.
func (t *Table) put(fd int, f *vfs.File, cloexec bool) (old *vfs.File) {
	bit := uint64(1) << (fd % 64)
	old = (*t.slots.Load())[fd].Swap(f)
	if old == nil {
		t.count++
	}
	t.used[fd/64] |= bit
	if cloexec {
		t.cloexec[fd/64] |= bit
	} else {
		t.cloexec[fd/64] &^= bit
	}
	return old
}

// take empties a slot and returns what was there. t.mu is held.
func (t *Table) take(fd int) *vfs.File {
	slots := *t.slots.Load()
	if fd < 0 || fd >= len(slots) {
		return nil
	}
	f := slots[fd].Swap(nil)
	if f == nil {
		return nil
	}
	bit := uint64(1) << (fd % 64)
	t.used[fd/64] &^= bit
	t.cloexec[fd/64] &^= bit
	t.first = min(t.first, fd)
	t.count--
	return f
}

// drop finishes a close: record locks go, and the reference. t.mu is not held.
func (t *Table) drop(f *vfs.File) {
	f.Closed(t)
	f.DecRef()
}

// Install gives f the lowest free number from min on, below limit (the soft
// RLIMIT_NOFILE), and takes over the caller's reference. EMFILE: none is free;
// EINVAL: min is not below limit. The reference stays the caller's then.
func (t *Table) Install(f *vfs.File, min int, limit uint64, cloexec bool) (int, error) {
	limit = clamp(limit)
	if min < 0 || uint64(min) >= limit {
		if min == 0 {
			return -1, unix.EMFILE
		}
		return -1, unix.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fd := t.lowest(min)
	if uint64(fd) >= limit {
		return -1, unix.EMFILE
	}
	if min <= t.first {
		t.first = fd + 1
	}
	t.grow(fd + 1)
	t.put(fd, f, cloexec)
	return fd, nil
}

// Full reports whether Install has no number below limit to give.
func (t *Table) Full(limit uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return uint64(t.lowest(0)) >= clamp(limit)
}

func clamp(limit uint64) uint64 { return min(limit, MaxFDs) }

// InstallPair installs two files as Install does, both or none (pipe(2),
// socketpair(2)).
func (t *Table) InstallPair(a, b *vfs.File, limit uint64, cloexec bool) (fds [2]int, err error) {
	limit = clamp(limit)
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.lowest(0)
	y := t.lowest(x + 1)
	if uint64(x) >= limit || uint64(y) >= limit {
		return [2]int{-1, -1}, unix.EMFILE
	}
	t.first = y + 1
	t.grow(y + 1)
	t.put(x, a, cloexec)
	t.put(y, b, cloexec)
	return [2]int{x, y}, nil
}

// Dup2 makes newFD refer to oldFD's file, closing what it was (dup2(2)). With
// equal numbers nothing happens. EBADF: oldFD is not open, or newFD is not
// below limit.
func (t *Table) Dup2(oldFD, newFD int, limit uint64) error {
	if oldFD == newFD {
		f := t.Get(oldFD)
		if f == nil {
			return unix.EBADF
		}
		f.DecRef()
		return nil
	}
	return t.dup(oldFD, newFD, limit, false)
}

// Dup3 is dup3(2): EINVAL for equal numbers.
func (t *Table) Dup3(oldFD, newFD int, limit uint64, cloexec bool) error {
	if oldFD == newFD {
		return unix.EINVAL
	}
	return t.dup(oldFD, newFD, limit, cloexec)
}

func (t *Table) dup(oldFD, newFD int, limit uint64, cloexec bool) error {
	if newFD < 0 || uint64(newFD) >= clamp(limit) {
		return unix.EBADF
	}
	t.mu.Lock()
	f := t.Get(oldFD)
	if f == nil {
		t.mu.Unlock()
		return unix.EBADF
	}
	t.grow(newFD + 1)
	old := t.put(newFD, f, cloexec)
	t.mu.Unlock()
	if old != nil {
		t.drop(old)
	}
	return nil
}

// InstallAt puts f at a number of the caller's choice, closing what was there,
// and takes over the reference (the first process's descriptors).
func (t *Table) InstallAt(fd int, f *vfs.File, cloexec bool) error {
	if fd < 0 || fd >= MaxFDs {
		return unix.EBADF
	}
	t.mu.Lock()
	t.grow(fd + 1)
	old := t.put(fd, f, cloexec)
	t.mu.Unlock()
	if old != nil {
		t.drop(old)
	}
	return nil
}

// Close closes fd: EBADF if it is not open.
func (t *Table) Close(fd int) error {
	t.mu.Lock()
	f := t.take(fd)
	t.mu.Unlock()
	if f == nil {
		return unix.EBADF
	}
	t.drop(f)
	return nil
}

// CloseRange closes, or marks close-on-exec, the descriptors from first to
// last, both included (close_range(2)).
func (t *Table) CloseRange(first, last uint32, cloexec bool) {
	var closed []*vfs.File
	t.mu.Lock()
	end := min(int64(last), int64(len(t.used)*64-1))
	for w := int64(first) / 64; w <= end/64 && w < int64(len(t.used)); w++ {
		mask := ^uint64(0)
		if lo := int64(first) - w*64; lo > 0 {
			mask &= ^uint64(0) << lo
		}
		if hi := end - w*64; hi < 63 {
			if hi < 0 {
				break
			}
			mask &= 1<<(hi+1) - 1
		}
		if cloexec {
			t.cloexec[w] |= t.used[w] & mask
			continue
		}
		for set := t.used[w] & mask; set != 0; set &= set - 1 {
			closed = append(closed, t.take(int(w)*64+bits.TrailingZeros64(set)))
		}
	}
	t.mu.Unlock()
	for _, f := range closed {
		t.drop(f)
	}
}

// CloseOnExec closes what is marked so (execve(2)).
func (t *Table) CloseOnExec() {
	var closed []*vfs.File
	t.mu.Lock()
	for w := range t.cloexec {
		for set := t.cloexec[w]; set != 0; set &= set - 1 {
			closed = append(closed, t.take(w*64+bits.TrailingZeros64(set)))
		}
	}
	t.mu.Unlock()
	for _, f := range closed {
		t.drop(f)
	}
}

// closeAll empties the table, whose last user is gone.
func (t *Table) closeAll() { t.CloseRange(0, ^uint32(0), false) }

// Cloexec returns whether exec closes fd: EBADF if it is not open.
func (t *Table) Cloexec(fd int) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open(fd) {
		return false, unix.EBADF
	}
	return t.cloexec[fd/64]>>(fd%64)&1 != 0, nil
}

// SetCloexec changes whether exec closes fd: EBADF if it is not open.
func (t *Table) SetCloexec(fd int, on bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open(fd) {
		return unix.EBADF
	}
	if on {
		t.cloexec[fd/64] |= 1 << (fd % 64)
	} else {
		t.cloexec[fd/64] &^= 1 << (fd % 64)
	}
	return nil
}

func (t *Table) open(fd int) bool {
	return fd >= 0 && fd < len(t.used)*64 && t.used[fd/64]>>(fd%64)&1 != 0
}

// Copy returns a table of its own with the same descriptors (fork(2)).
func (t *Table) Copy() *Table { return t.CopyBelow(MaxFDs) }

// CopyBelow copies the descriptors below end only (close_range(2) with
// CLOSE_RANGE_UNSHARE spares the work for those that are to be closed).
func (t *Table) CopyBelow(end uint32) *Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &Table{}
	n.refs.Store(1)
	words := 0
	for w, u := range t.used {
		if u != 0 && w*64 < int(end) {
			words = w + 1
		}
	}
	n.grow(max(words, 1) * 64)
	slots := *t.slots.Load()
	for w := range words {
		for set := t.used[w]; set != 0; set &= set - 1 {
			fd := w*64 + bits.TrailingZeros64(set)
			if fd >= int(end) {
				break
			}
			f := slots[fd].Load() // the table's reference keeps it while mu is held
			f.IncRef()
			n.put(fd, f, t.cloexec[w]>>(fd%64)&1 != 0)
		}
	}
	return n
}

// Size returns how many descriptors t has room for now (FDSize in
// /proc/PID/status): none from there on is open.
func (t *Table) Size() int { return len(*t.slots.Load()) }

// Count returns how many descriptors are open.
func (t *Table) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// FDs lists the open descriptors in order (/proc/PID/fd).
func (t *Table) FDs() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	fds := make([]int, 0, t.count)
	for w, u := range t.used {
		for set := u; set != 0; set &= set - 1 {
			fds = append(fds, w*64+bits.TrailingZeros64(set))
		}
	}
	return fds
}

// Next returns the lowest open descriptor from fd on.
func (t *Table) Next(fd int) (int, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for f := max(fd, 0); f < len(t.used)*64; {
		set := t.used[f/64] & (^uint64(0) << (f % 64))
		if set != 0 {
			return f/64*64 + bits.TrailingZeros64(set), true
		}
		f = (f/64 + 1) * 64
	}
	return 0, false
}

// All yields the open descriptors and their files, which it holds while the
// caller looks at them.
func (t *Table) All() iter.Seq2[int, *vfs.File] {
	return func(yield func(int, *vfs.File) bool) {
		for fd, ok := t.Next(0); ok; fd, ok = t.Next(fd + 1) {
			f := t.Get(fd)
			if f == nil {
				continue
			}
			more := yield(fd, f)
			f.DecRef()
			if !more {
				return
			}
		}
	}
}
