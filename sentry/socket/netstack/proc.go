package netstack

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// Headers of the tables of /proc/net.
const (
	TCPHeader  = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n"
	TCP6Header = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	UDPHeader  = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n"
	UDP6Header = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
)

// hexAddr writes an address as the tables have it: words in the machine's order,
// and the port.
func hexAddr(b *bytes.Buffer, a tcpip.Address, port uint16, size int) {
	var ip [16]byte
	switch {
	case a.Len() == 4 && size == 16:
		m := map4(a)
		ip = m.As16()
	case a.Len() != 0:
		copy(ip[:], a.AsSlice())
	}
	for i := 0; i < size; i += 4 {
		fmt.Fprintf(b, "%08X", binary.LittleEndian.Uint32(ip[i:]))
	}
	fmt.Fprintf(b, ":%04X", port)
}

// Table writes the lines of /proc/net/{tcp,udp}{,6}.
func (s *Stack) Table(b *bytes.Buffer, isTCP, v6 bool) {
	s.mu.Lock()
	list := make([]*Socket, 0, len(s.all))
	for x := range s.all {
		list = append(list, x)
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(x, y *Socket) int { return cmp.Compare(x.ino, y.ino) })
	n := 0
	for _, x := range list {
		if x.isTCP() != isTCP || !isTCP && !x.isUDP() || (x.kind.network == ipv6.ProtocolNumber) != v6 {
			continue
		}
		local, terr := x.ep.GetLocalAddress()
		if terr != nil || local.Port == 0 {
			continue
		}
		remote, terr := x.ep.GetRemoteAddress()
		if terr != nil {
			remote = tcpip.FullAddress{}
		}
		x.shown(&remote)
		size, st := 4, tcpClose
		if v6 {
			size = 16
		}
		if isTCP {
			st = int(tcpState(x.ep.State()))
		} else if remote.Port != 0 {
			st = tcpEstablished
		}
		rx, _ := x.ep.GetSockOptInt(tcpip.ReceiveQueueSizeOption)
		tx := 0
		if isTCP {
			tx, _ = x.ep.GetSockOptInt(tcpip.SendQueueSizeOption)
			tx = max(tx, 0)
		}
		if isTCP {
			fmt.Fprintf(b, "%4d: ", n)
		} else {
			fmt.Fprintf(b, "%5d: ", n)
		}
		hexAddr(b, local.Addr, local.Port, size)
		b.WriteByte(' ')
		hexAddr(b, remote.Addr, remote.Port, size)
		fmt.Fprintf(b, " %02X %08X:%08X 00:%08X %08X %5d %8d %d", st, tx, rx, 0, 0, x.uid, 0, x.ino)
		if isTCP {
			fmt.Fprintf(b, " 1 %016x 100 0 0 10 0\n", 0)
		} else {
			fmt.Fprintf(b, " 2 %016x 0\n", 0)
		}
		n++
	}
}

// Counts are how many sockets there are, for /proc/net/sockstat.
type Counts struct{ TCP, TCP6, UDP, UDP6, Raw, Raw6 int }

// All returns the sum.
func (c Counts) All() int { return c.TCP + c.TCP6 + c.UDP + c.UDP6 + c.Raw + c.Raw6 }

// Counts counts the sockets.
func (s *Stack) Counts() (c Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := range s.all {
		v4, v6 := &c.Raw, &c.Raw6
		switch {
		case x.isTCP():
			v4, v6 = &c.TCP, &c.TCP6
		case x.isUDP():
			v4, v6 = &c.UDP, &c.UDP6
		}
		if x.kind.network == ipv6.ProtocolNumber {
			*v6++
		} else {
			*v4++
		}
	}
	return c
}

// SNMP writes /proc/net/snmp.
func (s *Stack) SNMP(b *bytes.Buffer) {
	st := s.Stats()
	ip, t, u := st.IP, st.TCP, st.UDP
	b.WriteString("Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits\n")
	fmt.Fprintf(b, "Ip: 2 %d %d %d %d 0 0 0 %d %d %d 0 0 0 0 0 0 0 0 %d\n", defaultTTL, ip.PacketsReceived.Value(),
		ip.MalformedPacketsReceived.Value(), ip.InvalidDestinationAddressesReceived.Value(), ip.PacketsDelivered.Value(),
		ip.PacketsSent.Value(), ip.OutgoingPacketErrors.Value(), ip.PacketsSent.Value())
	b.WriteString("Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n")
	fmt.Fprintf(b, "Tcp: 1 200 120000 -1 %d %d %d %d %d %d %d %d %d %d %d\n", t.ActiveConnectionOpenings.Value(),
		t.PassiveConnectionOpenings.Value(), t.FailedConnectionAttempts.Value(), t.EstablishedResets.Value(),
		t.CurrentEstablished.Value(), t.ValidSegmentsReceived.Value(), t.SegmentsSent.Value(), t.Retransmits.Value(),
		t.InvalidSegmentsReceived.Value(), t.ResetsSent.Value(), t.ChecksumErrors.Value())
	b.WriteString("Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n")
	fmt.Fprintf(b, "Udp: %d %d %d %d %d 0 %d 0 0\n", u.PacketsReceived.Value(), u.UnknownPortErrors.Value(),
		u.MalformedPacketsReceived.Value(), u.PacketsSent.Value(), u.ReceiveBufferErrors.Value(), u.ChecksumErrors.Value())
}
