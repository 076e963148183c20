// Package netstack is sockets of AF_INET and AF_INET6, on gVisor's network stack
// (gvisor.dev/gvisor/pkg/tcpip).
//
// A Stack is made when it is first needed. It has one link, lo, with 127.0.0.1/8
// and ::1; Configure gives it others, with their addresses and routes. A Socket wraps an endpoint of it: what Linux and the stack say
// differently, addresses, options, errors, is translated here, and nothing else.
// The endpoint reads and writes guest memory itself; there is no copy in between.
//
// Lock order: Stack.configMu, the stack's own locks; Socket has none that is held
// while the stack is called.
package netstack

import (
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
)

const (
	// Loopback is the index of lo.
	Loopback = 1
	// LoopbackMTU is its MTU.
	LoopbackMTU = 65536

	defaultTTL = 64

	// Sizes of buffers in bytes: minimum, default and maximum of net.ipv4.tcp_rmem
	// and tcp_wmem. The maximum is what a connection that nobody reads can hold.
	MinBuffer     = 4 << 10
	DefaultTCPRcv = 128 << 10
	DefaultTCPSnd = 256 << 10
	MaxTCPBuffer  = 4 << 20

	// maxSockets bounds the sockets of a stack, and maxSockets times the default
	// sizes their memory, as net.ipv4.tcp_mem does: ENOBUFS beyond.
	maxSockets = 1 << 16
)

// Stack is the network stack of a namespace.
type Stack struct {
	*stack.Stack
	numbers *socket.Numbers
	sockets atomic.Int64 // and one more until Close

	mu  sync.Mutex
	all map[*Socket]struct{} // for /proc/net
	// ends are the TCP sockets that are connected.
	ends map[stack.TransportEndpointID]*Socket

	configMu sync.Mutex
	links    map[int]*LinkConfig // beside lo
	routes   []Route
	forward  atomic.Pointer[forward]
	egress   *socket.Egress // nil: everywhere

	pages     sync.Pool // *[pageSize]byte
	shortUsed atomic.Int64
	spare     spare
}

// New makes a stack. numbers gives its sockets their inode numbers.
func New(numbers *socket.Numbers) (*Stack, error) {
	quiet()
	s := &Stack{numbers: numbers, all: map[*Socket]struct{}{}, ends: map[stack.TransportEndpointID]*Socket{},
		links: map[int]*LinkConfig{}, Stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
			HandleLocal:        true,
			RawFactory:         raw.EndpointFactory{},
		})}
	s.sockets.Store(1)
	if err := s.configure(); err != nil {
		s.Destroy()
		return nil, errno(err)
	}
	return s, nil
}

// Restrict says where sockets may connect and send to beside lo; nil: everywhere. It
// is called before there are any.
func (s *Stack) Restrict(e *socket.Egress) { s.egress = e }

// quiet has the stack log nothing: what a peer sends would be told to the runner's
// user, line by line.
var quiet = sync.OnceFunc(func() { log.SetTarget(&log.Writer{Next: io.Discard}) })

func (s *Stack) configure() tcpip.Error {
	sack, moderate, ttl := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.DefaultTTLOption(defaultTTL)
	for _, o := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: MinBuffer, Default: DefaultTCPRcv, Max: MaxTCPBuffer},
		&tcpip.TCPSendBufferSizeRangeOption{Min: MinBuffer, Default: DefaultTCPSnd, Max: MaxTCPBuffer},
	} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return err
		}
	}
	for _, p := range []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber} {
		if err := s.SetNetworkProtocolOption(p, &ttl); err != nil {
			return err
		}
	}
	for _, o := range []any{
		tcpip.SendBufferSizeOption{Min: MinBuffer, Default: socket.DefaultBuffer, Max: 2 * socket.MaxBuffer},
		tcpip.ReceiveBufferSizeOption{Min: MinBuffer, Default: socket.DefaultBuffer, Max: 2 * socket.MaxBuffer},
	} {
		if err := s.SetOption(o); err != nil {
			return err
		}
	}
	s.SetPortRange(32768, 60999) // net.ipv4.ip_local_port_range
	if err := s.CreateNICWithOptions(Loopback, loopback.New(), stack.NICOptions{Name: "lo"}); err != nil {
		return err
	}
	for _, a := range []tcpip.ProtocolAddress{
		{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: loopback4, PrefixLen: 8}},
		{Protocol: ipv6.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: header.IPv6Loopback, PrefixLen: 128}},
	} {
		if err := s.AddProtocolAddress(Loopback, a, stack.AddressProperties{}); err != nil {
			return err
		}
	}
	s.SetRouteTable(loopbackRoutes())
	return nil
}

