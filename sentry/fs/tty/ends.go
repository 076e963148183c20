package tty

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/fs/tty/ldisc"
)

// chunk is how much of a write is taken from the guest's memory at once, in bytes: it
// is looked at after that, and must not change any more.
const chunk = 512

// Master is the open master of a pseudo-terminal.
type Master struct {
	*Pair
	nonblock atomic.Bool
}

// Index returns the number of the slave's side.
func (p *Pair) Index() int { return p.index }

// SetFlags implements vfs.FlagSetter.
func (m *Master) SetFlags(flags uint32) error { return setFlags(&m.nonblock, flags) }

func setFlags(nonblock *atomic.Bool, flags uint32) error {
	if flags&unix.O_DIRECT != 0 {
		return unix.EINVAL
	}
	nonblock.Store(flags&unix.O_NONBLOCK != 0)
	return nil
}

// Release implements vfs.FileOps: the terminal hangs up.
func (m *Master) Release() {
	m.mu.Lock()
	m.closed = true
	m.packet = false
	m.line.Out.Reset()
	m.hangUp()
	m.release()
}

// Read implements vfs.Reader. EIO: nobody has the slave's side open any more.
func (m *Master) Read(dst [][]byte) (int64, error) {
	if total(dst) == 0 {
		return 0, nil
	}
	m.mu.Lock()
	defer m.unlock()
	n := int64(0)
	if m.packet && m.status != 0 {
		put(dst, m.status)
		m.status = 0
		return 1, nil
	}
	out := &m.line.Out
	if out.Len() == 0 {
		if m.left {
			return 0, unix.EIO
		}
		return 0, unix.EAGAIN
	}
	if m.packet {
		dst = put(dst, unix.TIOCPKT_DATA)
		n = 1
	}
	for _, b := range dst {
		k := out.Peek(b)
		out.Skip(k)
		n += int64(k)
	}
	m.line.Events.Writable = true
	return n, nil
}

func total(bufs [][]byte) (n int64) {
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}

// put stores one byte and returns what is behind it.
func put(dst [][]byte, c byte) [][]byte {
	for len(dst[0]) == 0 {
		dst = dst[1:]
	}
	dst[0][0] = c
	return append([][]byte{dst[0][1:]}, dst[1:]...)
}

// Write implements vfs.Writer: somebody types.
func (m *Master) Write(src [][]byte) (int64, error) {
	m.mu.Lock()
	defer m.unlock()
	if m.held {
		return 0, unix.EAGAIN
	}
	done, want := int64(0), int64(0)
	var buf [chunk]byte
	for _, b := range src {
		want += int64(len(b))
		for len(b) > 0 {
			n := copy(buf[:], b)
			k := m.typed.Put(buf[:n])
			done += int64(k)
			if k < n {
				return partly(done)
			}
			b = b[n:]
		}
	}
	return done, nil
}

func partly(done int64) (int64, error) {
	if done == 0 {
		return 0, unix.EAGAIN
	}
	return done, nil
}

// Readiness implements waiter.Waitable (n_tty_poll).
func (m *Master) Readiness(mask waiter.EventMask) waiter.EventMask {
	m.mu.Lock()
	defer m.mu.Unlock()
	ready := waiter.EventMask(0)
	if m.line.Out.Len() > 0 {
		ready |= waiter.ReadableEvents
	}
	if m.packet && m.status != 0 {
		ready |= waiter.ReadableEvents | waiter.EventPri
	}
	if m.left {
		ready |= waiter.EventHUp
	}
	if !m.held && m.typed.Room() > 0 {
		ready |= waiter.WritableEvents
	}
	return ready & (mask | waiter.EventHUp | waiter.EventErr)
}

