// Package timerfd is timers that are files, as in Linux's fs/timerfd.c.
//
// As there, the host's timer of a periodic FD rests from the first expiration
// until somebody reads: what expired meanwhile is reckoned then.
//
// Nothing in a sandbox sets clocks; the host may. A timer that is set to a time on
// CLOCK_REALTIME looks at it once a second at least.
//
// Lock order: FD.mu, then the clock's; waiters are notified after FD.mu is
// released.
package timerfd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/clock"
	"runsc-lite/sentry/vfs"
)

// Name is what /proc/PID/fd shows of such a file.
const Name = "anon_inode:[timerfd]"

const (
	// piece is how often the real-time clock is looked at.
	piece = time.Second
	// step is by how much it moves against CLOCK_MONOTONIC when it is set, and
	// not just corrected.
	step = 50 * time.Millisecond
)

// Value is struct itimerspec, in nanoseconds.
type Value struct {
	Interval int64
	Left     int64 // until the next expiration; with Absolute the time of it. 0: none
}

// FD is a timerfd: a vfs.FileOps.
type FD struct {
	vfs.NoPosition

	clk    clock.Clock
	id     int32 // the clock; constant
	wanted int32 // what it was asked for as: an alarm clock is its plain one here
	queue  waiter.Queue

	mu       sync.Mutex
	timer    clock.Timer // nil until it is needed; see fire
	on       int32       // the clock that due is on
	due      int64       // next expiration; 0: none
	interval int64
	flags    uint32 // of the setting
	ticks    uint64 // expirations nobody has read
	// rests says that the timer expired, and nothing was reckoned since.
	rests bool

	// With TFD_TIMER_CANCEL_ON_SET: what the real-time clock is ahead of
	// CLOCK_MONOTONIC, and whether it was set.
	watches  bool
	ahead    int64
	canceled bool
}

// New makes a timer on clock id: EINVAL for a clock that timers cannot be on.
func New(clk clock.Clock, id int32) (*FD, error) {
	wanted := id
	switch id {
	case unix.CLOCK_REALTIME_ALARM:
		// As without a device that could wake the machine.
		id = unix.CLOCK_REALTIME
	case unix.CLOCK_BOOTTIME_ALARM:
		id = unix.CLOCK_BOOTTIME
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME:
	default:
		return nil, unix.EINVAL
	}
	if _, err := clk.Read(id); err != nil {
		return nil, err
	}
	return &FD{clk: clk, id: id, wanted: wanted}, nil
}

// NewFile makes the file of timerfd_create(2): EINVAL for a clock or flags that
// are not.
func NewFile(clk clock.Clock, id int32, flags uint32) (*vfs.File, error) {
	if flags&^(unix.TFD_CLOEXEC|unix.TFD_NONBLOCK) != 0 {
		return nil, unix.EINVAL
	}
	ops, err := New(clk, id)
	if err != nil {
		return nil, err
	}
	return vfs.NewFile(ops, &vfs.AnonInode{}, unix.O_RDWR|flags&unix.TFD_NONBLOCK, Name), nil
}

// Release implements vfs.FileOps.
func (f *FD) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop()
}

// now reads a clock; New has seen that it can be read.
func (f *FD) now(id int32) int64 {
	ns, err := f.clk.Read(id)
	if err != nil {
		return 0
	}
	return ns
}

// aheadNow returns what the real-time clock is ahead, and how exact that is.
func (f *FD) aheadNow() (ahead, slack int64) {
	m1 := f.now(unix.CLOCK_MONOTONIC)
	r := f.now(unix.CLOCK_REALTIME)
	m2 := f.now(unix.CLOCK_MONOTONIC)
	return r - m1 - (m2-m1)/2, m2 - m1
}

// Set replaces the setting and returns the old one (timerfd_settime(2)). flags
// are TFD_TIMER_*. EINVAL: unknown flags.
func (f *FD) Set(v Value, flags uint32) (Value, error) {
	if flags&^(unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET) != 0 {
		return Value{}, unix.EINVAL
	}
	f.mu.Lock()
	old := f.get()
	f.stop()
	f.ticks, f.rests, f.canceled = 0, false, false
	f.interval, f.on, f.flags = v.Interval, f.id, flags
	absolute := flags&unix.TFD_TIMER_ABSTIME != 0
	f.watches = absolute && f.id == unix.CLOCK_REALTIME && flags&unix.TFD_TIMER_CANCEL_ON_SET != 0
	if f.watches {
		f.ahead, _ = f.aheadNow()
	}
	if v.Left != 0 {
		f.due = v.Left
		if !absolute {
			// timerfd_create(2): a relative time is not affected by
			// discontinuous changes of the clock.
			if f.on == unix.CLOCK_REALTIME {
				f.on = unix.CLOCK_MONOTONIC
			}
			f.due = later(f.now(f.on), v.Left)
		}
		f.due = max(f.due, 1)
		f.reckon()
	}
	f.arm()
	ready := f.ready()
	f.mu.Unlock()
	if ready {
		f.queue.Notify(waiter.ReadableEvents)
	}
	return old, nil
}

