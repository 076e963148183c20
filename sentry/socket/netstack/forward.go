package netstack

import (
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// forward says that what sockets send to one address goes to other ports of it: a
// translation of addresses that costs those who are not concerned a comparison.
type forward struct {
	addr     tcpip.Address
	port     uint16
	udp, tcp uint16
}

// Forward has sockets that connect or send to an address reach another port of it,
// one for UDP and one for TCP. They are not told: the peer's address is what they
// asked for.
func (s *Stack) Forward(addr netip.AddrPort, udp, tcp uint16) {
	s.forward.Store(&forward{addr: addressOf(addr.Addr()), port: addr.Port(), udp: udp, tcp: tcp})
}

// hidden returns the port that stands in for f.port.
func (f *forward) hidden(s *Socket) uint16 {
	switch {
	case s.kind.raw:
	case s.protocol == unix.IPPROTO_TCP:
		return f.tcp
	case s.protocol == unix.IPPROTO_UDP:
		return f.udp
	}
	return 0
}

func (f *forward) is(a tcpip.Address) bool { return a == f.addr || a.Len() == 16 && a == map4(f.addr) }

// forwarded changes where a socket sends to.
func (s *Socket) forwarded(to *tcpip.FullAddress) {
	if f := s.stack.forward.Load(); f != nil && to.Port == f.port && f.is(to.Addr) {
		if p := f.hidden(s); p != 0 {
			to.Port = p
		}
	}
}

// shown changes an address back to what the guest knows.
func (s *Socket) shown(a *tcpip.FullAddress) {
	if f := s.stack.forward.Load(); f != nil && a.Port != 0 && f.is(a.Addr) && a.Port == f.hidden(s) {
		a.Port = f.port
	}
}
