package netstack

import (
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
)

// A TCP connection whose two ends are sockets of the same stack takes a short cut:
// once it is established, data go from the one socket's memory to the other's
// through a channel, and not as segments through the stack, whose goroutines would
// have to be scheduled for each. The endpoints stay: they hold the ports, make and
// end the connection, and have the options.
//
// What was sent before the short cut was there comes through the stack, and is read
// first: channel.before counts it. When one end is reset or gone, the other falls
// back to its endpoint, which knows what TCP answers then.
//
// Lock order:
//
//	Socket.sendMu, of the socket with the lower inode number first
//	  Stack.mu
//	    channel.mu
//
// Waiters are notified without channel.mu.

// channel is one direction of a short cut.
type channel struct {
	stack  *Stack
	limit  int   // bytes that may wait
	before int64 // bytes that came through the stack

	mu     sync.Mutex
	pages  []*[pageSize]byte // a queue
	off    int               // of the first byte, in the first page
	n      int               // bytes that wait
	closed bool              // no more will be written
	gone   bool              // nobody reads
	reset  bool              // the writer's end was reset
}

const (
	pageSize = 16 << 10
	// maxShort bounds what all channels of a stack hold, in bytes: ENOBUFS beyond.
	maxShort = 256 << 20
)

// shortCut is what a socket has of one.
type shortCut struct {
	in, out *channel
	peer    *Socket
}

func (s *Stack) getPage() *[pageSize]byte {
	if p, ok := s.pages.Get().(*[pageSize]byte); ok {
		return p
	}
	return new([pageSize]byte)
}

// put appends what fits: EAGAIN if that is nothing. toStack: nobody reads, and the
// stack has to tell what comes of it.
func (c *channel) put(b *buffers) (done int, toStack bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, false, unix.EPIPE
	case c.gone:
		return 0, true, nil
	}
	for b.left > 0 && c.n < c.limit {
		end := c.off + c.n
		if end == len(c.pages)*pageSize {
			if c.stack.shortUsed.Add(pageSize) > maxShort {
				c.stack.shortUsed.Add(-pageSize)
				if done == 0 {
					return 0, false, unix.ENOBUFS
				}
				return done, false, nil
			}
			c.pages = append(c.pages, c.stack.getPage())
		}
		page := c.pages[end/pageSize]
		room := page[end%pageSize:]
		k, _ := b.Read(room[:min(len(room), c.limit-c.n)])
		c.n, done = c.n+k, done+k
	}
	if done == 0 {
		return 0, false, unix.EAGAIN
	}
	return done, false, nil
}

// take moves bytes to b. wake: there is room again for the writer. end: there will
// be no more.
func (c *channel) take(b *buffers, peek bool) (done int, wake, end, reset bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, at := c.writable(), c.off
	for b.left > 0 && done < c.n {
		page := c.pages[at/pageSize]
		p := page[at%pageSize:]
		k, _ := b.Write(p[:min(len(p), c.n-done)])
		at, done = at+k, done+k
	}
	if !peek {
		c.off, c.n = at, c.n-done
		for c.off >= pageSize || c.n == 0 && len(c.pages) > 0 {
			c.drop()
		}
	}
	return done, !was && c.writable(), c.n == 0 && c.closed, c.reset
}

// drop gives the first page back.
func (c *channel) drop() {
	c.stack.pages.Put(c.pages[0])
	c.stack.shortUsed.Add(-pageSize)
	c.pages[0] = nil
	c.pages = c.pages[1:]
	if c.off -= pageSize; len(c.pages) == 0 {
		c.pages, c.off = nil, 0
	}
}

// writable is sk_stream_is_writeable: a third is free. c.mu is held.
func (c *channel) writable() bool { return c.n <= c.limit/3*2 || c.gone || c.closed }

// tupleOf returns how the stack knows the endpoint of s.
func (s *Socket) tupleOf() (stack.TransportEndpointID, bool) {
	info, ok := s.ep.Info().(*stack.TransportEndpointInfo)
	if !ok || info.ID.RemotePort == 0 {
		return stack.TransportEndpointID{}, false
	}
	return info.ID, true
}

// enroll makes s known to the other end.
func (s *Socket) enroll() {
	id, ok := s.tupleOf()
	if !ok {
		return
	}
	s.stack.mu.Lock()
	defer s.stack.mu.Unlock()
	if !s.released.Load() {
		if s.enrolled {
			delete(s.stack.ends, s.tuple)
		}
		s.tuple, s.enrolled = id, true
		s.stack.ends[id] = s
	}
}

// withdraw is the opposite of enroll. Stack.mu is held.
func (s *Socket) withdraw() {
	if s.enrolled && s.stack.ends[s.tuple] == s {
		delete(s.stack.ends, s.tuple)
	}
	s.enrolled = false
}

// shorten makes a short cut if the other end is here, and nothing is ending yet.
func (s *Socket) shorten() {
	id, ok := s.tupleOf()
	if !ok {
		return
	}
	back := stack.TransportEndpointID{LocalPort: id.RemotePort, LocalAddress: id.RemoteAddress, RemotePort: id.LocalPort, RemoteAddress: id.LocalAddress}
	s.stack.mu.Lock()
	peer := s.stack.ends[back]
	s.stack.mu.Unlock()
	if peer == nil || peer == s {
		return
	}
	first, second := s, peer
	if peer.ino < s.ino {
		first, second = peer, s
	}
	first.sendMu.Lock()
	defer first.sendMu.Unlock()
	second.sendMu.Lock()
	defer second.sendMu.Unlock()
	s.stack.mu.Lock()
	defer s.stack.mu.Unlock()
	for _, x := range [...]*Socket{s, peer} {
		if x.released.Load() || !x.enrolled || x.short.Load() != nil || x.shutting || tcp.EndpointState(x.ep.State()) != tcp.StateEstablished {
			return
		}
	}
	there, here := s.channelTo(peer), peer.channelTo(s)
	s.short.Store(&shortCut{in: here, out: there, peer: peer})
	peer.short.Store(&shortCut{in: there, out: here, peer: s})
}

