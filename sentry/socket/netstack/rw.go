package netstack

import (
	"encoding/binary"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"runsc-lite/sentry/socket"
)

// buffers are guest memory that an endpoint reads from or writes to. It is a
// tcpip.Payloader and an io.Writer.
type buffers struct {
	bufs [][]byte
	done int // bytes of bufs[0] that are behind
	left int
	// discard counts what is written, and drops it.
	discard bool
}

func (b *buffers) init(bufs [][]byte, n int64) { b.bufs, b.done, b.left = bufs, 0, int(n) }

// Len implements tcpip.Payloader.
func (b *buffers) Len() int { return b.left }

func (b *buffers) next() []byte {
	for len(b.bufs) > 0 {
		if p := b.bufs[0][b.done:]; len(p) > 0 {
			return p
		}
		b.bufs, b.done = b.bufs[1:], 0
	}
	return nil
}

// Read implements io.Reader.
func (b *buffers) Read(dst []byte) (n int, err error) {
	for n < len(dst) && b.left > 0 {
		k := copy(dst[n:], b.next())
		b.done, b.left, n = b.done+k, b.left-k, n+k
	}
	if n == 0 && len(dst) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write implements io.Writer.
func (b *buffers) Write(src []byte) (n int, err error) {
	if b.discard {
		n = min(len(src), b.left)
		b.left -= n
	} else {
		for n < len(src) && b.left > 0 {
			k := copy(b.next(), src[n:])
			b.done, b.left, n = b.done+k, b.left-k, n+k
		}
	}
	if n < len(src) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// spare keeps buffers for reuse.
type spare struct{ pool sync.Pool }

func (p *spare) get() *buffers {
	if b, ok := p.pool.Get().(*buffers); ok {
		return b
	}
	return new(buffers)
}

func (p *spare) put(b *buffers) {
	*b = buffers{}
	p.pool.Put(b)
}

// Send implements socket.Socket.
func (s *Socket) Send(c socket.Caller, m *socket.Message, flags int) (int64, error) {
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	o := tcpip.WriteOptions{More: flags&unix.MSG_MORE != 0, EndOfRecord: flags&unix.MSG_EOR != 0, Atomic: !s.isTCP()}
	var to tcpip.FullAddress
	if len(m.Addr) > 0 && !s.isTCP() {
		var err error
		if socket.Family(m.Addr) == unix.AF_UNSPEC && s.family == unix.AF_INET && len(m.Addr) >= 16 {
			m.Addr[0] = unix.AF_INET // udp_sendmsg takes it for that
		}
		if to, err = s.target(m.Addr); err != nil {
			return 0, err
		}
		o.To = &to
	}
	if s.stack.egress != nil && s.kind.raw && s.ep.SocketOptions().GetHeaderIncluded() {
		return 0, unix.EPERM // the header's own address is not looked at
	}
	var over overrides
	if len(m.Control.Items) > 0 {
		if err := s.sendControl(&over, m.Control.Items); err != nil {
			return 0, err
		}
		o.ControlMessages = over.SendableControlMessages
	}
	n := m.Len()
	if n == 0 && s.isTCP() {
		return 0, s.mayWrite()
	}
	b := s.stack.spare.get()
	b.init(m.Bufs, n)
	if s.isTCP() {
		done, err := s.sendTCP(b, o)
		s.stack.spare.put(b)
		return done, err
	}
	var done int64
	var terr tcpip.Error
	if over.class.option == 0 {
		done, terr = s.ep.Write(b, o)
	} else {
		over.class.with(s, func() { done, terr = s.ep.Write(b, o) })
	}
	s.stack.spare.put(b)
	if done > 0 {
		return done, nil
	}
	if terr == nil {
		return 0, nil
	}
	return 0, s.sendError(terr)
}

func (s *Socket) sendError(terr tcpip.Error) error {
	switch terr.(type) {
	case *tcpip.ErrNotConnected:
		if s.isTCP() {
			return unix.EPIPE
		}
	case *tcpip.ErrNoPortAvailable:
		return unix.EAGAIN
	}
	return errno(terr)
}

// mayWrite is what a TCP socket answers to a write of nothing.
func (s *Socket) mayWrite() error {
	switch st := tcpState(s.ep.State()); st {
	case tcpClose, tcpListen:
		return unix.EPIPE
	}
	return nil
}

// overrides are what control messages change for one packet.
type overrides struct {
	tcpip.SendableControlMessages
	class class
}

// class is an option of the socket that one packet has another value of: the stack
// has no override for it.
type class struct {
	option tcpip.SockOptInt
	value  int
}

// with sets the option while fn runs. Packets that another thread sends on the same
// socket meanwhile may have it as well.
func (c class) with(s *Socket, fn func()) {
	s.classMu.Lock()
	defer s.classMu.Unlock()
	old, terr := s.ep.GetSockOptInt(c.option)
	if terr == nil && s.ep.SetSockOptInt(c.option, c.value) == nil {
		defer s.ep.SetSockOptInt(c.option, old)
	}
	fn()
}

// sendControl translates control messages: EINVAL for those of another protocol.
func (s *Socket) sendControl(o *overrides, items []socket.Item) error {
	out := &o.SendableControlMessages
	for _, i := range items {
		n, err := socket.Int(i.Data)
		switch {
		case i.Level == unix.SOL_IP && i.Type == unix.IP_TTL:
			if err != nil || n < 1 || n > 255 {
				return unix.EINVAL
			}
			out.HasTTL, out.TTL = true, uint8(n)
		case i.Level == unix.SOL_IP && i.Type == unix.IP_TOS:
			if n, err = intOrByte(i.Data); err != nil || n < 0 || n > 255 {
				return unix.EINVAL
			}
			o.class = class{tcpip.IPv4TOSOption, int(n)}
		case i.Level == unix.SOL_IPV6 && i.Type == unix.IPV6_TCLASS && s.family == unix.AF_INET6:
			if err != nil || n < -1 || n > 255 {
				return unix.EINVAL
			}
			if n >= 0 {
				o.class = class{tcpip.IPv6TrafficClassOption, int(n)}
			}
		case i.Level == unix.SOL_IPV6 && i.Type == unix.IPV6_HOPLIMIT && s.family == unix.AF_INET6:
			if err != nil || n < -1 || n > 255 {
				return unix.EINVAL
			}
			if n >= 0 {
				out.HasHopLimit, out.HopLimit = true, uint8(n)
			}
		case i.Level == unix.SOL_IP && i.Type == unix.IP_PKTINFO:
			if len(i.Data) < 12 {
				return unix.EINVAL
			}
			// The route chooses the link and the address: the stack takes neither
			// for one packet of IPv4.
		case i.Level == unix.SOL_IPV6 && i.Type == unix.IPV6_PKTINFO && s.family == unix.AF_INET6:
			if len(i.Data) < 20 {
				return unix.EINVAL
			}
			out.HasIPv6PacketInfo = true
			out.IPv6PacketInfo.NIC = tcpip.NICID(binary.LittleEndian.Uint32(i.Data[16:]))
			if a := [16]byte(i.Data[:16]); a != [16]byte{} {
				out.IPv6PacketInfo.Addr = tcpip.AddrFrom16(a)
			}
		case i.Level == unix.SOL_SOCKET, i.Level == unix.SOL_IP, i.Level == unix.SOL_IPV6:
			return unix.EINVAL
		}
	}
	return nil
}

// Recv implements socket.Socket.
func (s *Socket) Recv(_ socket.Caller, m *socket.Message, flags int) (int64, error) {
	if flags&unix.MSG_ERRQUEUE != 0 {
		return s.recvErr(m)
	}
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EINVAL // tcp_recv_urg: there is none
	}
	peek, trunc := flags&unix.MSG_PEEK != 0, flags&unix.MSG_TRUNC != 0
	want := m.Len()
	if want == 0 && s.isTCP() {
		return 0, s.mayRead()
	}
	b := s.stack.spare.get()
	b.init(m.Bufs, want)
	if s.isTCP() {
		n, err := s.recvTCP(b, flags)
		s.stack.spare.put(b)
		return n, err
	}
	r, terr := s.ep.Read(b, tcpip.ReadOptions{Peek: peek, NeedRemoteAddr: m.WantAddr})
	s.stack.spare.put(b)
	if _, ok := terr.(*tcpip.ErrBadBuffer); ok && want == 0 {
		terr = nil // a datagram of which nothing is wanted
	}
	if terr != nil {
		return 0, s.recvError(terr, flags)
	}
	s.packetRead(m, &r)
	if trunc {
		return int64(r.Total), nil
	}
	return int64(r.Count), nil
}

func (s *Socket) recvError(terr tcpip.Error, flags int) error {
	switch terr.(type) {
	case *tcpip.ErrClosedForReceive:
		if !s.isTCP() && flags&unix.MSG_DONTWAIT != 0 {
			return unix.EAGAIN
		}
		return nil // the end
	}
	return errno(terr)
}

// Discard reads up to n bytes of a TCP stream, and drops them: what MSG_TRUNC means
// there (tcp(7)). With MSG_PEEK it only counts.
func (s *Socket) Discard(n int64, flags int) (int64, error) {
	if n == 0 {
		return 0, s.mayRead()
	}
	b := s.stack.spare.get()
	b.init(nil, n)
	b.discard = true
	done, err := s.recvTCP(b, flags)
	s.stack.spare.put(b)
	return done, err
}

// mayRead is what a TCP socket answers to a read of nothing: EAGAIN if there is
// nothing.
func (s *Socket) mayRead() error {
	n, terr := s.ep.GetSockOptInt(tcpip.ReceiveQueueSizeOption)
	if terr == nil && n > 0 || s.waiting() > 0 {
		return nil
	}
	switch tcpState(s.ep.State()) {
	case tcpClose, tcpListen:
		return unix.ENOTCONN
	case tcpEstablished, tcpSynSent, tcpSynRecv, tcpFinWait1, tcpFinWait2:
		return unix.EAGAIN
	}
	return nil
}

// packetRead fills in what comes with a packet.
func (s *Socket) packetRead(m *socket.Message, r *tcpip.ReadResult) {
	if m.WantAddr {
		m.Addr = s.sockaddr(m.AddrSpace(), r.RemoteAddr)
	}
	if r.Total > r.Count {
		m.Flags |= unix.MSG_TRUNC
	}
	c := &r.ControlMessages
	stamps := s.timestamps.Load()
	if c.HasTimestamp && stamps == 0 {
		s.mu.Lock()
		s.stamp = c.Timestamp
		s.mu.Unlock()
	}
	put := func(level, typ int32, data []byte) {
		m.Control.Items = append(m.Control.Items, socket.Item{Level: level, Type: typ, Data: data})
	}
	le := binary.LittleEndian
	if c.HasTimestamp && stamps != 0 {
		put(unix.SOL_SOCKET, stamps, timestamp(c.Timestamp, stamps == unix.SO_TIMESTAMPNS))
	}
	if c.HasIPPacketInfo {
		b := le.AppendUint32(nil, uint32(c.PacketInfo.NIC))
		local, dst := c.PacketInfo.LocalAddr.As4(), c.PacketInfo.DestinationAddr.As4()
		b = append(append(b, local[:]...), dst[:]...)
		put(unix.SOL_IP, unix.IP_PKTINFO, b)
	}
	if c.HasTTL {
		put(unix.SOL_IP, unix.IP_TTL, le.AppendUint32(nil, uint32(c.TTL)))
	}
	if c.HasTOS {
		put(unix.SOL_IP, unix.IP_TOS, []byte{c.TOS})
	}
	if c.HasIPv6PacketInfo {
		a := c.IPv6PacketInfo.Addr
		if a.Len() == 4 {
			a = map4(a)
		}
		ip := a.As16()
		put(unix.SOL_IPV6, unix.IPV6_PKTINFO, le.AppendUint32(append([]byte(nil), ip[:]...), uint32(c.IPv6PacketInfo.NIC)))
	}
	if c.HasHopLimit {
		put(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, le.AppendUint32(nil, uint32(c.HopLimit)))
	}
	if c.HasTClass {
		put(unix.SOL_IPV6, unix.IPV6_TCLASS, le.AppendUint32(nil, c.TClass))
	}
	if c.HasOriginalDstAddress && s.family == unix.AF_INET {
		put(unix.SOL_IP, unix.IP_RECVORIGDSTADDR, s.sockaddr(nil, c.OriginalDstAddress))
	}
}

func timestamp(t time.Time, nanos bool) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(t.Unix()))
	sub := uint64(t.Nanosecond())
	if !nanos {
		sub /= 1000
	}
	return binary.LittleEndian.AppendUint64(b, sub)
}

