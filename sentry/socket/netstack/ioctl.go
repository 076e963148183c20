package netstack

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/tcpip"

	"runsc-lite/sentry/vfs"
)

// Ioctl implements vfs.Ioctler.
func (s *Socket) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	switch request {
	case unix.SIOCINQ:
		if s.isTCP() && tcpState(s.ep.State()) == tcpListen {
			return 0, unix.EINVAL
		}
		n, terr := s.ep.GetSockOptInt(tcpip.ReceiveQueueSizeOption)
		if terr != nil {
			return 0, errno(terr)
		}
		return 0, putInt(mem, arg, n+s.waiting())
	case unix.SIOCOUTQ:
		if s.isTCP() && tcpState(s.ep.State()) == tcpListen {
			return 0, unix.EINVAL
		}
		n, terr := s.ep.GetSockOptInt(tcpip.SendQueueSizeOption)
		if terr != nil {
			return 0, errno(terr)
		}
		return 0, putInt(mem, arg, n)
	case unix.SIOCATMARK:
		if !s.isTCP() {
			return 0, unix.ENOTTY
		}
		return 0, putInt(mem, arg, 0) // there is no urgent data
	case siocgstamp:
		s.mu.Lock()
		at := s.stamp
		s.mu.Unlock()
		if at.IsZero() {
			return 0, unix.ENOENT
		}
		_, err := mem.CopyOut(hostarch.Addr(arg), timestamp(at, false))
		return 0, err
	}
	return s.stack.Ioctl(mem, request, arg)
}

const siocgstamp = 0x8906

func putInt(mem vfs.Memory, arg uint64, n int) error {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(n))
	_, err := mem.CopyOut(hostarch.Addr(arg), b[:])
	return err
}

const ifreqSize = 40 // sizeof(struct ifreq)

// Ioctl is netdevice(7): requests about links, which any socket takes. ENOTTY for
// others.
func (s *Stack) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	switch request {
	case unix.SIOCGIFCONF:
		return 0, s.ifconf(mem, arg)
	case unix.SIOCGIFNAME, unix.SIOCGIFINDEX, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFBRDADDR,
		unix.SIOCGIFDSTADDR, unix.SIOCGIFHWADDR, unix.SIOCGIFMTU, unix.SIOCGIFMETRIC, unix.SIOCGIFTXQLEN, unix.SIOCGIFMAP:
	default:
		return 0, unix.ENOTTY
	}
	var req [ifreqSize]byte
	if _, err := mem.CopyIn(hostarch.Addr(arg), req[:]); err != nil {
		return 0, err
	}
	name, val := req[:unix.IFNAMSIZ], req[unix.IFNAMSIZ:]
	le := binary.LittleEndian
	if request == unix.SIOCGIFNAME {
		link := s.FindNICNameFromID(tcpip.NICID(le.Uint32(val)))
		if link == "" {
			return 0, unix.ENODEV
		}
		clear(name)
		copy(name, link)
		_, err := mem.CopyOut(hostarch.Addr(arg), req[:])
		return 0, err
	}
	name[unix.IFNAMSIZ-1] = 0
	id, ok := s.link(cString(name))
	if !ok {
		return 0, unix.ENODEV
	}
	clear(val)
	link, ok := s.LinkByIndex(int(id))
	if !ok {
		return 0, unix.ENODEV // it was taken away
	}
	addr, mask, has := s.address4(id)
	switch request {
	case unix.SIOCGIFINDEX:
		le.PutUint32(val, uint32(id))
	case unix.SIOCGIFFLAGS:
		le.PutUint16(val, uint16(link.Flags))
	case unix.SIOCGIFADDR, unix.SIOCGIFNETMASK, unix.SIOCGIFBRDADDR, unix.SIOCGIFDSTADDR:
		if !has {
			return 0, unix.EADDRNOTAVAIL
		}
		le.PutUint16(val, unix.AF_INET)
		switch request {
		case unix.SIOCGIFNETMASK:
			addr = mask
		case unix.SIOCGIFBRDADDR:
			addr = s.broadcast4(id)
		}
		copy(val[4:], addr[:])
	case unix.SIOCGIFHWADDR:
		le.PutUint16(val, unix.ARPHRD_ETHER)
		if link.Loopback() {
			le.PutUint16(val, unix.ARPHRD_LOOPBACK)
		}
		copy(val[2:], link.MAC[:])
	case unix.SIOCGIFMTU:
		le.PutUint32(val, link.MTU)
	case unix.SIOCGIFTXQLEN:
		le.PutUint32(val, 1000)
	}
	_, err := mem.CopyOut(hostarch.Addr(arg), req[:])
	return 0, err
}

// address4 returns the first IPv4 address of a link, and its mask.
func (s *Stack) address4(id tcpip.NICID) (addr, mask [4]byte, ok bool) {
	for _, a := range s.Addresses(int(id)) {
		if len(a.IP) == 4 {
			binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-a.Prefix))
			return [4]byte(a.IP), mask, true
		}
	}
	return addr, mask, false
}

// broadcast4 returns the broadcast address of a link's first IPv4 address.
func (s *Stack) broadcast4(id tcpip.NICID) (all [4]byte) {
	for _, a := range s.Addresses(int(id)) {
		if len(a.IP) == 4 {
			copy(all[:], a.Broadcast)
			break
		}
	}
	return all
}

// ifconf is SIOCGIFCONF: an entry for each IPv4 address.
func (s *Stack) ifconf(mem vfs.Memory, arg uint64) error {
	var c [16]byte
	if _, err := mem.CopyIn(hostarch.Addr(arg), c[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	room, to := int32(le.Uint32(c[:])), le.Uint64(c[8:])
	var out bytes.Buffer
	for _, l := range s.Links() {
		addr, _, ok := s.address4(tcpip.NICID(l.Index))
		if !ok {
			continue
		}
		var req [ifreqSize]byte
		copy(req[:unix.IFNAMSIZ-1], l.Name)
		le.PutUint16(req[unix.IFNAMSIZ:], unix.AF_INET)
		copy(req[unix.IFNAMSIZ+4:], addr[:])
		out.Write(req[:])
	}
	n := out.Len()
	if to != 0 {
		if room < 0 {
			return unix.EINVAL
		}
		n = min(n, int(room)/ifreqSize*ifreqSize)
		if _, err := mem.CopyOut(hostarch.Addr(to), out.Bytes()[:n]); err != nil {
			return err
		}
	}
	return putInt(mem, arg, n)
}
