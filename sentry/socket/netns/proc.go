package netns

import (
	"bytes"
	"fmt"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/socket/netstack"
)

// File is a file of /proc: its path below /proc/net, or below /proc/sys.
type File struct {
	Path  string
	Write func(b *bytes.Buffer)
}

// Files are the files of /proc/net. A network stack that nobody has used yet has
// nothing to show, and is not made for it.
func (n *Namespace) Files() []File {
	table := func(header string, tcp, v6 bool) func(*bytes.Buffer) {
		return func(b *bytes.Buffer) {
			b.WriteString(header)
			if s := n.made(); s != nil {
				s.Table(b, tcp, v6)
			}
		}
	}
	show := func(header string, more func(*netstack.Stack, *bytes.Buffer)) func(*bytes.Buffer) {
		return func(b *bytes.Buffer) {
			b.WriteString(header)
			if s := n.made(); s != nil {
				more(s, b)
			}
		}
	}
	text := func(s string) func(*bytes.Buffer) { return func(b *bytes.Buffer) { b.WriteString(s) } }
	return []File{
		{"arp", show("IP address       HW type     Flags       HW address            Mask     Device\n", (*netstack.Stack).ARPTable)},
		{"dev", n.dev},
		{"if_inet6", n.ifInet6},
		{"igmp", text("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n")},
		{"netlink", text("sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n")},
		{"netstat", text("TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed\nTcpExt: 0 0 0\nIpExt: InNoRoutes InTruncatedPkts\nIpExt: 0 0\n")},
		{"packet", text("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n")},
		{"ptype", text("Type Device      Function\n0800          ip_rcv\n86dd          ipv6_rcv\n")},
		{"raw", text(netstack.TCPHeader)},
		{"raw6", text(netstack.TCP6Header)},
		{"route", show(fmt.Sprintf("%-127s\n", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"), (*netstack.Stack).RouteTable)},
		{"ipv6_route", text("00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo\n")},
		{"snmp", n.snmp},
		{"sockstat", n.sockstat},
		{"sockstat6", n.sockstat6},
		{"tcp", table(netstack.TCPHeader, true, false)},
		{"tcp6", table(netstack.TCP6Header, true, true)},
		{"udp", table(netstack.UDPHeader, false, false)},
		{"udp6", table(netstack.UDP6Header, false, true)},
		{"unix", n.local.Table},
	}
}

// ifInet6 is /proc/net/if_inet6.
func (n *Namespace) ifInet6(b *bytes.Buffer) {
	if s := n.made(); s != nil {
		s.AddressTable(b)
		return
	}
	b.WriteString("00000000000000000000000000000001 01 80 10 80       lo\n")
}

// dev is /proc/net/dev.
func (n *Namespace) dev(b *bytes.Buffer) {
	b.WriteString("Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n")
	links := []netstack.Link{{Name: "lo"}}
	if s := n.made(); s != nil {
		links = s.Links()
	}
	for _, l := range links {
		fmt.Fprintf(b, "%6s: %7d %7d %4d %4d %4d %5d %10d %9d %8d %7d %4d %4d %4d %5d %7d %10d\n",
			l.Name, l.RxBytes, l.RxCount, 0, 0, 0, 0, 0, 0, l.TxBytes, l.TxCount, 0, 0, 0, 0, 0, 0)
	}
}

func (n *Namespace) snmp(b *bytes.Buffer) {
	if s := n.made(); s != nil {
		s.SNMP(b)
	}
}

// sockstat is /proc/net/sockstat.
func (n *Namespace) sockstat(b *bytes.Buffer) {
	var c netstack.Counts
	if s := n.made(); s != nil {
		c = s.Counts()
	}
	fmt.Fprintf(b, "sockets: used %d\nTCP: inuse %d orphan 0 tw 0 alloc %d mem 0\nUDP: inuse %d mem 0\nUDPLITE: inuse 0\nRAW: inuse %d\nFRAG: inuse 0 memory 0\n",
		c.All()+n.local.Count(), c.TCP, c.TCP+c.TCP6, c.UDP, c.Raw)
}

// sockstat6 is /proc/net/sockstat6.
func (n *Namespace) sockstat6(b *bytes.Buffer) {
	var c netstack.Counts
	if s := n.made(); s != nil {
		c = s.Counts()
	}
	fmt.Fprintf(b, "TCP6: inuse %d\nUDP6: inuse %d\nUDPLITE6: inuse 0\nRAW6: inuse %d\nFRAG6: inuse 0 memory 0\n", c.TCP6, c.UDP6, c.Raw6)
}

// Sysctls are the files of /proc/sys/net.
func (n *Namespace) Sysctls() []File {
	number := func(v int) func(*bytes.Buffer) { return func(b *bytes.Buffer) { fmt.Fprintf(b, "%d\n", v) } }
	text := func(s string) func(*bytes.Buffer) { return func(b *bytes.Buffer) { b.WriteString(s) } }
	return []File{
		{"net/core/somaxconn", number(socket.MaxBacklog)},
		{"net/core/optmem_max", number(socket.MaxControl)},
		{"net/core/rmem_default", number(socket.DefaultBuffer)},
		{"net/core/rmem_max", number(socket.MaxBuffer)},
		{"net/core/wmem_default", number(socket.DefaultBuffer)},
		{"net/core/wmem_max", number(socket.MaxBuffer)},
		{"net/ipv4/ip_local_port_range", text("32768\t60999\n")},
		{"net/ipv4/ip_unprivileged_port_start", number(1024)},
		{"net/ipv4/ping_group_range", text("0\t2147483647\n")},
		{"net/ipv4/tcp_rmem", text(fmt.Sprintf("%d\t%d\t%d\n", netstack.MinBuffer, netstack.DefaultTCPRcv, netstack.MaxTCPBuffer))},
		{"net/ipv4/tcp_wmem", text(fmt.Sprintf("%d\t%d\t%d\n", netstack.MinBuffer, netstack.DefaultTCPSnd, netstack.MaxTCPBuffer))},
		{"net/ipv4/tcp_sack", number(1)},
		{"net/ipv6/bindv6only", number(0)},
		{"net/ipv6/conf/all/disable_ipv6", number(0)},
		{"net/ipv6/conf/lo/disable_ipv6", number(0)},
		{"net/unix/max_dgram_qlen", number(10)},
	}
}
