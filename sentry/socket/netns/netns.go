// Package netns is a network namespace: all families of sockets together.
//
// The network stack is made when something first asks for it: a sandbox that uses
// no network does not pay for one. It has lo, and what Attach gives it.
package netns

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/socket/hostnet"
	"runsc-lite/sentry/socket/hostsock"
	"runsc-lite/sentry/socket/netlink"
	"runsc-lite/sentry/socket/netstack"
	local "runsc-lite/sentry/socket/unix"
	"runsc-lite/sentry/vfs"
)

// Namespace is a network namespace.
type Namespace struct {
	numbers socket.Numbers
	local   *local.Namespace
	netlink *netlink.Space

	messages sync.Pool // *socket.Message

	// Set before there are sockets.
	egress *socket.Egress
	host   *hostsock.Stack // nil: sockets of the internet are the stack's
	view   *hostnet.View   // of the host's network, with host

	mu     sync.Mutex
	stack  *netstack.Stack // nil until it is needed
	link   *hostnet.Net    // nil: there is lo alone
	closed bool
}

// New makes a network namespace.
func New() *Namespace {
	n := &Namespace{}
	n.local = local.NewNamespace(&n.numbers)
	n.netlink = netlink.New(&n.numbers, n.network)
	return n
}

// network is what netlink tells of.
func (n *Namespace) network() (netlink.Network, error) {
	if n.view != nil {
		return n.view, nil
	}
	return n.Stack()
}

// Restrict says where sockets may connect and send to; nil: everywhere. It is called
// before there are any.
func (n *Namespace) Restrict(e *socket.Egress) { n.egress = e }

// UseHost makes sockets of the internet the host's own. It is called before there
// are any, and after Restrict. v is closed with the namespace.
func (n *Namespace) UseHost(notifier *hostcall.Notifier, v *hostnet.View) {
	n.host, n.view = hostsock.New(notifier, &n.numbers, n.egress), v
}

// Stack returns the network stack.
func (n *Namespace) Stack() (*netstack.Stack, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stack != nil || n.closed {
		if n.closed {
			return nil, unix.ENETDOWN
		}
		return n.stack, nil
	}
	s, err := netstack.New(&n.numbers)
	if err == nil {
		s.Restrict(n.egress)
		n.stack = s
	}
	return s, err
}

// Attach gives the namespace what a network namespace of the host has. h is closed
// with it.
func (n *Namespace) Attach(h *hostnet.Net) error {
	s, err := n.Stack()
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.link = h
	n.mu.Unlock()
	return h.Start(s)
}

// made returns the network stack if there is one.
func (n *Namespace) made() *netstack.Stack {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stack
}

// Close ends the network stack, once its last socket is gone.
func (n *Namespace) Close() {
	n.mu.Lock()
	s, h := n.stack, n.link
	n.stack, n.link, n.closed = nil, nil, true
	n.mu.Unlock()
	if h != nil {
		h.Close()
	}
	if s != nil {
		s.Close()
	}
	if n.view != nil {
		n.view.Close()
	}
}

// Message returns a message to be filled, and given back by PutMessage.
func (n *Namespace) Message() *socket.Message {
	if m, ok := n.messages.Get().(*socket.Message); ok {
		return m
	}
	return new(socket.Message)
}

// PutMessage takes a message back.
func (n *Namespace) PutMessage(m *socket.Message) {
	m.Reset()
	n.messages.Put(m)
}

// Socket makes a socket (socket(2)): EAFNOSUPPORT for a family that is not there.
func (n *Namespace) Socket(c socket.Caller, family, typ, protocol int) (socket.Socket, error) {
	switch family {
	case unix.AF_UNIX:
		return made(n.local.New(typ, protocol))
	case unix.AF_INET, unix.AF_INET6:
		if n.host != nil {
			return made(n.host.Socket(c, family, typ, protocol))
		}
		s, err := n.Stack()
		if err != nil {
			return nil, err
		}
		return made(s.Socket(c, family, typ, protocol))
	case unix.AF_NETLINK:
		return made(n.netlink.Socket(typ, protocol))
	}
	return nil, unix.EAFNOSUPPORT
}

// made keeps a nil pointer from becoming a Socket.
func made[S socket.Socket](s S, err error) (socket.Socket, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Pair makes two sockets that are connected (socketpair(2)): EOPNOTSUPP for a
// family that has none.
func (n *Namespace) Pair(c socket.Caller, family, typ, protocol int) (a, b socket.Socket, err error) {
	if family == unix.AF_UNIX {
		x, y, err := n.local.Pair(c, typ, protocol)
		if err != nil {
			return nil, nil, err
		}
		return x, y, nil
	}
	s, err := n.Socket(c, family, typ, protocol)
	if err != nil {
		return nil, nil, err
	}
	s.Release()
	return nil, nil, unix.EOPNOTSUPP
}

// Ioctl is the requests about links, which sockets of all families take
// (sock_ioctl): ENOTTY for others.
func (n *Namespace) Ioctl(mem vfs.Memory, request uint32, arg uint64) (uint64, error) {
	if request>>8 != 0x89 {
		return 0, unix.ENOTTY
	}
	s, err := n.Stack()
	if err != nil {
		return 0, err
	}
	return s.Ioctl(mem, request, arg)
}
