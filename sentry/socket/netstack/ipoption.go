package netstack

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"

	"runsc-lite/sentry/socket"
)

// intOrByte reads a value that may be a single byte (ip_setsockopt).
func intOrByte(value []byte) (int32, error) {
	switch {
	case len(value) >= 4:
		return socket.Int(value)
	case len(value) >= 1:
		return int32(value[0]), nil
	}
	return 0, unix.EINVAL
}

// setIP is SOL_IP (ip(7)).
func (s *Socket) setIP(c socket.Caller, name int, value []byte) error {
	so := s.ep.SocketOptions()
	switch name {
	case unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP:
		m, err := s.membership4(value)
		if err != nil {
			return err
		}
		return s.member(name == unix.IP_ADD_MEMBERSHIP, m)
	case unix.IP_MULTICAST_IF:
		return s.multicastLink(value)
	}
	n, err := intOrByte(value)
	if err != nil {
		return err
	}
	switch name {
	case unix.IP_TTL:
		if n != -1 && (n < 1 || n > 255) {
			return unix.EINVAL
		}
		return errno(s.ep.SetSockOptInt(tcpip.IPv4TTLOption, int(max(n, 0))))
	case unix.IP_TOS:
		return errno(s.ep.SetSockOptInt(tcpip.IPv4TOSOption, int(n&0xff)))
	case unix.IP_MULTICAST_TTL:
		if n < -1 || n > 255 {
			return unix.EINVAL
		}
		if n == -1 {
			n = 1
		}
		return errno(s.ep.SetSockOptInt(tcpip.MulticastTTLOption, int(n)))
	case unix.IP_MULTICAST_LOOP:
		so.SetMulticastLoop(n != 0)
	case unix.IP_RECVTTL:
		so.SetReceiveTTL(n != 0)
	case unix.IP_RECVTOS:
		so.SetReceiveTOS(n != 0)
	case unix.IP_PKTINFO:
		so.SetReceivePacketInfo(n != 0)
	case unix.IP_RECVERR:
		so.SetIPv4RecvError(n != 0)
	case unix.IP_RECVORIGDSTADDR:
		so.SetReceiveOriginalDstAddress(n != 0)
	case unix.IP_HDRINCL:
		if !s.kind.raw {
			return unix.ENOPROTOOPT
		}
		so.SetHeaderIncluded(n != 0)
	case unix.IP_MTU_DISCOVER:
		return s.mtuDiscover(n)
	case unix.IP_TRANSPARENT:
		if n != 0 && !c.Capable(unix.CAP_NET_ADMIN) && !c.Capable(unix.CAP_NET_RAW) {
			return unix.EPERM
		}
		return unix.ENOPROTOOPT
	default:
		return unix.ENOPROTOOPT
	}
	return nil
}

// mtuDiscover is IP_MTU_DISCOVER and IPV6_MTU_DISCOVER.
func (s *Socket) mtuDiscover(n int32) error {
	how := tcpip.PMTUDiscoveryDont
	switch n {
	case unix.IP_PMTUDISC_DONT:
	case unix.IP_PMTUDISC_WANT:
		how = tcpip.PMTUDiscoveryWant
	case unix.IP_PMTUDISC_DO:
		how = tcpip.PMTUDiscoveryDo
	case unix.IP_PMTUDISC_PROBE:
		how = tcpip.PMTUDiscoveryProbe
	default:
		return unix.EINVAL
	}
	return errno(s.ep.SetSockOptInt(tcpip.MTUDiscoverOption, int(how)))
}

func (s *Socket) getMTUDiscover(max int) ([]byte, error) {
	how, terr := s.ep.GetSockOptInt(tcpip.MTUDiscoverOption)
	if terr != nil {
		return nil, errno(terr)
	}
	n := unix.IP_PMTUDISC_DONT
	switch tcpip.PMTUDStrategy(how) {
	case tcpip.PMTUDiscoveryWant:
		n = unix.IP_PMTUDISC_WANT
	case tcpip.PMTUDiscoveryDo:
		n = unix.IP_PMTUDISC_DO
	case tcpip.PMTUDiscoveryProbe:
		n = unix.IP_PMTUDISC_PROBE
	}
	return socket.IntValue(n, max), nil
}

