package syscalls

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// pollFD is struct pollfd, 8 bytes.
type pollFD struct {
	fd      int32
	events  uint16
	revents uint16
}

const pollFDSize = 8

// polled is what one wait of poll, select or ppoll watches.
type polled struct {
	fds     []pollFD
	files   []*vfs.File
	ready   []waiter.Waitable // what the files are for the caller; nil: none
	entries []waiter.Entry
}

func (p *polled) release() {
	for _, f := range p.files {
		if f != nil {
			f.DecRef()
		}
	}
}

// scan fills revents and counts the descriptors that have some.
func (p *polled) scan() int {
	n := 0
	for i := range p.fds {
		d := &p.fds[i]
		switch w := p.ready[i]; {
		case w != nil:
			mask := waiter.EventMaskFromLinux(uint32(d.events)) | waiter.EventHUp | waiter.EventErr
			d.revents = uint16((w.Readiness(mask) & mask).ToLinux())
		case d.fd >= 0:
			d.revents = unix.POLLNVAL
		}
		if d.revents != 0 {
			n++
		}
	}
	return n
}

// wait is do_poll: it returns the number of ready descriptors, 0 at the
// deadline.
func (p *polled) wait(t *task.Task, deadline time.Time, zero bool) (int, error) {
	defer p.release()
	p.files = make([]*vfs.File, len(p.fds))
	p.ready = make([]waiter.Waitable, len(p.fds))
	for i, d := range p.fds {
		if d.fd < 0 {
			continue
		}
		if f, err := t.File(d.fd); err == nil {
			p.files[i], p.ready[i] = f, t.Waitable(f)
		}
	}
	if n := p.scan(); n > 0 || zero {
		return n, nil
	}
	ch := make(chan struct{}, 1)
	p.entries = make([]waiter.Entry, len(p.fds))
	registered := 0
	defer func() {
		for i := range registered {
			if w := p.ready[i]; w != nil {
				w.EventUnregister(&p.entries[i])
			}
		}
	}()
	for i, w := range p.ready {
		if w != nil {
			mask := waiter.EventMaskFromLinux(uint32(p.fds[i].events)) | waiter.EventHUp | waiter.EventErr
			p.entries[i].Init(t.Notifier(ch), mask)
			if err := w.EventRegister(&p.entries[i]); err != nil {
				return 0, err
			}
		}
		registered = i + 1
	}
	for {
		if n := p.scan(); n > 0 {
			return n, nil
		}
		if err := t.Block(ch, deadline); err == unix.ETIMEDOUT {
			return 0, nil
		} else if err != nil {
			return 0, err
		}
	}
}

// copyInPollFDs reads the array; more than RLIMIT_NOFILE is EINVAL.
func copyInPollFDs(t *task.Task, addr hostarch.Addr, n uint32) ([]pollFD, error) {
	if uint64(n) > t.Process().Limits().Get(unix.RLIMIT_NOFILE).Cur {
		return nil, unix.EINVAL
	}
	raw := make([]byte, pollFDSize*int(n))
	if _, err := t.Memory().Space.CopyIn(addr, raw); err != nil {
		return nil, err
	}
	fds := make([]pollFD, n)
	for i := range fds {
		fds[i].fd = int32(binary.LittleEndian.Uint32(raw[pollFDSize*i:]))
		fds[i].events = binary.LittleEndian.Uint16(raw[pollFDSize*i+4:])
	}
	return fds, nil
}

func copyOutPollFDs(t *task.Task, addr hostarch.Addr, fds []pollFD) error {
	for i, d := range fds {
		var b [2]byte
		binary.LittleEndian.PutUint16(b[:], d.revents)
		if _, err := t.Memory().Space.CopyOut(addr+hostarch.Addr(pollFDSize*i+6), b[:]); err != nil {
			return err
		}
	}
	return nil
}

