package link

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// checked reports whether the checksums of a packet are right: those of IPv4's
// header, TCP and UDP. Of what it does not know, or what is not well formed, the
// stack is the judge.
func checked(protocol tcpip.NetworkProtocolNumber, packet []byte) bool {
	var src, dst tcpip.Address
	var payload []byte
	var transport tcpip.TransportProtocolNumber
	switch protocol {
	case header.IPv4ProtocolNumber:
		h := header.IPv4(packet)
		if len(packet) < header.IPv4MinimumSize || !h.IsValid(len(packet)) {
			return true
		}
		if !h.IsChecksumValid() {
			return false
		}
		if h.More() || h.FragmentOffset() != 0 {
			return true
		}
		src, dst, transport, payload = h.SourceAddress(), h.DestinationAddress(), h.TransportProtocol(), h.Payload()
	case header.IPv6ProtocolNumber:
		h := header.IPv6(packet)
		if len(packet) < header.IPv6MinimumSize || !h.IsValid(len(packet)) {
			return true
		}
		// With extension headers, the next header is another.
		src, dst, transport, payload = h.SourceAddress(), h.DestinationAddress(), tcpip.TransportProtocolNumber(h.NextHeader()), h.Payload()
	default:
		return true
	}
	switch transport {
	case header.TCPProtocolNumber:
		if len(payload) < header.TCPMinimumSize {
			return true
		}
	case header.UDPProtocolNumber:
		if len(payload) < header.UDPMinimumSize {
			return true
		}
		h := header.UDP(payload)
		if h.Checksum() == 0 && protocol == header.IPv4ProtocolNumber {
			return true // there is none
		}
		if n := int(h.Length()); n >= header.UDPMinimumSize && n < len(payload) {
			payload = payload[:n]
		}
	default:
		return true
	}
	// The sum over everything, the checksum included, is all ones.
	sum := header.PseudoHeaderChecksum(transport, src, dst, uint16(len(payload)))
	return checksum.Checksum(payload, sum) == 0xffff
}
