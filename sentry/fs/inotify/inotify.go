// Package inotify is inotify(7), in the way of Linux's fs/notify/inotify: queues of
// what happens to files, which package vfs tells of.
//
//	Pool   what the instances of a sandbox have in common: their limits
//	FD     an instance: its watches, and the queue of events
//	watch  a vfs.Mark with its number
//
// Lock order:
//
//	(vfs's directory locks)
//	  FD.mu
//	    vfs's lock of marks
//	    Pool.mu
//
// Waiters are notified after FD.mu is released.
package inotify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/vfs"
)

// Name is what /proc/PID/fd shows of such a file.
const Name = "anon_inode:inotify"

// Limits are those of /proc/sys/fs/inotify. All but MaxQueued are for each user.
type Limits struct{ MaxQueued, MaxInstances, MaxWatches atomic.Int64 }

// Defaults of the limits. Linux has more watches the more memory there is; these
// cost the sentry about 300 bytes each.
const (
	defaultQueued    = 16384
	defaultInstances = 128
	defaultWatches   = 65536
)

// Pool is what the instances of a sandbox have in common.
type Pool struct {
	Limits Limits

	mu    sync.Mutex
	users map[uint32]*use
}

// use is what a user has.
type use struct{ instances, watches int64 }

// NewPool makes a Pool.
func NewPool() *Pool {
	p := &Pool{users: make(map[uint32]*use)}
	p.Limits.MaxQueued.Store(defaultQueued)
	p.Limits.MaxInstances.Store(defaultInstances)
	p.Limits.MaxWatches.Store(defaultWatches)
	return p
}

// charge counts instances and watches of a user; false if that is too much.
func (p *Pool) charge(uid uint32, instances, watches int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[uid]
	if u == nil {
		u = &use{}
		p.users[uid] = u
	}
	u.instances += instances
	u.watches += watches
	ok := (instances <= 0 || u.instances <= p.Limits.MaxInstances.Load()) &&
		(watches <= 0 || u.watches <= p.Limits.MaxWatches.Load())
	if !ok {
		u.instances -= instances
		u.watches -= watches
	}
	if *u == (use{}) {
		delete(p.users, uid)
	}
	return ok
}

// FD is an instance: a vfs.FileOps.
type FD struct {
	vfs.NoPosition

	pool  *Pool
	uid   uint32
	queue waiter.Queue

	mu       sync.Mutex
	closed   bool
	watches  map[int32]*watch
	byInode  map[vfs.Inode]*watch
	lastWD   int32
	events   []event // the queue; those before head are read
	head     int
	overflow bool // the last event is IN_Q_OVERFLOW
}

// watch is a mark with its number. mask, once vfs has its own, holds what that has
// not: IN_ONESHOT.
type watch struct {
	fd   *FD
	wd   int32
	mark vfs.Mark
}

// event is struct inotify_event and the name behind it.
type event struct {
	wd           int32
	mask, cookie uint32
	name         string
}

// eventSize is sizeof(struct inotify_event), and what names are padded to.
const eventSize = 16

// size is how many bytes an event takes (round_event_name_len).
func (e *event) size() int {
	if e.name == "" {
		return eventSize
	}
	return eventSize + (len(e.name)+1+eventSize-1)&^(eventSize-1)
}

// put writes an event to b, which is zero, and as long as it.
func (e *event) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(e.wd))
	le.PutUint32(b[4:], e.mask)
	le.PutUint32(b[8:], e.cookie)
	le.PutUint32(b[12:], uint32(len(b)-eventSize))
	copy(b[eventSize:], e.name)
}

// NewFile makes the file of inotify_init1(2) for a user. EINVAL: flags other than
// IN_CLOEXEC and IN_NONBLOCK. EMFILE: the user has too many.
func (p *Pool) NewFile(uid, flags uint32) (*vfs.File, error) {
	if flags&^(unix.IN_CLOEXEC|unix.IN_NONBLOCK) != 0 {
		return nil, unix.EINVAL
	}
	if !p.charge(uid, 1, 0) {
		return nil, unix.EMFILE
	}
	fd := &FD{pool: p, uid: uid, watches: make(map[int32]*watch), byInode: make(map[vfs.Inode]*watch)}
	return vfs.NewFile(fd, &vfs.AnonInode{}, unix.O_RDONLY|flags&unix.IN_NONBLOCK, Name), nil
}

