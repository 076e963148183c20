// Package pipe is pipes and FIFOs, in the way of Linux's fs/pipe.c.
//
// A pipe is a ring of slots. A slot is a page, or a part of one, that a write
// filled; later small writes are appended to the youngest slot while they fit
// whole. Reads take from the oldest. How much fits therefore depends on the
// sizes of the writes, exactly as on Linux, and the atomicity of writes up to
// PIPE_BUF follows from the same rule: such a write goes into one slot, or not
// at all.
//
// Pages come from a Pool that all pipes of a sandbox share and go back when
// they are read empty, so that an idle pipe holds a few hundred bytes. The Pool
// also bounds what the pipes of a sandbox may hold together.
//
// Nothing here waits: EAGAIN says that the caller has to, on the end's
// readiness.
//
// Lock order:
//
//	Pipe.mu
//	  nothing: waiters are notified after it is released
package pipe

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
	"runsc-lite/sentry/vfs"
)

const (
	// PageSize is the size of a slot, and of PIPE_BUF.
	PageSize = 4096
	// DefaultSlots is the capacity of a new pipe in pages (64 KiB).
	DefaultSlots = 16
	// MaxSize is the largest capacity in bytes (fs.pipe-max-size).
	MaxSize = 1 << 20

	// softSlots is fs.pipe-user-pages-soft: when the pipes of a sandbox have
	// more, new ones get minSlots, and growing one is EPERM.
	softSlots = 16384
	minSlots  = 2
)

// page is what a slot fills.
type page [PageSize]byte

// Pool is what the pipes of a sandbox have in common.
type Pool struct {
	pages sync.Pool    // *page
	slots atomic.Int64 // capacity of all pipes
	ino   atomic.Uint64
	now   func() unix.Timespec
}

// NewPool makes a Pool. now is the clock of timestamps; nil for the host's.
func NewPool(now func() unix.Timespec) *Pool {
	if now == nil {
		now = func() unix.Timespec { return unix.NsecToTimespec(time.Now().UnixNano()) }
	}
	return &Pool{pages: sync.Pool{New: func() any { return new(page) }}, now: now}
}

func (l *Pool) getPage() *page  { return l.pages.Get().(*page) }
func (l *Pool) putPage(p *page) { l.pages.Put(p) }

// slot is a piece of a page that is waiting to be read (struct pipe_buffer).
type slot struct {
	page   *page
	off, n uint16
	packet bool // a message of O_DIRECT mode: read alone, never appended to
	whole  bool // what splice(2) brought: never appended to
}

// Pipe is the object between the ends.
type Pipe struct {
	pool  *Pool
	queue waiter.Queue

	mu    sync.Mutex
	ring  []slot // a power of two long; grows up to max slots as needed
	first uint32 // index of the oldest
	used  uint32
	max   uint32
	// What splice(2) holds: slots that are promised, and whether the front was
	// taken and may come back.
	reserved uint32
	lent     bool

	// Open ends, and how often each sort was opened: an open(2) of a FIFO
	// waits for the other side's count to move.
	readers, writers int
	rOpens, wOpens   uint64
}

// newPipe makes a pipe without ends.
func (l *Pool) newPipe() *Pipe {
	n := uint32(DefaultSlots)
	if l.slots.Load()+DefaultSlots > softSlots {
		n = minSlots
	}
	return &Pipe{pool: l, max: n}
}

func (p *Pipe) full() bool { return p.used+p.reserved >= p.max }

// at returns the i-th oldest slot.
func (p *Pipe) at(i uint32) *slot { return &p.ring[(p.first+i)&uint32(len(p.ring)-1)] }

// push adds a slot. The pipe is not full.
func (p *Pipe) push(s slot) {
	if p.used == uint32(len(p.ring)) {
		p.resize(max(4, 2*p.used))
	}
	p.used++
	*p.at(p.used - 1) = s
}

// resize makes the ring n slots long: a power of two, at least as many as are
// in use.
func (p *Pipe) resize(n uint32) {
	ring := make([]slot, n)
	for i := range p.used {
		ring[i] = *p.at(i)
	}
	p.ring, p.first = ring, 0
}

// pop drops the oldest slot.
func (p *Pipe) pop() {
	s := p.at(0)
	p.pool.putPage(s.page)
	*s = slot{}
	p.first++
	p.used--
}

