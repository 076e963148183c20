package hostsock

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/vfs"
)

// access is what may be done with an option.
type access byte

const (
	get access = 1 << iota
	set
	both = get | set
	// raw: setting is for CAP_NET_RAW or CAP_NET_ADMIN of the guest.
	raw access = 1 << 3
)

// socketOptions are those of SOL_SOCKET; SO_RCVTIMEO and SO_SNDTIMEO are the
// sentry's own. What tells of the runner instead of the guest (SO_PEERCRED,
// SO_PEERSEC), takes memory beyond the limits (SO_RCVBUFFORCE) or hands programs to
// the host (SO_ATTACH_FILTER, SO_ATTACH_BPF) is not here.
var socketOptions = map[int]access{
	unix.SO_REUSEADDR: both, unix.SO_REUSEPORT: both, unix.SO_TYPE: get, unix.SO_PROTOCOL: get, unix.SO_DOMAIN: get,
	unix.SO_ERROR: get, unix.SO_DONTROUTE: both, unix.SO_BROADCAST: both, unix.SO_SNDBUF: both, unix.SO_RCVBUF: both,
	unix.SO_KEEPALIVE: both, unix.SO_OOBINLINE: both, unix.SO_LINGER: both, unix.SO_RCVLOWAT: both, unix.SO_SNDLOWAT: get,
	unix.SO_TIMESTAMP: both, unix.SO_TIMESTAMPNS: both, unix.SO_ACCEPTCONN: get, unix.SO_NO_CHECK: both,
	unix.SO_RXQ_OVFL: both, unix.SO_INCOMING_CPU: get, unix.SO_PRIORITY: both | raw, unix.SO_MARK: get, unix.SO_BINDTODEVICE: both | raw,
	unix.SO_COOKIE: get,
}

var ipOptions = map[int]access{
	unix.IP_TOS: both, unix.IP_TTL: both, unix.IP_MTU_DISCOVER: both, unix.IP_MTU: get, unix.IP_RECVERR: both, unix.IP_RECVTTL: both,
	unix.IP_RECVTOS: both, unix.IP_PKTINFO: both, unix.IP_MULTICAST_IF: both, unix.IP_MULTICAST_TTL: both, unix.IP_MULTICAST_LOOP: both,
	unix.IP_ADD_MEMBERSHIP: set, unix.IP_DROP_MEMBERSHIP: set, unix.IP_ADD_SOURCE_MEMBERSHIP: set, unix.IP_DROP_SOURCE_MEMBERSHIP: set,
	unix.IP_MULTICAST_ALL: both, unix.IP_BIND_ADDRESS_NO_PORT: both, unix.IP_RECVORIGDSTADDR: both, unix.IP_FREEBIND: both, unix.IP_MINTTL: both,
}

var ip6Options = map[int]access{
	unix.IPV6_V6ONLY: both, unix.IPV6_UNICAST_HOPS: both, unix.IPV6_MULTICAST_HOPS: both, unix.IPV6_MULTICAST_IF: both,
	unix.IPV6_MULTICAST_LOOP: both, unix.IPV6_ADD_MEMBERSHIP: set, unix.IPV6_DROP_MEMBERSHIP: set, unix.IPV6_TCLASS: both,
	unix.IPV6_RECVTCLASS: both, unix.IPV6_RECVPKTINFO: both, unix.IPV6_RECVHOPLIMIT: both, unix.IPV6_RECVERR: both,
	unix.IPV6_MTU_DISCOVER: both, unix.IPV6_MTU: both, unix.IPV6_MULTICAST_ALL: both, unix.IPV6_FREEBIND: both, unix.IPV6_DONTFRAG: both,
}

var tcpOptions = map[int]access{
	unix.TCP_NODELAY: both, unix.TCP_MAXSEG: both, unix.TCP_CORK: both, unix.TCP_KEEPIDLE: both, unix.TCP_KEEPINTVL: both,
	unix.TCP_KEEPCNT: both, unix.TCP_SYNCNT: both, unix.TCP_LINGER2: both, unix.TCP_DEFER_ACCEPT: both, unix.TCP_WINDOW_CLAMP: both,
	unix.TCP_INFO: get, unix.TCP_QUICKACK: both, unix.TCP_USER_TIMEOUT: both, unix.TCP_FASTOPEN: get, unix.TCP_CONGESTION: get,
	unix.TCP_NOTSENT_LOWAT: both, unix.TCP_INQ: both,
}

const (
	solUDP     = 17
	icmpFilter = 1 // ICMP_FILTER
)

var udpOptions = map[int]access{unix.UDP_CORK: both, unix.UDP_SEGMENT: both, unix.UDP_GRO: both}

