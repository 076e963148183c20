package netlink

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/socket/netstack"
)

// handle answers the requests in b (netlink_rcv_skb).
func (s *Socket) handle(c socket.Caller, b []byte) error {
	for {
		h, body, rest, ok := parseHeader(b)
		if !ok {
			return nil
		}
		whole := b[:h.length]
		b = rest
		if h.flags&unix.NLM_F_REQUEST == 0 || h.typ < unix.NLMSG_MIN_TYPE {
			if h.flags&unix.NLM_F_ACK != 0 {
				s.ack(h, whole, 0)
			}
			continue
		}
		r := request{s: s, h: h, body: body}
		err := r.run(c)
		number, isErrno := err.(unix.Errno)
		switch {
		case err != nil && !isErrno:
			return err
		case err != nil:
			s.ack(h, whole, number)
			continue
		}
		if r.dumped {
			s.push(r.out.b)
			continue
		}
		if len(r.out.b) > 0 {
			s.push(r.out.b)
		}
		if h.flags&unix.NLM_F_ACK != 0 {
			s.ack(h, whole, 0)
		}
	}
}

// ack answers with a struct nlmsgerr (netlink_ack).
func (s *Socket) ack(h header, whole []byte, err unix.Errno) {
	s.mu.Lock()
	port, capped := s.port, s.capAck
	s.mu.Unlock()
	var w builder
	flags := uint16(0)
	if err == 0 || capped {
		whole, flags = whole[:headerSize], unix.NLM_F_CAPPED
	}
	w.begin(unix.NLMSG_ERROR, flags, h.seq, port)
	w.u32(uint32(-int32(err)))
	w.u8(whole...)
	w.end()
	s.push(w.b)
}

// request is one message to the kernel.
type request struct {
	s      *Socket
	h      header
	body   []byte
	out    builder
	port   uint32
	strict bool
	net    Network
	dumped bool
}

// run is rtnetlink_rcv_msg.
func (r *request) run(c socket.Caller) error {
	r.s.mu.Lock()
	r.port, r.strict = r.s.port, r.s.strict
	r.s.mu.Unlock()
	if r.h.typ > unix.RTM_MAX || len(r.body) < 1 {
		return unix.EOPNOTSUPP
	}
	// The lowest bits tell new, del, get and set.
	if r.h.typ&3 != 2 {
		if !c.Capable(unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		return r.change()
	}
	var err error
	if r.net, err = r.s.space.network(); err != nil {
		return err
	}
	family := int(r.body[0])
	if r.h.flags&dump != dump {
		switch r.h.typ {
		case unix.RTM_GETLINK:
			return r.getLink()
		case unix.RTM_GETROUTE:
			return r.getRoute()
		}
		return unix.EOPNOTSUPP
	}
	r.dumped = true
	switch r.h.typ {
	case unix.RTM_GETLINK:
		r.dumpLinks()
	case unix.RTM_GETADDR:
		r.dumpAddresses(family)
	case unix.RTM_GETROUTE:
		r.dumpRoutes(family)
	case unix.RTM_GETRULE:
		r.dumpRules(family)
	case unix.RTM_GETNEIGH:
		r.dumpNeighbors(family)
	default:
		return unix.EOPNOTSUPP
	}
	r.out.begin(unix.NLMSG_DONE, unix.NLM_F_MULTI, r.h.seq, r.port)
	r.out.u32(0)
	r.out.end()
	return nil
}

// change is what would change the network. That a link is to be up which is so
// already is no change.
func (r *request) change() error {
	if r.h.typ != unix.RTM_NEWLINK && r.h.typ != unix.RTM_SETLINK || len(r.body) < 16 {
		return unix.EOPNOTSUPP
	}
	le := binary.LittleEndian
	flags, mask := le.Uint32(r.body[8:]), le.Uint32(r.body[12:])
	var err error
	if r.net, err = r.s.space.network(); err != nil {
		return err
	}
	link, more := r.wanted()
	switch {
	case link == nil:
		return unix.ENODEV
	case more || (mask|flags)&^unix.IFF_UP != 0 || flags&unix.IFF_UP == 0:
		return unix.EOPNOTSUPP
	}
	return nil
}

// wanted finds the link that a struct ifinfomsg, or a name behind it, means. more
// says that there are other attributes.
func (r *request) wanted() (found *netstack.Link, more bool) {
	index, name := 0, ""
	if len(r.body) >= 16 {
		index = int(int32(binary.LittleEndian.Uint32(r.body[4:])))
		attributes(r.body[16:], func(typ uint16, data []byte) {
			switch typ {
			case unix.IFLA_IFNAME, unix.IFLA_ALT_IFNAME:
				name = string(bytes.TrimRight(data, "\x00"))
			case unix.IFLA_EXT_MASK:
			default:
				more = true
			}
		})
	}
	for _, l := range r.net.Links() {
		if index > 0 && l.Index == index || index == 0 && name != "" && l.Name == name {
			return &l, more
		}
	}
	return nil, more
}

func (r *request) begin(typ uint16) {
	flags := uint16(0)
	if r.dumped {
		flags = unix.NLM_F_MULTI
	}
	r.out.begin(typ, flags, r.h.seq, r.port)
}

func (r *request) getLink() error {
	if len(r.body) < 16 {
		return unix.EINVAL
	}
	l, _ := r.wanted()
	if l == nil {
		return unix.ENODEV
	}
	r.link(l)
	return nil
}

func (r *request) dumpLinks() {
	for _, l := range r.net.Links() {
		r.link(&l)
	}
}

// link is an RTM_NEWLINK message (rtnl_fill_ifinfo).
func (r *request) link(l *netstack.Link) {
	w := &r.out
	r.begin(unix.RTM_NEWLINK)
	hardware, state, all := uint16(unix.ARPHRD_ETHER), byte(6), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} // IF_OPER_UP
	if l.Loopback() {
		hardware, state, all = unix.ARPHRD_LOOPBACK, 0, make([]byte, 6) // IF_OPER_UNKNOWN
	}
	w.u8(unix.AF_UNSPEC, 0)
	w.u16(hardware)
	w.u32(uint32(l.Index), l.Flags|unix.IFF_LOWER_UP, 0)
	w.attrString(unix.IFLA_IFNAME, l.Name)
	w.attr32(unix.IFLA_TXQLEN, 1000)
	w.attr8(unix.IFLA_OPERSTATE, state)
	w.attr8(unix.IFLA_LINKMODE, 0)
	w.attr32(unix.IFLA_MTU, l.MTU)
	w.attr32(unix.IFLA_MIN_MTU, 0)
	w.attr32(unix.IFLA_MAX_MTU, 0)
	w.attr32(unix.IFLA_GROUP, 0)
	w.attr32(unix.IFLA_PROMISCUITY, 0)
	w.attr32(unix.IFLA_NUM_TX_QUEUES, 1)
	w.attr32(unix.IFLA_NUM_RX_QUEUES, 1)
	w.attr8(unix.IFLA_CARRIER, 1)
	w.attrString(unix.IFLA_QDISC, "noqueue")
	w.attr(unix.IFLA_ADDRESS, l.MAC[:])
	w.attr(unix.IFLA_BROADCAST, all)
	counts := [24]uint64{l.RxCount, l.TxCount, l.RxBytes, l.TxBytes}
	var wide, narrow []byte
	for _, n := range counts {
		wide = binary.LittleEndian.AppendUint64(wide, n)
		narrow = binary.LittleEndian.AppendUint32(narrow, uint32(n))
	}
	w.attr(unix.IFLA_STATS64, wide)
	w.attr(unix.IFLA_STATS, narrow)
	w.end()
}

