package hostsock

import (
	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/socket"
)

// message is what one call moves.
type message struct {
	hostcall.SocketMessage
	addr    [socket.MaxAddr]byte
	control [maxControl]byte
}

const (
	// maxControl is how much control data the host is asked for, in bytes.
	maxControl = 1024

	sendFlags = unix.MSG_OOB | unix.MSG_DONTROUTE | unix.MSG_EOR | unix.MSG_CONFIRM | unix.MSG_MORE
	recvFlags = unix.MSG_OOB | unix.MSG_PEEK | unix.MSG_TRUNC | unix.MSG_ERRQUEUE
)

func (s *Stack) message(bufs [][]byte) *message {
	m, _ := s.messages.Get().(*message)
	if m == nil {
		m = new(message)
	}
	m.Bufs = bufs
	return m
}

func (s *Stack) put(m *message) {
	m.Bufs, m.Addr, m.Control, m.Flags = nil, nil, nil, 0
	s.messages.Put(m)
}

// Send implements socket.Socket.
func (s *Socket) Send(_ socket.Caller, m *socket.Message, flags int) (int64, error) {
	h := s.stack.message(m.Bufs)
	defer s.stack.put(h)
	if len(m.Addr) > 0 && s.typ != unix.SOCK_STREAM {
		if socket.Family(m.Addr) == unix.AF_UNSPEC && s.family == unix.AF_INET && len(m.Addr) >= 16 {
			m.Addr[0] = unix.AF_INET // udp_sendmsg takes it for that
		}
		to, err := s.target(m.Addr)
		if err != nil {
			return 0, err
		}
		h.Addr = append(h.addr[:0], to...)
	}
	if len(m.Control.Items) > 0 {
		w := socket.ControlWriter{Max: maxControl, Buf: h.control[:0]}
		for _, i := range m.Control.Items {
			if !mayControl(i.Level, i.Type) {
				return 0, unix.EINVAL
			}
			w.Put(i.Level, i.Type, i.Data)
		}
		if w.Truncated {
			return 0, unix.ENOBUFS
		}
		h.Control = w.Buf
	}
	n, err := hostcall.SendSocket(s.fd, &h.SocketMessage, flags&sendFlags)
	return int64(n), err
}

// Recv implements socket.Socket.
func (s *Socket) Recv(_ socket.Caller, m *socket.Message, flags int) (int64, error) {
	h := s.stack.message(m.Bufs)
	defer s.stack.put(h)
	if m.WantAddr || flags&unix.MSG_ERRQUEUE != 0 {
		h.Addr = h.addr[:]
	}
	h.Control = h.control[:]
	n, err := hostcall.RecvSocket(s.fd, &h.SocketMessage, flags&recvFlags)
	if err == unix.EAGAIN && s.typ != unix.SOCK_STREAM && flags&unix.MSG_ERRQUEUE == 0 {
		// After shutdown(2), a read that would wait answers 0; the host is never
		// asked to wait.
		if events, perr := hostcall.Poll(s.fd, unix.POLLRDHUP); perr == nil && events&unix.POLLRDHUP != 0 {
			return 0, nil
		}
	}
	if err != nil {
		return 0, err
	}
	m.Flags |= h.Flags & (unix.MSG_TRUNC | unix.MSG_EOR | unix.MSG_OOB | unix.MSG_ERRQUEUE)
	if len(h.Addr) > 0 {
		m.Addr = append(m.AddrSpace(), h.Addr...)
	}
	if len(h.Control) > 0 {
		// The host's own words; the data are copied, for h is used again.
		c, err := socket.ParseControl(h.Control, false, nil)
		if err == nil {
			for _, i := range c.Items {
				m.Control.Items = append(m.Control.Items, socket.Item{Level: i.Level, Type: i.Type, Data: append([]byte(nil), i.Data...)})
			}
		}
	}
	return int64(n), nil
}

// Discard reads up to n bytes of a stream, and drops them: what MSG_TRUNC means for
// TCP.
func (s *Socket) Discard(n int64, flags int) (int64, error) {
	if s.typ != unix.SOCK_STREAM {
		return 0, unix.EINVAL
	}
	k, err := hostcall.DiscardSocket(s.fd, n, flags&unix.MSG_PEEK|unix.MSG_TRUNC)
	return int64(k), err
}
