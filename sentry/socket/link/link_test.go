package link

import (
	"bytes"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/hostcall"
)

const own = tcpip.LinkAddress("\x02\x00\x00\x00\x00\x01")

var (
	here4  = tcpip.AddrFrom4([4]byte{10, 0, 0, 1})
	there4 = tcpip.AddrFrom4([4]byte{10, 0, 0, 2})
	here6  = tcpip.AddrFrom16([16]byte{0: 0xfd, 15: 1})
	there6 = tcpip.AddrFrom16([16]byte{0: 0xfd, 15: 2})
)

// received keeps what is delivered.
type received struct{ packets [][]byte }

func (r *received) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, p *stack.PacketBuffer) {
	r.packets = append(r.packets, p.Data().AsRange().ToSlice())
}

func (*received) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

func frame(dst tcpip.LinkAddress, protocol tcpip.NetworkProtocolNumber, packet []byte) []byte {
	b := make([]byte, header.EthernetMinimumSize, header.EthernetMinimumSize+len(packet))
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: "\x02\x00\x00\x00\x00\x02", DstAddr: dst, Type: protocol})
	return append(b, packet...)
}

// udp4 is a packet of IPv4 with a datagram.
func udp4(data string) []byte {
	size := header.IPv4MinimumSize + header.UDPMinimumSize + len(data)
	b := make([]byte, size)
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(size), TTL: 64, Protocol: uint8(header.UDPProtocolNumber), SrcAddr: there4, DstAddr: here4})
	ip.SetChecksum(^ip.CalculateChecksum())
	u := header.UDP(b[header.IPv4MinimumSize:])
	u.Encode(&header.UDPFields{SrcPort: 1000, DstPort: 2000, Length: uint16(header.UDPMinimumSize + len(data))})
	copy(u.Payload(), data)
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, there4, here4, u.Length())
	for i := 0; i < len(data); i += 2 { // RFC 1071
		word := uint16(data[i]) << 8
		if i+1 < len(data) {
			word |= uint16(data[i+1])
		}
		if sum += word; sum < word {
			sum++
		}
	}
	u.SetChecksum(^u.CalculateChecksum(sum))
	return b
}

func TestDeliver(t *testing.T) {
	good := udp4("odd")
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	unchecked := bytes.Clone(good)
	unchecked[26], unchecked[27] = 0, 0
	padded := append(bytes.Clone(good), make([]byte, 20)...) // to Ethernet's minimum
	for _, x := range []struct {
		name   string
		dst    tcpip.LinkAddress
		flags  byte
		packet []byte
		want   bool
	}{
		{"checksum is right", own, 0, good, true},
		{"padded", own, 0, padded, true},
		{"no checksum", own, 0, unchecked, true},
		{"data are wrong", own, 0, flip(30), false},
		{"port is wrong", own, 0, flip(21), false},
		{"header of IP is wrong", own, 0, flip(8), false},
		{"left to the interface", own, vnetNeedsCsum, flip(30), true},
		{"looked at", own, vnetDataValid, flip(30), true},
		{"for another", "\x02\x00\x00\x00\x00\x09", 0, good, false},
		{"for all", header.EthernetBroadcastAddress, 0, good, true},
		{"nothing", own, 0, nil, true},
	} {
		var r received
		vnet := make([]byte, hostcall.VnetHeader)
		vnet[vnetFlags] = x.flags
		l := new(Hub).New(2, own, 1500)
		l.deliver(&r, vnet, frame(x.dst, header.IPv4ProtocolNumber, x.packet))
		switch {
		case len(r.packets) == 1 != x.want:
			t.Errorf("%s: delivered %d times", x.name, len(r.packets))
		case x.want && !bytes.Equal(r.packets[0], x.packet):
			t.Errorf("%s: delivered something else", x.name)
		}
		l.deliver(&r, vnet, []byte(own)) // too short
	}
}

// inject gives packets to a stack.
type inject struct{ *channel.Endpoint }

func (i inject) DeliverNetworkPacket(n tcpip.NetworkProtocolNumber, p *stack.PacketBuffer) {
	i.InjectInbound(n, p)
}

func (inject) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

// FuzzDeliver: whatever comes from the link, and whatever the host says of it, the
// stack goes on; ends of connections are there to be hit.
func FuzzDeliver(f *testing.F) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	f.Cleanup(s.Destroy)
	ch := channel.New(64, 1500, own)
	if terr := s.CreateNIC(1, ch); terr != nil {
		f.Fatal(terr)
	}
	for _, a := range []tcpip.ProtocolAddress{
		{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: here4, PrefixLen: 24}},
		{Protocol: ipv6.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: here6, PrefixLen: 64}},
	} {
		if terr := s.AddProtocolAddress(1, a, stack.AddressProperties{}); terr != nil {
			f.Fatal(terr)
		}
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}, {Destination: header.IPv6EmptySubnet, NIC: 1}})
	for _, network := range []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber} {
		listener, terr := s.NewEndpoint(tcp.ProtocolNumber, network, new(waiter.Queue))
		if terr == nil {
			listener.SocketOptions().SetV6Only(network == ipv6.ProtocolNumber)
			terr = listener.Bind(tcpip.FullAddress{Port: 2000})
		}
		if terr == nil {
			terr = listener.Listen(8)
		}
		if terr != nil {
			f.Fatal(terr)
		}
		f.Cleanup(listener.Close)
		u, terr := s.NewEndpoint(udp.ProtocolNumber, network, new(waiter.Queue))
		if terr == nil {
			u.SocketOptions().SetV6Only(network == ipv6.ProtocolNumber)
			terr = u.Bind(tcpip.FullAddress{Port: 2000})
		}
		if terr != nil {
			f.Fatal(terr)
		}
		f.Cleanup(u.Close)
	}
	l := new(Hub).New(2, own, 1500)

	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, frame(own, ipv4.ProtocolNumber, udp4("data")))
	f.Add([]byte{1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0}, frame(own, ipv4.ProtocolNumber, syn4()))
	f.Add([]byte{1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0}, frame(own, ipv6.ProtocolNumber, syn6()))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, frame(header.EthernetBroadcastAddress, arp.ProtocolNumber, []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1}))
	f.Fuzz(func(t *testing.T, vnet, b []byte) {
		var h [hostcall.VnetHeader]byte
		copy(h[:], vnet)
		l.deliver(inject{ch}, h[:], b)
		ch.Drain()
	})
}

func syn(b []byte) {
	header.TCP(b).Encode(&header.TCPFields{SrcPort: 1000, DstPort: 2000, SeqNum: 1, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1000})
}

func syn4() []byte {
	b := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize)
	header.IPv4(b).Encode(&header.IPv4Fields{TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: there4, DstAddr: here4})
	syn(b[header.IPv4MinimumSize:])
	return b
}

func syn6() []byte {
	b := make([]byte, header.IPv6MinimumSize+header.TCPMinimumSize)
	header.IPv6(b).Encode(&header.IPv6Fields{PayloadLength: header.TCPMinimumSize, TransportProtocol: header.TCPProtocolNumber, HopLimit: 64, SrcAddr: there6, DstAddr: here6})
	syn(b[header.IPv6MinimumSize:])
	return b
}