// Release implements vfs.FileOps.
func (fd *FD) Release() {
	fd.mu.Lock()
	fd.closed = true
	list := slices.Collect(maps.Values(fd.watches))
	fd.watches, fd.byInode, fd.events, fd.head = nil, nil, nil, 0
	fd.mu.Unlock()
	for _, w := range list {
		w.mark.Unmark()
	}
	fd.pool.charge(fd.uid, -1, -int64(len(list)))
}

// Flags of inotify_add_watch(2) that are no events.
const (
	optionBits = unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW | unix.IN_EXCL_UNLINK | unix.IN_MASK_ADD | unix.IN_MASK_CREATE | unix.IN_ONESHOT
	kept       = unix.IN_ALL_EVENTS | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT
)

// CheckMask says whether inotify_add_watch(2) takes a mask: EINVAL.
func CheckMask(mask uint32) error {
	const all = unix.IN_ALL_EVENTS | unix.IN_UNMOUNT | unix.IN_Q_OVERFLOW | unix.IN_IGNORED | unix.IN_ISDIR | optionBits
	if mask&all == 0 || mask&unix.IN_MASK_ADD != 0 && mask&unix.IN_MASK_CREATE != 0 {
		return unix.EINVAL
	}
	return nil
}

// Watch watches the file at p, whose number it returns (inotify_add_watch(2)).
// EEXIST: there is a watch, and mask has IN_MASK_CREATE. ENOSPC: too many.
func (fd *FD) Watch(p vfs.Path, mask uint32) (int32, error) {
	wd, release, err := fd.watch(p, mask)
	if release != nil {
		release() // which may be an event
	}
	return wd, err
}

// watch is Watch, less the end of what vfs.Path.Mark began; release may be nil.
func (fd *FD) watch(p vfs.Path, mask uint32) (wd int32, release func(), err error) {
	fd.mu.Lock()
	defer fd.mu.Unlock()
	if w := fd.byInode[p.Inode()]; w != nil {
		if mask&unix.IN_MASK_CREATE != 0 {
			return 0, nil, unix.EEXIST
		}
		next := mask & kept
		if mask&unix.IN_MASK_ADD != 0 {
			next |= w.mark.Mask()
		}
		w.mark.SetMask(next)
		return w.wd, nil, nil
	}
	if !fd.pool.charge(fd.uid, 0, 1) {
		return 0, nil, unix.ENOSPC
	}
	w := &watch{fd: fd}
	w.mark.Sink, w.mark.Data = fd, w
	w.mark.SetMask(mask & kept)
	for {
		if fd.lastWD++; fd.lastWD <= 0 {
			fd.lastWD = 1
		}
		if fd.watches[fd.lastWD] == nil {
			break
		}
	}
	w.wd = fd.lastWD
	if release, err = p.Mark(&w.mark); err != nil {
		fd.pool.charge(fd.uid, 0, -1)
		return 0, nil, err
	}
	fd.watches[w.wd] = w
	fd.byInode[p.Inode()] = w
	return w.wd, release, nil
}

// Unwatch ends a watch (inotify_rm_watch(2)); IN_IGNORED tells that it did. EINVAL:
// there is none with that number.
func (fd *FD) Unwatch(wd int32) error {
	fd.mu.Lock()
	w := fd.watches[wd]
	if w == nil {
		fd.mu.Unlock()
		return unix.EINVAL
	}
	fd.drop(w)
	fd.mu.Unlock()
	fd.queue.Notify(waiter.ReadableEvents)
	return nil
}

// drop ends a watch. fd.mu is held.
func (fd *FD) drop(w *watch) {
	delete(fd.watches, w.wd)
	delete(fd.byInode, w.mark.Inode())
	w.mark.Unmark()
	fd.pool.charge(fd.uid, 0, -1)
	fd.add(event{wd: w.wd, mask: unix.IN_IGNORED})
}

