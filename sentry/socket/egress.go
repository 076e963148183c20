package socket

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Egress is where sockets may connect and send to. A nil one allows everything.
// Answers to who has connected are not asked about.
type Egress struct{ allowed []netip.Prefix }

// ParseEgress reads a list of prefixes and addresses, as 10.0.0.0/8,fd00::/8,8.8.8.8.
// An empty list allows nothing.
func ParseEgress(list string) (*Egress, error) {
	e := &Egress{}
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil || a.Zone() != "" {
				return nil, fmt.Errorf("%q is neither an address nor a prefix, as 10.0.0.0/8 or fd00::1", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("%q: write IPv4 addresses as such", s)
		}
		e.allowed = append(e.allowed, p.Masked())
	}
	return e, nil
}

// Check says whether an address may be sent to: EPERM, as for what a packet filter
// drops.
func (e *Egress) Check(to *Inet) error {
	if e == nil {
		return nil
	}
	ip := netip.AddrFrom16(to.Addr)
	if to.Family == unix.AF_INET {
		ip = netip.AddrFrom4([4]byte(to.Addr[:4]))
	}
	return e.CheckIP(ip)
}

// CheckIP is Check of an address alone.
func (e *Egress) CheckIP(ip netip.Addr) error {
	if e == nil {
		return nil
	}
	ip = ip.Unmap().WithZone("")
	switch { // connecting to "any" is to the loopback address
	case ip == netip.IPv4Unspecified():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip == netip.IPv6Unspecified():
		ip = netip.IPv6Loopback()
	}
	for _, p := range e.allowed {
		if p.Contains(ip) {
			return nil
		}
	}
	return unix.EPERM
}
