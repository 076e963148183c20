// Package unix is sockets of AF_UNIX (unix(7), Linux's net/unix).
//
// A socket has a queue of segments that were sent to it. A segment belongs to
// whoever sent it until it is read: it is charged to the sender's SO_SNDBUF, at
// the size that Linux's buffers would have, so that as much fits as on Linux. All
// segments of a sandbox together are bounded by Namespace.limit.
//
//	stream               segments are read as one stream
//	dgram, seqpacket     a segment is a message
//
// Files in flight (SCM_RIGHTS) are held by the segments that carry them. Sockets
// that are reachable only through queues of each other are found and emptied:
// see garbage.go.
//
// Lock order:
//
//	Namespace.mu      names, and who is connected to whom
//	  garbage.mu        which files are in flight, and where
//	    Socket.mu         its queue and its state; never two at once
//
// Waiters are notified, and files closed, without a lock.
package unix

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/vfs"
)

const (
	// maxDgramQueue is net.unix.max_dgram_qlen: how many messages may wait in a
	// socket that is not connected back to their sender.
	maxDgramQueue = 10
	// DefaultLimit bounds the memory of all segments of a sandbox, in bytes.
	DefaultLimit = 256 << 20
)

// Namespace is what the AF_UNIX sockets of a network namespace have in common.
type Namespace struct {
	numbers *socket.Numbers
	limit   int64
	used    atomic.Int64

	segments pool
	messages sync.Pool // *socket.Message

	mu       sync.Mutex
	abstract map[abstract]*Socket
	paths    map[vfs.Inode]*Socket
	all      map[*Socket]struct{} // for /proc/net/unix
	next     uint32               // autobind

	garbage garbage
}

// abstract is an abstract name: each type of socket has its own.
type abstract struct {
	typ  int
	name socket.UnixName
}

// NewNamespace makes a Namespace whose sockets get inode numbers from numbers.
func NewNamespace(numbers *socket.Numbers) *Namespace {
	n := &Namespace{
		numbers:  numbers,
		limit:    DefaultLimit,
		abstract: map[abstract]*Socket{},
		paths:    map[vfs.Inode]*Socket{},
		all:      map[*Socket]struct{}{},
	}
	n.messages.New = func() any { return new(socket.Message) }
	n.garbage.inFlight = map[*vfs.File]int{}
	return n
}

// state is how far a socket is on its way through life.
type state uint8

const (
	unconnected state = iota
	listening
	connected
	closed
)

const (
	shutRead  = 1 // RCV_SHUTDOWN
	shutWrite = 2 // SEND_SHUTDOWN
)

// Socket is a socket: a socket.Socket.
type Socket struct {
	socket.Generic

	ns  *Namespace
	typ int
	ino uint64

	queue waiter.Queue
	peer  atomic.Pointer[Socket]
	name  atomic.Pointer[socket.UnixName]
	wmem  atomic.Int64 // what sent segments cost that nobody has read yet
	shut  atomic.Uint32

	// Under ns.mu.
	bound    *vfs.File // of a path
	peerCred socket.Cred
	backlog  int
	waitsFor *Socket // in whose blocked this is

	mu          sync.Mutex
	state       state
	first, last *segment
	segs        int
	bytes       int64 // of stream data that can be read
	rights      int   // segments with files
	pending     []*Socket
	blocked     map[*Socket]struct{} // who waits for room here
	embryo      bool                 // nobody accepted it yet
}

// New makes a socket (unix_create): EPROTONOSUPPORT, ESOCKTNOSUPPORT.
func (n *Namespace) New(typ, protocol int) (*Socket, error) {
	if protocol != 0 && protocol != unix.AF_UNIX {
		return nil, unix.EPROTONOSUPPORT
	}
	switch typ {
	case unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET:
	case unix.SOCK_RAW:
		typ = unix.SOCK_DGRAM // "BSD legacy"
	default:
		return nil, unix.ESOCKTNOSUPPORT
	}
	return n.make(typ), nil
}

func (n *Namespace) make(typ int) *Socket {
	s := &Socket{ns: n, typ: typ, ino: n.numbers.Next()}
	s.Generic.Init()
	n.mu.Lock()
	n.all[s] = struct{}{}
	n.mu.Unlock()
	return s
}