// Buffered returns the number of bytes that wait to be read (FIONREAD).
func (p *Pipe) Buffered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for i := range p.used {
		n += int(p.at(i).n)
	}
	return n
}

// Capacity returns the capacity in bytes (fcntl(F_GETPIPE_SZ)).
func (p *Pipe) Capacity() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(p.max) * PageSize
}

// SetCapacity changes the capacity to at least n bytes and returns what it is
// then (pipe_set_size). EINVAL: n is out of range. EPERM: more than MaxSize, or
// the pipes of the sandbox have too much together. EBUSY: more than n is
// waiting to be read. Unlike on Linux, privilege does not lift the limits:
// pipes live in the sentry's own memory.
func (p *Pipe) SetCapacity(n int64, privileged bool) (int64, error) {
	if n < 0 || n > 1<<31 {
		return 0, unix.EINVAL
	}
	n = max(n, PageSize)
	slots := uint32(1) << bits.Len64(uint64(n-1)/PageSize)
	wake, err := p.setSlots(slots)
	if err != nil {
		return 0, err
	}
	if wake {
		p.queue.Notify(waiter.WritableEvents)
	}
	return int64(slots) * PageSize, nil
}

func (p *Pipe) setSlots(slots uint32) (wake bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	more := int64(slots) - int64(p.max)
	if more > 0 && (slots > MaxSize/PageSize || p.pool.slots.Load()+more > softSlots) {
		return false, unix.EPERM
	}
	if slots < p.used+p.reserved {
		return false, unix.EBUSY
	}
	wake = p.full() && slots > p.used+p.reserved
	p.pool.slots.Add(more)
	p.max = slots
	return wake, nil
}

// attach adds ends. A pipe counts against the Pool's bound while it has any.
// p.mu is held, or nobody else has p yet.
func (p *Pipe) attach(readers, writers int) {
	if p.readers == 0 && p.writers == 0 {
		p.pool.slots.Add(int64(p.max))
	}
	p.readers += readers
	p.writers += writers
	p.rOpens += uint64(readers)
	p.wOpens += uint64(writers)
}

// drop takes an end away. With the last one the contents go.
func (p *Pipe) drop(readers, writers int) {
	p.mu.Lock()
	p.readers -= readers
	p.writers -= writers
	gone := p.readers == 0 && p.writers == 0
	if gone {
		for p.used > 0 {
			p.pop()
		}
		p.ring = nil
		p.pool.slots.Add(-int64(p.max))
	}
	// "if (!pipe->readers != !pipe->writers)": one side is alone now.
	alone := (p.readers == 0) != (p.writers == 0)
	p.mu.Unlock()
	if alone {
		p.queue.Notify(waiter.ReadableEvents | waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	}
}

// Create makes a pipe (pipe2(2)). flags may have O_NONBLOCK and O_DIRECT; uid
// and gid own it. The caller gets the one reference on each end.
func (l *Pool) Create(flags uint32, uid, gid uint32) (r, w *vfs.File) {
	p := l.newPipe()
	i := &inode{pipe: p, ino: l.ino.Add(1), uid: uid, gid: gid, made: l.now()}
	at := vfs.NewAnon(i, "pipe:["+itoa(i.ino)+"]")
	p.attach(1, 1)
	flags &= unix.O_NONBLOCK | unix.O_DIRECT
	rd := &end{Pipe: p, reads: true}
	wr := &end{Pipe: p, writes: true}
	wr.packets.Store(flags&unix.O_DIRECT != 0)
	return vfs.NewFileAt(at, rd, flags|unix.O_RDONLY), vfs.NewFileAt(at, wr, flags|unix.O_WRONLY)
}

func itoa(n uint64) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}

// inode is a pipe's in pipefs.
type inode struct {
	pipe     *Pipe
	ino      uint64
	uid, gid uint32
	made     unix.Timespec
}

// Stat implements vfs.Inode.
func (i *inode) Stat() (vfs.Stat, error) {
	return vfs.Stat{
		Dev: unix.Mkdev(0, 13), Ino: i.ino, Mode: unix.S_IFIFO | 0o600, Nlink: 1,
		UID: i.uid, GID: i.gid, Blksize: PageSize, Atime: i.made, Mtime: i.made, Ctime: i.made,
	}, nil
}

// Open implements vfs.Inode: /proc/PID/fd/N of a pipe is opened anew.
func (i *inode) Open(flags uint32) (vfs.FileOps, error) {
	return ops(i.pipe.open(flags, true))
}
