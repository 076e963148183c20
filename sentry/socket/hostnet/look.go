package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"runsc-lite/sentry/socket/netstack"
)

// look reads what the namespace has: Ethernet interfaces that are up, and what
// belongs to them. n.mu is held.
func (n *Net) look() (*netstack.Config, error) {
	c := &netstack.Config{}
	links, err := again(n.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing the interfaces: %w", err)
	}
	known := map[int]int{} // its place in c.Links
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagUp == 0 || a.Flags&net.FlagLoopback != 0 || a.EncapType != "ether" || len(a.HardwareAddr) != 6 || a.Index <= netstack.Loopback {
			continue
		}
		known[a.Index] = len(c.Links)
		c.Links = append(c.Links, n.config(a))
	}
	for _, family := range [...]int{unix.AF_INET, unix.AF_INET6} {
		addrs, err := again(func() ([]netlink.Addr, error) { return n.handle.AddrList(nil, family) })
		if err != nil {
			return nil, fmt.Errorf("listing the addresses: %w", err)
		}
		for _, a := range addrs {
			at, ok := known[a.LinkIndex]
			if p, valid := prefix(a.IPNet); ok && valid {
				all, _ := netip.AddrFromSlice(a.Broadcast)
				c.Links[at].Addresses = append(c.Links[at].Addresses, netstack.LinkAddress{Prefix: p, Broadcast: all.Unmap()})
			}
		}
		routes, err := again(func() ([]netlink.Route, error) {
			return n.handle.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("listing the routes: %w", err)
		}
		for _, r := range routes {
			c.Routes = append(c.Routes, routesOf(&r, family)...)
		}
		neighbors, err := again(func() ([]netlink.Neigh, error) { return n.handle.NeighList(0, family) })
		if err != nil {
			return nil, fmt.Errorf("listing the neighbours: %w", err)
		}
		for _, x := range neighbors {
			ip, ok := netip.AddrFromSlice(x.IP)
			if x.State&unix.NUD_PERMANENT == 0 || !ok || len(x.HardwareAddr) != 6 {
				continue
			}
			c.Neighbors = append(c.Neighbors, netstack.Neighbor{Link: x.LinkIndex, IP: ip.Unmap(), MAC: [6]byte(x.HardwareAddr)})
		}
	}
	return c, nil
}

// again repeats a dump that a change has interrupted.
func again[T any](list func() ([]T, error)) (l []T, err error) {
	for range 8 {
		if l, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return l, err
}

// config is an interface for the stack.
func (n *Net) config(a *netlink.LinkAttrs) netstack.LinkConfig {
	c := netstack.LinkConfig{Index: a.Index, Name: a.Name, MAC: [6]byte(a.HardwareAddr), MTU: uint32(a.MTU)}
	c.Open = func() stack.LinkEndpoint { return n.hub.New(c.Index, tcpip.LinkAddress(c.MAC[:]), c.MTU) }
	return c
}

// prefix translates an address with its prefix.
func prefix(p *net.IPNet) (netip.Prefix, bool) {
	if p == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(p.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, _ := p.Mask.Size()
	out := netip.PrefixFrom(ip.Unmap(), ones)
	return out, out.IsValid()
}

// routesOf translates a route; one with several next hops becomes as many routes,
// of which the stack takes the first.
func routesOf(r *netlink.Route, family int) (list []netstack.Route) {
	if r.Type != unix.RTN_UNICAST {
		return nil
	}
	any := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if family == unix.AF_INET6 {
		any = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	out := netstack.Route{Dst: any, Link: r.LinkIndex, Metric: r.Priority, Protocol: byte(r.Protocol), Scope: byte(r.Scope)}
	if r.Dst != nil {
		p, ok := prefix(r.Dst)
		if !ok {
			return nil
		}
		out.Dst = p.Masked()
	}
	if src, ok := netip.AddrFromSlice(r.Src); ok {
		out.Src = src.Unmap()
	}
	hop := func(link int, gw net.IP) {
		x := out
		x.Link = link
		if ip, ok := netip.AddrFromSlice(gw); ok {
			x.Gateway = ip.Unmap()
		}
		list = append(list, x)
	}
	if len(r.MultiPath) == 0 {
		hop(r.LinkIndex, r.Gw)
	}
	for _, h := range r.MultiPath {
		hop(h.LinkIndex, h.Gw)
	}
	return list
}
