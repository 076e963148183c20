// Package eventfd is counters that can be waited for, as in Linux's fs/eventfd.c.
//
// Lock order: FD.mu alone; waiters are notified after it is released.
package eventfd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/vfs"
)

// maxCount is the largest count: 2⁶⁴-1 is reserved.
const maxCount = math.MaxUint64 - 1

// Name is what /proc/PID/fd shows of such a file.
const Name = "anon_inode:[eventfd]"

// FD is an eventfd: a vfs.FileOps.
type FD struct {
	vfs.NoPosition

	queue     waiter.Queue
	semaphore bool // constant

	mu    sync.Mutex
	count uint64
}

// New makes an eventfd that holds initial. semaphore is EFD_SEMAPHORE: a read
// takes one, not all.
func New(initial uint64, semaphore bool) *FD {
	return &FD{count: initial, semaphore: semaphore}
}

// NewFile makes the file of eventfd2(2): EINVAL for flags that are not EFD_*.
func NewFile(initial uint32, flags uint32) (*vfs.File, error) {
	if flags&^(unix.EFD_SEMAPHORE|unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) != 0 {
		return nil, unix.EINVAL
	}
	ops := New(uint64(initial), flags&unix.EFD_SEMAPHORE != 0)
	return vfs.NewFile(ops, &vfs.AnonInode{}, unix.O_RDWR|flags&unix.EFD_NONBLOCK, Name), nil
}

// Release implements vfs.FileOps.
func (*FD) Release() {}

// FDInfo implements proc.FDInfoer (eventfd_show_fdinfo). Eventfds have no numbers
// of their own: there is no line for one.
func (e *FD) FDInfo(b *bytes.Buffer) {
	semaphore := 0
	if e.semaphore {
		semaphore = 1
	}
	fmt.Fprintf(b, "eventfd-count: %16x\neventfd-semaphore: %d\n", e.Count(), semaphore)
}

// Count returns the count.
func (e *FD) Count() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.count
}

// Read implements vfs.Reader: eight bytes, EINVAL for less, EAGAIN while the
// count is 0.
func (e *FD) Read(dst [][]byte) (int64, error) {
	if !fits(dst) {
		return 0, unix.EINVAL
	}
	e.mu.Lock()
	n := e.count
	if n == 0 {
		e.mu.Unlock()
		return 0, unix.EAGAIN
	}
	if e.semaphore {
		n = 1
	}
	e.count -= n
	e.mu.Unlock()
	e.queue.Notify(waiter.WritableEvents)

	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	left := b[:]
	for _, d := range dst {
		left = left[copy(d, left):]
	}
	return 8, nil
}

// Write implements vfs.Writer: EAGAIN while the sum would be too large. EINVAL:
// not eight bytes, neither less nor, since Linux 6.10, more.
func (e *FD) Write(src [][]byte) (int64, error) {
	n := 0
	for _, s := range src {
		n += len(s)
	}
	if n != 8 {
		return 0, unix.EINVAL
	}
	var b [8]byte
	left := b[:]
	for _, s := range src {
		left = left[copy(left, s):]
	}
	if err := e.Add(binary.LittleEndian.Uint64(b[:])); err != nil {
		return 0, err
	}
	return 8, nil
}

// Add adds n to the count. EINVAL: n is 2⁶⁴-1. EAGAIN: the sum is too large.
func (e *FD) Add(n uint64) error {
	if n > maxCount {
		return unix.EINVAL
	}
	e.mu.Lock()
	if n > maxCount-e.count {
		e.mu.Unlock()
		return unix.EAGAIN
	}
	e.count += n
	e.mu.Unlock()
	e.queue.Notify(waiter.ReadableEvents)
	return nil
}

// fits reports whether bufs hold eight bytes.
func fits(bufs [][]byte) bool {
	n := 0
	for _, b := range bufs {
		if n += len(b); n >= 8 {
			return true
		}
	}
	return false
}

// Readiness implements waiter.Waitable (eventfd_poll).
func (e *FD) Readiness(mask waiter.EventMask) waiter.EventMask {
	n := e.Count()
	var ready waiter.EventMask
	if n > 0 {
		ready |= waiter.EventIn
	}
	if n < maxCount {
		ready |= waiter.EventOut
	}
	return ready & mask
}

// EventRegister implements waiter.Waitable.
func (e *FD) EventRegister(w *waiter.Entry) error {
	e.queue.EventRegister(w)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (e *FD) EventUnregister(w *waiter.Entry) { e.queue.EventUnregister(w) }
