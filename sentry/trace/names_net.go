package trace

import "golang.org/x/sys/unix"

var addrFamilies = set{"AF_???", []flag{
	{unix.AF_UNSPEC, "AF_UNSPEC"},
	{unix.AF_UNIX, "AF_UNIX"},
	{unix.AF_INET, "AF_INET"},
	{unix.AF_INET6, "AF_INET6"},
	{unix.AF_NETLINK, "AF_NETLINK"},
	{unix.AF_PACKET, "AF_PACKET"},
	{unix.AF_ALG, "AF_ALG"},
	{unix.AF_VSOCK, "AF_VSOCK"},
}}

var sockTypes = set{"SOCK_???", []flag{
	{unix.SOCK_STREAM, "SOCK_STREAM"},
	{unix.SOCK_DGRAM, "SOCK_DGRAM"},
	{unix.SOCK_RAW, "SOCK_RAW"},
	{unix.SOCK_RDM, "SOCK_RDM"},
	{unix.SOCK_SEQPACKET, "SOCK_SEQPACKET"},
	{unix.SOCK_PACKET, "SOCK_PACKET"},
}}

var sockBits = set{"SOCK_???", []flag{
	{unix.SOCK_CLOEXEC, "SOCK_CLOEXEC"},
	{unix.SOCK_NONBLOCK, "SOCK_NONBLOCK"},
}}

var protocols = set{"IPPROTO_???", []flag{
	{unix.IPPROTO_IP, "IPPROTO_IP"},
	{unix.IPPROTO_ICMP, "IPPROTO_ICMP"},
	{unix.IPPROTO_TCP, "IPPROTO_TCP"},
	{unix.IPPROTO_UDP, "IPPROTO_UDP"},
	{unix.IPPROTO_IPV6, "IPPROTO_IPV6"},
	{unix.IPPROTO_ICMPV6, "IPPROTO_ICMPV6"},
	{unix.IPPROTO_RAW, "IPPROTO_RAW"},
}}

var netlinkProtocols = set{"NETLINK_???", []flag{
	{unix.NETLINK_ROUTE, "NETLINK_ROUTE"},
	{unix.NETLINK_SOCK_DIAG, "NETLINK_SOCK_DIAG"},
	{unix.NETLINK_NETFILTER, "NETLINK_NETFILTER"},
	{unix.NETLINK_KOBJECT_UEVENT, "NETLINK_KOBJECT_UEVENT"},
	{unix.NETLINK_GENERIC, "NETLINK_GENERIC"},
	{unix.NETLINK_AUDIT, "NETLINK_AUDIT"},
}}

var msgBits = set{"MSG_???", []flag{
	{unix.MSG_OOB, "MSG_OOB"},
	{unix.MSG_PEEK, "MSG_PEEK"},
	{unix.MSG_DONTROUTE, "MSG_DONTROUTE"},
	{unix.MSG_CTRUNC, "MSG_CTRUNC"},
	{0x10, "MSG_PROBE"},
	{unix.MSG_TRUNC, "MSG_TRUNC"},
	{unix.MSG_DONTWAIT, "MSG_DONTWAIT"},
	{unix.MSG_EOR, "MSG_EOR"},
	{unix.MSG_WAITALL, "MSG_WAITALL"},
	{unix.MSG_FIN, "MSG_FIN"},
	{unix.MSG_SYN, "MSG_SYN"},
	{unix.MSG_CONFIRM, "MSG_CONFIRM"},
	{unix.MSG_RST, "MSG_RST"},
	{unix.MSG_ERRQUEUE, "MSG_ERRQUEUE"},
	{unix.MSG_NOSIGNAL, "MSG_NOSIGNAL"},
	{unix.MSG_MORE, "MSG_MORE"},
	{unix.MSG_WAITFORONE, "MSG_WAITFORONE"},
	{unix.MSG_ZEROCOPY, "MSG_ZEROCOPY"},
	{unix.MSG_FASTOPEN, "MSG_FASTOPEN"},
	{unix.MSG_CMSG_CLOEXEC, "MSG_CMSG_CLOEXEC"},
}}

