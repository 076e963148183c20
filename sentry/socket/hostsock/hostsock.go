// Package hostsock is sockets of AF_INET and AF_INET6 that are sockets of the host's
// stack: --network=host.
//
// It trades isolation for speed and for the host's view of the network. What a
// guest can reach of the host's kernel that way is a list: streams, datagrams and
// ping; the options, control messages and ioctls in allow.go. Addresses are read
// and written anew; whatever else comes from the guest reaches the host as data
// only. Who may what is asked of the guest's capabilities, and not of those that
// the runner has. An egress rule set is asked before the host is (socket.Egress).
//
// A socket is nonblocking for the host. Who waits is told by the Notifier.
//
// Lock order: Socket.mu, the Notifier's lock.
package hostsock

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/socket"
)

// maxSockets bounds the sockets of a Stack: ENOBUFS beyond. The host's memory for
// each is bounded by its own limits.
const maxSockets = 1 << 14

const ipprotoMPTCP = 262 // the largest there is

// Stack makes sockets of the host.
type Stack struct {
	notifier *hostcall.Notifier
	numbers  *socket.Numbers
	egress   *socket.Egress // nil: everywhere
	sockets  atomic.Int64
	messages sync.Pool // *message
}

// New makes a Stack. numbers gives its sockets their inode numbers.
func New(notifier *hostcall.Notifier, numbers *socket.Numbers, egress *socket.Egress) *Stack {
	return &Stack{notifier: notifier, numbers: numbers, egress: egress}
}

// Socket is a socket: a socket.Socket.
type Socket struct {
	socket.Timeouts

	stack    *Stack
	fd       int
	family   int
	typ      int
	protocol int
	ino      uint64
	released atomic.Bool

	queue      waiter.Queue
	mu         sync.Mutex
	watch      bool
	connecting []byte // where a connection is being made to
}

// Socket makes a socket: EAFNOSUPPORT, ESOCKTNOSUPPORT, EPROTONOSUPPORT, EPERM.
func (s *Stack) Socket(c socket.Caller, family, typ, protocol int) (*Socket, error) {
	if protocol < 0 || protocol > ipprotoMPTCP {
		return nil, unix.EINVAL
	}
	ping := unix.IPPROTO_ICMP
	if family == unix.AF_INET6 {
		ping = unix.IPPROTO_ICMPV6
	}
	switch typ {
	case unix.SOCK_STREAM:
		if protocol == 0 {
			protocol = unix.IPPROTO_TCP
		}
		if protocol != unix.IPPROTO_TCP {
			return nil, unix.EPROTONOSUPPORT
		}
	case unix.SOCK_DGRAM:
		if protocol == 0 {
			protocol = unix.IPPROTO_UDP
		}
		if protocol != unix.IPPROTO_UDP && protocol != ping {
			return nil, unix.EPROTONOSUPPORT
		}
	case unix.SOCK_RAW:
		// ping(8), where the host has no ping_group_range. Not other protocols: they
		// would hear and say everything in the host's name.
		switch {
		case !c.Capable(unix.CAP_NET_RAW):
			return nil, unix.EPERM
		case protocol == 0:
			return nil, unix.EPROTONOSUPPORT
		case protocol != ping:
			return nil, unix.EPERM
		}
	default:
		return nil, unix.ESOCKTNOSUPPORT
	}
	if !s.admit() {
		return nil, unix.ENOBUFS
	}
	fd, err := hostcall.OpenSocket(family, typ, protocol)
	if err != nil {
		s.sockets.Add(-1)
		return nil, err
	}
	return s.wrap(fd, family, typ, protocol), nil
}

func (s *Stack) admit() bool {
	if s.sockets.Add(1) > maxSockets {
		s.sockets.Add(-1)
		return false
	}
	return true
}

func (s *Stack) wrap(fd, family, typ, protocol int) *Socket {
	return &Socket{stack: s, fd: fd, family: family, typ: typ, protocol: protocol, ino: s.numbers.Next()}
}

// Ino is the number of the socket's inode.
func (s *Socket) Ino() uint64 { return s.ino }

// Kind implements socket.Socket.
func (s *Socket) Kind() (family, typ, protocol int) { return s.family, s.typ, s.protocol }

// Limit implements socket.Socket.
func (s *Socket) Limit(write bool) time.Duration { return s.Timeouts.Limit(write) }

// Release implements vfs.FileOps.
func (s *Socket) Release() {
	if s.released.Swap(true) {
		return
	}
	s.mu.Lock()
	if s.watch {
		s.stack.notifier.Unwatch(s.fd)
		s.watch = false
	}
	s.mu.Unlock()
	hostcall.CloseFD(s.fd)
	s.stack.sockets.Add(-1)
}

// addr reads an address of the guest's, and writes it as the host is to have it.
func (s *Socket) addr(sa []byte) (a socket.Inet, out []byte, err error) {
	size := 16
	if s.family == unix.AF_INET6 {
		size = 24 // SIN6_LEN_RFC2133
	}
	// A datagram socket of IPv6 takes addresses of both families.
	family := socket.Family(sa)
	both := s.family == unix.AF_INET6 && family == unix.AF_INET && s.typ != unix.SOCK_STREAM
	switch {
	case len(sa) < size && !both:
		return a, nil, unix.EINVAL
	case family != s.family && !both:
		return a, nil, unix.EAFNOSUPPORT
	}
	if a, err = socket.ParseInet(sa); err != nil {
		return a, nil, err
	}
	return a, a.Append(nil), nil
}

