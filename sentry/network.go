package sentry

import (
	"fmt"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/socket/hostnet"
)

// NetSpec says what a sandbox has of a network; nothing of it: lo alone.
type NetSpec struct {
	// Network is what a network namespace of the host has: interfaces of it become
	// the sandbox's. It is closed with the sandbox, also if that does not start.
	Network *hostnet.Net
	// HostNetwork says that the sandbox's sockets of the internet are the host's
	// own. It is closed as well.
	HostNetwork *hostnet.View
	// Egress is where sockets may connect and send to; nil: everywhere.
	Egress *socket.Egress
}

// attachNetwork gives the sandbox its network.
func (s *Sandbox) attachNetwork(n *NetSpec) error {
	s.net.Restrict(n.Egress)
	if n.HostNetwork != nil {
		s.net.UseHost(s.notifier, n.HostNetwork)
	}
	if n.Network != nil {
		if err := s.net.Attach(n.Network); err != nil {
			return fmt.Errorf("taking the network over: %w", err)
		}
	}
	return nil
}
