// Package link is an Ethernet interface of the host as a link of gVisor's network
// stack, by a packet(7) socket with a ring (hostcall.PacketSocket).
//
// The host's offloads are used in both directions: a segment that goes out may be
// 64 KiB long with its checksum left to the host, which cuts it up only if the
// other end of the way needs that; and what another container of the host sent
// comes in so. What comes from outside this host with a checksum that nobody has
// looked at is checked here, for the stack looks at none of a link with offloads.
// Fragments are not: their checksum is of the whole.
//
// What comes in is hostile: see Link.deliver, and FuzzDeliver.
//
// Lock order: Link.mu alone. The stack is called without it.
package link

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"runsc-lite/hostcall"
)

// maxSegment is the largest packet that segmentation offload takes, in bytes with
// its headers.
const maxSegment = 64<<10 - 1

// batch is how many frames are delivered before the goroutine looks whether it is
// to stop.
const batch = 64

// Link is a stack.LinkEndpoint.
type Link struct {
	socket *hostcall.PacketSocket
	mtu    atomic.Uint32
	stop   atomic.Bool
	spare  sync.Pool // *outgoing

	mu         sync.Mutex
	address    tcpip.LinkAddress
	dispatcher stack.NetworkDispatcher
	done       chan struct{} // closed when the goroutine is gone; nil: there is none
}

var (
	_ stack.LinkEndpoint = (*Link)(nil)
	_ stack.GSOEndpoint  = (*Link)(nil)
)

// New makes a link of a socket that is bound to an interface with this address and
// MTU. The socket stays the caller's, and is in use until Wait returns.
func New(s *hostcall.PacketSocket, address tcpip.LinkAddress, mtu uint32) *Link {
	l := &Link{socket: s, address: address}
	l.mtu.Store(mtu)
	return l
}

// MTU implements stack.LinkEndpoint.
func (l *Link) MTU() uint32 { return l.mtu.Load() }