// option returns what may be done with an option: 0 for one that is not there.
func (s *Socket) option(level, name int) access {
	switch {
	case level == unix.SOL_SOCKET:
		return socketOptions[name]
	case level == unix.SOL_IP:
		return ipOptions[name]
	case level == unix.SOL_IPV6 && s.family == unix.AF_INET6:
		return ip6Options[name]
	case level == unix.SOL_RAW && s.typ == unix.SOCK_RAW && name == icmpFilter:
		return both
	case level == unix.SOL_ICMPV6 && s.typ == unix.SOCK_RAW && name == unix.ICMPV6_FILTER:
		return both
	case level == unix.SOL_TCP && s.protocol == unix.IPPROTO_TCP:
		return tcpOptions[name]
	case level == solUDP && s.protocol == unix.IPPROTO_UDP:
		return udpOptions[name]
	}
	return 0
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c socket.Caller, level, name int, value []byte) error {
	if level == unix.SOL_SOCKET {
		if ok, err := s.Timeouts.Set(name, value); ok {
			return err
		}
	}
	if level == unix.SOL_SOCKET {
		switch name {
		case unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE, unix.SO_DEBUG, unix.SO_MARK:
			if !c.Capable(unix.CAP_NET_ADMIN) {
				if name == unix.SO_DEBUG {
					return unix.EACCES
				}
				return unix.EPERM
			}
			// The memory is the host's, whatever the caller may: the limit stays.
			if name == unix.SO_RCVBUFFORCE {
				name = unix.SO_RCVBUF
			} else if name == unix.SO_SNDBUFFORCE {
				name = unix.SO_SNDBUF
			}
		}
	}
	if level == unix.SOL_TCP && name == unix.TCP_CONGESTION && s.protocol == unix.IPPROTO_TCP {
		// Another name may have the host load a module.
		if v := string(bytes.TrimRight(value, "\x00")); v != "reno" && v != "cubic" && len(value) > 0 {
			return unix.ENOENT
		}
		return hostcall.SetSocketOption(s.fd, level, name, value)
	}
	o := s.option(level, name)
	switch {
	case o&set == 0:
		return unix.ENOPROTOOPT
	case name == unix.SO_PRIORITY && level == unix.SOL_SOCKET && inRange(value):
	case o&raw != 0 && !c.Capable(unix.CAP_NET_RAW) && !c.Capable(unix.CAP_NET_ADMIN):
		return unix.EPERM
	}
	return hostcall.SetSocketOption(s.fd, level, name, value)
}

// inRange says that a priority is one that everybody may set.
func inRange(value []byte) bool {
	n, err := socket.Int(value)
	return err == nil && n >= 0 && n <= 6
}

// GetOption implements socket.Socket.
func (s *Socket) GetOption(_ socket.Caller, level, name, max int) ([]byte, error) {
	if level == unix.SOL_SOCKET {
		if b := s.Timeouts.Get(name, max); b != nil {
			return b, nil
		}
		if name == unix.SO_PASSCRED {
			return socket.IntValue(0, max), nil
		}
	}
	if s.option(level, name)&get == 0 {
		return nil, unix.ENOPROTOOPT
	}
	return hostcall.SocketOption(s.fd, level, name, make([]byte, max))
}

// mayControl says which control messages may be sent.
func mayControl(level, typ int32) bool {
	switch level {
	case unix.SOL_IP:
		return typ == unix.IP_TTL || typ == unix.IP_TOS || typ == unix.IP_PKTINFO
	case unix.SOL_IPV6:
		return typ == unix.IPV6_PKTINFO || typ == unix.IPV6_HOPLIMIT || typ == unix.IPV6_TCLASS || typ == unix.IPV6_DONTFRAG
	case solUDP:
		return typ == unix.UDP_SEGMENT
	}
	return false
}

const (
	ifreqSize  = 40 // sizeof(struct ifreq)
	siocgstamp = 0x8906
	// maxConf bounds what is asked of SIOCGIFCONF, in bytes.
	maxConf = 64 * ifreqSize
)

// Ioctl implements vfs.Ioctler: what tells, and changes nothing.
func (s *Socket) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	var b [ifreqSize]byte
	size := 4
	in := false
	switch request {
	case unix.SIOCINQ, unix.SIOCOUTQ, unix.SIOCATMARK:
	case siocgstamp:
		size = 16
	case unix.SIOCGIFCONF:
		return 0, s.ifconf(mem, arg)
	case unix.SIOCGIFNAME, unix.SIOCGIFINDEX, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFBRDADDR,
		unix.SIOCGIFDSTADDR, unix.SIOCGIFHWADDR, unix.SIOCGIFMTU, unix.SIOCGIFMETRIC, unix.SIOCGIFTXQLEN, unix.SIOCGIFMAP:
		size, in = ifreqSize, true
	default:
		return 0, unix.ENOTTY
	}
	if in {
		if _, err := mem.CopyIn(hostarch.Addr(arg), b[:size]); err != nil {
			return 0, err
		}
	}
	if _, err := hostcall.Ioctl(s.fd, request, b[:]); err != nil {
		return 0, err
	}
	_, err := mem.CopyOut(hostarch.Addr(arg), b[:size])
	return 0, err
}

// ifconf is SIOCGIFCONF, whose struct ifconf points to another buffer.
func (s *Socket) ifconf(mem vfs.Memory, arg uint64) error {
	var c [16]byte
	if _, err := mem.CopyIn(hostarch.Addr(arg), c[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	room, to := int32(le.Uint32(c[:])), le.Uint64(c[8:])
	if to != 0 && room < 0 {
		return unix.EINVAL
	}
	list, err := hostcall.InterfaceAddresses(s.fd, make([]byte, maxConf))
	if err != nil {
		return err
	}
	if to != 0 {
		list = list[:min(len(list), int(room)/ifreqSize*ifreqSize)]
		if _, err := mem.CopyOut(hostarch.Addr(to), list); err != nil {
			return err
		}
	}
	le.PutUint32(c[:], uint32(len(list)))
	_, err = mem.CopyOut(hostarch.Addr(arg), c[:4])
	return err
}
