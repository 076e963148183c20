package netstack

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"

	"runsc-lite/sentry/socket"
)

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c socket.Caller, level, name int, value []byte) error {
	switch {
	case level == unix.SOL_SOCKET:
		return s.setSocket(c, name, value)
	case level == unix.SOL_TCP && s.isTCP():
		return s.setTCP(c, name, value)
	case level == unix.SOL_IP:
		return s.setIP(c, name, value)
	case level == unix.SOL_IPV6 && s.family == unix.AF_INET6:
		return s.setIPv6(c, name, value)
	case level == unix.SOL_ICMPV6 && s.kind.raw && s.protocol == unix.IPPROTO_ICMPV6:
		return s.setICMPv6(name, value)
	}
	return unix.ENOPROTOOPT
}

// GetOption implements socket.Socket.
func (s *Socket) GetOption(c socket.Caller, level, name, max int) ([]byte, error) {
	switch {
	case level == unix.SOL_SOCKET:
		return s.getSocket(name, max)
	case level == unix.SOL_TCP && s.isTCP():
		return s.getTCP(name, max)
	case level == unix.SOL_IP:
		return s.getIP(name, max)
	case level == unix.SOL_IPV6 && s.family == unix.AF_INET6:
		return s.getIPv6(name, max)
	}
	if level == unix.SOL_IPV6 {
		return nil, unix.EOPNOTSUPP
	}
	return nil, unix.ENOPROTOOPT
}