// recvErr reads the error queue (ip_recv_error): EAGAIN if it is empty.
func (s *Socket) recvErr(m *socket.Message) (int64, error) {
	so := s.ep.SocketOptions()
	e := so.DequeueErr()
	if e == nil {
		return 0, unix.EAGAIN
	}
	if next := so.PeekErr(); next != nil && next.Cause.Origin().IsICMPErr() {
		so.SetLastError(next.Err)
	} else if e.Cause.Origin().IsICMPErr() {
		so.SetLastError(nil)
	}
	n := int64(0)
	if e.Payload != nil {
		b := s.stack.spare.get()
		b.init(m.Bufs, m.Len())
		k, err := b.Write(e.Payload.AsSlice())
		if n = int64(k); err != nil {
			m.Flags |= unix.MSG_TRUNC
		}
		s.stack.spare.put(b)
		e.Payload.Release()
	}
	m.Flags |= unix.MSG_ERRQUEUE
	m.Addr = s.sockaddr(m.AddrSpace(), e.Dst)
	// struct sock_extended_err, and the address of who told.
	number, _ := errno(e.Err).(unix.Errno)
	b := binary.LittleEndian.AppendUint32(nil, uint32(number))
	b = append(b, byte(e.Cause.Origin()), e.Cause.Type(), e.Cause.Code(), 0)
	b = binary.LittleEndian.AppendUint32(b, e.Cause.Info())
	b = binary.LittleEndian.AppendUint32(b, 0)
	level, typ := int32(unix.SOL_IP), int32(unix.IP_RECVERR)
	offender := socket.Inet{Family: unix.AF_INET}
	if e.NetProto == header.IPv6ProtocolNumber {
		level, typ = unix.SOL_IPV6, unix.IPV6_RECVERR
		offender.Family = unix.AF_INET6
	}
	copy(offender.Addr[:], e.Offender.Addr.AsSlice())
	m.Control.Items = append(m.Control.Items, socket.Item{Level: level, Type: typ, Data: offender.Append(b)})
	return n, nil
}

// Read implements vfs.Reader.
func (s *Socket) Read(dst [][]byte) (int64, error) {
	m := socket.Message{Bufs: dst}
	return s.Recv(nil, &m, 0)
}

// Write implements vfs.Writer.
func (s *Socket) Write(src [][]byte) (int64, error) {
	m := socket.Message{Bufs: src}
	return s.Send(nil, &m, 0)
}