var shutdownHows = set{"SHUT_???", []flag{
	{unix.SHUT_RD, "SHUT_RD"},
	{unix.SHUT_WR, "SHUT_WR"},
	{unix.SHUT_RDWR, "SHUT_RDWR"},
}}

var sockLevels = set{"SOL_??", []flag{
	{unix.SOL_SOCKET, "SOL_SOCKET"},
	{unix.SOL_IP, "SOL_IP"},
	{unix.SOL_TCP, "SOL_TCP"},
	{unix.IPPROTO_UDP, "SOL_UDP"},
	{unix.SOL_IPV6, "SOL_IPV6"},
	{unix.SOL_ICMPV6, "SOL_ICMPV6"},
	{unix.SOL_RAW, "SOL_RAW"},
	{unix.SOL_PACKET, "SOL_PACKET"},
	{unix.SOL_NETLINK, "SOL_NETLINK"},
}}

var socketOptions = set{"SO_???", []flag{
	{unix.SO_DEBUG, "SO_DEBUG"},
	{unix.SO_REUSEADDR, "SO_REUSEADDR"},
	{unix.SO_TYPE, "SO_TYPE"},
	{unix.SO_ERROR, "SO_ERROR"},
	{unix.SO_DONTROUTE, "SO_DONTROUTE"},
	{unix.SO_BROADCAST, "SO_BROADCAST"},
	{unix.SO_SNDBUF, "SO_SNDBUF"},
	{unix.SO_RCVBUF, "SO_RCVBUF"},
	{unix.SO_KEEPALIVE, "SO_KEEPALIVE"},
	{unix.SO_OOBINLINE, "SO_OOBINLINE"},
	{unix.SO_NO_CHECK, "SO_NO_CHECK"},
	{unix.SO_PRIORITY, "SO_PRIORITY"},
	{unix.SO_LINGER, "SO_LINGER"},
	{unix.SO_REUSEPORT, "SO_REUSEPORT"},
	{unix.SO_PASSCRED, "SO_PASSCRED"},
	{unix.SO_PEERCRED, "SO_PEERCRED"},
	{unix.SO_RCVLOWAT, "SO_RCVLOWAT"},
	{unix.SO_SNDLOWAT, "SO_SNDLOWAT"},
	{20, "SO_RCVTIMEO_OLD"},
	{21, "SO_SNDTIMEO_OLD"},
	{unix.SO_BINDTODEVICE, "SO_BINDTODEVICE"},
	{unix.SO_ATTACH_FILTER, "SO_ATTACH_FILTER"},
	{unix.SO_DETACH_FILTER, "SO_DETACH_FILTER"},
	{unix.SO_PEERNAME, "SO_PEERNAME"},
	{29, "SO_TIMESTAMP_OLD"},
	{unix.SO_ACCEPTCONN, "SO_ACCEPTCONN"},
	{unix.SO_PEERSEC, "SO_PEERSEC"},
	{unix.SO_SNDBUFFORCE, "SO_SNDBUFFORCE"},
	{unix.SO_RCVBUFFORCE, "SO_RCVBUFFORCE"},
	{unix.SO_PASSSEC, "SO_PASSSEC"},
	{35, "SO_TIMESTAMPNS_OLD"},
	{unix.SO_MARK, "SO_MARK"},
	{unix.SO_PROTOCOL, "SO_PROTOCOL"},
	{unix.SO_DOMAIN, "SO_DOMAIN"},
	{unix.SO_RXQ_OVFL, "SO_RXQ_OVFL"},
	{unix.SO_PEEK_OFF, "SO_PEEK_OFF"},
	{unix.SO_BUSY_POLL, "SO_BUSY_POLL"},
	{unix.SO_INCOMING_CPU, "SO_INCOMING_CPU"},
	{unix.SO_COOKIE, "SO_COOKIE"},
	{unix.SO_PEERGROUPS, "SO_PEERGROUPS"},
	{unix.SO_ZEROCOPY, "SO_ZEROCOPY"},
}}

