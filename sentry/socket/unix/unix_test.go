package unix_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
	local "runsc-lite/sentry/socket/unix"
	"runsc-lite/sentry/vfs"
)

// caller is a process without a file tree.
type caller struct {
	pid   int32
	root  bool
	files uint64
}

func (c *caller) FS() *vfs.Caller       { return &vfs.Caller{Creds: vfs.RootCreds()} }
func (c *caller) Cred() socket.Cred     { return socket.Cred{PID: c.pid} }
func (c *caller) RealCred() socket.Cred { return socket.Cred{PID: c.pid} }
func (c *caller) MayClaim(who socket.Cred) error {
	if who != c.Cred() {
		return unix.EPERM
	}
	return nil
}
func (c *caller) Capable(uint) bool { return c.root }
func (c *caller) Space() any        { return nil }
func (c *caller) MaxFiles() uint64  { return c.files }

var me = &caller{pid: 7, root: true, files: 1024}

func pair(t testing.TB, n *local.Namespace, typ int) (a, b *local.Socket) {
	t.Helper()
	a, b, err := n.Pair(me, typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func send(s *local.Socket, text string, files ...*vfs.File) error {
	m := socket.Message{Bufs: [][]byte{[]byte(text)}}
	m.Control.Rights = files
	_, err := s.Send(me, &m, 0)
	m.Control.Release()
	return err
}

func recv(s *local.Socket) (string, []*vfs.File, error) {
	b := make([]byte, 4096)
	m := socket.Message{Bufs: [][]byte{b}}
	n, err := s.Recv(me, &m, 0)
	return string(b[:n]), m.Control.Rights, err
}

func file(s *local.Socket) *vfs.File { return socket.NewFile(s, me, 0) }

// TestStreamIsInOrder: random writes and reads of all sizes move each byte once.
func TestStreamIsInOrder(t *testing.T) {
	n := local.NewNamespace(new(socket.Numbers))
	a, b := pair(t, n, unix.SOCK_STREAM)
	r := rand.New(rand.NewPCG(1, 2))
	var sent, got int
	for sent < 3<<20 || got < sent {
		if sent < 3<<20 && r.IntN(2) == 0 {
			p := make([]byte, 1+r.IntN(1<<r.IntN(18)))
			for i := range p {
				p[i] = byte((sent + i) * 13)
			}
			k := r.IntN(len(p))
			m, err := a.Write([][]byte{p[:k], nil, p[k:]})
			if err != nil && err != unix.EAGAIN {
				t.Fatal(err)
			}
			sent += int(m)
			continue
		}
		p := make([]byte, 1+r.IntN(1<<r.IntN(18)))
		k := r.IntN(len(p))
		m, err := b.Read([][]byte{p[:k], p[k:]})
		if err == unix.EAGAIN {
			if got != sent {
				t.Fatalf("EAGAIN with %d bytes unread", sent-got)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range p[:m] {
			if c != byte((got+i)*13) {
				t.Fatalf("byte %d is %d", got+i, c)
			}
		}
		got += int(m)
	}
	if a.Readiness(waiter.WritableEvents) == 0 {
		t.Error("all is read, and there is no room")
	}
	if u := n.Used(); u != 0 {
		t.Errorf("%d bytes are charged for nothing", u)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	n := local.NewNamespace(new(socket.Numbers))
	n.SetLimit(1 << 20)
	big := bytes.Repeat([]byte("x"), 100000)
	err := error(nil)
	var all []*local.Socket
	for range 100 {
		a, b := pair(t, n, unix.SOCK_DGRAM)
		all = append(all, a, b)
		for err == nil {
			_, err = a.Write([][]byte{big})
		}
		if err == unix.ENOBUFS {
			break
		}
		if err != unix.EAGAIN {
			t.Fatal(err)
		}
		err = nil
	}
	if err != unix.ENOBUFS {
		t.Errorf("sockets hold %d bytes, and the last error is %v", n.Used(), err)
	}
	if u := n.Used(); u > 1<<20 {
		t.Errorf("%d bytes are held", u)
	}
	for _, s := range all {
		s.Release()
	}
	if u := n.Used(); u != 0 {
		t.Errorf("%d bytes are held by no socket", u)
	}
}

// TestGarbage builds random graphs of sockets in each other's queues, and sees
// that what cannot be reached is ended, and what can is not.
func TestGarbage(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		n := local.NewNamespace(new(socket.Numbers))
		type end struct {
			s    *local.Socket
			f    *vfs.File
			open bool
			in   []int // ends in its queue
		}
		var ends []*end
		for range 1 + r.IntN(5) {
			a, b := pair(t, n, unix.SOCK_DGRAM)
			ends = append(ends, &end{s: a, f: file(a), open: true}, &end{s: b, f: file(b), open: true})
		}
		for range r.IntN(12) {
			to, what := r.IntN(len(ends)), r.IntN(len(ends))
			ends[what].f.IncRef()
			if err := send(ends[to^1].s, "m", ends[what].f); err != nil {
				t.Fatal(err)
			}
			ends[to].in = append(ends[to].in, what)
		}
		for _, e := range ends {
			if r.IntN(3) > 0 {
				e.open = false
				e.f.Closed(nil)
				e.f.DecRef()
			}
		}
		// A last socket is closed, so that there is an occasion.
		a, b := pair(t, n, unix.SOCK_STREAM)
		file(a).DecRef()
		file(b).DecRef()
		n.Collect()

		live := make([]bool, len(ends))
		var mark func(i int)
		mark = func(i int) {
			if !live[i] {
				live[i] = true
				for _, j := range ends[i].in {
					mark(j)
				}
			}
		}
		for i, e := range ends {
			if e.open {
				mark(i)
			}
		}
		for i, e := range ends {
			if held := e.f.Refs() > 0; held != live[i] {
				t.Fatalf("seed %d: socket %d: alive %v, want %v", seed, i, held, live[i])
			}
		}
		for _, e := range ends {
			if e.open {
				e.f.DecRef()
			}
		}
		n.Collect()
		for i, e := range ends {
			if e.f.Refs() > 0 {
				t.Fatalf("seed %d: socket %d is left", seed, i)
			}
		}
		if n.Used() != 0 || n.Count() != 0 || n.InFlight() != 0 {
			t.Fatalf("seed %d: %d bytes, %d sockets, %d files in flight are left", seed, n.Used(), n.Count(), n.InFlight())
		}
	}
}

func TestFilesInFlightAreBounded(t *testing.T) {
	n := local.NewNamespace(new(socket.Numbers))
	poor := &caller{pid: 9, files: 20}
	a, b := pair(t, n, unix.SOCK_STREAM)
	fa, fb := file(a), file(b)
	err := error(nil)
	sent := 0
	for err == nil && sent < 100 {
		fa.IncRef()
		m := socket.Message{Bufs: [][]byte{[]byte("x")}, Control: socket.Control{Rights: []*vfs.File{fa}}}
		if _, err = a.Send(poor, &m, 0); err == nil {
			sent++
		}
		m.Control.Release()
	}
	if err != unix.ETOOMANYREFS || sent != 20 {
		t.Errorf("%d files were sent before %v", sent, err)
	}
	fa.DecRef()
	fb.DecRef()
	n.Collect()
	if n.InFlight() != 0 || n.Used() != 0 {
		t.Errorf("%d files in flight, %d bytes", n.InFlight(), n.Used())
	}
}

// TestRace has many goroutines do everything to a few sockets.
func TestRace(t *testing.T) {
	n := local.NewNamespace(new(socket.Numbers))
	name := []byte("\x01\x00\x00race")
	l, err := n.New(unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Bind(me, name); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(me, 4); err != nil {
		t.Fatal(err)
	}
	lf := file(l)
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 400 {
				switch g % 3 {
				case 0:
					c, _ := n.New(unix.SOCK_STREAM, 0)
					f := file(c)
					if c.Connect(me, name) == nil {
						lf.IncRef()
						send(c, "hello", lf)
						c.Shutdown(r.IntN(3))
						_, files, _ := recv(c)
						for _, x := range files {
							x.DecRef()
						}
					}
					f.Closed(nil)
					f.DecRef()
				case 1:
					if s, _, err := l.Accept(me); err == nil {
						f := socket.NewFile(s, me, 0)
						_, files, _ := recv(s.(*local.Socket))
						f.IncRef()
						send(s.(*local.Socket), "back", f)
						for _, x := range files {
							x.DecRef()
						}
						f.Closed(nil)
						f.DecRef()
					}
				case 2:
					n.Collect()
					l.Readiness(waiter.AllEvents)
					var b bytes.Buffer
					n.Table(&b)
				}
			}
		})
	}
	wg.Wait()
	lf.DecRef()
	n.Collect()
	if n.Count() != 0 || n.Used() != 0 || n.InFlight() != 0 {
		t.Errorf("%d sockets, %d bytes, %d files in flight are left", n.Count(), n.Used(), n.InFlight())
	}
}

func BenchmarkStream(b *testing.B) {
	for _, size := range []int{1, 4096, 65536} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			n := local.NewNamespace(new(socket.Numbers))
			x, y := pair(b, n, unix.SOCK_STREAM)
			out, in := [][]byte{make([]byte, size)}, [][]byte{make([]byte, size)}
			b.SetBytes(int64(size))
			for b.Loop() {
				x.Write(out)
				y.Read(in)
			}
		})
	}
}
