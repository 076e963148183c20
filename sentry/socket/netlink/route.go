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
		// There are no neighbours on lo.
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
	w.u8(unix.AF_UNSPEC, 0)
	w.u16(unix.ARPHRD_LOOPBACK)
	w.u32(uint32(l.Index), unix.IFF_UP|unix.IFF_LOOPBACK|unix.IFF_RUNNING|unix.IFF_LOWER_UP, 0)
	w.attrString(unix.IFLA_IFNAME, l.Name)
	w.attr32(unix.IFLA_TXQLEN, 1000)
	w.attr8(unix.IFLA_OPERSTATE, 0) // IF_OPER_UNKNOWN
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
	w.attr(unix.IFLA_ADDRESS, make([]byte, 6))
	w.attr(unix.IFLA_BROADCAST, make([]byte, 6))
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
	w.u8(byte(familyOf(a.IP)), byte(a.Prefix), unix.IFA_F_PERMANENT, unix.RT_SCOPE_HOST)
	w.u32(uint32(l.Index))
	w.attr(unix.IFA_ADDRESS, a.IP)
	if len(a.IP) == 4 {
		w.attr(unix.IFA_LOCAL, a.IP)
		w.attrString(unix.IFA_LABEL, l.Name)
	}
	var cache builder
	cache.u32(^uint32(0), ^uint32(0), 0, 0) // for ever
	w.attr(unix.IFA_CACHEINFO, cache.b)
	w.attr32(unix.IFA_FLAGS, unix.IFA_F_PERMANENT)
	w.end()
}

// route is an entry of the local table.
type route struct {
	typ    byte
	dst    []byte
	prefix int
	src    []byte
	link   int
}

// routes returns the local table: what Linux has for the addresses of lo.
func (r *request) routes(family int) (list []route) {
	for _, l := range r.net.Links() {
		for _, a := range r.net.Addresses(l.Index) {
			if familyOf(a.IP) != family {
				continue
			}
			if family == unix.AF_INET6 {
				list = append(list, route{unix.RTN_LOCAL, a.IP, 128, nil, l.Index})
				continue
			}
			mask := ^uint32(0) << (32 - a.Prefix)
			ip := binary.BigEndian.Uint32(a.IP)
			list = append(list,
				route{unix.RTN_LOCAL, binary.BigEndian.AppendUint32(nil, ip&mask), a.Prefix, a.IP, l.Index},
				route{unix.RTN_LOCAL, a.IP, 32, a.IP, l.Index},
				route{unix.RTN_BROADCAST, binary.BigEndian.AppendUint32(nil, ip|^mask), 32, a.IP, l.Index})
		}
	}
	return list
}

// dumpRoutes is RTM_GETROUTE. With strict checking, a table may be given.
func (r *request) dumpRoutes(family int) {
	if r.strict && len(r.body) >= 12 {
		table := uint32(r.body[4])
		attributes(r.body[12:], func(typ uint16, data []byte) {
			if typ == unix.RTA_TABLE && len(data) >= 4 {
				table = binary.LittleEndian.Uint32(data)
			}
		})
		if table != unix.RT_TABLE_UNSPEC && table != unix.RT_TABLE_LOCAL {
			return
		}
	}
	for _, want := range [...]int{unix.AF_INET, unix.AF_INET6} {
		if family != unix.AF_UNSPEC && family != want {
			continue
		}
		for _, t := range r.routes(want) {
			r.route(want, &t, 0)
		}
	}
}

// route is an RTM_NEWROUTE message.
func (r *request) route(family int, t *route, flags uint32) {
	w := &r.out
	// A look-up does not tell the table, unless it is asked for.
	table, protocol := byte(unix.RT_TABLE_LOCAL), byte(unix.RTPROT_KERNEL)
	if flags != 0 {
		table, protocol = unix.RT_TABLE_MAIN, unix.RTPROT_UNSPEC
	}
	scope := byte(unix.RT_SCOPE_HOST)
	switch {
	case family == unix.AF_INET6, flags != 0:
		scope = unix.RT_SCOPE_UNIVERSE
	case t.typ == unix.RTN_BROADCAST:
		scope = unix.RT_SCOPE_LINK
	}
	r.begin(unix.RTM_NEWROUTE)
	w.u8(byte(family), byte(t.prefix), 0, 0, table, protocol, scope, t.typ)
	w.u32(flags)
	w.attr32(unix.RTA_TABLE, uint32(table))
	w.attr(unix.RTA_DST, t.dst)
	if t.src != nil {
		w.attr(unix.RTA_PREFSRC, t.src)
	}
	w.attr32(unix.RTA_OIF, uint32(t.link))
	if family == unix.AF_INET6 {
		w.attr32(unix.RTA_PRIORITY, 0)
	}
	w.end()
}

// getRoute looks a destination up: ENETUNREACH.
func (r *request) getRoute() error {
	if len(r.body) < 12 {
		return unix.EINVAL
	}
	family := int(r.body[0])
	size := 4
	switch family {
	case unix.AF_INET:
	case unix.AF_INET6:
		size = 16
	default:
		return unix.EOPNOTSUPP
	}
	var dst []byte
	if !attributes(r.body[12:], func(typ uint16, data []byte) {
		if typ == unix.RTA_DST {
			dst = data
		}
	}) || dst != nil && len(dst) != size {
		return unix.EINVAL
	}
	if dst == nil {
		dst = make([]byte, size)
	}
	for _, t := range r.routes(family) {
		if samePrefix(t.dst, dst, t.prefix) {
			const cloned, local = 0x200, 0x80000000 // RTM_F_CLONED, RTCF_LOCAL
			found := route{t.typ, dst, 8 * size, t.src, t.link}
			if found.src == nil {
				found.src = dst
			}
			r.route(family, &found, cloned|local)
			return nil
		}
	}
	return unix.ENETUNREACH
}

func samePrefix(a, b []byte, bits int) bool {
	for i := 0; i < bits; i += 8 {
		mask := byte(0xff)
		if bits-i < 8 {
			mask <<= 8 - (bits - i)
		}
		if (a[i/8]^b[i/8])&mask != 0 {
			return false
		}
	}
	return true
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