// dumpAddresses is RTM_GETADDR. With strict checking, a link may be given.
func (r *request) dumpAddresses(family int) {
	only := 0
	if r.strict && len(r.body) >= 8 {
		only = int(binary.LittleEndian.Uint32(r.body[4:]))
	}
	for _, want := range [...]int{unix.AF_INET, unix.AF_INET6} {
		if family != unix.AF_UNSPEC && family != want {
			continue
		}
		for _, l := range r.net.Links() {
			if only != 0 && only != l.Index {
				continue
			}
			for _, a := range r.net.Addresses(l.Index) {
				if familyOf(a.IP) == want {
					r.address(&l, &a)
				}
			}
		}
	}
}

func familyOf(ip []byte) int {
	if len(ip) == 4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// address is an RTM_NEWADDR message (inet_fill_ifaddr, inet6_fill_ifaddr).
func (r *request) address(l *netstack.Link, a *netstack.Address) {
	w := &r.out
	r.begin(unix.RTM_NEWADDR)
	w.u8(byte(familyOf(a.IP)), byte(a.Prefix), unix.IFA_F_PERMANENT, netstack.Scope(a.IP))
	w.u32(uint32(l.Index))
	w.attr(unix.IFA_ADDRESS, a.IP)
	if len(a.IP) == 4 {
		w.attr(unix.IFA_LOCAL, a.IP)
		if a.Broadcast != nil {
			w.attr(unix.IFA_BROADCAST, a.Broadcast)
		}
		w.attrString(unix.IFA_LABEL, l.Name)
	}
	var cache builder
	cache.u32(^uint32(0), ^uint32(0), 0, 0) // for ever
	w.attr(unix.IFA_CACHEINFO, cache.b)
	w.attr32(unix.IFA_FLAGS, unix.IFA_F_PERMANENT)
	w.end()
}

// dumpRules is RTM_GETRULE: the rules that are there from the beginning.
func (r *request) dumpRules(family int) {
	type rule struct {
		priority uint32
		table    uint32
	}
	for _, want := range [...]int{unix.AF_INET, unix.AF_INET6} {
		if family != unix.AF_UNSPEC && family != want {
			continue
		}
		rules := []rule{{0, unix.RT_TABLE_LOCAL}, {32766, unix.RT_TABLE_MAIN}}
		if want == unix.AF_INET {
			rules = append(rules, rule{32767, unix.RT_TABLE_DEFAULT})
		}
		for _, x := range rules {
			w := &r.out
			r.begin(unix.RTM_NEWRULE)
			w.u8(byte(want), 0, 0, 0, byte(x.table), 0, 0, unix.FR_ACT_TO_TBL)
			w.u32(0)
			w.attr32(unix.FRA_TABLE, x.table)
			w.attr32(unix.FRA_SUPPRESS_PREFIXLEN, ^uint32(0))
			w.attr8(unix.FRA_PROTOCOL, unix.RTPROT_KERNEL)
			if x.priority != 0 {
				w.attr32(unix.FRA_PRIORITY, x.priority)
			}
			w.end()
		}
	}
}