func poll(t *task.Task, addr hostarch.Addr, n uint32, deadline time.Time, zero bool) (uint64, error) {
	fds, err := copyInPollFDs(t, addr, n)
	if err != nil {
		return 0, err
	}
	p := polled{fds: fds}
	ready, err := p.wait(t, deadline, zero)
	if err != nil {
		return 0, err
	}
	if err := copyOutPollFDs(t, addr, p.fds); err != nil {
		return 0, err
	}
	return uint64(ready), nil
}

// sysPoll is poll(2): a timeout in milliseconds, negative for none.
func sysPoll(t *task.Task, a *task.Args) (uint64, error) {
	deadline := never
	if ms := a.Int(2); ms > 0 {
		deadline = after(time.Duration(ms) * time.Millisecond)
	}
	return pollRestartable(t, a.Addr(0), a.Uint(1), deadline, a.Int(2) == 0)
}

func pollRestartable(t *task.Task, addr hostarch.Addr, n uint32, deadline time.Time, zero bool) (uint64, error) {
	ready, err := poll(t, addr, n, deadline, zero)
	if err == procmgr.ErrInterrupted {
		return 0, t.SetRestartBlock(func(t *task.Task, _ *task.Args) (uint64, error) {
			return pollRestartable(t, addr, n, deadline, zero)
		})
	}
	return ready, err
}

// timeoutSpec is a timespec argument that is updated with what is left.
type timeoutSpec struct {
	addr     hostarch.Addr
	deadline time.Time
	zero     bool
}

func copyInTimeoutSpec(t *task.Task, addr hostarch.Addr) (timeoutSpec, error) {
	s := timeoutSpec{addr: addr}
	if addr == 0 {
		return s, nil
	}
	ts, ok, err := copyInTimespec(t, addr)
	if err != nil {
		return s, err
	}
	if !ok {
		return s, unix.EINVAL
	}
	s.zero = ts.Sec == 0 && ts.Nsec == 0
	s.deadline = after(duration(ts))
	return s, nil
}

// update stores what is left of the time; Linux ignores a fault here.
func (s *timeoutSpec) update(t *task.Task) {
	if s.addr != 0 && !s.zero && !t.HasPersona(task.PersonaStickyTimeouts) {
		copyOutTimespec(t, s.addr, max(0, int64(time.Until(s.deadline))))
	}
}

// withMask runs wait under the signal mask at addr, if there is one. The old
// mask comes back afterwards, or once the handler that broke in has run.
func withMask(t *task.Task, addr hostarch.Addr, size uint64, wait func() (uint64, error)) (uint64, error) {
	if addr == 0 {
		n, err := wait()
		return n, task.Interrupted(err, task.RestartNoHand)
	}
	set, err := copyInSigset(t, addr, size)
	if err != nil {
		return 0, err
	}
	t.Thread().SaveMask(set)
	n, err := wait()
	if err == procmgr.ErrInterrupted {
		return 0, task.RestartNoHand
	}
	t.Thread().RestoreMask()
	return n, err
}

// sysPpoll is ppoll(2).
func sysPpoll(t *task.Task, a *task.Args) (uint64, error) {
	to, err := copyInTimeoutSpec(t, a.Addr(2))
	if err != nil {
		return 0, err
	}
	return withMask(t, a.Addr(3), a[4], func() (uint64, error) {
		n, err := poll(t, a.Addr(0), a.Uint(1), to.deadline, to.zero)
		to.update(t)
		return n, err
	})
}

// The events of the three sets of select(2) (fs/select.c).
const (
	selectIn  = linux.POLLRDNORM | linux.POLLRDBAND | unix.POLLIN | unix.POLLHUP | unix.POLLERR
	selectOut = linux.POLLWRBAND | linux.POLLWRNORM | unix.POLLOUT | unix.POLLERR
	selectEx  = unix.POLLPRI
)

var selectEvents = [3]uint16{selectIn, selectOut, selectEx}

