package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/socket/netstack"
)

// route is an entry of a routing table.
type route struct {
	table    byte
	protocol byte
	scope    byte
	typ      byte
	dst      []byte
	prefix   int
	src      []byte
	gateway  []byte
	link     int
	metric   int
}

// local returns the local table: what Linux has for the addresses of links.
func (r *request) local(family int) (list []route) {
	for _, l := range r.net.Links() {
		for _, a := range r.net.Addresses(l.Index) {
			if familyOf(a.IP) != family {
				continue
			}
			t := route{table: unix.RT_TABLE_LOCAL, protocol: unix.RTPROT_KERNEL, typ: unix.RTN_LOCAL, dst: a.IP, prefix: 8 * len(a.IP), link: l.Index}
			if family == unix.AF_INET6 {
				t.scope = unix.RT_SCOPE_UNIVERSE
				list = append(list, t)
				continue
			}
			mask := ^uint32(0) << (32 - a.Prefix)
			if a.Prefix == 0 {
				mask = 0
			}
			ip := binary.BigEndian.Uint32(a.IP)
			t.scope, t.src = unix.RT_SCOPE_HOST, a.IP
			if l.Loopback() {
				net := t
				net.dst, net.prefix = binary.BigEndian.AppendUint32(nil, ip&mask), a.Prefix
				list = append(list, net)
			}
			list = append(list, t)
			if a.Prefix < 31 {
				t.typ, t.scope, t.dst = unix.RTN_BROADCAST, unix.RT_SCOPE_LINK, binary.BigEndian.AppendUint32(nil, ip|^mask)
				list = append(list, t)
			}
		}
	}
	return list
}

// main returns the main table.
func (r *request) main(family int) (list []route) {
	for _, x := range r.net.Routes() {
		dst := x.Dst.Addr().AsSlice()
		if familyOf(dst) != family {
			continue
		}
		t := route{table: unix.RT_TABLE_MAIN, protocol: x.Protocol, scope: x.Scope, typ: unix.RTN_UNICAST, dst: dst, prefix: x.Dst.Bits(), link: x.Link, metric: x.Metric}
		if x.Src.IsValid() {
			t.src = x.Src.AsSlice()
		}
		if x.Gateway.IsValid() {
			t.gateway = x.Gateway.AsSlice()
		}
		list = append(list, t)
	}
	return list
}

// dumpRoutes is RTM_GETROUTE. With strict checking, a table may be given.
func (r *request) dumpRoutes(family int) {
	table := uint32(unix.RT_TABLE_UNSPEC)
	if r.strict && len(r.body) >= 12 {
		table = uint32(r.body[4])
		attributes(r.body[12:], func(typ uint16, data []byte) {
			if typ == unix.RTA_TABLE && len(data) >= 4 {
				table = binary.LittleEndian.Uint32(data)
			}
		})
	}
	for _, want := range [...]int{unix.AF_INET, unix.AF_INET6} {
		if family != unix.AF_UNSPEC && family != want {
			continue
		}
		for _, t := range append(r.main(want), r.local(want)...) {
			if table == unix.RT_TABLE_UNSPEC || table == uint32(t.table) {
				r.route(want, &t, 0)
			}
		}
	}
}

// route is an RTM_NEWROUTE message (fib_dump_info, rt6_fill_node).
func (r *request) route(family int, t *route, flags uint32) {
	w := &r.out
	r.begin(unix.RTM_NEWROUTE)
	w.u8(byte(family), byte(t.prefix), 0, 0, t.table, t.protocol, t.scope, t.typ)
	w.u32(flags)
	w.attr32(unix.RTA_TABLE, uint32(t.table))
	if t.prefix > 0 {
		w.attr(unix.RTA_DST, t.dst)
	}
	if t.src != nil {
		w.attr(unix.RTA_PREFSRC, t.src)
	}
	if t.gateway != nil {
		w.attr(unix.RTA_GATEWAY, t.gateway)
	}
	w.attr32(unix.RTA_OIF, uint32(t.link))
	if family == unix.AF_INET6 || t.metric != 0 {
		w.attr32(unix.RTA_PRIORITY, uint32(t.metric))
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
	for _, t := range append(r.local(family), r.main(family)...) {
		if !samePrefix(t.dst, dst, t.prefix) {
			continue
		}
		const cloned, local = 0x200, 0x80000000 // RTM_F_CLONED, RTCF_LOCAL
		flags := uint32(cloned)
		if t.typ == unix.RTN_LOCAL {
			flags |= local
		}
		// A look-up does not tell the table, unless it is asked for.
		t.table, t.protocol, t.scope = unix.RT_TABLE_MAIN, unix.RTPROT_UNSPEC, unix.RT_SCOPE_UNIVERSE
		t.dst, t.prefix = dst, 8*size
		if t.src == nil {
			if t.src = dst; t.typ != unix.RTN_LOCAL {
				t.src = r.source(t.link, size)
			}
		}
		r.route(family, &t, flags)
		return nil
	}
	return unix.ENETUNREACH
}

// source returns the address that a link sends with: nil if it has none of this
// size.
func (r *request) source(link, size int) []byte {
	var last []byte
	for _, a := range r.net.Addresses(link) {
		if len(a.IP) != size {
			continue
		}
		if last = a.IP; netstack.Scope(a.IP) == unix.RT_SCOPE_UNIVERSE {
			break
		}
	}
	return last
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

// dumpNeighbors is RTM_GETNEIGH.
func (r *request) dumpNeighbors(family int) {
	w := &r.out
	for _, n := range r.net.Neighbors() {
		ip := n.IP.AsSlice()
		if family != unix.AF_UNSPEC && family != familyOf(ip) {
			continue
		}
		r.begin(unix.RTM_NEWNEIGH)
		w.u8(byte(familyOf(ip)), 0, 0, 0) // struct ndmsg
		w.u32(uint32(n.Link))
		w.u16(n.State)
		w.u8(0, unix.RTN_UNICAST)
		w.attr(unix.NDA_DST, ip)
		if n.MAC != [6]byte{} {
			w.attr(unix.NDA_LLADDR, n.MAC[:])
		}
		w.end()
	}
}