// membership4 reads struct ip_mreq or ip_mreqn.
func (s *Socket) membership4(value []byte) (m tcpip.MembershipOption, err error) {
	if s.isTCP() {
		return m, unix.EPROTO
	}
	if len(value) < 8 {
		return m, unix.EINVAL
	}
	m.MulticastAddr = tcpip.AddrFrom4([4]byte(value[:4]))
	if ip := [4]byte(value[4:8]); ip != [4]byte{} {
		m.InterfaceAddr = tcpip.AddrFrom4(ip)
	}
	if len(value) >= 12 {
		m.NIC = tcpip.NICID(binary.LittleEndian.Uint32(value[8:]))
	}
	if m.NIC == 0 {
		m.NIC = s.stack.linkOf(m.InterfaceAddr)
	}
	if value[0]>>4 != 0xe {
		return m, unix.EINVAL
	}
	return m, nil
}

// member joins or leaves a group.
func (s *Socket) member(join bool, m tcpip.MembershipOption) error {
	if m.NIC == 0 && m.InterfaceAddr.Len() == 0 {
		m.NIC = s.stack.groupLink(m.MulticastAddr)
	}
	var terr tcpip.Error
	if join {
		o := tcpip.AddMembershipOption(m)
		terr = s.ep.SetSockOpt(&o)
	} else {
		o := tcpip.RemoveMembershipOption(m)
		terr = s.ep.SetSockOpt(&o)
	}
	switch terr.(type) {
	case *tcpip.ErrPortInUse:
		return unix.EADDRINUSE
	case *tcpip.ErrBadLocalAddress:
		return unix.EADDRNOTAVAIL
	}
	return errno(terr)
}

// multicastLink is IP_MULTICAST_IF: an address, struct ip_mreq or ip_mreqn.
func (s *Socket) multicastLink(value []byte) error {
	if s.isTCP() {
		return unix.ENOPROTOOPT
	}
	var o tcpip.MulticastInterfaceOption
	at := 0
	if len(value) >= 8 {
		at = 4
	}
	if len(value) < at+4 {
		return unix.EINVAL
	}
	if ip := [4]byte(value[at : at+4]); ip != [4]byte{} {
		o.InterfaceAddr = tcpip.AddrFrom4(ip)
	}
	if len(value) >= 12 {
		o.NIC = tcpip.NICID(binary.LittleEndian.Uint32(value[8:]))
	}
	if o.NIC == 0 {
		o.NIC = s.stack.linkOf(o.InterfaceAddr)
	}
	if terr := s.ep.SetSockOpt(&o); terr != nil {
		return unix.EADDRNOTAVAIL
	}
	return nil
}

