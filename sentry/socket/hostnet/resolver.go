package hostnet

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/socket/netstack"
)

// Docker's resolver listens on 127.0.0.11 in the host's stack of the namespace,
// behind rules that translate port 53 to one of its own. In the sandbox that is
// an address of its own lo. So what goes there to port 53 is sent to two
// endpoints that belong to no guest (netstack.Stack.Forward), and from these on
// to the host's stack, by sockets that were opened beforehand. A query of UDP
// takes one until it is answered or given up, a connection until it ends.
//
// If there is no resolver, nothing listens there either: a query of UDP stays
// without an answer, and a connection is reset.

var resolverAddr = netip.MustParseAddrPort("127.0.0.11:53")

const (
	// udpFlows is how many clients can wait for an answer at a time: a new one
	// takes the place of the one that waits longest. tcpFlows is how many
	// connections there can be; one more is closed.
	udpFlows = 64
	tcpFlows = 16

	maxQuery   = 64 << 10
	udpTimeout = 15 * time.Second
	tcpTimeout = 2 * time.Minute // without data
)

type resolver struct {
	log  *slog.Logger
	tcp  chan *hostcall.InetSocket // that are not in use
	done sync.WaitGroup

	udpConn  *gonet.UDPConn
	listener *gonet.TCPListener

	mu     sync.Mutex
	closed bool
	spare  []*hostcall.InetSocket // UDP
	flows  map[netip.AddrPort]*flow
	conns  map[net.Conn]*hostcall.InetSocket
}

// flow is a client of UDP.
type flow struct {
	client netip.AddrPort
	socket *hostcall.InetSocket
	last   time.Time // of the last query
	over   bool      // its place was taken
	gone   chan struct{}
}

// newResolver runs in the namespace.
func newResolver(log *slog.Logger) (*resolver, error) {
	r := &resolver{
		log: log, tcp: make(chan *hostcall.InetSocket, tcpFlows),
		flows: map[netip.AddrPort]*flow{}, conns: map[net.Conn]*hostcall.InetSocket{},
	}
	for i := range udpFlows + tcpFlows {
		s, err := hostcall.NewInetSocket(i >= udpFlows)
		if err != nil {
			r.close()
			return nil, fmt.Errorf("opening sockets towards the resolver: %w", err)
		}
		if i < udpFlows {
			r.spare = append(r.spare, s)
		} else {
			r.tcp <- s
		}
	}
	return r, nil
}

// start begins to forward.
func (r *resolver) start(s *netstack.Stack) (err error) {
	local := tcpip.FullAddress{Addr: tcpip.AddrFrom4(resolverAddr.Addr().As4())}
	if r.udpConn, err = gonet.DialUDP(s.Stack, &local, nil, header.IPv4ProtocolNumber); err != nil {
		return err
	}
	if r.listener, err = gonet.ListenTCP(s.Stack, local, header.IPv4ProtocolNumber); err != nil {
		return err
	}
	s.Forward(resolverAddr, portOf(r.udpConn.LocalAddr()), portOf(r.listener.Addr()))
	r.done.Go(r.queries)
	r.done.Go(r.connections)
	return nil
}

func portOf(a net.Addr) uint16 {
	p, _ := netip.ParseAddrPort(a.String())
	return p.Port()
}

func (r *resolver) close() {
	r.mu.Lock()
	r.closed = true
	for c := range r.conns {
		_ = c.Close()
	}
	for _, f := range r.flows {
		f.socket.Close()
	}
	for _, s := range r.conns {
		s.Close()
	}
	r.mu.Unlock()
	if r.udpConn != nil {
		_ = r.udpConn.Close()
	}
	if r.listener != nil {
		_ = r.listener.Close()
	}
	r.done.Wait()
	for _, s := range r.spare {
		s.Close()
	}
	for {
		select {
		case s := <-r.tcp:
			s.Close()
		default:
			return
		}
	}
}

