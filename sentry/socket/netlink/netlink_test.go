package netlink_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/socket/netlink"
	"runsc-lite/sentry/socket/netstack"
	"runsc-lite/sentry/vfs"
)

// caller is a process.
type caller struct {
	pid  int32
	root bool
}

func (c *caller) FS() *vfs.Caller            { return &vfs.Caller{Creds: vfs.RootCreds()} }
func (c *caller) Cred() socket.Cred          { return socket.Cred{PID: c.pid} }
func (c *caller) RealCred() socket.Cred      { return c.Cred() }
func (c *caller) MayClaim(socket.Cred) error { return nil }
func (c *caller) Capable(uint) bool          { return c.root }
func (c *caller) Space() any                 { return nil }
func (c *caller) MaxFiles() uint64           { return 1024 }

// network is one link with two addresses.
type network struct{}

func (network) Links() []netstack.Link {
	return []netstack.Link{{Index: 1, Name: "lo", MTU: 65536, Flags: unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING, RxBytes: 5}}
}

func (network) Routes() []netstack.Route       { return nil }
func (network) Neighbors() []netstack.Neighbor { return nil }

func (network) Addresses(index int) []netstack.Address {
	six := make([]byte, 16)
	six[15] = 1
	return []netstack.Address{{IP: []byte{127, 0, 0, 1}, Prefix: 8}, {IP: six, Prefix: 128}}
}