// getIP is SOL_IP.
func (s *Socket) getIP(name, max int) ([]byte, error) {
	so := s.ep.SocketOptions()
	integer := func(o tcpip.SockOptInt) ([]byte, error) {
		n, terr := s.ep.GetSockOptInt(o)
		if terr != nil {
			return nil, errno(terr)
		}
		if o == tcpip.IPv4TTLOption && n == tcpip.UseDefaultIPv4TTL {
			n = defaultTTL
		}
		return shortValue(n, max), nil
	}
	switch name {
	case unix.IP_TTL:
		return integer(tcpip.IPv4TTLOption)
	case unix.IP_TOS:
		return integer(tcpip.IPv4TOSOption)
	case unix.IP_MULTICAST_TTL:
		return integer(tcpip.MulticastTTLOption)
	case unix.IP_MULTICAST_LOOP:
		return shortBool(so.GetMulticastLoop(), max), nil
	case unix.IP_RECVTTL:
		return shortBool(so.GetReceiveTTL(), max), nil
	case unix.IP_RECVTOS:
		return shortBool(so.GetReceiveTOS(), max), nil
	case unix.IP_PKTINFO:
		return shortBool(so.GetReceivePacketInfo(), max), nil
	case unix.IP_RECVERR:
		return shortBool(so.GetIPv4RecvError(), max), nil
	case unix.IP_RECVORIGDSTADDR:
		return shortBool(so.GetReceiveOriginalDstAddress(), max), nil
	case unix.IP_HDRINCL:
		if s.kind.raw {
			return shortBool(so.GetHeaderIncluded(), max), nil
		}
	case unix.IP_MTU_DISCOVER:
		return s.getMTUDiscover(max)
	case unix.IP_MTU:
		if _, terr := s.ep.GetRemoteAddress(); terr != nil {
			return nil, unix.ENOTCONN
		}
		return socket.IntValue(s.pathMTU(), max), nil
	case unix.IP_MULTICAST_IF:
		var o tcpip.MulticastInterfaceOption
		if terr := s.ep.GetSockOpt(&o); terr != nil {
			return nil, errno(terr)
		}
		var ip [4]byte
		if o.InterfaceAddr.Len() == 4 {
			ip = o.InterfaceAddr.As4()
		}
		return socket.Cut(ip[:], max), nil
	}
	return nil, unix.ENOPROTOOPT
}

// shortValue is IntValue, but a single byte where there is no room for more
// (do_ip_getsockopt).
func shortValue(n, max int) []byte {
	if max < 4 && max > 0 && n >= 0 && n <= 255 {
		return []byte{byte(n)}
	}
	return socket.IntValue(n, max)
}

func shortBool(on bool, max int) []byte {
	if on {
		return shortValue(1, max)
	}
	return shortValue(0, max)
}

// setIPv6 is SOL_IPV6 (ipv6(7)).
func (s *Socket) setIPv6(_ socket.Caller, name int, value []byte) error {
	so := s.ep.SocketOptions()
	if name == unix.IPV6_JOIN_GROUP || name == unix.IPV6_LEAVE_GROUP {
		if len(value) < 20 {
			return unix.EINVAL
		}
		if s.isTCP() {
			return unix.EPROTO
		}
		if value[0] != 0xff {
			return unix.EINVAL
		}
		return s.member(name == unix.IPV6_JOIN_GROUP, tcpip.MembershipOption{
			MulticastAddr: tcpip.AddrFrom16([16]byte(value[:16])), NIC: tcpip.NICID(binary.LittleEndian.Uint32(value[16:])),
		})
	}
	n, err := socket.Int(value)
	if err != nil {
		return err
	}
	hops := func(least int32) error {
		if n < least || n > 255 {
			return unix.EINVAL
		}
		return nil
	}
	switch name {
	case unix.IPV6_V6ONLY:
		if a, terr := s.ep.GetLocalAddress(); terr == nil && a.Port != 0 {
			return unix.EINVAL // it is bound
		}
		so.SetV6Only(n != 0)
	case unix.IPV6_UNICAST_HOPS:
		if err := hops(-1); err != nil {
			return err
		}
		return errno(s.ep.SetSockOptInt(tcpip.IPv6HopLimitOption, int(n)))
	case unix.IPV6_MULTICAST_HOPS:
		if s.isTCP() {
			return unix.ENOPROTOOPT
		}
		if err := hops(-1); err != nil {
			return err
		}
		if n == -1 {
			n = 1
		}
		return errno(s.ep.SetSockOptInt(tcpip.MulticastTTLOption, int(n)))
	case unix.IPV6_MULTICAST_LOOP:
		if n != 0 && n != 1 {
			return unix.EINVAL
		}
		so.SetMulticastLoop(n != 0)
	case unix.IPV6_MULTICAST_IF:
		if s.isTCP() {
			return unix.ENOPROTOOPT
		}
		if n != 0 && !s.stack.HasNIC(tcpip.NICID(n)) {
			return unix.ENODEV
		}
		return errno(s.ep.SetSockOptInt(tcpip.IPv6MulticastInterfaceOption, int(n)))
	case unix.IPV6_TCLASS:
		if n < -1 || n > 255 {
			return unix.EINVAL
		}
		return errno(s.ep.SetSockOptInt(tcpip.IPv6TrafficClassOption, int(max(n, 0))))
	case unix.IPV6_RECVTCLASS:
		so.SetReceiveTClass(n != 0)
	case unix.IPV6_RECVPKTINFO:
		so.SetIPv6ReceivePacketInfo(n != 0)
	case unix.IPV6_RECVHOPLIMIT:
		so.SetReceiveHopLimit(n != 0)
	case unix.IPV6_RECVERR:
		so.SetIPv6RecvError(n != 0)
	case unix.IPV6_MTU_DISCOVER:
		return s.mtuDiscover(n)
	case unix.IPV6_CHECKSUM:
		if !s.kind.raw {
			return unix.ENOPROTOOPT
		}
		return errno(s.ep.SetSockOptInt(tcpip.IPv6Checksum, int(n)))
	default:
		return unix.ENOPROTOOPT
	}
	return nil
}