// setSocket is SOL_SOCKET.
func (s *Socket) setSocket(c socket.Caller, name int, value []byte) error {
	so := s.ep.SocketOptions()
	if name == unix.SO_BINDTODEVICE {
		return s.bindToDevice(value)
	}
	n, err := socket.Int(value)
	switch name {
	case unix.SO_REUSEADDR, unix.SO_REUSEPORT, unix.SO_BROADCAST, unix.SO_KEEPALIVE, unix.SO_NO_CHECK,
		unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS, unix.SO_RCVLOWAT, unix.SO_LINGER:
		if err != nil {
			return err
		}
	}
	switch name {
	case unix.SO_REUSEADDR:
		so.SetReuseAddress(n != 0)
	case unix.SO_REUSEPORT:
		so.SetReusePort(n != 0)
	case unix.SO_BROADCAST:
		so.SetBroadcast(n != 0)
	case unix.SO_KEEPALIVE:
		so.SetKeepAlive(n != 0)
	case unix.SO_NO_CHECK:
		so.SetNoChecksum(n != 0)
	case unix.SO_SNDBUF:
		so.SetSendBufferSize(int64(socket.SendBuffer(n)), true)
	case unix.SO_RCVBUF:
		so.SetReceiveBufferSize(int64(socket.RecvBuffer(n)), true)
	case unix.SO_SNDBUFFORCE, unix.SO_RCVBUFFORCE:
		if !c.Capable(unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		if name == unix.SO_SNDBUFFORCE {
			return s.setSocket(c, unix.SO_SNDBUF, value)
		}
		return s.setSocket(c, unix.SO_RCVBUF, value)
	case unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS:
		if n == 0 {
			name = 0
		}
		s.timestamps.Store(int32(name))
	case unix.SO_RCVLOWAT:
		if err := s.Generic.Set(c, name, value); err != nil {
			return err
		}
		return errno(so.SetRcvlowat(s.Generic.LowWater.Load()))
	case unix.SO_LINGER:
		if len(value) < 8 {
			return unix.EINVAL
		}
		seconds := binary.LittleEndian.Uint32(value[4:])
		so.SetLinger(tcpip.LingerOption{Enabled: n != 0, Timeout: time.Duration(min(seconds, 1<<30)) * time.Second})
	case unix.SO_PASSCRED:
		return unix.EOPNOTSUPP
	default:
		return s.Generic.Set(c, name, value)
	}
	return nil
}

// bindToDevice is SO_BINDTODEVICE: the name of a link, "" for none (ENODEV).
func (s *Socket) bindToDevice(value []byte) error {
	name := cString(value)
	if name == "" {
		return errno(s.ep.SocketOptions().SetBindToDevice(0))
	}
	id, ok := s.stack.link(name)
	if !ok {
		return unix.ENODEV
	}
	return errno(s.ep.SocketOptions().SetBindToDevice(int32(id)))
}

// link finds a link by its name.
func (s *Stack) link(name string) (tcpip.NICID, bool) {
	for id, info := range s.NICInfo() {
		if info.Name == name {
			return id, true
		}
	}
	return 0, false
}

// getSocket is SOL_SOCKET.
func (s *Socket) getSocket(name, max int) ([]byte, error) {
	so := s.ep.SocketOptions()
	switch name {
	case unix.SO_ERROR:
		e, _ := errno(s.ep.LastError()).(unix.Errno)
		if e != 0 && s.isTCP() {
			s.ep.LastError() // the endpoint keeps the error in two places
		}
		return socket.IntValue(int(e), max), nil
	case unix.SO_REUSEADDR:
		return socket.Bool(so.GetReuseAddress(), max), nil
	case unix.SO_REUSEPORT:
		return socket.Bool(so.GetReusePort(), max), nil
	case unix.SO_BROADCAST:
		return socket.Bool(so.GetBroadcast(), max), nil
	case unix.SO_KEEPALIVE:
		return socket.Bool(so.GetKeepAlive(), max), nil
	case unix.SO_NO_CHECK:
		return socket.Bool(so.GetNoChecksum(), max), nil
	case unix.SO_SNDBUF:
		return socket.IntValue(int(so.GetSendBufferSize()), max), nil
	case unix.SO_RCVBUF:
		return socket.IntValue(int(so.GetReceiveBufferSize()), max), nil
	case unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS:
		return socket.Bool(s.timestamps.Load() == int32(name), max), nil
	case unix.SO_ACCEPTCONN:
		return socket.Bool(s.isTCP() && tcpState(s.ep.State()) == tcpListen, max), nil
	case unix.SO_LINGER:
		l := so.GetLinger()
		return socket.Cut(socket.LingerValue(l.Enabled, int(l.Timeout/time.Second)), max), nil
	case unix.SO_BINDTODEVICE:
		id := so.GetBindToDevice()
		if id == 0 {
			return nil, nil
		}
		if max < unix.IFNAMSIZ {
			return nil, unix.EINVAL
		}
		return append([]byte(s.stack.FindNICNameFromID(tcpip.NICID(id))), 0), nil
	case unix.SO_PEERCRED:
		return socket.Cut(socket.AppendCred(nil, socket.Cred{UID: ^uint32(0), GID: ^uint32(0)}), max), nil
	case unix.SO_INCOMING_CPU:
		return socket.IntValue(-1, max), nil
	case unix.SO_PASSCRED:
		return nil, unix.EOPNOTSUPP
	}
	return s.Generic.Get(s, name, max)
}

// seconds sets an option that the stack has as a duration: min to max seconds.
func seconds[T any, P interface {
	*T
	tcpip.SettableSocketOption
}](s *Socket, make func(time.Duration) T, n, min, max int32) error {
	if n < min || n > max {
		return unix.EINVAL
	}
	o := make(time.Duration(n) * time.Second)
	return errno(s.ep.SetSockOpt(P(&o)))
}

// setTCP is SOL_TCP (tcp(7)).
func (s *Socket) setTCP(_ socket.Caller, name int, value []byte) error {
	so := s.ep.SocketOptions()
	if name == unix.TCP_CONGESTION {
		o := tcpip.CongestionControlOption(cString(value))
		if o == "" {
			return unix.EINVAL
		}
		if s.ep.SetSockOpt(&o) != nil {
			return unix.ENOENT
		}
		return nil
	}
	n, err := socket.Int(value)
	if err != nil {
		return err
	}
	switch name {
	case unix.TCP_NODELAY:
		s.noDelay.Store(n != 0)
		so.SetDelayOption(n == 0)
	case unix.TCP_CORK:
		so.SetCorkOption(n != 0)
	case unix.TCP_QUICKACK:
		so.SetQuickAck(n != 0)
	case unix.TCP_MAXSEG:
		if n != 0 && (n < 88 || n > 32767) {
			return unix.EINVAL
		}
		if n == 0 {
			return nil
		}
		return errno(s.ep.SetSockOptInt(tcpip.MaxSegOption, int(n)))
	case unix.TCP_KEEPIDLE:
		return seconds(s, func(d time.Duration) tcpip.KeepaliveIdleOption { return tcpip.KeepaliveIdleOption(d) }, n, 1, 32767)
	case unix.TCP_KEEPINTVL:
		return seconds(s, func(d time.Duration) tcpip.KeepaliveIntervalOption { return tcpip.KeepaliveIntervalOption(d) }, n, 1, 32767)
	case unix.TCP_KEEPCNT:
		if n < 1 || n > 127 {
			return unix.EINVAL
		}
		return errno(s.ep.SetSockOptInt(tcpip.KeepaliveCountOption, int(n)))
	case unix.TCP_SYNCNT:
		if n < 1 || n > 127 {
			return unix.EINVAL
		}
		return errno(s.ep.SetSockOptInt(tcpip.TCPSynCountOption, int(n)))
	case unix.TCP_USER_TIMEOUT:
		if n < 0 {
			return unix.EINVAL
		}
		o := tcpip.TCPUserTimeoutOption(time.Duration(n) * time.Millisecond)
		return errno(s.ep.SetSockOpt(&o))
	case unix.TCP_LINGER2:
		o := tcpip.TCPLingerTimeoutOption(time.Duration(n) * time.Second)
		return errno(s.ep.SetSockOpt(&o))
	case unix.TCP_DEFER_ACCEPT:
		o := tcpip.TCPDeferAcceptOption(time.Duration(max(n, 0)) * time.Second)
		return errno(s.ep.SetSockOpt(&o))
	case unix.TCP_WINDOW_CLAMP:
		return errno(s.ep.SetSockOptInt(tcpip.TCPWindowClampOption, int(n)))
	case unix.TCP_FASTOPEN, unix.TCP_FASTOPEN_CONNECT:
		return unix.EOPNOTSUPP
	default:
		return unix.ENOPROTOOPT
	}
	return nil
}

// getTCP is SOL_TCP.
func (s *Socket) getTCP(name, max int) ([]byte, error) {
	so := s.ep.SocketOptions()
	integer := func(o tcpip.SockOptInt) ([]byte, error) {
		n, terr := s.ep.GetSockOptInt(o)
		if terr != nil {
			return nil, errno(terr)
		}
		return socket.IntValue(n, max), nil
	}
	duration := func(o tcpip.GettableSocketOption, d func() time.Duration, unit time.Duration) ([]byte, error) {
		if terr := s.ep.GetSockOpt(o); terr != nil {
			return nil, errno(terr)
		}
		return socket.IntValue(int(d()/unit), max), nil
	}
	switch name {
	case unix.TCP_NODELAY:
		return socket.Bool(s.noDelay.Load(), max), nil
	case unix.TCP_CORK:
		return socket.Bool(so.GetCorkOption(), max), nil
	case unix.TCP_QUICKACK:
		return socket.Bool(so.GetQuickAck(), max), nil
	case unix.TCP_MAXSEG:
		return integer(tcpip.MaxSegOption)
	case unix.TCP_KEEPCNT:
		return integer(tcpip.KeepaliveCountOption)
	case unix.TCP_SYNCNT:
		return integer(tcpip.TCPSynCountOption)
	case unix.TCP_WINDOW_CLAMP:
		return integer(tcpip.TCPWindowClampOption)
	case unix.TCP_KEEPIDLE:
		var o tcpip.KeepaliveIdleOption
		return duration(&o, func() time.Duration { return time.Duration(o) }, time.Second)
	case unix.TCP_KEEPINTVL:
		var o tcpip.KeepaliveIntervalOption
		return duration(&o, func() time.Duration { return time.Duration(o) }, time.Second)
	case unix.TCP_USER_TIMEOUT:
		var o tcpip.TCPUserTimeoutOption
		return duration(&o, func() time.Duration { return time.Duration(o) }, time.Millisecond)
	case unix.TCP_LINGER2:
		var o tcpip.TCPLingerTimeoutOption
		return duration(&o, func() time.Duration {
			if o < 0 {
				return -time.Second
			}
			return time.Duration(o)
		}, time.Second)
	case unix.TCP_DEFER_ACCEPT:
		var o tcpip.TCPDeferAcceptOption
		return duration(&o, func() time.Duration { return time.Duration(o) }, time.Second)
	case unix.TCP_CONGESTION:
		var o tcpip.CongestionControlOption
		if terr := s.ep.GetSockOpt(&o); terr != nil {
			return nil, errno(terr)
		}
		b := make([]byte, 16) // TCP_CA_NAME_MAX
		copy(b[:15], o)
		return socket.Cut(b, max), nil
	case unix.TCP_FASTOPEN, unix.TCP_FASTOPEN_CONNECT:
		return socket.IntValue(0, max), nil
	case unix.TCP_INFO:
		b, err := s.tcpInfo()
		return socket.Cut(b, max), err
	}
	return nil, unix.ENOPROTOOPT
}

// tcpInfoSize is how much of struct tcp_info is filled in: up to Linux 4.9's end.
const tcpInfoSize = 192

// tcpInfo is struct tcp_info.
func (s *Socket) tcpInfo() ([]byte, error) {
	var o tcpip.TCPInfoOption
	if terr := s.ep.GetSockOpt(&o); terr != nil {
		return nil, errno(terr)
	}
	b, le := make([]byte, tcpInfoSize), binary.LittleEndian
	b[0] = tcpState(uint32(o.State))
	b[1] = byte(o.CcState)
	micros := func(at int, d time.Duration) { le.PutUint32(b[at:], uint32(d/time.Microsecond)) }
	micros(8, o.RTO)
	micros(12, 40*time.Millisecond) // tcpi_ato
	mss, _ := s.ep.GetSockOptInt(tcpip.MaxSegOption)
	le.PutUint32(b[16:], uint32(mss))
	le.PutUint32(b[20:], uint32(mss))
	micros(68, o.RTT)
	micros(72, o.RTTVar)
	le.PutUint32(b[76:], o.SndSsthresh)
	le.PutUint32(b[80:], o.SndCwnd)
	le.PutUint32(b[84:], uint32(mss))
	le.PutUint32(b[88:], 3) // tcpi_reordering
	return b, nil
}

// cString cuts a value at its first NUL.
func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
