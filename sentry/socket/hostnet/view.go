package hostnet

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/socket/netstack"
)

// View is what the host's network is like, for a sandbox whose sockets are the
// host's: what netlink's dumps tell there. It is asked anew each time.
type View struct {
	mu     sync.Mutex
	handle *netlink.Handle
}

// OpenView opens the network namespace of the calling process.
func OpenView() (*View, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening netlink: %w", err)
	}
	return &View{handle: h}, nil
}

// Close closes it.
func (v *View) Close() { v.handle.Close() }

// dump asks the host for a list; one that cannot be had is empty.
func dump[T any](v *View, list func() ([]T, error)) []T {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, err := again(list)
	if err != nil {
		return nil
	}
	return l
}

// Links lists the links.
func (v *View) Links() (list []netstack.Link) {
	for _, l := range dump(v, v.handle.LinkList) {
		a := l.Attrs()
		x := netstack.Link{Index: a.Index, Name: a.Name, MTU: uint32(a.MTU), Flags: a.RawFlags &^ unix.IFF_LOWER_UP}
		copy(x.MAC[:], a.HardwareAddr)
		if s := a.Statistics; s != nil {
			x.RxBytes, x.RxCount, x.TxBytes, x.TxCount = s.RxBytes, s.RxPackets, s.TxBytes, s.TxPackets
		}
		list = append(list, x)
	}
	return list
}

// Addresses lists the addresses of a link.
func (v *View) Addresses(index int) (list []netstack.Address) {
	for _, family := range [...]int{unix.AF_INET, unix.AF_INET6} {
		for _, a := range dump(v, func() ([]netlink.Addr, error) { return v.handle.AddrList(nil, family) }) {
			p, ok := prefix(a.IPNet)
			if a.LinkIndex != index || !ok {
				continue
			}
			x := netstack.Address{IP: p.Addr().AsSlice(), Prefix: p.Bits()}
			if all, ok := netip.AddrFromSlice(a.Broadcast); ok {
				x.Broadcast = all.Unmap().AsSlice()
			}
			list = append(list, x)
		}
	}
	return list
}

// Routes lists the routes of the main table.
func (v *View) Routes() (list []netstack.Route) {
	for _, family := range [...]int{unix.AF_INET, unix.AF_INET6} {
		for _, r := range dump(v, func() ([]netlink.Route, error) {
			return v.handle.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		}) {
			list = append(list, routesOf(&r, family)...)
		}
	}
	return list
}

// Neighbors lists the neighbours of all links.
func (v *View) Neighbors() (list []netstack.Neighbor) {
	for _, family := range [...]int{unix.AF_INET, unix.AF_INET6} {
		for _, n := range dump(v, func() ([]netlink.Neigh, error) { return v.handle.NeighList(0, family) }) {
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok || n.State&unix.NUD_NOARP != 0 {
				continue
			}
			x := netstack.Neighbor{Link: n.LinkIndex, IP: ip.Unmap(), State: uint16(n.State)}
			copy(x.MAC[:], n.HardwareAddr)
			list = append(list, x)
		}
	}
	return list
}
