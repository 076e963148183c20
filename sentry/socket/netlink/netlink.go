// Package netlink is sockets of AF_NETLINK: NETLINK_ROUTE, as far as it tells of
// links, addresses, routes, neighbours and rules (rtnetlink(7)).
//
// A request is answered at once: the answers wait in the socket's queue, up to
// SO_RCVBUF. What is more is dropped, and the next read says so (ENOBUFS), as on
// Linux. Nothing ever changes by itself, so that groups are joined, and silent.
//
// Lock order: Space.mu, Socket.mu; waiters are notified without them.
package netlink

import (
	"encoding/binary"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/socket/netstack"
	"runsc-lite/sentry/vfs"
)

// Network is what requests are about: a netstack.Stack.
type Network interface {
	Links() []netstack.Link
	Addresses(index int) []netstack.Address
	Routes() []netstack.Route
	Neighbors() []netstack.Neighbor
}

// Space is the netlink sockets of a network namespace.
type Space struct {
	numbers *socket.Numbers
	network func() (Network, error)

	mu    sync.Mutex
	ports map[uint32]*Socket
	next  uint32
}

// New makes a Space. network makes the network when a request asks for it.
func New(numbers *socket.Numbers, network func() (Network, error)) *Space {
	return &Space{numbers: numbers, network: network, ports: map[uint32]*Socket{}}
}

// Socket is a socket: a socket.Socket.
type Socket struct {
	socket.Generic

	space *Space
	typ   int
	ino   uint64
	queue waiter.Queue

	mu     sync.Mutex
	port   uint32
	groups uint32
	peer   uint32
	msgs   [][]byte
	bytes  int
	lost   bool
	strict bool // NETLINK_GET_STRICT_CHK
	capAck bool // NETLINK_CAP_ACK
	extAck bool // NETLINK_EXT_ACK
}

// Socket makes a socket: ESOCKTNOSUPPORT, EPROTONOSUPPORT.
func (p *Space) Socket(typ, protocol int) (*Socket, error) {
	if typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM {
		return nil, unix.ESOCKTNOSUPPORT
	}
	if protocol != unix.NETLINK_ROUTE {
		return nil, unix.EPROTONOSUPPORT
	}
	s := &Socket{space: p, typ: typ, ino: p.numbers.Next()}
	s.Generic.Init()
	return s, nil
}

// Ino is the number of the socket's inode.
func (s *Socket) Ino() uint64 { return s.ino }

// Kind implements socket.Socket.
func (s *Socket) Kind() (family, typ, protocol int) {
	return unix.AF_NETLINK, s.typ, unix.NETLINK_ROUTE
}

// Release implements vfs.FileOps.
func (s *Socket) Release() {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port != 0 {
		delete(s.space.ports, s.port)
	}
	s.msgs = nil
}

const sockaddrSize = 12 // sizeof(struct sockaddr_nl)

// parseAddr reads a struct sockaddr_nl.
func parseAddr(sa []byte) (port, groups uint32, err error) {
	if len(sa) < sockaddrSize || socket.Family(sa) != unix.AF_NETLINK {
		return 0, 0, unix.EINVAL
	}
	return binary.LittleEndian.Uint32(sa[4:]), binary.LittleEndian.Uint32(sa[8:]), nil
}

func appendAddr(b []byte, port, groups uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, unix.AF_NETLINK)
	b = binary.LittleEndian.AppendUint32(b, port)
	return binary.LittleEndian.AppendUint32(b, groups)
}

// Bind implements socket.Socket (netlink_bind).
func (s *Socket) Bind(c socket.Caller, sa []byte) error {
	port, groups, err := parseAddr(sa)
	if err != nil {
		return err
	}
	if err := s.bind(c, port); err != nil {
		return err
	}
	s.mu.Lock()
	s.groups = groups
	s.mu.Unlock()
	return nil
}

