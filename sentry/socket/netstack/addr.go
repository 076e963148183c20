package netstack

import (
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"runsc-lite/sentry/socket"
)

// mapped is the prefix of IPv4 addresses among IPv6 ones.
var mapped = [12]byte{10: 0xff, 11: 0xff}

// address translates an address for an endpoint. The stack has an empty address
// for "any" of both families.
func address(a *socket.Inet) tcpip.FullAddress {
	out := tcpip.FullAddress{Port: a.Port}
	if a.Family == unix.AF_INET {
		if ip := [4]byte(a.Addr[:4]); ip != [4]byte{} {
			out.Addr = tcpip.AddrFrom4(ip)
		}
		return out
	}
	if a.Addr != [16]byte{} {
		out.Addr = tcpip.AddrFrom16(a.Addr)
		if header.IsV6LinkLocalUnicastAddress(out.Addr) || header.IsV6LinkLocalMulticastAddress(out.Addr) {
			out.NIC = tcpip.NICID(a.Scope)
		}
	}
	return out
}

// addrSize is how long an address of the socket's family must be at least.
func (s *Socket) addrSize() int {
	if s.family == unix.AF_INET {
		return 16
	}
	return 24 // SIN6_LEN_RFC2133
}

// target reads a destination for s: EINVAL, EAFNOSUPPORT. To "any" is to the
// loopback address.
func (s *Socket) target(sa []byte) (tcpip.FullAddress, error) {
	// A datagram socket of IPv6 takes addresses of both families.
	family := socket.Family(sa)
	both := s.family == unix.AF_INET6 && family == unix.AF_INET && !s.isTCP()
	switch {
	case len(sa) < s.addrSize() && !both:
		return tcpip.FullAddress{}, unix.EINVAL
	case family != s.family && !both:
		return tcpip.FullAddress{}, unix.EAFNOSUPPORT
	}
	a, err := socket.ParseInet(sa)
	if err != nil {
		return tcpip.FullAddress{}, err
	}
	if both && s.ep.SocketOptions().GetV6Only() {
		return tcpip.FullAddress{}, unix.ENETUNREACH
	}
	to := address(&a)
	switch {
	case to.Addr.Len() == 0 && a.Family == unix.AF_INET:
		to.Addr = loopback4
	case to.Addr.Len() == 0:
		to.Addr = header.IPv6Loopback
	case a.Family == unix.AF_INET6 && a.Addr == [16]byte{10: 0xff, 11: 0xff}:
		to.Addr = loopback4
	}
	if s.family == unix.AF_INET6 && to.Addr.Len() == 4 {
		to.Addr = map4(to.Addr)
	}
	s.forwarded(&to)
	return to, s.mayReach(to.Addr)
}

// mayReach says whether the rules allow sending to an address: EPERM. lo is the
// sandbox's own.
func (s *Socket) mayReach(to tcpip.Address) error {
	if s.stack.egress == nil {
		return nil
	}
	ip, _ := netip.AddrFromSlice(to.AsSlice())
	if ip = ip.Unmap(); ip.IsLoopback() {
		return nil
	}
	return s.stack.egress.CheckIP(ip)
}

// map4 makes an IPv4 address an IPv6 one.
func map4(a tcpip.Address) tcpip.Address {
	var b [16]byte
	copy(b[:], mapped[:])
	ip := a.As4()
	copy(b[12:], ip[:])
	return tcpip.AddrFrom16(b)
}

// sockaddr adds an address of the stack to b, as s shows it.
func (s *Socket) sockaddr(b []byte, a tcpip.FullAddress) []byte {
	s.shown(&a)
	out := socket.Inet{Family: s.family, Port: a.Port}
	switch a.Addr.Len() {
	case 4:
		ip := a.Addr.As4()
		if s.family == unix.AF_INET {
			copy(out.Addr[:4], ip[:])
		} else {
			copy(out.Addr[:], mapped[:])
			copy(out.Addr[12:], ip[:])
		}
	case 16:
		out.Addr = a.Addr.As16()
		if header.IsV6LinkLocalUnicastAddress(a.Addr) {
			out.Scope = uint32(a.NIC)
		}
	}
	return out.Append(b)
}