// queries sends on what clients ask.
func (r *resolver) queries() {
	b := make([]byte, maxQuery)
	for {
		n, from, err := r.udpConn.ReadFrom(b)
		if err != nil {
			return
		}
		u, ok := from.(*net.UDPAddr)
		if !ok {
			continue
		}
		f := r.flow(u.AddrPort())
		if f == nil {
			return
		}
		// ECONNREFUSED: nobody listens; the answer to an earlier query, too.
		if _, err := f.socket.Write(b[:n]); err != nil {
			r.log.Debug("a query could not be sent to the resolver", "err", err)
		}
	}
}

// flow returns the client's, a new one if need be: nil when the resolver is closed.
func (r *resolver) flow(client netip.AddrPort) *flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	now := time.Now()
	f := r.flows[client]
	if f == nil {
		f = &flow{client: client, socket: r.take(), gone: make(chan struct{})}
		if err := f.socket.Connect(resolverAddr, time.Second); err != nil {
			r.log.Debug("connecting to the resolver", "err", err)
		}
		r.flows[client] = f
		r.done.Go(func() { r.answers(f) })
	}
	f.last = now
	_ = f.socket.SetDeadline(now.Add(udpTimeout))
	return f
}

// take returns a socket that is free, or that of the client which waits longest.
// r.mu is held, but not all the time.
func (r *resolver) take() *hostcall.InetSocket {
	if n := len(r.spare); n > 0 {
		s := r.spare[n-1]
		r.spare = r.spare[:n-1]
		return s
	}
	var oldest *flow
	for _, f := range r.flows {
		if oldest == nil || f.last.Before(oldest.last) {
			oldest = f
		}
	}
	delete(r.flows, oldest.client)
	oldest.over = true
	_ = oldest.socket.SetDeadline(time.Unix(1, 0))
	// Its reader must be gone before the socket has another.
	r.mu.Unlock()
	<-oldest.gone
	r.mu.Lock()
	return oldest.socket
}

// answers sends a client what comes for it, until its time is over.
func (r *resolver) answers(f *flow) {
	defer close(f.gone)
	b := make([]byte, 4096)
	for {
		n, err := f.socket.Read(b)
		if n == len(b) {
			b = make([]byte, maxQuery) // EDNS allows more than anybody sends
			continue
		}
		r.mu.Lock()
		over, waited := f.over || r.closed, time.Since(f.last) >= udpTimeout
		if err != nil && waited && !over {
			delete(r.flows, f.client)
			f.socket.Disconnect()
			r.spare = append(r.spare, f.socket)
			over = true
		}
		r.mu.Unlock()
		if over {
			return
		}
		if err == nil {
			_, _ = r.udpConn.WriteTo(b[:n], net.UDPAddrFromAddrPort(f.client))
		}
	}
}

// connections serves clients of TCP.
func (r *resolver) connections() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		select {
		case s := <-r.tcp:
			r.done.Go(func() { r.connection(c, s) })
		default:
			_ = c.Close()
		}
	}
}

func (r *resolver) connection(c net.Conn, s *hostcall.InetSocket) {
	r.mu.Lock()
	closed := r.closed
	r.conns[c] = s
	r.mu.Unlock()
	if !closed {
		if err := s.Connect(resolverAddr, tcpTimeout); err != nil {
			r.log.Debug("connecting to the resolver", "err", err)
		} else {
			r.relay(c, s)
		}
	}
	_ = c.Close()
	s.Disconnect()
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
	r.tcp <- s
}

// relay copies both ways until both have ended, or there were no data for a while.
func (r *resolver) relay(c net.Conn, s *hostcall.InetSocket) {
	var back sync.WaitGroup
	back.Go(func() {
		r.copy(c, s, func() { _ = s.SetDeadline(time.Now().Add(tcpTimeout)) })
		if w, ok := c.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
	})
	r.copy(s, c, func() { _ = c.SetDeadline(time.Now().Add(tcpTimeout)) })
	_ = s.CloseWrite()
	back.Wait()
}

func (r *resolver) copy(to io.Writer, from io.Reader, extend func()) {
	b := make([]byte, 16<<10)
	for {
		extend()
		n, err := from.Read(b)
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
