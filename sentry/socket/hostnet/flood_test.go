package hostnet_test

import (
	"encoding/binary"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// TestFlood: connections that are begun from addresses which are not there, and
// what is no packet at all. A real client still gets through, and the memory of
// the flood is bounded.
func TestFlood(t *testing.T) {
	p := newPair(t)
	p.connect("eth0", "10.9.0.1/24", "10.9.0.2/24")
	s, _ := p.attach()
	a, protocol := full("10.9.0.2:80")
	l, err := gonet.ListenTCP(s.Stack, a, protocol)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go echo(l)

	near, err := p.nearLinks.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	far, err := p.farLinks.LinkByName("veth0")
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	in(t, p.far, func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: far.Attrs().Index}
	b := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+header.TCPMinimumSize)
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: "\x02\x00\x00\x00\x00\x02", DstAddr: addressOf(near.Attrs().HardwareAddr), Type: header.IPv4ProtocolNumber})
	ip, seg := header.IPv4(b[header.EthernetMinimumSize:]), header.TCP(b[header.EthernetMinimumSize+header.IPv4MinimumSize:])
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const packets = 200_000
	for i := range uint32(packets) {
		var src [4]byte
		binary.BigEndian.PutUint32(src[:], 10<<24|9<<16|i>>8<<8|3+i%200)
		ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(b) - header.EthernetMinimumSize), TTL: 64, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: addrOf(src), DstAddr: a.Addr})
		ip.SetChecksum(^ip.CalculateChecksum())
		seg.Encode(&header.TCPFields{SrcPort: uint16(1024 + i), DstPort: 80, SeqNum: i, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 1000})
		seg.SetChecksum(^seg.CalculateChecksum(header.PseudoHeaderChecksum(header.TCPProtocolNumber, addrOf(src), a.Addr, header.TCPMinimumSize)))
		out := b
		if i%16 == 0 {
			// Something else: cut off, or with a length and options that are not there.
			out = b[:header.EthernetMinimumSize+int(i/16)%(len(b)-header.EthernetMinimumSize)]
		}
		if i == 1 && checksum.Checksum(ip[:header.IPv4MinimumSize], 0) != 0xffff {
			t.Fatal("the packets are not what they should be")
		}
		if err := unix.Sendto(fd, out, 0, to); err != nil && err != unix.ENOBUFS {
			t.Fatal(err)
		}
	}
	var c net.Conn
	in(t, p.far, func() (err error) { c, err = net.DialTimeout("tcp", "10.9.0.2:80", 2*time.Minute); return err })
	defer c.Close()
	pass(t, c, 100_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d segments left %d MiB", packets, grown>>20)
	}
	t.Logf("%d segments that begin a connection were received", s.Stats().TCP.ValidSegmentsReceived.Value())
}