// target is addr for an address that something is sent to: EPERM if the rules say so.
func (s *Socket) target(sa []byte) ([]byte, error) {
	a, out, err := s.addr(sa)
	if err != nil {
		return nil, err
	}
	return out, s.stack.egress.Check(&a)
}

// Bind implements socket.Socket. Ports below 1024 are for CAP_NET_BIND_SERVICE.
func (s *Socket) Bind(c socket.Caller, sa []byte) error {
	if s.family == unix.AF_INET && socket.Family(sa) == unix.AF_UNSPEC && len(sa) >= 16 && [4]byte(sa[4:8]) == [4]byte{} {
		// "Compatibility games: accept AF_UNSPEC (mapped to AF_INET) only if
		// s_addr is INADDR_ANY."
		sa[0] = unix.AF_INET
	}
	a, out, err := s.addr(sa)
	if err != nil {
		return err
	}
	if a.Port != 0 && a.Port < 1024 && !c.Capable(unix.CAP_NET_BIND_SERVICE) {
		return unix.EACCES
	}
	return hostcall.BindSocket(s.fd, out)
}

// Connect implements socket.Socket.
func (s *Socket) Connect(_ socket.Caller, sa []byte) error {
	if len(sa) < 2 {
		return unix.EINVAL
	}
	if socket.Family(sa) == unix.AF_UNSPEC {
		var none [16]byte
		return hostcall.ConnectSocket(s.fd, none[:])
	}
	out, err := s.target(sa)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.connecting = out
	s.mu.Unlock()
	return hostcall.ConnectSocket(s.fd, out)
}

// Connected implements socket.Connecting.
func (s *Socket) Connected() error {
	s.mu.Lock()
	to := s.connecting
	s.mu.Unlock()
	// The host tells once of how it ended, by connecting again.
	switch err := hostcall.ConnectSocket(s.fd, to); err {
	case unix.EINPROGRESS, unix.EALREADY:
		return unix.EAGAIN
	case unix.EISCONN:
		return nil // another thread has told of it
	default:
		return err
	}
}

// Listen implements socket.Socket.
func (s *Socket) Listen(_ socket.Caller, backlog int) error {
	if s.typ != unix.SOCK_STREAM {
		return unix.EOPNOTSUPP
	}
	return hostcall.ListenSocket(s.fd, min(max(backlog, 0), socket.MaxBacklog))
}

// Accept implements socket.Socket.
func (s *Socket) Accept(socket.Caller) (socket.Socket, []byte, error) {
	if s.typ != unix.SOCK_STREAM {
		return nil, nil, unix.EOPNOTSUPP
	}
	if !s.stack.admit() {
		return nil, nil, unix.ENOBUFS
	}
	fd, from, err := hostcall.AcceptSocket(s.fd, make([]byte, socket.MaxAddr))
	if err != nil {
		s.stack.sockets.Add(-1)
		return nil, nil, err
	}
	return s.stack.wrap(fd, s.family, s.typ, s.protocol), from, nil
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(how int) error { return hostcall.ShutdownSocket(s.fd, how) }

// Name implements socket.Socket.
func (s *Socket) Name() ([]byte, error) {
	return hostcall.SocketName(s.fd, false, make([]byte, socket.MaxAddr))
}

// PeerName implements socket.Socket.
func (s *Socket) PeerName() ([]byte, error) {
	return hostcall.SocketName(s.fd, true, make([]byte, socket.MaxAddr))
}

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(mask waiter.EventMask) waiter.EventMask {
	mask |= waiter.EventHUp | waiter.EventErr
	events, err := hostcall.Poll(s.fd, int16(mask.ToLinux()))
	if err != nil {
		return waiter.EventErr
	}
	return waiter.EventMaskFromLinux(uint32(uint16(events))) & mask
}

// EventRegister implements waiter.Waitable. The Notifier watches from the first time
// on; it tells of edges, which cost nothing while there are none.
func (s *Socket) EventRegister(e *waiter.Entry) error {
	s.queue.EventRegister(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch || s.released.Load() {
		return nil
	}
	err := s.stack.notifier.Watch(s.fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLPRI, func(events uint32) {
		s.queue.Notify(waiter.EventMaskFromLinux(events))
	})
	if err != nil {
		s.queue.EventUnregister(e)
		return err
	}
	s.watch = true
	return nil
}

// EventUnregister implements waiter.Waitable.
func (s *Socket) EventUnregister(e *waiter.Entry) { s.queue.EventUnregister(e) }

// Read implements vfs.Reader.
func (s *Socket) Read(dst [][]byte) (int64, error) {
	m := socket.Message{Bufs: dst}
	return s.Recv(nil, &m, 0)
}

// Write implements vfs.Writer.
func (s *Socket) Write(src [][]byte) (int64, error) {
	m := socket.Message{Bufs: src}
	return s.Send(nil, &m, 0)
}

var (
	_ socket.Socket     = (*Socket)(nil)
	_ socket.Connecting = (*Socket)(nil)
)
