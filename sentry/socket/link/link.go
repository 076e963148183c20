// Package link is Ethernet interfaces of the host as links of gVisor's network stack.
// One packet(7) socket with a ring (hostcall.PacketSocket) serves all of a network
// namespace: a Hub, which has a goroutine that receives.
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
// Lock order: Hub.mu and Link.mu alone. The stack is called without them.
package link

import (
	"encoding/binary"
	"maps"
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

// Hub is the links of a network namespace.
type Hub struct {
	socket *hostcall.PacketSocket
	spare  sync.Pool // *outgoing
	stop   atomic.Bool
	done   chan struct{}

	mu    sync.Mutex
	links atomic.Pointer[map[int]*Link] // that are attached; replaced whole, under mu
}

// NewHub receives from a socket that is bound, until Close. The socket stays the
// caller's.
func NewHub(s *hostcall.PacketSocket) *Hub {
	h := &Hub{socket: s, done: make(chan struct{})}
	h.links.Store(&map[int]*Link{})
	go h.run()
	return h
}

// Close ends receiving, and returns when it has ended.
func (h *Hub) Close() {
	h.stop.Store(true)
	h.socket.Wake()
	<-h.done
}

// run receives.
func (h *Hub) run() {
	defer close(h.done)
	deliver := func(index int, vnet, frame []byte) {
		if l := (*h.links.Load())[index]; l != nil {
			if d := l.dispatcher.Load(); d != nil {
				l.deliver(*d, vnet, frame)
			}
		}
	}
	for !h.stop.Load() {
		if !h.socket.Receive(batch, deliver) {
			h.socket.Wait()
		}
	}
}

// set attaches a link, or takes it off.
func (h *Hub) set(l *Link, attached bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	links := maps.Clone(*h.links.Load())
	if attached {
		links[l.index] = l
	} else if links[l.index] == l {
		delete(links, l.index)
	}
	h.links.Store(&links)
}

// Link is a stack.LinkEndpoint.
type Link struct {
	hub        *Hub
	index      int
	mtu        atomic.Uint32
	dispatcher atomic.Pointer[stack.NetworkDispatcher]

	mu      sync.Mutex
	address tcpip.LinkAddress
}

var (
	_ stack.LinkEndpoint = (*Link)(nil)
	_ stack.GSOEndpoint  = (*Link)(nil)
)

// New makes a link of the interface with this index, address and MTU.
func (h *Hub) New(index int, address tcpip.LinkAddress, mtu uint32) *Link {
	l := &Link{hub: h, index: index, address: address}
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
// dispatcher it ends that; one more may still be on its way, and is dropped by the
// stack, whose link is gone.
func (l *Link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
	} else {
		l.dispatcher.Store(&d)
	}
	l.hub.set(l, d != nil)
}

// IsAttached implements stack.LinkEndpoint.
func (l *Link) IsAttached() bool { return l.dispatcher.Load() != nil }

// Wait implements stack.LinkEndpoint: a link has no goroutine of its own.
func (*Link) Wait() {}

// Close implements stack.LinkEndpoint.
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
	vnet [hostcall.VnetHeader]byte
	hostcall.PacketMessage
}

// WritePackets implements stack.LinkEndpoint. A packet that the host has no room for
// is lost, as on a wire.
func (l *Link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	o, _ := l.hub.spare.Get().(*outgoing)
	if o == nil {
		o = &outgoing{PacketMessage: hostcall.PacketMessage{Pieces: make([]unix.Iovec, 0, 16)}}
	}
	n := 0
	var failed tcpip.Error
	for _, p := range list.AsSlice() {
		o.header(p)
		o.Pieces = append(o.Pieces[:0], hostcall.Iovec(o.vnet[:]))
		views, skip := p.AsViewList()
		for v := views.Front(); v != nil; v = v.Next() {
			b := v.AsSlice()
			k := min(skip, len(b))
			if skip -= k; len(b) > k {
				o.Pieces = append(o.Pieces, hostcall.Iovec(b[k:]))
			}
		}
		if err := l.hub.socket.Send(l.index, &o.PacketMessage); err != nil {
			failed = sendError(err)
			break
		}
		n++
	}
	clear(o.Pieces)
	l.hub.spare.Put(o)
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