// doSelect is core_sys_select.
func doSelect(t *task.Task, n int32, addrs [3]hostarch.Addr, deadline time.Time, zero bool) (uint64, error) {
	if n < 0 {
		return 0, unix.EINVAL
	}
	n = min(n, int32(t.FDs().Size()))
	bytes := (int(n) + 63) / 64 * 8
	var in [3][]byte
	for i, addr := range addrs {
		in[i] = make([]byte, bytes)
		if addr != 0 {
			if _, err := t.Memory().Space.CopyIn(addr, in[i]); err != nil {
				return 0, err
			}
		}
	}
	var p polled
	for fd := range n {
		var events uint16
		for i := range in {
			if in[i][fd/8]>>(fd%8)&1 != 0 {
				events |= selectEvents[i]
			}
		}
		if events != 0 {
			f, err := t.File(fd)
			if err != nil {
				return 0, unix.EBADF
			}
			f.DecRef()
			p.fds = append(p.fds, pollFD{fd: fd, events: events})
		}
	}
	if _, err := p.wait(t, deadline, zero); err != nil {
		return 0, err
	}
	count := uint64(0)
	var out [3][]byte
	for i := range out {
		out[i] = make([]byte, bytes)
	}
	for _, d := range p.fds {
		for i := range out {
			if in[i][d.fd/8]>>(d.fd%8)&1 != 0 && d.revents&selectEvents[i] != 0 {
				out[i][d.fd/8] |= 1 << (d.fd % 8)
				count++
			}
		}
	}
	for i, addr := range addrs {
		if addr != 0 {
			if _, err := t.Memory().Space.CopyOut(addr, out[i]); err != nil {
				return 0, err
			}
		}
	}
	return count, nil
}

// sysSelect is select(2), with a struct timeval that is updated.
func sysSelect(t *task.Task, a *task.Args) (uint64, error) {
	var s timeoutSpec
	if addr := a.Addr(4); addr != 0 {
		var b [16]byte
		if _, err := t.Memory().Space.CopyIn(addr, b[:]); err != nil {
			return 0, err
		}
		sec, usec := int64(binary.LittleEndian.Uint64(b[0:])), int64(binary.LittleEndian.Uint64(b[8:]))
		if sec < 0 || usec < 0 {
			return 0, unix.EINVAL
		}
		d := duration(unix.Timespec{Sec: sec + usec/1e6, Nsec: usec % 1e6 * 1000})
		s = timeoutSpec{deadline: after(d), zero: d == 0}
	}
	n, err := doSelect(t, a.Int(0), [3]hostarch.Addr{a.Addr(1), a.Addr(2), a.Addr(3)}, s.deadline, s.zero)
	if a[4] != 0 && !s.zero && !t.HasPersona(task.PersonaStickyTimeouts) {
		left := max(0, int64(time.Until(s.deadline)))
		var b [16]byte
		binary.LittleEndian.PutUint64(b[0:], uint64(left/nanosPerSecond))
		binary.LittleEndian.PutUint64(b[8:], uint64(left%nanosPerSecond/1000))
		t.Memory().Space.CopyOut(a.Addr(4), b[:])
	}
	return n, task.Interrupted(err, task.RestartNoHand)
}

// sysPselect6 is pselect(2); its sixth argument points to mask and size.
func sysPselect6(t *task.Task, a *task.Args) (uint64, error) {
	to, err := copyInTimeoutSpec(t, a.Addr(4))
	if err != nil {
		return 0, err
	}
	var mask hostarch.Addr
	var size uint64
	if a[5] != 0 {
		var b [16]byte
		if _, err := t.Memory().Space.CopyIn(a.Addr(5), b[:]); err != nil {
			return 0, err
		}
		mask, size = hostarch.Addr(binary.LittleEndian.Uint64(b[0:])), binary.LittleEndian.Uint64(b[8:])
	}
	return withMask(t, mask, size, func() (uint64, error) {
		n, err := doSelect(t, a.Int(0), [3]hostarch.Addr{a.Addr(1), a.Addr(2), a.Addr(3)}, to.deadline, to.zero)
		to.update(t)
		return n, err
	})
}
