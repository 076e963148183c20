// Package hostnet gives a network stack the interfaces of a network namespace of
// the host: what a container engine made there, a veth pair's end with addresses
// and routes, is the sandbox's.
//
//	Open    all descriptors that are ever needed, and the guard
//	Start   interfaces, addresses, routes and neighbours are taken over, and
//	        from then on followed: what the engine changes later changes here
//	Close
//
// The host's own stack keeps the addresses. Engines look at them, and Docker's
// resolver asks its upstream servers from inside the namespace. A guard of two
// netfilter tables keeps it from answering what is for the sandbox: see guard.go.
//
// After Open nothing needs a privilege or opens a socket of the host, so that the
// process can be locked down between the two. It must keep: connect, sendmsg and its
// like on descriptors that are open.
//
// Lock order: Net.mu, then what netstack.Stack.Configure takes.
package hostnet

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/socket/link"
	"runsc-lite/sentry/socket/netstack"
)

// Net is the network of a namespace of the host.
type Net struct {
	log      *slog.Logger
	handle   *netlink.Handle
	events   *nl.NetlinkSocket
	guard    *guard
	packets  *hostcall.PacketSocket
	hub      *link.Hub
	resolver *resolver

	mu     sync.Mutex
	stack  *netstack.Stack
	closed bool
	done   chan struct{} // closed when nothing is followed any more
}

// Open opens the network namespace that ns is a descriptor of. It needs
// CAP_NET_ADMIN and CAP_NET_RAW there, and CAP_SYS_ADMIN to enter it. ns may be
// closed afterwards.
func Open(ns int, log *slog.Logger) (*Net, error) {
	n := &Net{log: log}
	err := hostcall.InNetNS(ns, n.open)
	if err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// OpenHere is Open of the namespace that this process is in.
func OpenHere(log *slog.Logger) (*Net, error) {
	n := &Net{log: log}
	if err := n.open(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// open runs in the namespace.
func (n *Net) open() (err error) {
	if n.guard, err = newGuard(); err != nil {
		return err
	}
	if n.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("opening netlink: %w", err)
	}
	if n.events, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE); err != nil {
		return fmt.Errorf("subscribing to the changes of the namespace: %w", err)
	}
	if n.packets, err = hostcall.NewPacketSocket(); err != nil {
		return err
	}
	if err := n.packets.Filter(wanted); err != nil {
		return fmt.Errorf("filtering the packet socket: %w", err)
	}
	if err := n.packets.Bind(); err != nil {
		return fmt.Errorf("binding the packet socket: %w", err)
	}
	n.hub = link.NewHub(n.packets)
	n.resolver, err = newResolver(n.log)
	return err
}

// Start gives s what there is in the namespace, and goes on doing so.
func (n *Net) Start(s *netstack.Stack) error {
	n.mu.Lock()
	n.stack = s
	n.done = make(chan struct{})
	n.mu.Unlock()
	if err := n.Sync(); err != nil {
		close(n.done)
		return err
	}
	go n.follow()
	if err := n.resolver.start(s); err != nil {
		return fmt.Errorf("forwarding the resolver %v: %w", resolverAddr, err)
	}
	return nil
}

// follow waits for changes.
func (n *Net) follow() {
	defer close(n.done)
	for {
		// What they tell is not looked at: a look at everything is short, and right
		// whatever was lost (ENOBUFS).
		_, _, err := n.events.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			n.mu.Lock()
			closed := n.closed
			n.mu.Unlock()
			if !closed {
				n.log.Warn("the network is not followed any more: changes that the engine makes are not seen", "err", err)
			}
			return
		}
		if err := n.Sync(); err != nil {
			n.log.Warn("a change of the network was taken over in part", "err", err)
		}
	}
}

// Sync takes over what is so now. Changes are seen without it, a little later.
func (n *Net) Sync() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.stack == nil {
		return nil
	}
	c, err := n.look()
	if err != nil {
		return err
	}
	return n.stack.Configure(c)
}

// Close takes the links from the stack, and closes everything. The stack may be
// closed already.
func (n *Net) Close() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	s := n.stack
	n.mu.Unlock()
	if n.events != nil {
		n.events.Close()
	}
	if n.done != nil {
		<-n.done
	}
	if n.resolver != nil {
		n.resolver.close()
	}
	if s != nil {
		_ = s.Configure(&netstack.Config{})
	}
	if n.hub != nil {
		n.hub.Close()
	}
	if n.packets != nil {
		n.packets.Close()
	}
	if n.handle != nil {
		n.handle.Close()
	}
	if n.guard != nil {
		n.guard.close()
	}
}