// bind gives s a port: the process's id, if it is free and port is 0
// (netlink_autobind). EADDRINUSE; EINVAL: s has another.
func (s *Socket) bind(c socket.Caller, port uint32) error {
	p := s.space
	p.mu.Lock()
	defer p.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.port != 0 && port != 0 && port != s.port:
		return unix.EINVAL
	case s.port != 0:
		return nil
	case port != 0 && p.ports[port] != nil:
		return unix.EADDRINUSE
	case port == 0:
		port = uint32(c.Cred().PID)
		for port == 0 || p.ports[port] != nil {
			p.next--
			port = p.next - 4096
		}
	}
	s.port = port
	p.ports[port] = s
	return nil
}

// Connect implements socket.Socket.
func (s *Socket) Connect(c socket.Caller, sa []byte) error {
	if socket.Family(sa) == unix.AF_UNSPEC && len(sa) >= 2 {
		s.mu.Lock()
		s.peer = 0
		s.mu.Unlock()
		return nil
	}
	port, groups, err := parseAddr(sa)
	if err != nil {
		return err
	}
	if (port != 0 || groups != 0) && !c.Capable(unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	if err := s.bind(c, 0); err != nil {
		return err
	}
	s.mu.Lock()
	s.peer = port
	s.mu.Unlock()
	return nil
}

// Listen implements socket.Socket.
func (s *Socket) Listen(socket.Caller, int) error { return unix.EOPNOTSUPP }

// Accept implements socket.Socket.
func (s *Socket) Accept(socket.Caller) (socket.Socket, []byte, error) {
	return nil, nil, unix.EOPNOTSUPP
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(int) error { return unix.EOPNOTSUPP }

// Name implements socket.Socket.
func (s *Socket) Name() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return appendAddr(nil, s.port, s.groups), nil
}

// PeerName implements socket.Socket.
func (s *Socket) PeerName() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return appendAddr(nil, s.peer, 0), nil
}

// Options of level SOL_NETLINK.
const (
	solNetlink     = 270
	netlinkAdd     = 1
	netlinkDrop    = 2
	netlinkPktinfo = 3
	netlinkCapAck  = 10
	netlinkExtAck  = 11
	netlinkStrict  = 12
)

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c socket.Caller, level, name int, value []byte) error {
	if level == unix.SOL_SOCKET {
		return s.Generic.Set(c, name, value)
	}
	if level != solNetlink {
		return unix.ENOPROTOOPT
	}
	n, err := socket.Int(value)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name {
	case netlinkAdd, netlinkDrop:
		if n < 1 || n > 36 { // RTNLGRP_MAX
			return unix.EINVAL
		}
		if n <= 32 {
			bit := uint32(1) << (n - 1)
			if s.groups &^= bit; name == netlinkAdd {
				s.groups |= bit
			}
		}
	case netlinkCapAck:
		s.capAck = n != 0
	case netlinkExtAck:
		s.extAck = n != 0
	case netlinkStrict:
		s.strict = n != 0
	default:
		return unix.ENOPROTOOPT
	}
	return nil
}