func (s *Socket) channelTo(peer *Socket) *channel {
	limit := s.ep.SocketOptions().GetSendBufferSize() + peer.ep.SocketOptions().GetReceiveBufferSize()
	return &channel{stack: s.stack, limit: int(min(limit, 1<<20)), before: s.sent}
}

// sendTCP sends on a TCP socket.
func (s *Socket) sendTCP(b *buffers, o tcpip.WriteOptions) (int64, error) {
	if s.short.Load() == nil {
		s.shorten()
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if c := s.short.Load(); c != nil {
		n, toStack, err := c.out.put(b)
		if n > 0 {
			c.peer.queue.Notify(waiter.ReadableEvents)
		}
		if !toStack {
			return int64(n), err
		}
	}
	n, terr := s.ep.Write(b, o)
	s.sent += n
	if n > 0 {
		return n, nil
	}
	return 0, s.sendError(terr)
}

// recvTCP reads from a TCP socket.
func (s *Socket) recvTCP(b *buffers, flags int) (int64, error) {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	peek := flags&unix.MSG_PEEK != 0
	if c := s.short.Load(); c != nil && s.received >= c.in.before {
		n, wake, end, reset := c.in.take(b, peek)
		if wake {
			c.peer.queue.Notify(waiter.WritableEvents)
		}
		switch {
		case n > 0, end:
			return int64(n), nil
		case !reset && !s.readShut.Load() && !tcpEnded(s.ep.State()):
			return 0, unix.EAGAIN
		}
	}
	r, terr := s.ep.Read(b, tcpip.ReadOptions{Peek: peek})
	if terr != nil {
		return 0, s.recvError(terr, flags)
	}
	if !peek && r.Count > 0 {
		s.received += int64(r.Count)
		s.ep.ModerateRecvBuf(r.Count)
	}
	return int64(r.Count), nil
}

// tcpEnded reports whether an endpoint has an end, or an error, to tell of.
func tcpEnded(state uint32) bool {
	switch tcp.EndpointState(state) {
	case tcp.StateError, tcp.StateClose:
		return true
	}
	return false
}

// waiting returns how many bytes can be read from the short cut.
func (s *Socket) waiting() int {
	c := s.short.Load()
	if c == nil {
		return 0
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.n
}

// shortReadiness corrects what the endpoint says it is ready for.
func (s *Socket) shortReadiness(c *shortCut, is waiter.EventMask) waiter.EventMask {
	if is&(waiter.EventErr|waiter.EventHUp) != 0 {
		return is
	}
	s.recvMu.Lock()
	behind := s.received < c.in.before
	s.recvMu.Unlock()
	c.in.mu.Lock()
	n, closed := c.in.n, c.in.closed
	c.in.mu.Unlock()
	if !behind && !s.readShut.Load() {
		is &^= waiter.ReadableEvents
	}
	if n > 0 && n >= s.Least() || closed {
		is |= waiter.ReadableEvents
	}
	if closed {
		is |= waiter.EventRdHUp
	}
	c.out.mu.Lock()
	writable := c.out.writable()
	c.out.mu.Unlock()
	if !writable {
		is &^= waiter.WritableEvents
	}
	return is
}

// shortShutdown tells the other end that no more will be written, before the
// endpoint does.
func (s *Socket) shortShutdown(flags tcpip.ShutdownFlags) {
	if flags&tcpip.ShutdownRead != 0 {
		s.readShut.Store(true)
	}
	if flags&tcpip.ShutdownWrite == 0 {
		return
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.stack.mu.Lock()
	s.shutting = true
	s.stack.mu.Unlock()
	if c := s.short.Load(); c != nil {
		c.out.mu.Lock()
		c.out.closed = true
		c.out.mu.Unlock()
		c.peer.queue.Notify(waiter.ReadableEvents | waiter.EventRdHUp)
	}
}

// shortRelease ends both directions. Data that nobody will read, or SO_LINGER with
// no time, reset the connection.
func (s *Socket) shortRelease() {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.stack.mu.Lock()
	s.withdraw()
	s.stack.mu.Unlock()
	c := s.short.Load()
	if c == nil {
		return
	}
	c.in.mu.Lock()
	unread := c.in.n > 0
	c.in.gone, c.in.n = true, 0
	for len(c.in.pages) > 0 {
		c.in.drop()
	}
	c.in.mu.Unlock()
	l := s.ep.SocketOptions().GetLinger()
	if unread {
		s.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true})
	}
	c.out.mu.Lock()
	if unread || l.Enabled && l.Timeout == 0 {
		c.out.reset = true
	} else {
		c.out.closed = true
	}
	c.out.mu.Unlock()
	c.peer.queue.Notify(waiter.ReadableEvents | waiter.WritableEvents | waiter.EventRdHUp)
}

var _ socket.Connecting = (*Socket)(nil)
