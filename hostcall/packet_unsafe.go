package hostcall

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PacketSocket is a packet(7) socket that receives by a ring in memory that it
// shares with the host (PACKET_RX_RING, TPACKET_V2), and sends by writev(2). With
// each frame goes a struct virtio_net_hdr (PACKET_VNET_HDR): what is left of
// checksum and segmentation for the other side to do.
//
// A slot of the ring holds a frame of an ordinary MTU. A larger one, as the host's
// segmentation offload hands them over, waits in the socket's queue whole, and its
// slot says so (PACKET_COPY_THRESH): the ring stays small.
//
// One socket serves all interfaces of its network namespace, those that come later as
// well. Making it needs CAP_NET_RAW, using it nothing.
type PacketSocket struct {
	fd   int
	wake int // eventfd: ends Wait
	ring []byte
	slot int // the next to be read
	big  []byte
}

// Sizes of a ring, in bytes and slots.
const (
	packetSlot  = 2048
	packetBlock = 64 << 10
	packetSlots = 1024

	// VnetHeader is sizeof(struct virtio_net_hdr).
	VnetHeader = 10
	// MaxFrame is the largest frame: what segmentation offload makes, and a link
	// header.
	MaxFrame = 64<<10 + 64
	// packetQueue bounds what large frames may wait, in bytes.
	packetQueue = 2 << 20
)

// Options of packet(7) that x/sys/unix lacks.
const packetIgnoreOutgoing = 23

// NewPacketSocket makes a socket in the network namespace of the calling thread.
func NewPacketSocket() (_ *PacketSocket, err error) {
	p := &PacketSocket{wake: -1}
	if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	for _, o := range [...]struct {
		level, name, value int
		what               string
	}{
		{unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2, "PACKET_VERSION"},
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1, "PACKET_VNET_HDR"},
		{unix.SOL_PACKET, packetIgnoreOutgoing, 1, "PACKET_IGNORE_OUTGOING"},
		{unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1, "PACKET_COPY_THRESH"},
	} {
		if err = unix.SetsockoptInt(p.fd, o.level, o.name, o.value); err != nil {
			return nil, fmt.Errorf("setting %s of a packet socket: %w", o.what, err)
		}
	}
	// The limit of SO_RCVBUF is net.core.rmem_max; with CAP_NET_ADMIN there is none.
	if unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, packetQueue) != nil {
		_ = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, packetQueue)
	}
	if unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, packetQueue) != nil {
		_ = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, packetQueue)
	}
	return p, nil
}

// Filter sets a classic BPF program that says which frames are received.
func (p *PacketSocket) Filter(program []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(p.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: unsafe.SliceData(program)})
}

// Bind has the socket receive what comes to any interface.
func (p *PacketSocket) Bind() error {
	if err := p.makeRing(); err != nil {
		return err
	}
	return unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8})
}

// makeRing makes the memory that frames are received by.
func (p *PacketSocket) makeRing() (err error) {
	req := [4]uint32{packetBlock, packetSlots * packetSlot / packetBlock, packetSlot, packetSlots} // struct tpacket_req
	if _, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(p.fd), unix.SOL_PACKET, unix.PACKET_RX_RING,
		uintptr(unsafe.Pointer(&req)), unsafe.Sizeof(req), 0); e != 0 {
		return fmt.Errorf("making the ring of a packet socket: %w", e)
	}
	if p.ring, err = unix.Mmap(p.fd, 0, packetSlots*packetSlot, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mapping the ring of a packet socket: %w", err)
	}
	return nil
}

// Close gives the socket back. Nobody uses it any more.
func (p *PacketSocket) Close() {
	if p.ring != nil {
		_ = unix.Munmap(p.ring)
	}
	for _, fd := range [...]int{p.fd, p.wake} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Wake ends a Wait, the present one or the next.
func (p *PacketSocket) Wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.wake, one[:])
}