var tcpOptions = set{"TCP_???", []flag{
	{unix.TCP_NODELAY, "TCP_NODELAY"},
	{unix.TCP_MAXSEG, "TCP_MAXSEG"},
	{unix.TCP_CORK, "TCP_CORK"},
	{unix.TCP_KEEPIDLE, "TCP_KEEPIDLE"},
	{unix.TCP_KEEPINTVL, "TCP_KEEPINTVL"},
	{unix.TCP_KEEPCNT, "TCP_KEEPCNT"},
	{unix.TCP_SYNCNT, "TCP_SYNCNT"},
	{unix.TCP_LINGER2, "TCP_LINGER2"},
	{unix.TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"},
	{unix.TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP"},
	{unix.TCP_INFO, "TCP_INFO"},
	{unix.TCP_QUICKACK, "TCP_QUICKACK"},
	{unix.TCP_CONGESTION, "TCP_CONGESTION"},
	{unix.TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"},
	{unix.TCP_FASTOPEN, "TCP_FASTOPEN"},
	{unix.TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT"},
}}

var ipOptions = set{"IP_???", []flag{
	{unix.IP_TOS, "IP_TOS"},
	{unix.IP_TTL, "IP_TTL"},
	{unix.IP_HDRINCL, "IP_HDRINCL"},
	{unix.IP_OPTIONS, "IP_OPTIONS"},
	{unix.IP_PKTINFO, "IP_PKTINFO"},
	{unix.IP_MTU_DISCOVER, "IP_MTU_DISCOVER"},
	{unix.IP_RECVERR, "IP_RECVERR"},
	{unix.IP_RECVTTL, "IP_RECVTTL"},
	{unix.IP_RECVTOS, "IP_RECVTOS"},
	{unix.IP_MTU, "IP_MTU"},
	{unix.IP_FREEBIND, "IP_FREEBIND"},
	{unix.IP_TRANSPARENT, "IP_TRANSPARENT"},
	{unix.IP_MULTICAST_IF, "IP_MULTICAST_IF"},
	{unix.IP_MULTICAST_TTL, "IP_MULTICAST_TTL"},
	{unix.IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP"},
	{unix.IP_ADD_MEMBERSHIP, "IP_ADD_MEMBERSHIP"},
	{unix.IP_DROP_MEMBERSHIP, "IP_DROP_MEMBERSHIP"},
}}

var ipv6Options = set{"IPV6_???", []flag{
	{unix.IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"},
	{unix.IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF"},
	{unix.IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS"},
	{unix.IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP"},
	{unix.IPV6_JOIN_GROUP, "IPV6_JOIN_GROUP"},
	{unix.IPV6_LEAVE_GROUP, "IPV6_LEAVE_GROUP"},
	{unix.IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER"},
	{unix.IPV6_MTU, "IPV6_MTU"},
	{unix.IPV6_RECVERR, "IPV6_RECVERR"},
	{unix.IPV6_V6ONLY, "IPV6_V6ONLY"},
	{unix.IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"},
	{unix.IPV6_PKTINFO, "IPV6_PKTINFO"},
	{unix.IPV6_RECVTCLASS, "IPV6_RECVTCLASS"},
	{unix.IPV6_TCLASS, "IPV6_TCLASS"},
}}

// optionsOf returns the names of a level's socket options.
func optionsOf(level uint64) *set {
	switch level {
	case unix.SOL_SOCKET:
		return &socketOptions
	case unix.SOL_TCP:
		return &tcpOptions
	case unix.SOL_IP:
		return &ipOptions
	case unix.SOL_IPV6:
		return &ipv6Options
	}
	return nil
}

var scmTypes = set{"SCM_???", []flag{
	{unix.SCM_RIGHTS, "SCM_RIGHTS"},
	{unix.SCM_CREDENTIALS, "SCM_CREDENTIALS"},
	{29, "SO_TIMESTAMP_OLD"},
}}
