package netstack

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
)

// Socket is a socket: a socket.Socket.
type Socket struct {
	socket.Generic

	stack    *Stack
	ep       tcpip.Endpoint
	queue    *waiter.Queue
	family   int
	typ      int
	protocol int
	kind     kind
	ino      uint64
	uid      uint32

	timestamps atomic.Int32 // SO_TIMESTAMP or SO_TIMESTAMPNS; 0: neither
	released   atomic.Bool
	// noDelay is TCP_NODELAY. The stack's acknowledgements have no quick mode as
	// Linux's have: Nagle's algorithm begins only when the guest asks for it.
	noDelay atomic.Bool

	classMu sync.Mutex // see class

	// See short.go. Under sendMu: sent, bytes that went through the stack; under
	// recvMu: received, those that came. Under Stack.mu: tuple to shutting.
	short    atomic.Pointer[shortCut]
	readShut atomic.Bool
	sendMu   sync.Mutex
	sent     int64
	recvMu   sync.Mutex
	received int64
	tuple    stack.TransportEndpointID
	enrolled bool
	shutting bool

	mu         sync.Mutex
	connecting tcpip.FullAddress // where a connection is being made to
	stamp      time.Time         // of the last packet that was read (SIOCGSTAMP)
}

// Ino is the number of the socket's inode.
func (s *Socket) Ino() uint64 { return s.ino }

// Kind implements socket.Socket.
func (s *Socket) Kind() (family, typ, protocol int) { return s.family, s.typ, s.protocol }

func (s *Socket) isTCP() bool { return s.typ == unix.SOCK_STREAM }
func (s *Socket) isUDP() bool { return s.protocol == unix.IPPROTO_UDP && !s.kind.raw }

// Release implements vfs.FileOps. A connection goes on until what was written is
// sent, unless SO_LINGER says otherwise.
func (s *Socket) Release() {
	if !s.released.Swap(true) {
		if s.isTCP() {
			s.shortRelease()
		}
		s.ep.Close()
		s.stack.mu.Lock()
		delete(s.stack.all, s)
		s.stack.mu.Unlock()
		s.stack.dismiss()
	}
}

// Bind implements socket.Socket. Ports below 1024 are for CAP_NET_BIND_SERVICE.
func (s *Socket) Bind(c socket.Caller, addr []byte) error {
	if len(addr) < s.addrSize() {
		return unix.EINVAL
	}
	a, err := socket.ParseInet(addr)
	switch family := socket.Family(addr); {
	case family == unix.AF_UNSPEC && s.family == unix.AF_INET:
		// "Compatibility games: accept AF_UNSPEC (mapped to AF_INET) only if
		// s_addr is INADDR_ANY."
		for _, b := range addr[4:8] {
			if b != 0 {
				return unix.EAFNOSUPPORT
			}
		}
		a.Family = unix.AF_INET
		a.Port = uint16(addr[2])<<8 | uint16(addr[3])
	case family != s.family:
		return unix.EAFNOSUPPORT
	case err != nil:
		return err
	}
	if a.Port != 0 && a.Port < 1024 && !s.kind.raw && !c.Capable(unix.CAP_NET_BIND_SERVICE) {
		return unix.EACCES
	}
	terr := s.ep.Bind(address(&a))
	if _, ok := terr.(*tcpip.ErrNoPortAvailable); ok {
		return unix.EADDRINUSE
	}
	return errno(terr)
}

