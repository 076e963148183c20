package netstack_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/socket/netstack"
	"runsc-lite/sentry/vfs"
)

// caller may do everything, or nothing.
type caller struct{ root bool }

func (c *caller) FS() *vfs.Caller            { return &vfs.Caller{Creds: vfs.RootCreds()} }
func (c *caller) Cred() socket.Cred          { return socket.Cred{PID: 3} }
func (c *caller) RealCred() socket.Cred      { return c.Cred() }
func (c *caller) MayClaim(socket.Cred) error { return nil }
func (c *caller) Capable(uint) bool          { return c.root }
func (c *caller) Space() any                 { return nil }
func (c *caller) MaxFiles() uint64           { return 1024 }

var me = &caller{root: true}

func newStack(t testing.TB) *netstack.Stack {
	t.Helper()
	s, err := netstack.New(new(socket.Numbers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Destroy)
	return s
}

func newSocket(t testing.TB, s *netstack.Stack, family, typ, protocol int) *netstack.Socket {
	t.Helper()
	x, err := s.Socket(me, family, typ, protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Release)
	return x
}

// until calls try until it answers something other than EAGAIN.
func until(t testing.TB, s socket.Socket, try func() error) error {
	t.Helper()
	e, ch := waiter.NewChannelEntry(waiter.AllEvents)
	s.EventRegister(&e)
	defer s.EventUnregister(&e)
	for {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		select {
		case <-ch:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing happens")
		}
	}
}

var loopback = []byte{2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}

// connection makes a TCP connection.
func connection(t testing.TB, s *netstack.Stack) (a, b socket.Socket) {
	t.Helper()
	l := newSocket(t, s, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := l.Bind(me, loopback); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(me, 5); err != nil {
		t.Fatal(err)
	}
	to, err := l.Name()
	if err != nil {
		t.Fatal(err)
	}
	c := newSocket(t, s, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := c.Connect(me, to); err != unix.EINPROGRESS && err != nil {
		t.Fatal(err)
	}
	if err := until(t, c, c.Connected); err != nil {
		t.Fatal(err)
	}
	if err := until(t, l, func() (err error) {
		b, _, err = l.Accept(me)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Release)
	return c, b
}

func TestKinds(t *testing.T) {
	s := newStack(t)
	user := &caller{}
	for _, c := range []struct {
		by                    *caller
		family, typ, protocol int
		want                  error
	}{
		{user, unix.AF_INET, unix.SOCK_STREAM, 0, nil},
		{user, unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP, nil},
		{user, unix.AF_INET, unix.SOCK_STREAM, 262, unix.EPROTONOSUPPORT},
		{user, unix.AF_INET, unix.SOCK_STREAM, 263, unix.EINVAL},
		{user, unix.AF_INET, unix.SOCK_STREAM, -1, unix.EINVAL},
		{user, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, nil},
		{user, unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6, nil},
		{user, unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, unix.EPROTONOSUPPORT},
		{user, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, unix.EPERM},
		{me, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, nil},
		{me, unix.AF_INET, unix.SOCK_RAW, 0, unix.EPROTONOSUPPORT},
		{me, unix.AF_INET, unix.SOCK_SEQPACKET, 0, unix.ESOCKTNOSUPPORT},
	} {
		x, err := s.Socket(c.by, c.family, c.typ, c.protocol)
		if err != c.want {
			t.Errorf("%d, %d, %d: %v, want %v", c.family, c.typ, c.protocol, err, c.want)
		}
		if err == nil {
			x.Release()
		}
	}
	if n := s.Counts().All(); n != 0 {
		t.Errorf("%d sockets are left", n)
	}
}

// TestStream moves a few megabytes between two goroutines, in pieces of all sizes.
func TestStream(t *testing.T) {
	a, b := connection(t, newStack(t))
	const size = 4 << 20
	data := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(2, 2))
		for left := data; len(left) > 0; {
			p := left[:min(len(left), 1+r.IntN(200000))]
			k := r.IntN(len(p))
			err := until(t, a, func() error {
				n, err := a.Write([][]byte{p[:k], p[k:]})
				left = left[n:]
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
		a.Shutdown(unix.SHUT_WR)
	})
	var got []byte
	for end := false; !end; {
		p := make([]byte, 1+r.IntN(100000))
		k := r.IntN(len(p))
		if err := until(t, b, func() error {
			n, err := b.Read([][]byte{p[:k], nil, p[k:]})
			got = append(got, p[:n]...)
			end = err == nil && n == 0
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if !bytes.Equal(data, got) {
		t.Errorf("%d of %d bytes came, or others", len(got), size)
	}
}

func TestDatagrams(t *testing.T) {
	s := newStack(t)
	a, b := newSocket(t, s, unix.AF_INET, unix.SOCK_DGRAM, 0), newSocket(t, s, unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err := b.Bind(me, loopback); err != nil {
		t.Fatal(err)
	}
	to, _ := b.Name()
	for _, size := range []int{0, 1, 1000, 65507} {
		out := make([]byte, size)
		m := socket.Message{Bufs: [][]byte{out}, Addr: to}
		if n, err := a.Send(me, &m, 0); err != nil || int(n) != size {
			t.Fatalf("%d bytes: %d, %v", size, n, err)
		}
		in := make([]byte, 70000)
		got := socket.Message{Bufs: [][]byte{in}, WantAddr: true}
		var n int64
		if err := until(t, b, func() (err error) {
			n, err = b.Recv(me, &got, 0)
			return err
		}); err != nil || int(n) != size {
			t.Errorf("%d bytes: %d came, %v", size, n, err)
		}
		if from, _ := a.Name(); binary.BigEndian.Uint16(got.Addr[2:]) != binary.BigEndian.Uint16(from[2:]) {
			t.Errorf("it came from %v, not from %v", got.Addr, from)
		}
	}
}

// FuzzOption sets any option to any value: the stack is the only one that may say
// what it is.
func FuzzOption(f *testing.F) {
	f.Add(uint8(0), 1, 2, []byte{1, 0, 0, 0})
	f.Add(uint8(1), 0, 35, []byte{239, 1, 2, 3, 0, 0, 0, 0, 1, 0, 0, 0})
	f.Add(uint8(2), 41, 20, make([]byte, 20))
	s := newStack(f)
	f.Fuzz(func(t *testing.T, which uint8, level, name int, value []byte) {
		kinds := [...][3]int{
			{unix.AF_INET, unix.SOCK_STREAM, 0}, {unix.AF_INET, unix.SOCK_DGRAM, 0}, {unix.AF_INET6, unix.SOCK_DGRAM, 0},
			{unix.AF_INET6, unix.SOCK_STREAM, 0}, {unix.AF_INET, unix.SOCK_RAW, 1}, {unix.AF_INET6, unix.SOCK_RAW, 58},
		}
		k := kinds[int(which)%len(kinds)]
		x, err := s.Socket(me, k[0], k[1], k[2])
		if err != nil {
			t.Fatal(err)
		}
		defer x.Release()
		x.SetOption(me, level, name, value)
		if got, err := x.GetOption(me, level, name, 64); err == nil && len(got) > 64 {
			t.Errorf("%d bytes in room for 64", len(got))
		}
	})
}

// FuzzAddress binds, connects and sends to any address.
func FuzzAddress(f *testing.F) {
	f.Add(loopback, true)
	f.Add(append([]byte{10, 0, 0, 80}, make([]byte, 24)...), false)
	s := newStack(f)
	f.Fuzz(func(t *testing.T, sa []byte, six bool) {
		family := unix.AF_INET
		if six {
			family = unix.AF_INET6
		}
		if len(sa) > socket.MaxAddr {
			return
		}
		for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			x, err := s.Socket(me, family, typ, 0)
			if err != nil {
				t.Fatal(err)
			}
			x.Bind(me, bytes.Clone(sa))
			m := socket.Message{Bufs: [][]byte{[]byte("x")}, Addr: bytes.Clone(sa)}
			x.Send(me, &m, 0)
			x.Connect(me, bytes.Clone(sa))
			if name, err := x.Name(); err == nil && socket.Family(name) != family {
				t.Errorf("a name of family %d", socket.Family(name))
			}
			x.Release()
		}
	})
}
