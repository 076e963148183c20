package hostnet_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/socket/hostnet"
	"runsc-lite/sentry/socket/netstack"
)

// pair is two network namespaces with a veth pair between them: far is the rest of
// the world, near is the sandbox's.
type pair struct {
	t         testing.TB
	far, near int
	farLinks  *netlink.Handle
	nearLinks *netlink.Handle
}

func newNamespace(t testing.TB) int {
	t.Helper()
	type result struct {
		fd  int
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		var r result
		if r.err = unix.Unshare(unix.CLONE_NEWNET); r.err == nil {
			r.fd, r.err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		made <- r
	}()
	r := <-made
	if r.err != nil {
		t.Skipf("NOT TESTED: making a network namespace: %v (needs root)", r.err)
	}
	t.Cleanup(func() { unix.Close(r.fd) })
	return r.fd
}

func in(t testing.TB, ns int, fn func() error) {
	t.Helper()
	if err := hostcall.InNetNS(ns, fn); err != nil {
		t.Fatal(err)
	}
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{t: t, far: newNamespace(t), near: newNamespace(t)}
	in(t, p.far, func() (err error) { p.farLinks, err = netlink.NewHandle(unix.NETLINK_ROUTE); return err })
	in(t, p.near, func() (err error) { p.nearLinks, err = netlink.NewHandle(unix.NETLINK_ROUTE); return err })
	t.Cleanup(p.farLinks.Close)
	t.Cleanup(p.nearLinks.Close)
	p.up(p.nearLinks, "lo")
	p.up(p.farLinks, "lo")
	return p
}

func (p *pair) up(h *netlink.Handle, name string) {
	p.t.Helper()
	l, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkSetUp(l)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) address(h *netlink.Handle, name, cidr string) {
	p.t.Helper()
	l, err := h.LinkByName(name)
	if err != nil {
		p.t.Fatal(err)
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		p.t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	if err := h.AddrAdd(l, a); err != nil {
		p.t.Fatal(err)
	}
}

// connect makes a link: "v"+name in far, name in near.
func (p *pair) connect(name, farAddr, nearAddr string) {
	p.t.Helper()
	a := netlink.NewLinkAttrs()
	a.Name = "v" + name
	if err := p.farLinks.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: name, PeerNamespace: netlink.NsFd(p.near)}); err != nil {
		p.t.Fatal(err)
	}
	p.address(p.farLinks, "v"+name, farAddr)
	p.address(p.nearLinks, name, nearAddr)
	p.up(p.farLinks, "v"+name)
	p.up(p.nearLinks, name)
}