// Connect implements socket.Socket: EINPROGRESS if it takes a while.
func (s *Socket) Connect(_ socket.Caller, addr []byte) error {
	if len(addr) < 2 {
		return unix.EINVAL
	}
	if socket.Family(addr) == unix.AF_UNSPEC {
		terr := s.ep.Disconnect()
		if _, ok := terr.(*tcpip.ErrNotSupported); ok {
			return unix.EAFNOSUPPORT
		}
		return errno(terr)
	}
	to, err := s.target(addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.connecting = to
	s.mu.Unlock()
	err = s.connectError(s.ep.Connect(to))
	if s.isTCP() && (err == nil || err == unix.EINPROGRESS) {
		s.enroll()
	}
	return err
}

func (s *Socket) connectError(terr tcpip.Error) error {
	switch terr.(type) {
	case *tcpip.ErrNoPortAvailable:
		if s.isTCP() {
			return unix.EADDRNOTAVAIL
		}
	case *tcpip.ErrInvalidEndpointState:
		if s.isTCP() && tcp.EndpointState(s.ep.State()) == tcp.StateListen {
			return unix.EISCONN
		}
	}
	return errno(terr)
}

// Connected implements socket.Connecting.
func (s *Socket) Connected() error {
	s.mu.Lock()
	to := s.connecting
	s.mu.Unlock()
	if tcp.EndpointState(s.ep.State()) == tcp.StateSynSent || tcp.EndpointState(s.ep.State()) == tcp.StateConnecting {
		return unix.EAGAIN
	}
	err := s.connectError(s.ep.Connect(to))
	switch err {
	case unix.EALREADY, unix.EINPROGRESS:
		return unix.EAGAIN
	case unix.EISCONN:
		return nil // another thread has told of it
	}
	return err
}

// Listen implements socket.Socket.
func (s *Socket) Listen(_ socket.Caller, backlog int) error {
	if !s.isTCP() {
		return unix.EOPNOTSUPP
	}
	return errno(s.ep.Listen(backlog))
}

// Accept implements socket.Socket.
func (s *Socket) Accept(c socket.Caller) (socket.Socket, []byte, error) {
	if !s.isTCP() {
		return nil, nil, unix.EOPNOTSUPP
	}
	if !s.stack.admit() {
		return nil, nil, unix.ENOBUFS
	}
	var from tcpip.FullAddress
	ep, queue, terr := s.ep.Accept(&from)
	if terr != nil {
		s.stack.dismiss()
		return nil, nil, errno(terr)
	}
	x := s.stack.wrap(c, ep, queue, s.family, s.typ, s.protocol, s.kind)
	x.Generic.Inherit(&s.Generic)
	x.enroll()
	return x, s.sockaddr(nil, from), nil
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(how int) error {
	flags := tcpip.ShutdownFlags(0)
	switch how {
	case unix.SHUT_RD:
		flags = tcpip.ShutdownRead
	case unix.SHUT_WR:
		flags = tcpip.ShutdownWrite
	case unix.SHUT_RDWR:
		flags = tcpip.ShutdownRead | tcpip.ShutdownWrite
	default:
		return unix.EINVAL
	}
	if s.isTCP() && tcpState(s.ep.State()) != tcpClose {
		s.shortShutdown(flags)
	}
	return errno(s.ep.Shutdown(flags))
}

// Name implements socket.Socket.
func (s *Socket) Name() ([]byte, error) {
	a, terr := s.ep.GetLocalAddress()
	if terr != nil {
		return nil, errno(terr)
	}
	return s.sockaddr(nil, a), nil
}

// PeerName implements socket.Socket.
func (s *Socket) PeerName() ([]byte, error) {
	a, terr := s.ep.GetRemoteAddress()
	if terr != nil {
		return nil, unix.ENOTCONN
	}
	return s.sockaddr(nil, a), nil
}

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(mask waiter.EventMask) waiter.EventMask {
	is := s.ep.Readiness(mask | waiter.EventHUp | waiter.EventErr)
	if c := s.short.Load(); c != nil {
		is = s.shortReadiness(c, is)
	}
	return is & (mask | waiter.EventHUp | waiter.EventErr)
}

// EventRegister implements waiter.Waitable.
func (s *Socket) EventRegister(e *waiter.Entry) error {
	s.queue.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (s *Socket) EventUnregister(e *waiter.Entry) { s.queue.EventUnregister(e) }

// Linux's numbers of TCP states (net/tcp_states.h).
const (
	tcpEstablished = 1 + iota
	tcpSynSent
	tcpSynRecv
	tcpFinWait1
	tcpFinWait2
	tcpTimeWait
	tcpClose
	tcpCloseWait
	tcpLastAck
	tcpListen
	tcpClosing
)

// tcpState translates the state of a TCP endpoint.
func tcpState(s uint32) uint8 {
	switch tcp.EndpointState(s) {
	case tcp.StateEstablished:
		return tcpEstablished
	case tcp.StateSynSent, tcp.StateConnecting:
		return tcpSynSent
	case tcp.StateSynRecv:
		return tcpSynRecv
	case tcp.StateFinWait1:
		return tcpFinWait1
	case tcp.StateFinWait2:
		return tcpFinWait2
	case tcp.StateTimeWait:
		return tcpTimeWait
	case tcp.StateCloseWait:
		return tcpCloseWait
	case tcp.StateLastAck:
		return tcpLastAck
	case tcp.StateListen:
		return tcpListen
	case tcp.StateClosing:
		return tcpClosing
	}
	return tcpClose
}