// loopback4 is 127.0.0.1.
var loopback4 = tcpip.AddrFrom4([4]byte{127, 0, 0, 1})

// kind is what a socket is for the stack.
type kind struct {
	transport tcpip.TransportProtocolNumber
	network   tcpip.NetworkProtocolNumber
	raw       bool
}

const (
	ipprotoMPTCP = 262
	ipprotoMax   = 263
)

// kindOf translates the arguments of socket(2) (inet_create): ESOCKTNOSUPPORT,
// EPROTONOSUPPORT, EINVAL; EPERM without CAP_NET_RAW for raw sockets.
func kindOf(c socket.Caller, family, typ, protocol int) (k kind, err error) {
	if protocol < 0 || protocol >= ipprotoMax {
		return k, unix.EINVAL
	}
	k.network = ipv4.ProtocolNumber
	ping, pingKind := unix.IPPROTO_ICMP, icmp.ProtocolNumber4
	if family == unix.AF_INET6 {
		k.network = ipv6.ProtocolNumber
		ping, pingKind = unix.IPPROTO_ICMPV6, icmp.ProtocolNumber6
	}
	switch typ {
	case unix.SOCK_STREAM:
		k.transport = tcp.ProtocolNumber
		if protocol != 0 && protocol != unix.IPPROTO_TCP {
			return k, unix.EPROTONOSUPPORT
		}
	case unix.SOCK_DGRAM:
		k.transport = udp.ProtocolNumber
		switch protocol {
		case 0, unix.IPPROTO_UDP:
		case ping:
			k.transport = pingKind
		default:
			return k, unix.EPROTONOSUPPORT
		}
	case unix.SOCK_RAW:
		if !c.Capable(unix.CAP_NET_RAW) {
			return k, unix.EPERM
		}
		if protocol == 0 || protocol > 255 {
			return k, unix.EPROTONOSUPPORT
		}
		k.raw, k.transport = true, tcpip.TransportProtocolNumber(protocol)
	default:
		return k, unix.ESOCKTNOSUPPORT
	}
	return k, nil
}

// Socket makes a socket. ENOBUFS: there are too many.
func (s *Stack) Socket(c socket.Caller, family, typ, protocol int) (*Socket, error) {
	k, err := kindOf(c, family, typ, protocol)
	if err != nil {
		return nil, err
	}
	if !s.admit() {
		return nil, unix.ENOBUFS
	}
	queue := &waiter.Queue{}
	var ep tcpip.Endpoint
	var terr tcpip.Error
	if k.raw {
		ep, terr = s.NewRawEndpoint(k.transport, k.network, queue, true)
	} else {
		ep, terr = s.NewEndpoint(k.transport, k.network, queue)
	}
	if terr != nil {
		s.dismiss()
		if _, ok := terr.(*tcpip.ErrUnknownProtocol); ok {
			return nil, unix.EPROTONOSUPPORT
		}
		return nil, errno(terr)
	}
	if protocol == 0 {
		protocol = int(k.transport)
	}
	return s.wrap(c, ep, queue, family, typ, protocol, k), nil
}

func (s *Stack) admit() bool {
	if s.sockets.Add(1) > maxSockets+1 {
		s.dismiss()
		return false
	}
	return true
}

// dismiss is the opposite of admit.
func (s *Stack) dismiss() {
	if s.sockets.Add(-1) == 0 {
		s.Destroy()
	}
}

// Close ends the stack, once its last socket is gone.
func (s *Stack) Close() { s.dismiss() }

// wrap makes the Socket of an endpoint.
func (s *Stack) wrap(c socket.Caller, ep tcpip.Endpoint, queue *waiter.Queue, family, typ, protocol int, k kind) *Socket {
	x := &Socket{stack: s, ep: ep, queue: queue, family: family, typ: typ, protocol: protocol, kind: k, ino: s.numbers.Next()}
	x.Generic.Init()
	x.uid = c.FS().Creds.UID
	s.mu.Lock()
	s.all[x] = struct{}{}
	s.mu.Unlock()
	return x
}