// Wait returns when there may be something to receive, or after Wake (woken). An
// error of the interface, as that it is down, is taken and not told: it may come
// up again.
func (p *PacketSocket) Wait() (woken bool) {
	fds := [...]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN | unix.POLLERR}, {Fd: int32(p.wake), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds[:], -1); err != nil {
			continue // EINTR
		}
		if fds[0].Revents&unix.POLLERR != 0 {
			_, _ = unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		}
		if fds[1].Revents != 0 {
			var b [8]byte
			_, _ = unix.Read(p.wake, b[:])
			return true
		}
		return false
	}
}

// struct tpacket2_hdr.
const (
	tpStatus  = 0
	tpLen     = 4
	tpSnapLen = 8
	tpMac     = 12
	tpAddress = 32 // struct sockaddr_ll, aligned behind it
	sllIndex  = 4  // its sll_ifindex
)

func (p *PacketSocket) status(slot []byte) *uint32 {
	return (*uint32)(unsafe.Pointer(&slot[tpStatus]))
}

func word(b []byte, at int) int {
	return int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16 | int(b[at+3])<<24
}

// Receive calls fn for each frame that is there, at most limit: the index of its
// interface, its struct virtio_net_hdr, and the frame with its link header. Both are
// fn's only until it returns. more: there may be others.
func (p *PacketSocket) Receive(limit int, fn func(index int, vnet, frame []byte)) (more bool) {
	for ; limit > 0; limit-- {
		at := p.slot * packetSlot
		slot := p.ring[at : at+packetSlot : at+packetSlot]
		status := atomic.LoadUint32(p.status(slot))
		if status&unix.TP_STATUS_USER == 0 {
			return false
		}
		p.receive(slot, status, fn)
		atomic.StoreUint32(p.status(slot), unix.TP_STATUS_KERNEL)
		if p.slot++; p.slot == packetSlots {
			p.slot = 0
		}
	}
	return true
}

func (p *PacketSocket) receive(slot []byte, status uint32, fn func(index int, vnet, frame []byte)) {
	mac := int(slot[tpMac]) | int(slot[tpMac+1])<<8
	whole, n := word(slot, tpLen), word(slot, tpSnapLen)
	switch {
	case status&unix.TP_STATUS_COPY != 0:
		if p.big == nil {
			p.big = make([]byte, VnetHeader+MaxFrame)
		}
		k, _, err := unix.Recvfrom(p.fd, p.big, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		if err == nil && k > VnetHeader && k <= len(p.big) {
			fn(word(slot, tpAddress+sllIndex), p.big[:VnetHeader], p.big[VnetHeader:k])
		}
	case n < whole:
		// There was no room in the queue: it is lost, as anywhere on the way.
	case mac >= VnetHeader && mac+n <= len(slot):
		fn(word(slot, tpAddress+sllIndex), slot[mac-VnetHeader:mac], slot[mac:mac+n])
	}
}

// Iovec is unix.Iovec of b.
func Iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	return v
}

// PacketMessage is what a frame is sent with.
type PacketMessage struct {
	// Pieces are a struct virtio_net_hdr, and the frame with its link header.
	Pieces []unix.Iovec

	hdr unix.Msghdr
	to  unix.RawSockaddrLinklayer
}

// Send sends one frame by an interface. ENOBUFS, EAGAIN: it is lost. ENETDOWN, ENXIO:
// there is no such interface, or it is down.
func (p *PacketSocket) Send(index int, m *PacketMessage) error {
	m.to = unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(index)}
	m.hdr = unix.Msghdr{
		Name: (*byte)(unsafe.Pointer(&m.to)), Namelen: uint32(unsafe.Sizeof(m.to)),
		Iov: unsafe.SliceData(m.Pieces), Iovlen: uint64(len(m.Pieces)),
	}
	_, err := socketCall(unix.SYS_SENDMSG, p.fd, uintptr(unsafe.Pointer(&m.hdr)), 0, 0, 0)
	return err
}
