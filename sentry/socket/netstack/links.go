package netstack

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Config is the links that a stack is to have beside lo, and its routes: what a
// network namespace of the host has.
type Config struct {
	Links     []LinkConfig
	Routes    []Route
	Neighbors []Neighbor // permanent ones
}

// LinkConfig is a link with its addresses.
type LinkConfig struct {
	Index     int // its number, above Loopback
	Name      string
	MAC       [6]byte
	MTU       uint32
	Addresses []LinkAddress
	// Open makes the link. It is called once, when the link is new.
	Open func() stack.LinkEndpoint
}

// LinkAddress is an address of a link: the prefix has the bits of the host.
type LinkAddress struct {
	netip.Prefix
	Broadcast netip.Addr // invalid: there is none
}

// Route is a route of the main table.
type Route struct {
	Dst      netip.Prefix // masked
	Gateway  netip.Addr   // invalid: on the link itself
	Src      netip.Addr   // preferred source; invalid: none
	Link     int
	Metric   int
	Protocol byte // RTPROT_*
	Scope    byte // RT_SCOPE_*
}

// Neighbor is the link-layer address of a neighbour.
type Neighbor struct {
	Link  int
	IP    netip.Addr
	MAC   [6]byte // zero: not known
	State uint16  // NUD_*
}

// Configure makes the stack's links, addresses and routes those of c. What is so
// already stays, with the connections that use it. It does as much as it can; the
// error tells of all that went wrong.
func (s *Stack) Configure(c *Config) error {
	s.configMu.Lock()
	defer s.configMu.Unlock()
	var errs []error
	want := make(map[int]*LinkConfig, len(c.Links))
	for i := range c.Links {
		want[c.Links[i].Index] = &c.Links[i]
	}
	for index, have := range s.links {
		if w := want[index]; w == nil || w.Name != have.Name || w.MAC != have.MAC {
			s.removeLink(have)
		}
	}
	for _, l := range c.Links {
		if err := s.setLink(l); err != nil {
			errs = append(errs, fmt.Errorf("link %s: %w", l.Name, err))
		}
	}
	routes := slices.DeleteFunc(slices.Clone(c.Routes), func(r Route) bool { return s.links[r.Link] == nil })
	s.setRoutes(routes)
	for _, n := range c.Neighbors {
		if s.links[n.Link] != nil {
			s.AddStaticNeighbor(tcpip.NICID(n.Link), protocolOf(n.IP), addressOf(n.IP), tcpip.LinkAddress(n.MAC[:]))
		}
	}
	return errors.Join(errs...)
}

func (s *Stack) removeLink(l *LinkConfig) {
	for _, a := range l.Addresses {
		s.mirror(a, false)
	}
	s.RemoveNIC(tcpip.NICID(l.Index))
	delete(s.links, l.Index)
}

// setLink makes or changes a link.
func (s *Stack) setLink(l LinkConfig) error {
	id := tcpip.NICID(l.Index)
	have := s.links[l.Index]
	if have == nil {
		if terr := s.CreateNICWithOptions(id, l.Open(), stack.NICOptions{Name: l.Name}); terr != nil {
			return errno(terr)
		}
		have = &LinkConfig{Index: l.Index, Name: l.Name, MAC: l.MAC, MTU: l.MTU}
		s.links[l.Index] = have
	}
	if have.MTU != l.MTU {
		s.SetNICMTU(id, l.MTU)
		have.MTU = l.MTU
	}
	var errs []error
	for _, a := range have.Addresses {
		if !slices.Contains(l.Addresses, a) {
			s.RemoveAddress(id, addressOf(a.Addr()))
			s.mirror(a, false)
		}
	}
	for _, a := range l.Addresses {
		if slices.Contains(have.Addresses, a) {
			continue
		}
		if terr := s.AddProtocolAddress(id, tcpip.ProtocolAddress{
			Protocol:          protocolOf(a.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: addressOf(a.Addr()), PrefixLen: a.Bits()},
		}, stack.AddressProperties{}); terr != nil {
			errs = append(errs, fmt.Errorf("address %v: %w", a, errno(terr)))
			continue
		}
		s.mirror(a, true)
	}
	have.Addresses = slices.Clone(l.Addresses)
	return errors.Join(errs...)
}