// SetMTU implements stack.LinkEndpoint.
func (l *Link) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// MaxHeaderLength implements stack.LinkEndpoint.
func (*Link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress implements stack.LinkEndpoint.
func (l *Link) LinkAddress() tcpip.LinkAddress {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address
}

// SetLinkAddress implements stack.LinkEndpoint.
func (l *Link) SetLinkAddress(a tcpip.LinkAddress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.address = a
}

// Capabilities implements stack.LinkEndpoint. CapabilityTXChecksumOffload is left
// out: the stack would leave UDP's checksum out with it. TCP's goes by GSO.
func (*Link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}

// GSOMaxSize implements stack.GSOEndpoint.
func (*Link) GSOMaxSize() uint32 { return maxSegment }

// SupportedGSO implements stack.GSOEndpoint.
func (*Link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// ARPHardwareType implements stack.LinkEndpoint.
func (*Link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// Attach implements stack.LinkEndpoint: frames are delivered from now on. Without a
// dispatcher it ends that, and returns when it has ended.
func (l *Link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	l.dispatcher = d
	running := l.done
	if d != nil && running == nil {
		l.done = make(chan struct{})
		l.stop.Store(false)
		go l.run(d, l.done)
	}
	if d == nil {
		l.done = nil
	}
	l.mu.Unlock()
	if d == nil && running != nil {
		l.stop.Store(true)
		l.socket.Wake()
		<-running
	}
}

// IsAttached implements stack.LinkEndpoint.
func (l *Link) IsAttached() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dispatcher != nil
}

// Wait implements stack.LinkEndpoint.
func (l *Link) Wait() {
	l.mu.Lock()
	running := l.done
	l.mu.Unlock()
	if running != nil {
		<-running
	}
}

// Close implements stack.LinkEndpoint. The socket stays open.
func (*Link) Close() {}

// SetOnCloseAction implements stack.LinkEndpoint.
func (*Link) SetOnCloseAction(func()) {}

// AddHeader implements stack.LinkEndpoint.
func (l *Link) AddHeader(p *stack.PacketBuffer) {
	header.Ethernet(p.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: p.EgressRoute.LocalLinkAddress,
		DstAddr: p.EgressRoute.RemoteLinkAddress,
		Type:    p.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.LinkEndpoint.
func (*Link) ParseHeader(p *stack.PacketBuffer) bool {
	h, ok := p.LinkHeader().Consume(header.EthernetMinimumSize)
	if ok {
		p.NetworkProtocolNumber = header.Ethernet(h).Type()
	}
	return ok
}

// run receives until the link is detached.
func (l *Link) run(d stack.NetworkDispatcher, done chan struct{}) {
	defer close(done)
	deliver := func(vnet, frame []byte) { l.deliver(d, vnet, frame) }
	for !l.stop.Load() {
		if !l.socket.Receive(batch, deliver) && l.socket.Wait() && l.stop.Load() {
			return
		}
	}
}

// struct virtio_net_hdr, and its values.
const (
	vnetFlags      = 0
	vnetGSOType    = 1
	vnetHdrLen     = 2
	vnetGSOSize    = 4
	vnetCsumStart  = 6
	vnetCsumOffset = 8

	vnetNeedsCsum = 1 // the sender left it to the network interface
	vnetDataValid = 2 // somebody has looked at it
	vnetGSOTCP4   = 1
	vnetGSOTCP6   = 4
)

// deliver gives a frame to the stack: what is for this link, or for a group. The
// bytes are copied.
func (l *Link) deliver(d stack.NetworkDispatcher, vnet, frame []byte) {
	if len(frame) < header.EthernetMinimumSize {
		return
	}
	eth := header.Ethernet(frame)
	if frame[0]&1 == 0 && eth.DestinationAddress() != l.LinkAddress() {
		return
	}
	packet := frame[header.EthernetMinimumSize:]
	if vnet[vnetFlags]&(vnetNeedsCsum|vnetDataValid) == 0 && !checked(eth.Type(), packet) {
		return
	}
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(buffer.NewViewWithData(frame))})
	defer p.DecRef()
	p.LinkHeader().Consume(header.EthernetMinimumSize)
	p.NetworkProtocolNumber = eth.Type()
	if frame[0]&1 != 0 {
		p.PktType = tcpip.PacketMulticast
		if eth.DestinationAddress() == header.EthernetBroadcastAddress {
			p.PktType = tcpip.PacketBroadcast
		}
	}
	d.DeliverNetworkPacket(eth.Type(), p)
}

// outgoing is what one frame is sent with.
type outgoing struct {
	vnet   [hostcall.VnetHeader]byte
	pieces []unix.Iovec
}

// WritePackets implements stack.LinkEndpoint. A packet that the host has no room for
// is lost, as on a wire.
func (l *Link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	o, _ := l.spare.Get().(*outgoing)
	if o == nil {
		o = &outgoing{pieces: make([]unix.Iovec, 0, 16)}
	}
	n := 0
	var failed tcpip.Error
	for _, p := range list.AsSlice() {
		o.header(p)
		o.pieces = append(o.pieces[:0], hostcall.Iovec(o.vnet[:]))
		views, skip := p.AsViewList()
		for v := views.Front(); v != nil; v = v.Next() {
			b := v.AsSlice()
			k := min(skip, len(b))
			if skip -= k; len(b) > k {
				o.pieces = append(o.pieces, hostcall.Iovec(b[k:]))
			}
		}
		if err := l.socket.Send(o.pieces); err != nil {
			failed = sendError(err)
			break
		}
		n++
	}
	clear(o.pieces)
	l.spare.Put(o)
	if n > 0 {
		return n, nil
	}
	return 0, failed
}

func sendError(err error) tcpip.Error {
	switch err {
	case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		return &tcpip.ErrNetworkUnreachable{}
	case unix.EMSGSIZE:
		return &tcpip.ErrMessageTooLong{}
	}
	return &tcpip.ErrNoBufferSpace{}
}

// header fills in the struct virtio_net_hdr.
func (o *outgoing) header(p *stack.PacketBuffer) {
	o.vnet = [hostcall.VnetHeader]byte{}
	g := &p.GSOOptions
	if g.Type != stack.GSOTCPv4 && g.Type != stack.GSOTCPv6 {
		return
	}
	le := binary.LittleEndian
	le.PutUint16(o.vnet[vnetHdrLen:], uint16(p.HeaderSize()))
	if g.NeedsCsum {
		o.vnet[vnetFlags] = vnetNeedsCsum
		le.PutUint16(o.vnet[vnetCsumStart:], header.EthernetMinimumSize+g.L3HdrLen)
		le.PutUint16(o.vnet[vnetCsumOffset:], g.CsumOffset)
	}
	if p.Data().Size() > int(g.MSS) {
		o.vnet[vnetGSOType] = vnetGSOTCP4
		if g.Type == stack.GSOTCPv6 {
			o.vnet[vnetGSOType] = vnetGSOTCP6
		}
		le.PutUint16(o.vnet[vnetGSOSize:], g.MSS)
	}
}