// EventRegister implements waiter.Waitable.
func (m *Master) EventRegister(e *waiter.Entry) error {
	m.masters.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (m *Master) EventUnregister(e *waiter.Entry) { m.masters.EventUnregister(e) }

// slave is an open file on the slave's side.
type slave struct {
	*Pair
	hangup   int // Pair.hangups when it was opened
	readable bool
	nonblock atomic.Bool
	waiting  bool // somebody waits for input; s.mu
}

// SetFlags implements vfs.FlagSetter.
func (s *slave) SetFlags(flags uint32) error { return setFlags(&s.nonblock, flags) }

// hungUp reports whether the connection ended since the file was opened. s.mu is
// held.
func (s *slave) hungUp() bool { return s.hangup != s.hangups }

// Release implements vfs.FileOps.
func (s *slave) Release() {
	s.mu.Lock()
	s.open--
	last := s.open == 0
	if last {
		s.left = true
	}
	s.unlock()
	if last {
		s.masters.Notify(waiter.ReadableEvents | waiter.WritableEvents | waiter.EventHUp)
	}
}

// Admit implements vfs.Admitter: job control.
func (s *slave) Admit(task any, write bool) error {
	s.mu.Lock()
	hung := s.hungUp()
	m := s.line.Termios()
	s.mu.Unlock()
	switch {
	case hung:
		return nil
	case !write:
		return s.check(task, unix.SIGTTIN)
	case m.Lflag&unix.TOSTOP != 0:
		return s.check(task, unix.SIGTTOU)
	}
	return nil
}

// Read implements vfs.Reader. When the terminal has hung up, it is at its end; who was
// waiting gets EIO.
func (s *slave) Read(dst [][]byte) (int64, error) { return s.read(dst, s.nonblock.Load()) }

// ReadRest implements vfs.Collector.
func (s *slave) ReadRest(dst [][]byte) (int64, error) { return s.read(dst, true) }

func (s *slave) read(dst [][]byte, rest bool) (int64, error) {
	s.mu.Lock()
	waited := s.waiting
	s.waiting = false
	if s.hungUp() {
		s.mu.Unlock()
		if waited {
			return 0, unix.EIO
		}
		return 0, nil
	}
	n, ok := s.line.Read(dst, rest)
	s.waiting = !ok && !rest
	s.unlock()
	if !ok {
		return 0, unix.EAGAIN
	}
	if n > 0 {
		s.touch(&s.Accessed)
	}
	return n, nil
}

// Deadline implements vfs.Collector. With VMIN 0 the time is that of the whole read;
// otherwise it begins anew with each byte, the first included.
func (s *slave) Deadline(begin time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.line.Termios()
	n, _ := s.line.Available()
	if s.arrived.After(begin) {
		return deadline(&t, n, begin, s.arrived)
	}
	return deadline(&t, n, begin, begin)
}

// deadline is until when a read that began at begin waits, with n bytes there of which
// the last came at last.
func deadline(t *ldisc.Termios, n int, begin, last time.Time) time.Time {
	limit := time.Duration(t.CC[unix.VTIME]) * (time.Second / 10)
	switch {
	case t.Canonical() || limit == 0:
		return time.Time{}
	case t.CC[unix.VMIN] == 0:
		return begin.Add(limit)
	case n > 0:
		return last.Add(limit)
	}
	return time.Time{}
}

// Write implements vfs.Writer. EIO: the terminal hung up.
func (s *slave) Write(src [][]byte) (int64, error) {
	s.mu.Lock()
	defer s.unlock()
	if s.hungUp() {
		return 0, unix.EIO
	}
	done := int64(0)
	var buf [chunk]byte
	for _, b := range src {
		for len(b) > 0 {
			n := copy(buf[:], b)
			k := s.line.Write(buf[:n])
			done += int64(k)
			if k < n {
				return partly(done)
			}
			b = b[n:]
		}
	}
	if done > 0 {
		s.touch(&s.Modified)
	}
	return done, nil
}

// Readiness implements waiter.Waitable (n_tty_poll).
func (s *slave) Readiness(mask waiter.EventMask) waiter.EventMask {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hungUp() {
		const all = waiter.ReadableEvents | waiter.WritableEvents | waiter.EventErr | waiter.EventHUp
		return all & (mask | waiter.EventHUp | waiter.EventErr)
	}
	ready := waiter.EventMask(0)
	if _, ok := s.line.Available(); ok {
		ready |= waiter.ReadableEvents
	}
	if s.line.Room() >= writable {
		ready |= waiter.WritableEvents
	}
	return ready & mask
}

// EventRegister implements waiter.Waitable.
func (s *slave) EventRegister(e *waiter.Entry) error {
	s.slaves.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (s *slave) EventUnregister(e *waiter.Entry) { s.slaves.EventUnregister(e) }
