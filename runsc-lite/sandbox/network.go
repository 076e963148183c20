package sandbox

import (
	"fmt"

	"runsc-lite/runsc-lite/bundle"
	"runsc-lite/sentry"
	"runsc-lite/sentry/socket/hostnet"
)

// openNetwork opens the network namespace that this process is in, while it still may:
// what the engine puts there, now or later, is the container's. Without a network
// namespace in the configuration there is lo alone.
func (b *box) openNetwork(bun *bundle.Bundle, spec *sentry.ContainerSpec) (err error) {
	n := bun.Namespaces.Network
	if !n.New && n.Path == "" {
		b.log.Warn("sockets of the host are not shared: the container has lo alone")
		return nil
	}
	if b.network, err = hostnet.OpenHere(b.log); err != nil {
		if n.Path != "" {
			// It belongs to another user namespace, as a rule.
			b.log.Warn("the given network namespace cannot be used: the container has lo alone", "path", n.Path, "err", err)
			b.network = nil
			return nil
		}
		return fmt.Errorf("opening the container's network: %w", err)
	}
	spec.Network = b.network
	return nil
}

// syncNetwork takes over what the engine has put into the namespace since then, before
// the program looks.
func (b *box) syncNetwork() error {
	if b.network == nil {
		return nil
	}
	return b.network.Sync()
}