// Event implements vfs.Sink (inotify_handle_inode_event).
func (fd *FD) Event(m *vfs.Mark, mask, cookie uint32, name string) {
	w := m.Data.(*watch)
	fd.mu.Lock()
	if fd.watches[w.wd] != w {
		fd.mu.Unlock()
		return // it was removed meanwhile
	}
	if mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0 {
		mask &^= unix.IN_ISDIR
	}
	if mask&(m.Mask()|unix.IN_UNMOUNT)&^unix.IN_ISDIR != 0 {
		fd.add(event{w.wd, mask, cookie, name})
	}
	if mask&vfs.Ended != 0 || m.Mask()&unix.IN_ONESHOT != 0 {
		fd.drop(w)
	}
	fd.mu.Unlock()
	fd.queue.Notify(waiter.ReadableEvents)
}

// add puts an event into the queue, unless it is the same as the one before
// (inotify_merge). fd.mu is held.
func (fd *FD) add(e event) {
	n := len(fd.events)
	if n > fd.head && fd.events[n-1] == e && e.mask&unix.IN_IGNORED == 0 {
		return
	}
	if int64(n-fd.head) >= fd.pool.Limits.MaxQueued.Load() {
		if !fd.overflow {
			fd.overflow = true
			fd.events = append(fd.events, event{wd: -1, mask: unix.IN_Q_OVERFLOW})
		}
		return
	}
	if fd.head > 0 && n == cap(fd.events) {
		n = copy(fd.events, fd.events[fd.head:])
		clear(fd.events[n:])
		fd.events, fd.head = fd.events[:n], 0
	}
	fd.events = append(fd.events, e)
}

// Read implements vfs.Reader: as many events as fit. EINVAL: not even the first
// does. EAGAIN: there is none.
func (fd *FD) Read(dst [][]byte) (int64, error) {
	room := 0
	for _, d := range dst {
		room += len(d)
	}
	fd.mu.Lock()
	defer fd.mu.Unlock()
	if fd.head == len(fd.events) {
		return 0, unix.EAGAIN
	}
	var out []byte
	for fd.head < len(fd.events) {
		e := &fd.events[fd.head]
		n := e.size()
		if len(out)+n > room {
			if len(out) == 0 {
				return 0, unix.EINVAL
			}
			break
		}
		out = append(out, make([]byte, n)...)
		e.put(out[len(out)-n:])
		if e.mask&unix.IN_Q_OVERFLOW != 0 {
			fd.overflow = false
		}
		*e = event{}
		fd.head++
	}
	if fd.head == len(fd.events) {
		fd.events, fd.head = fd.events[:0], 0
		if cap(fd.events) > 64 {
			fd.events = nil
		}
	}
	n := len(out)
	for _, d := range dst {
		out = out[copy(d, out):]
	}
	return int64(n), nil
}

// Queued returns how many bytes wait to be read (FIONREAD).
func (fd *FD) Queued() (n int) {
	fd.mu.Lock()
	defer fd.mu.Unlock()
	for i := fd.head; i < len(fd.events); i++ {
		n += fd.events[i].size()
	}
	return n
}

// Ioctl implements vfs.Ioctler: FIONREAD.
func (fd *FD) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	if request != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(fd.Queued()))
	_, err := mem.CopyOut(hostarch.Addr(arg), b[:])
	return 0, err
}

// FDInfo implements proc.FDInfoer (inotify_show_fdinfo).
func (fd *FD) FDInfo(b *bytes.Buffer) {
	fd.mu.Lock()
	defer fd.mu.Unlock()
	for _, wd := range slices.Sorted(maps.Keys(fd.watches)) {
		w := fd.watches[wd]
		if st, err := w.mark.Inode().Stat(); err == nil {
			dev := unix.Major(st.Dev)<<20 | unix.Minor(st.Dev)
			fmt.Fprintf(b, "inotify wd:%x ino:%x sdev:%x mask:%x ignored_mask:0\n", wd, st.Ino, dev, w.mark.Mask()&^unix.IN_EXCL_UNLINK)
		}
	}
}

// Readiness implements waiter.Waitable.
func (fd *FD) Readiness(mask waiter.EventMask) waiter.EventMask {
	fd.mu.Lock()
	defer fd.mu.Unlock()
	if fd.head == len(fd.events) {
		return 0
	}
	return mask & waiter.ReadableEvents
}

// EventRegister implements waiter.Waitable.
func (fd *FD) EventRegister(e *waiter.Entry) error {
	fd.queue.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (fd *FD) EventUnregister(e *waiter.Entry) { fd.queue.EventUnregister(e) }