func (p *pair) disconnect(name string) {
	p.t.Helper()
	l, err := p.farLinks.LinkByName("v" + name)
	if err == nil {
		err = p.farLinks.LinkDel(l)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// attach gives a stack what near has.
func (p *pair) attach() (*netstack.Stack, *hostnet.Net) {
	p.t.Helper()
	var log bytes.Buffer
	p.t.Cleanup(func() {
		if log.Len() > 0 {
			p.t.Logf("log:\n%s", &log)
		}
	})
	n, err := hostnet.Open(p.near, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(n.Close)
	s, err := netstack.New(new(socket.Numbers))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(s.Close)
	p.t.Cleanup(n.Close) // before the stack
	if err := n.Start(s); err != nil {
		p.t.Fatal(err)
	}
	return s, n
}

func full(addr string) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	ap := netip.MustParseAddrPort(addr)
	protocol := tcpip.NetworkProtocolNumber(header.IPv4ProtocolNumber)
	if ap.Addr().Is6() {
		protocol = header.IPv6ProtocolNumber
	}
	return tcpip.FullAddress{Addr: tcpip.AddrFromSlice(ap.Addr().AsSlice()), Port: ap.Port()}, protocol
}

// echo answers what comes on a connection with the same.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// pass sends n bytes and has them come back.
func pass(t *testing.T, c net.Conn, n int) {
	t.Helper()
	want := make([]byte, n)
	for i := range want {
		want[i] = byte(i*7 + i>>8)
	}
	go func() { _, _ = c.Write(want) }()
	got := make([]byte, n)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("what came back is something else")
	}
}

func dialTCP(t *testing.T, s *netstack.Stack, addr string) net.Conn {
	t.Helper()
	a, protocol := full(addr)
	c, err := gonet.DialContextTCP(context.Background(), s.Stack, a, protocol)
	if err != nil {
		t.Fatalf("connecting to %s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestTraffic: TCP and UDP both ways, of both families, in pieces that the
// offloads cut up.
func TestTraffic(t *testing.T) {
	p := newPair(t)
	p.connect("eth0", "10.9.0.1/24", "10.9.0.2/24")
	p.address(p.farLinks, "veth0", "fd09::1/64")
	p.address(p.nearLinks, "eth0", "fd09::2/64")
	s, n := p.attach()
	if err := n.Sync(); err != nil {
		t.Fatal(err)
	}
	for _, ip := range []string{"10.9.0.%d", "[fd09::%d]"} {
		far, near := fmt.Sprintf(ip, 1), fmt.Sprintf(ip, 2)
		t.Run(far, func(t *testing.T) {
			var l net.Listener
			in(t, p.far, func() (err error) { l, err = net.Listen("tcp", far+":80"); return err })
			defer l.Close()
			go echo(l)
			pass(t, dialTCP(t, s, far+":80"), 1<<20)

			a, protocol := full(near + ":81")
			inside, err := gonet.ListenTCP(s.Stack, a, protocol)
			if err != nil {
				t.Fatal(err)
			}
			defer inside.Close()
			go echo(inside)
			var c net.Conn
			in(t, p.far, func() (err error) { c, err = net.Dial("tcp", near+":81"); return err })
			defer c.Close()
			pass(t, c, 1<<20)

			var u net.PacketConn
			in(t, p.far, func() (err error) { u, err = net.ListenPacket("udp", far+":82"); return err })
			defer u.Close()
			to, _ := full(far + ":82")
			v, err := gonet.DialUDP(s.Stack, nil, &to, protocol)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			b := make([]byte, 64<<10)
			for _, size := range []int{1, 1400, 9000, 60000} { // the last two go in fragments
				if _, err := v.Write(b[:size]); err != nil {
					t.Fatal(err)
				}
				k, from, err := u.ReadFrom(b)
				if err != nil || k != size {
					t.Fatalf("%d bytes of UDP arrived as %d, %v", size, k, err)
				}
				if _, err := u.WriteTo(b[:size], from); err != nil {
					t.Fatal(err)
				}
				if k, err := v.Read(b); err != nil || k != size {
					t.Fatalf("%d bytes of UDP came back as %d, %v", size, k, err)
				}
			}
		})
	}
}

// TestGuard: what is for the sandbox is not answered by the host's stack, which
// has the same addresses, and connections of the host's own still work.
func TestGuard(t *testing.T) {
	p := newPair(t)
	p.connect("eth0", "10.9.0.1/24", "10.9.0.2/24")
	// Something that the host's stack would answer.
	var own net.Listener
	in(t, p.near, func() (err error) { own, err = net.Listen("tcp", "10.9.0.2:99"); return err })
	defer own.Close()
	p.attach()
	in(t, p.far, func() error {
		c, err := net.DialTimeout("tcp", "10.9.0.2:99", 10*time.Second)
		if err == nil {
			c.Close()
			t.Error("the host's stack took a connection that is for the sandbox")
		} else if !strings.Contains(err.Error(), "refused") {
			t.Errorf("a port where nobody listens: %v, want connection refused", err)
		}
		return nil
	})
	var l net.Listener
	in(t, p.far, func() (err error) { l, err = net.Listen("tcp", "10.9.0.1:53"); return err })
	defer l.Close()
	go echo(l)
	var c net.Conn
	in(t, p.near, func() (err error) { c, err = net.DialTimeout("tcp", "10.9.0.1:53", 30*time.Second); return err })
	defer c.Close()
	pass(t, c, 100_000)
	if _, err := hostnet.Open(p.near, slog.Default()); err == nil || !strings.Contains(err.Error(), "another sandbox") {
		t.Errorf("opening a namespace that another has: %v", err)
	}
}

// TestChanges: interfaces, addresses and routes that come and go later.
func TestChanges(t *testing.T) {
	p := newPair(t)
	s, _ := p.attach()
	until := func(what string, is func() bool) {
		t.Helper()
		for start := time.Now(); !is(); time.Sleep(time.Millisecond) {
			if time.Since(start) > time.Minute {
				t.Fatalf("%s: never", what)
			}
		}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(s.Links(), func(l netstack.Link) bool { return l.Name == name })
	}
	var l net.Listener
	for round := range 20 { // more than there are sockets
		name := fmt.Sprintf("eth%d", round%3)
		p.connect(name, "10.9.0.1/24", "10.9.0.2/24")
		until("the link "+name, func() bool { return has(name) && len(s.Routes()) > 0 })
		in(t, p.far, func() (err error) { l, err = net.Listen("tcp", "10.9.0.1:80"); return err })
		go echo(l)
		pass(t, dialTCP(t, s, "10.9.0.1:80"), 1000)
		l.Close()
		p.disconnect(name)
		until("no link "+name, func() bool { return !has(name) })
	}
	p.connect("eth0", "10.9.0.1/24", "10.9.0.2/24")
	near, err := p.nearLinks.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.nearLinks.LinkSetMTU(near, 1400); err != nil {
		t.Fatal(err)
	}
	until("another MTU", func() bool {
		return slices.ContainsFunc(s.Links(), func(l netstack.Link) bool { return l.Name == "eth0" && l.MTU == 1400 })
	})
	if err := p.nearLinks.RouteAdd(&netlink.Route{LinkIndex: near.Attrs().Index, Gw: net.ParseIP("10.9.0.1")}); err != nil {
		t.Fatal(err)
	}
	until("a default route", func() bool {
		return slices.ContainsFunc(s.Routes(), func(r netstack.Route) bool { return r.Dst.Bits() == 0 })
	})
	p.address(p.farLinks, "lo", "192.0.2.1/32")
	in(t, p.far, func() (err error) { l, err = net.Listen("tcp", "192.0.2.1:80"); return err })
	defer l.Close()
	go echo(l)
	pass(t, dialTCP(t, s, "192.0.2.1:80"), 1000)
}

// TestResolver: what asks 127.0.0.11 in the sandbox reaches who listens there in
// the host's stack.
func TestResolver(t *testing.T) {
	p := newPair(t)
	var u net.PacketConn
	var l net.Listener
	in(t, p.near, func() (err error) {
		if u, err = net.ListenPacket("udp", "127.0.0.11:53"); err != nil {
			return err
		}
		l, err = net.Listen("tcp", "127.0.0.11:53")
		return err
	})
	defer u.Close()
	defer l.Close()
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(append([]byte("re: "), b[:n]...), from)
		}
	}()
	go echo(l)
	s, _ := p.attach()
	who := &caller{}
	// More clients than there are sockets, each with two queries.
	for i := range 100 {
		x, err := s.Socket(who, unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		sa := socket.Inet{Family: unix.AF_INET, Port: 53, Addr: [16]byte{127, 0, 0, 11}}
		for j := range 2 {
			query := fmt.Sprintf("query %d/%d", i, j)
			if _, err := x.Send(who, &socket.Message{Bufs: [][]byte{[]byte(query)}, Addr: sa.Append(nil)}, 0); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			m := socket.Message{Bufs: [][]byte{b}, WantAddr: true}
			n, err := x.Recv(who, &m, 0)
			for err == unix.EAGAIN {
				time.Sleep(100 * time.Microsecond)
				n, err = x.Recv(who, &m, 0)
			}
			if err != nil || string(b[:n]) != "re: "+query {
				t.Fatalf("%s: %q, %v", query, b[:n], err)
			}
			if from, err := socket.ParseInet(m.Addr); err != nil || from.Port != 53 {
				t.Fatalf("the answer comes from port %d, %v", from.Port, err)
			}
		}
		x.Release()
	}
	for range 40 { // one after the other, with as few sockets
		x, err := s.Socket(who, unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		sa := socket.Inet{Family: unix.AF_INET, Port: 53, Addr: [16]byte{127, 0, 0, 11}}
		err = x.Connect(who, sa.Append(nil))
		for err == unix.EINPROGRESS || err == unix.EAGAIN {
			time.Sleep(100 * time.Microsecond)
			err = x.Connected()
		}
		if err != nil {
			t.Fatal(err)
		}
		name, err := x.PeerName()
		if a, perr := socket.ParseInet(name); err != nil || perr != nil || a.Port != 53 {
			t.Fatalf("the peer is %v, %v", a, err)
		}
		if _, err := x.Write([][]byte{[]byte("question")}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 8)
		n, err := x.Read([][]byte{b})
		for err == unix.EAGAIN {
			time.Sleep(100 * time.Microsecond)
			n, err = x.Read([][]byte{b})
		}
		if err != nil || string(b[:n]) != "question" {
			t.Fatalf("%q, %v", b[:n], err)
		}
		x.Release()
	}
}

func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		fmt.Println("NOT TESTED: network namespaces need root")
	}
	os.Exit(m.Run())
}