// later adds without overflow.
func later(t, d int64) int64 {
	if t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}

// Get returns what is left (timerfd_gettime(2)).
func (f *FD) Get() Value {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.get()
}

// get is Get. A periodic timer that rests goes on by it.
func (f *FD) get() Value {
	f.reckon()
	f.goOn()
	v := Value{Interval: f.interval}
	if f.due != 0 {
		v.Left = max(0, f.due-f.now(f.on))
	}
	return v
}

// FDInfo implements proc.FDInfoer (timerfd_show).
func (f *FD) FDInfo(b *bytes.Buffer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reckon()
	left := int64(0)
	if f.due != 0 {
		left = max(0, f.due-f.now(f.on))
	}
	const second = int64(time.Second)
	fmt.Fprintf(b, "clockid: %d\nticks: %d\nsettime flags: 0%o\nit_value: (%d, %d)\nit_interval: (%d, %d)\n",
		f.wanted, f.ticks, f.flags, left/second, left%second, f.interval/second, f.interval%second)
}

// reckon notes that the timer has expired, if it has.
func (f *FD) reckon() {
	if f.due == 0 || f.rests {
		return
	}
	if now := f.now(f.on); now >= f.due {
		f.ticks++
		f.rests = true
	}
}

// goOn makes a periodic timer that rests run again, and counts what it missed.
func (f *FD) goOn() {
	if !f.rests || f.interval == 0 {
		return
	}
	f.rests = false
	missed := max(0, f.now(f.on)-f.due) / f.interval
	f.ticks += uint64(missed)
	f.due = later(f.due, (missed+1)*f.interval)
	f.arm()
}

// stop ends the setting.
func (f *FD) stop() {
	f.due, f.watches = 0, false
	f.arm()
}

// arm sets the host's timer for what is to come.
func (f *FD) arm() {
	runs := f.due != 0 && !f.rests
	if !runs && !f.watches {
		if f.timer != nil {
			f.timer.Stop()
		}
		return
	}
	left := piece
	if runs {
		left = time.Duration(max(0, f.due-f.now(f.on)))
		if f.on == unix.CLOCK_REALTIME {
			left = min(left, piece)
		}
	}
	if f.timer == nil {
		f.timer = f.clk.AfterFunc(left, f.fire)
	} else {
		f.timer.Reset(left)
	}
}

// fire is what the host's timer runs. It may come late, for a setting that is
// gone: what it does is right at any time.
func (f *FD) fire() {
	f.mu.Lock()
	f.reckon()
	f.look()
	f.arm()
	ready := f.ready()
	f.mu.Unlock()
	if ready {
		f.queue.Notify(waiter.ReadableEvents)
	}
}

// look finds out whether the real-time clock was set (timerfd_clock_was_set).
func (f *FD) look() {
	if !f.watches {
		return
	}
	ahead, slack := f.aheadNow()
	moved := ahead - f.ahead
	f.ahead = ahead
	if max(moved, -moved) > int64(step)+slack {
		f.canceled = true
	}
}

func (f *FD) ready() bool { return f.ticks != 0 || f.canceled }

// Read implements vfs.Reader: the number of expirations, in eight bytes. EINVAL:
// less room; EAGAIN: none; ECANCELED: the clock was set
// (TFD_TIMER_CANCEL_ON_SET).
func (f *FD) Read(dst [][]byte) (int64, error) {
	room := 0
	for _, d := range dst {
		if room += len(d); room >= 8 {
			break
		}
	}
	if room < 8 {
		return 0, unix.EINVAL
	}
	f.mu.Lock()
	f.reckon()
	if f.canceled {
		f.canceled, f.ticks = false, 0
		f.mu.Unlock()
		return 0, unix.ECANCELED
	}
	if f.ticks == 0 {
		f.mu.Unlock()
		return 0, unix.EAGAIN
	}
	f.goOn()
	n := f.ticks
	f.ticks = 0
	f.mu.Unlock()

	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	left := b[:]
	for _, d := range dst {
		left = left[copy(d, left):]
	}
	return 8, nil
}

// Readiness implements waiter.Waitable (timerfd_poll).
func (f *FD) Readiness(mask waiter.EventMask) waiter.EventMask {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reckon()
	if f.ready() {
		return mask & waiter.EventIn
	}
	return 0
}

// EventRegister implements waiter.Waitable.
func (f *FD) EventRegister(e *waiter.Entry) error {
	f.queue.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (f *FD) EventUnregister(e *waiter.Entry) { f.queue.EventUnregister(e) }