// mirror gives lo an IPv4 address of another link, which Addresses does not show. What
// is sent there goes through lo, and the stack answers echo requests only for
// addresses that the link has.
func (s *Stack) mirror(a LinkAddress, add bool) {
	switch {
	case !a.Addr().Is4():
	case add:
		s.AddProtocolAddress(Loopback, tcpip.ProtocolAddress{
			Protocol:          ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: addressOf(a.Addr()), PrefixLen: 32},
		}, stack.AddressProperties{})
	default:
		s.RemoveAddress(Loopback, addressOf(a.Addr()))
	}
}

// linkOf returns the link that has an IPv4 address: 0 if none has.
func (s *Stack) linkOf(a tcpip.Address) tcpip.NICID {
	for id, addrs := range s.AllAddresses() {
		for _, x := range addrs {
			if x.AddressWithPrefix.Address == a && !mirrored(id, a) {
				return id
			}
		}
	}
	return 0
}

func mirrored(id tcpip.NICID, a tcpip.Address) bool {
	return id == Loopback && a.Len() == 4 && !header.IPv4LoopbackSubnet.Contains(a)
}

func addressOf(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// loopbackRoutes are there always.
func loopbackRoutes() []tcpip.Route {
	return []tcpip.Route{
		{Destination: header.IPv4LoopbackSubnet, NIC: Loopback},
		{Destination: header.IPv6Loopback.WithPrefix().Subnet(), NIC: Loopback},
	}
}

// setRoutes makes the routing table, which the stack searches from its beginning:
// long prefixes and low metrics come first.
func (s *Stack) setRoutes(routes []Route) {
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(b.Dst.Bits(), a.Dst.Bits()), cmp.Compare(a.Metric, b.Metric))
	})
	s.routes = routes
	table := loopbackRoutes()
	for _, r := range routes {
		subnet, err := tcpip.NewSubnet(addressOf(r.Dst.Addr()), tcpip.MaskFromBytes(maskOf(r.Dst)))
		if err != nil {
			continue
		}
		t := tcpip.Route{Destination: subnet, NIC: tcpip.NICID(r.Link)}
		if r.Gateway.IsValid() {
			t.Gateway = addressOf(r.Gateway)
		}
		if r.Src.IsValid() {
			t.SourceHint = addressOf(r.Src)
		}
		table = append(table, t)
	}
	// Groups of a link are reached without a route, as on Linux, which has
	// ff00::/8 for each; IPv4's go where the default route goes.
	for _, l := range s.links {
		table = append(table, tcpip.Route{Destination: multicast6, NIC: tcpip.NICID(l.Index)})
	}
	s.SetRouteTable(table)
}

var multicast6 = func() tcpip.Subnet {
	p := netip.MustParsePrefix("ff00::/8")
	n, _ := tcpip.NewSubnet(addressOf(p.Addr()), tcpip.MaskFromBytes(maskOf(p)))
	return n
}()

// groupLink returns the link on which a group is joined that is asked for on none:
// that of the route to it, or lo (ip_mc_find_dev).
func (s *Stack) groupLink(group tcpip.Address) tcpip.NICID {
	protocol := tcpip.NetworkProtocolNumber(ipv4.ProtocolNumber)
	if group.Len() == 16 {
		protocol = ipv6.ProtocolNumber
	}
	r, terr := s.FindRoute(0, tcpip.Address{}, group, protocol, false)
	if terr != nil {
		return Loopback
	}
	defer r.Release()
	return r.NICID()
}