func newSocket(t testing.TB) *netlink.Socket {
	t.Helper()
	space := netlink.New(new(socket.Numbers), func() (netlink.Network, error) { return network{}, nil })
	s, err := space.Socket(unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(typ, flags uint16, body ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(16+len(body)))
	b = binary.LittleEndian.AppendUint16(b, typ)
	b = binary.LittleEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return append(b, body...)
}

// ask sends a request and returns the types of the messages that come back, and
// the error of the last.
func ask(t testing.TB, s *netlink.Socket, c socket.Caller, b []byte) (types []uint16, errno unix.Errno) {
	t.Helper()
	m := socket.Message{Bufs: [][]byte{b}}
	if _, err := s.Send(c, &m, 0); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	for {
		m := socket.Message{Bufs: [][]byte{buf}}
		n, err := s.Recv(c, &m, 0)
		if err == unix.EAGAIN {
			return types, errno
		}
		if err != nil {
			t.Fatal(err)
		}
		for p := buf[:n]; len(p) > 0; {
			size := binary.LittleEndian.Uint32(p)
			if size < 16 || int(size) > len(p) {
				t.Fatalf("a message of %d bytes in %d", size, len(p))
			}
			typ := binary.LittleEndian.Uint16(p[4:])
			types = append(types, typ)
			if typ == unix.NLMSG_ERROR {
				errno = unix.Errno(-int32(binary.LittleEndian.Uint32(p[16:])))
			}
			p = p[min(int(size+3)&^3, len(p)):]
		}
	}
}

func TestRequests(t *testing.T) {
	const dump, done = unix.NLM_F_ROOT | unix.NLM_F_MATCH, unix.NLMSG_DONE
	user, root := &caller{pid: 5}, &caller{pid: 6, root: true}
	up := make([]byte, 16)
	up[4], up[8], up[12] = 1, unix.IFF_UP, unix.IFF_UP
	down := make([]byte, 16)
	down[4], down[12] = 1, unix.IFF_UP
	for _, c := range []struct {
		name  string
		by    *caller
		in    []byte
		types []uint16
		err   unix.Errno
	}{
		{"links", user, request(unix.RTM_GETLINK, dump, make([]byte, 16)...), []uint16{unix.RTM_NEWLINK, done}, 0},
		{"addresses", user, request(unix.RTM_GETADDR, dump, 0), []uint16{unix.RTM_NEWADDR, unix.RTM_NEWADDR, done}, 0},
		{"addresses of IPv4", user, request(unix.RTM_GETADDR, dump, unix.AF_INET), []uint16{unix.RTM_NEWADDR, done}, 0},
		{"routes of IPv4", user, request(unix.RTM_GETROUTE, dump, unix.AF_INET), []uint16{unix.RTM_NEWROUTE, unix.RTM_NEWROUTE, unix.RTM_NEWROUTE, done}, 0},
		{"rules of IPv6", user, request(unix.RTM_GETRULE, dump, unix.AF_INET6), []uint16{unix.RTM_NEWRULE, unix.RTM_NEWRULE, done}, 0},
		{"neighbours", user, request(unix.RTM_GETNEIGH, dump, 0), []uint16{done}, 0},
		{"queues", user, request(unix.RTM_GETQDISC, dump, 0), []uint16{unix.NLMSG_ERROR}, unix.EOPNOTSUPP},
		{"a short link", user, request(unix.RTM_GETLINK, 0, 0), []uint16{unix.NLMSG_ERROR}, unix.EINVAL},
		{"a link that is not there", user, request(unix.RTM_GETLINK, 0, make([]byte, 16)...), []uint16{unix.NLMSG_ERROR}, unix.ENODEV},
		{"a change", user, request(unix.RTM_NEWLINK, 0, up...), []uint16{unix.NLMSG_ERROR}, unix.EPERM},
		{"up, which it is", root, request(unix.RTM_NEWLINK, unix.NLM_F_ACK, up...), []uint16{unix.NLMSG_ERROR}, 0},
		{"down", root, request(unix.RTM_NEWLINK, 0, down...), []uint16{unix.NLMSG_ERROR}, unix.EOPNOTSUPP},
		{"no request", user, func() []byte { b := request(unix.RTM_GETLINK, dump, 0); b[6] = 0; return b }(), nil, 0},
		{"two", user, append(request(unix.RTM_GETNEIGH, dump, 0, 0, 0, 0), request(unix.RTM_GETNEIGH, dump, 0)...), []uint16{done, done}, 0},
	} {
		types, errno := ask(t, newSocket(t), c.by, c.in)
		if len(types) != len(c.types) || errno != c.err {
			t.Errorf("%s: %v, %v, want %v, %v", c.name, types, errno, c.types, c.err)
			continue
		}
		for i := range types {
			if types[i] != c.types[i] {
				t.Errorf("%s: %v, want %v", c.name, types, c.types)
				break
			}
		}
	}
}

// TestQueueIsBounded: a reader that does not read loses answers, and is told.
func TestQueueIsBounded(t *testing.T) {
	s, c := newSocket(t), &caller{pid: 5}
	for range 10000 {
		m := socket.Message{Bufs: [][]byte{request(unix.RTM_GETLINK, unix.NLM_F_ROOT|unix.NLM_F_MATCH, 0)}}
		if _, err := s.Send(c, &m, 0); err != nil {
			t.Fatal(err)
		}
	}
	if s.Readiness(waiter.AllEvents)&waiter.EventErr == 0 {
		t.Error("nothing says that answers are lost")
	}
	total, buf := 0, make([]byte, 1<<16)
	m := socket.Message{Bufs: [][]byte{buf}}
	if _, err := s.Recv(c, &m, 0); err != unix.ENOBUFS {
		t.Errorf("the first read: %v", err)
	}
	for {
		m := socket.Message{Bufs: [][]byte{buf}}
		n, err := s.Recv(c, &m, 0)
		if err == unix.EAGAIN {
			break
		}
		total += int(n)
	}
	if total == 0 || total > socket.DefaultBuffer {
		t.Errorf("%d bytes were kept", total)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(request(unix.RTM_GETLINK, unix.NLM_F_ROOT|unix.NLM_F_MATCH, make([]byte, 16)...), true)
	f.Add(request(unix.RTM_GETROUTE, 0, append(make([]byte, 12), 8, 0, 1, 0, 127, 0, 0, 1)...), false)
	f.Add(request(unix.RTM_NEWLINK, unix.NLM_F_ACK, make([]byte, 16)...), true)
	f.Fuzz(func(t *testing.T, b []byte, root bool) {
		s, c := newSocket(t), &caller{pid: 5, root: root}
		s.SetOption(c, 270, 12, []byte{1, 0, 0, 0})
		m := socket.Message{Bufs: [][]byte{b}}
		if _, err := s.Send(c, &m, 0); err != nil {
			return
		}
		buf := make([]byte, 1<<17)
		for {
			m := socket.Message{Bufs: [][]byte{buf}}
			n, err := s.Recv(c, &m, 0)
			if err == unix.ENOBUFS {
				continue
			}
			if err != nil {
				return
			}
			for p := buf[:n]; len(p) > 0; {
				size := int(binary.LittleEndian.Uint32(p))
				if size < 16 || size > len(p) {
					t.Fatalf("a message of %d bytes in %d", size, len(p))
				}
				p = p[min((size+3)&^3, len(p)):]
			}
		}
	})
}