// GetOption implements socket.Socket.
func (s *Socket) GetOption(_ socket.Caller, level, name, max int) ([]byte, error) {
	if level == unix.SOL_SOCKET {
		return s.Generic.Get(s, name, max)
	}
	if level != solNetlink {
		return nil, unix.ENOPROTOOPT
	}
	if max < 4 {
		return nil, unix.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch name {
	case netlinkCapAck:
		return socket.Bool(s.capAck, max), nil
	case netlinkExtAck:
		return socket.Bool(s.extAck, max), nil
	case netlinkStrict:
		return socket.Bool(s.strict, max), nil
	case netlinkPktinfo:
		return socket.Bool(false, max), nil
	}
	return nil, unix.ENOPROTOOPT
}

// maxRequest bounds what one send may carry.
const maxRequest = 64 << 10

// Send implements socket.Socket: the answers are there when it returns.
func (s *Socket) Send(c socket.Caller, m *socket.Message, flags int) (int64, error) {
	if c == nil {
		return 0, unix.EOPNOTSUPP
	}
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	s.mu.Lock()
	port := s.peer
	s.mu.Unlock()
	if len(m.Addr) > 0 {
		to, groups, err := parseAddr(m.Addr)
		if err != nil {
			return 0, err
		}
		if (to != 0 || groups != 0) && !c.Capable(unix.CAP_NET_ADMIN) {
			return 0, unix.EPERM
		}
		port = to
	}
	if err := s.bind(c, 0); err != nil {
		return 0, err
	}
	n := m.Len()
	if n == 0 {
		return 0, unix.ENODATA
	}
	if n > maxRequest {
		return 0, unix.EMSGSIZE
	}
	if port != 0 {
		return 0, unix.ECONNREFUSED // no other process listens to any
	}
	b := make([]byte, 0, n)
	for _, p := range m.Bufs {
		b = append(b, p...)
	}
	if err := s.handle(c, b); err != nil {
		return 0, err
	}
	return n, nil
}

// Deliver queues a message from the kernel, which is not of netlink's own form (the
// cookie of mq_notify(2)).
func (s *Socket) Deliver(msg []byte) { s.push(msg) }

// push queues an answer.
func (s *Socket) push(msg []byte) {
	s.mu.Lock()
	if s.bytes+len(msg) > int(s.RcvBuf.Load()) {
		s.lost = true
	} else {
		s.msgs = append(s.msgs, msg)
		s.bytes += len(msg)
	}
	s.mu.Unlock()
	s.queue.Notify(waiter.ReadableEvents)
}

// Recv implements socket.Socket.
func (s *Socket) Recv(_ socket.Caller, m *socket.Message, flags int) (int64, error) {
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		s.lost = false
		return 0, unix.ENOBUFS
	}
	if len(s.msgs) == 0 {
		return 0, unix.EAGAIN
	}
	msg := s.msgs[0]
	n, left := 0, msg
	for _, b := range m.Bufs {
		k := copy(b, left)
		left, n = left[k:], n+k
	}
	if len(left) > 0 {
		m.Flags |= unix.MSG_TRUNC
		if flags&unix.MSG_TRUNC != 0 {
			n = len(msg)
		}
	}
	if m.WantAddr {
		m.Addr = appendAddr(m.AddrSpace(), 0, 0)
	}
	if s.PassCred.Load() {
		m.Control.HasCred, m.Control.Cred = true, socket.Cred{}
	}
	if flags&unix.MSG_PEEK == 0 {
		s.msgs[0] = nil
		s.msgs = s.msgs[1:]
		s.bytes -= len(msg)
	}
	return int64(n), nil
}

// Read implements vfs.Reader.
func (s *Socket) Read(dst [][]byte) (int64, error) {
	m := socket.Message{Bufs: dst}
	return s.Recv(nil, &m, 0)
}

// Write implements vfs.Writer.
func (s *Socket) Write([][]byte) (int64, error) { return 0, unix.EOPNOTSUPP }

// Limit implements socket.Socket.
func (s *Socket) Limit(write bool) time.Duration { return s.Generic.Limit(write) }

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(mask waiter.EventMask) waiter.EventMask {
	s.mu.Lock()
	defer s.mu.Unlock()
	ready := waiter.EventMask(waiter.WritableEvents)
	if len(s.msgs) > 0 {
		ready |= waiter.ReadableEvents
	}
	if s.lost {
		ready |= waiter.EventErr
	}
	return ready & (mask | waiter.EventErr)
}

// EventRegister implements waiter.Waitable.
func (s *Socket) EventRegister(e *waiter.Entry) error {
	s.queue.EventRegister(e)
	return nil
}

// EventUnregister implements waiter.Waitable.
func (s *Socket) EventUnregister(e *waiter.Entry) { s.queue.EventUnregister(e) }

// Ioctl implements vfs.Ioctler: FIONREAD has no meaning here, as on Linux.
func (s *Socket) Ioctl(_ vfs.Memory, _ uint32, _ uint64) (uint64, error) { return 0, unix.ENOTTY }