// pathMTU is IP_MTU of a socket that is connected.
func (s *Socket) pathMTU() int {
	id, ok := s.tupleOf()
	protocol, size, most := tcpip.NetworkProtocolNumber(ipv4.ProtocolNumber), header.IPv4MinimumSize, math.MaxUint16 // IP_MAX_MTU
	if ok && id.RemoteAddress.Len() == 16 {
		protocol, size, most = ipv6.ProtocolNumber, header.IPv6MinimumSize, LoopbackMTU
	}
	if !ok {
		return most
	}
	r, terr := s.stack.FindRoute(0, id.LocalAddress, id.RemoteAddress, protocol, false)
	if terr != nil {
		return most
	}
	defer r.Release()
	if r.NICID() == Loopback {
		return most
	}
	return min(int(r.MTU())+size, most)
}

// maskOf returns the netmask of a prefix.
func maskOf(p netip.Prefix) []byte {
	m := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// Routes lists the routes of the main table.
func (s *Stack) Routes() []Route {
	s.configMu.Lock()
	defer s.configMu.Unlock()
	return slices.Clone(s.routes)
}

// Link is one link, for /proc/net/dev, netlink and netdevice(7).
type Link struct {
	Index            int
	Name             string
	MTU              uint32
	MAC              [6]byte
	Flags            uint32 // IFF_*
	RxBytes, RxCount uint64
	TxBytes, TxCount uint64
}

// Loopback reports whether l is lo.
func (l *Link) Loopback() bool { return l.Flags&unix.IFF_LOOPBACK != 0 }

const (
	loopbackFlags = unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING
	etherFlags    = unix.IFF_UP | unix.IFF_BROADCAST | unix.IFF_RUNNING | unix.IFF_MULTICAST
)

// Links lists the links, in the order of their numbers.
func (s *Stack) Links() []Link {
	var list []Link
	for id, i := range s.NICInfo() {
		l := Link{
			Index: int(id), Name: i.Name, MTU: i.MTU, Flags: etherFlags,
			RxBytes: i.Stats.Rx.Bytes.Value(), RxCount: i.Stats.Rx.Packets.Value(),
			TxBytes: i.Stats.Tx.Bytes.Value(), TxCount: i.Stats.Tx.Packets.Value(),
		}
		if i.Flags.Loopback {
			l.Flags = loopbackFlags
		}
		copy(l.MAC[:], i.LinkAddress)
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	return list
}

// LinkByIndex returns one link.
func (s *Stack) LinkByIndex(index int) (Link, bool) {
	for _, l := range s.Links() {
		if l.Index == index {
			return l, true
		}
	}
	return Link{}, false
}

// Address is an address of a link.
type Address struct {
	IP        []byte // 4 or 16 bytes
	Prefix    int
	Broadcast []byte // nil: there is none
}

// Addresses lists the addresses of a link.
func (s *Stack) Addresses(index int) []Address {
	s.configMu.Lock()
	defer s.configMu.Unlock()
	var list []Address
	if l := s.links[index]; l != nil {
		for _, a := range l.Addresses {
			list = append(list, Address{IP: a.Addr().AsSlice(), Prefix: a.Bits(), Broadcast: a.Broadcast.AsSlice()})
		}
		return list
	}
	for _, a := range s.AllAddresses()[tcpip.NICID(index)] {
		ip := a.AddressWithPrefix.Address
		if ip == header.IPv4Broadcast || mirrored(tcpip.NICID(index), ip) {
			continue // each link of the stack has the first
		}
		list = append(list, Address{IP: ip.AsSlice(), Prefix: a.AddressWithPrefix.PrefixLen})
	}
	return list
}

// Neighbors lists the neighbours of all links.
func (s *Stack) Neighbors() (list []Neighbor) {
	for _, l := range s.Links() {
		if l.Loopback() {
			continue
		}
		for _, p := range [...]tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber} {
			entries, terr := s.Stack.Neighbors(tcpip.NICID(l.Index), p)
			if terr != nil {
				continue
			}
			for _, e := range entries {
				ip, ok := netip.AddrFromSlice(e.Addr.AsSlice())
				if !ok {
					continue
				}
				n := Neighbor{Link: l.Index, IP: ip, State: nudState(e.State)}
				copy(n.MAC[:], e.LinkAddr)
				list = append(list, n)
			}
		}
	}
	slices.SortFunc(list, func(a, b Neighbor) int { return cmp.Or(cmp.Compare(a.Link, b.Link), a.IP.Compare(b.IP)) })
	return list
}

func nudState(s stack.NeighborState) uint16 {
	switch s {
	case stack.Incomplete:
		return unix.NUD_INCOMPLETE
	case stack.Reachable:
		return unix.NUD_REACHABLE
	case stack.Stale:
		return unix.NUD_STALE
	case stack.Delay:
		return unix.NUD_DELAY
	case stack.Probe:
		return unix.NUD_PROBE
	case stack.Static:
		return unix.NUD_PERMANENT
	case stack.Unreachable:
		return unix.NUD_FAILED
	}
	return unix.NUD_NONE
}

// RouteTable writes /proc/net/route.
func (s *Stack) RouteTable(b *bytes.Buffer) {
	for _, r := range s.Routes() {
		if !r.Dst.Addr().Is4() {
			continue
		}
		flags, gateway := 1, uint32(0) // RTF_UP
		if r.Gateway.Is4() {
			flags, gateway = 3, hostOrder(r.Gateway) // RTF_GATEWAY
		}
		if r.Dst.Bits() == 32 {
			flags |= 4 // RTF_HOST
		}
		mask := bits.ReverseBytes32(^uint32(0) << (32 - r.Dst.Bits()))
		if r.Dst.Bits() == 0 {
			mask = 0
		}
		line := fmt.Sprintf("%s\t%08X\t%08X\t%04X\t0\t0\t%d\t%08X\t0\t0\t0", s.FindNICNameFromID(tcpip.NICID(r.Link)),
			hostOrder(r.Dst.Addr()), gateway, flags, r.Metric, mask)
		fmt.Fprintf(b, "%-127s\n", line)
	}
}

// hostOrder returns an IPv4 address as a number of the machine.
func hostOrder(a netip.Addr) uint32 {
	ip := a.As4()
	return binary.LittleEndian.Uint32(ip[:])
}

// ARPTable writes /proc/net/arp.
func (s *Stack) ARPTable(b *bytes.Buffer) {
	for _, n := range s.Neighbors() {
		if !n.IP.Is4() {
			continue
		}
		flags := 2 // ATF_COM
		switch n.State {
		case unix.NUD_INCOMPLETE, unix.NUD_FAILED, unix.NUD_NONE:
			flags = 0
		case unix.NUD_PERMANENT:
			flags = 6 // ATF_PERM
		}
		m := n.MAC
		fmt.Fprintf(b, "%-16s 0x1         0x%-10x%02x:%02x:%02x:%02x:%02x:%02x     *        %s\n", n.IP, flags,
			m[0], m[1], m[2], m[3], m[4], m[5], s.FindNICNameFromID(tcpip.NICID(n.Link)))
	}
}

// AddressTable writes /proc/net/if_inet6.
func (s *Stack) AddressTable(b *bytes.Buffer) {
	for _, l := range s.Links() {
		for _, a := range s.Addresses(l.Index) {
			if len(a.IP) == 16 {
				fmt.Fprintf(b, "%x %02x %02x %02x 80 %8s\n", a.IP, l.Index, a.Prefix, scopeBits(a.IP), l.Name)
			}
		}
	}
}

// scopeBits are ipv6_addr_scope's: of the host 0x10, of the link 0x20.
func scopeBits(ip []byte) byte {
	switch Scope(ip) {
	case unix.RT_SCOPE_HOST:
		return 0x10
	case unix.RT_SCOPE_LINK:
		return 0x20
	}
	return 0
}

// Scope returns how far an address reaches (RT_SCOPE_*).
func Scope(ip []byte) byte {
	a, _ := netip.AddrFromSlice(ip)
	switch {
	case a.IsLoopback():
		return unix.RT_SCOPE_HOST
	case a.Is6() && a.IsLinkLocalUnicast():
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}