// getIPv6 is SOL_IPV6.
func (s *Socket) getIPv6(name, max int) ([]byte, error) {
	so := s.ep.SocketOptions()
	integer := func(o tcpip.SockOptInt, unset, instead int) ([]byte, error) {
		n, terr := s.ep.GetSockOptInt(o)
		if terr != nil {
			return nil, errno(terr)
		}
		if n == unset {
			n = instead
		}
		return socket.IntValue(n, max), nil
	}
	switch name {
	case unix.IPV6_V6ONLY:
		return socket.Bool(so.GetV6Only(), max), nil
	case unix.IPV6_UNICAST_HOPS:
		return integer(tcpip.IPv6HopLimitOption, tcpip.UseDefaultIPv6HopLimit, defaultTTL)
	case unix.IPV6_MULTICAST_HOPS:
		return integer(tcpip.MulticastTTLOption, -1, 1)
	case unix.IPV6_MULTICAST_LOOP:
		return socket.Bool(so.GetMulticastLoop(), max), nil
	case unix.IPV6_MULTICAST_IF:
		return integer(tcpip.IPv6MulticastInterfaceOption, -1, 0)
	case unix.IPV6_TCLASS:
		return integer(tcpip.IPv6TrafficClassOption, -1, 0)
	case unix.IPV6_RECVTCLASS:
		return socket.Bool(so.GetReceiveTClass(), max), nil
	case unix.IPV6_RECVPKTINFO:
		return socket.Bool(so.GetIPv6ReceivePacketInfo(), max), nil
	case unix.IPV6_RECVHOPLIMIT:
		return socket.Bool(so.GetReceiveHopLimit(), max), nil
	case unix.IPV6_RECVERR:
		return socket.Bool(so.GetIPv6RecvError(), max), nil
	case unix.IPV6_MTU_DISCOVER:
		return s.getMTUDiscover(max)
	case unix.IPV6_MTU:
		if _, terr := s.ep.GetRemoteAddress(); terr != nil {
			return nil, unix.ENOTCONN
		}
		return socket.IntValue(s.pathMTU(), max), nil
	}
	return nil, unix.ENOPROTOOPT
}

const icmp6Filter = 1 // ICMPV6_FILTER

// setICMPv6 is ICMPV6_FILTER of raw sockets (ping -6).
func (s *Socket) setICMPv6(name int, value []byte) error {
	if name != icmp6Filter {
		return unix.ENOPROTOOPT
	}
	var o tcpip.ICMPv6Filter
	if len(value) > 32 {
		return unix.EINVAL
	}
	b := make([]byte, 32)
	copy(b, value)
	for i := range o.DenyType {
		o.DenyType[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return errno(s.ep.SetSockOpt(&o))
}
