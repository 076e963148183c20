package socket_test

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/socket"
)

func TestEgress(t *testing.T) {
	e, err := socket.ParseEgress("10.0.0.0/8, 192.0.2.7,fd00::/8")
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]bool{
		"10.1.2.3": true, "11.0.0.0": false, "192.0.2.7": true, "192.0.2.8": false,
		"fd12::1": true, "fe80::1": false, "::ffff:10.0.0.1": true, "::ffff:11.0.0.1": false,
		"::": false, "0.0.0.0": false, "127.0.0.1": false,
	} {
		err := e.CheckIP(netip.MustParseAddr(ip))
		if want != (err == nil) || err != nil && err != unix.EPERM {
			t.Errorf("%s: %v", ip, err)
		}
	}
	if lo, _ := socket.ParseEgress("127.0.0.0/8"); lo.CheckIP(netip.IPv4Unspecified()) != nil || lo.CheckIP(netip.IPv6Unspecified()) == nil {
		t.Error("the unspecified address is not the loopback address")
	}
	if err := (*socket.Egress)(nil).CheckIP(netip.MustParseAddr("1.2.3.4")); err != nil {
		t.Errorf("without rules: %v", err)
	}
	none, err := socket.ParseEgress("")
	if err != nil || none.CheckIP(netip.MustParseAddr("1.2.3.4")) != unix.EPERM {
		t.Errorf("with no address: %v", err)
	}
	for _, bad := range []string{"x", "10.0.0.0/33", "fe80::1%eth0", "::ffff:1.2.3.4", "10.0.0.1-10.0.0.9"} {
		if _, err := socket.ParseEgress(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