// Pair makes two sockets that are connected (socketpair(2)).
func (n *Namespace) Pair(c socket.Caller, typ, protocol int) (*Socket, *Socket, error) {
	a, err := n.New(typ, protocol)
	if err != nil {
		return nil, nil, err
	}
	b := n.make(a.typ)
	a.peer.Store(b)
	b.peer.Store(a)
	a.peerCred = c.Cred()
	b.peerCred = a.peerCred
	if a.typ != unix.SOCK_DGRAM {
		a.state, b.state = connected, connected
	}
	return a, b, nil
}

// Ino is the number of the socket's inode.
func (s *Socket) Ino() uint64 { return s.ino }

// Kind implements socket.Socket.
func (s *Socket) Kind() (family, typ, protocol int) { return unix.AF_UNIX, s.typ, 0 }

// ordered reports whether the socket is connection-based.
func (s *Socket) ordered() bool { return s.typ != unix.SOCK_DGRAM }

// Flush implements vfs.Flusher: a descriptor was closed.
func (s *Socket) Flush(any) { s.ns.collect(false) }

// Release implements vfs.FileOps (unix_release_sock).
func (s *Socket) Release() {
	s.release()
	s.ns.collect(false)
}

// release takes s out of everything. It is also for a connection that nobody
// accepted.
func (s *Socket) release() {
	n := s.ns
	n.mu.Lock()
	delete(n.all, s)
	if name := s.name.Load(); name != nil && n.abstract[abstract{s.typ, *name}] == s {
		delete(n.abstract, abstract{s.typ, *name})
	}
	bound := s.bound
	if s.bound = nil; bound != nil {
		delete(n.paths, bound.Inode())
	}
	s.unblock()
	peer := s.peer.Load()

	s.mu.Lock()
	s.state = closed
	s.shut.Store(shutRead | shutWrite)
	// Data that nobody will read are an error, and so is that nobody accepted.
	broken := s.first != nil || s.embryo
	gone := s.takeAll()
	pending, blocked := s.pending, s.blocked
	s.pending, s.blocked = nil, nil
	s.mu.Unlock()
	for w := range blocked {
		w.waitsFor = nil
	}
	var wake *Socket
	if peer != nil && s.ordered() && peer != s {
		if broken {
			peer.Fail(unix.ECONNRESET)
		}
		peer.shut.Store(shutRead | shutWrite)
		wake = peer
	}
	s.peer.Store(nil)
	n.mu.Unlock()

	n.drop(gone)
	for _, p := range pending {
		p.release()
	}
	if wake != nil {
		wake.queue.Notify(waiter.ReadableEvents | waiter.WritableEvents | waiter.EventHUp | waiter.EventRdHUp | waiter.EventErr)
	}
	for w := range blocked {
		w.queue.Notify(waiter.WritableEvents)
	}
	if bound != nil {
		bound.DecRef()
	}
}

// unblock takes s out of the list of whom it waits for. ns.mu is held.
func (s *Socket) unblock() {
	if to := s.waitsFor; to != nil {
		to.mu.Lock()
		delete(to.blocked, s)
		to.mu.Unlock()
		s.waitsFor = nil
	}
}

// blockOn makes s be notified when there is room in to. ns.mu is held.
func (s *Socket) blockOn(to *Socket) {
	if s.waitsFor == to {
		return
	}
	s.unblock()
	to.mu.Lock()
	if to.blocked == nil {
		to.blocked = map[*Socket]struct{}{}
	}
	to.blocked[s] = struct{}{}
	to.mu.Unlock()
	s.waitsFor = to
}

// roomMade notifies who waits for room in s.
func (s *Socket) roomMade() {
	s.ns.mu.Lock()
	s.mu.Lock()
	blocked := s.blocked
	s.blocked = nil
	s.mu.Unlock()
	for w := range blocked {
		w.waitsFor = nil
	}
	s.ns.mu.Unlock()
	for w := range blocked {
		w.queue.Notify(waiter.WritableEvents)
	}
}

// Shutdown implements socket.Socket (unix_shutdown).
func (s *Socket) Shutdown(how int) error {
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	mode := uint32(how + 1)
	s.shut.Or(mode)
	const all = waiter.ReadableEvents | waiter.WritableEvents | waiter.EventHUp | waiter.EventRdHUp
	if peer := s.peer.Load(); peer != nil && s.ordered() {
		theirs := uint32(0)
		if mode&shutRead != 0 {
			theirs |= shutWrite
		}
		if mode&shutWrite != 0 {
			theirs |= shutRead
		}
		peer.shut.Or(theirs)
		peer.queue.Notify(all)
	}
	s.queue.Notify(all)
	return nil
}
