package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry"
	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/socket/hostnet"
)

const (
	networkUsage = "what the sandbox has of a network: loopback; host: its sockets are the host's; or the `path` of a network namespace of the host (as /run/netns/NAME), whose interfaces become the sandbox's"
	egressUsage  = "`addresses` that the sandbox may connect and send to, as 10.0.0.0/8,fd00::/8 (default: all)"
)

// networkFlags are --network and --egress.
type networkFlags struct{ network, egress string }

func (n *networkFlags) set(f *flag.FlagSet) {
	f.StringVar(&n.network, "network", "loopback", networkUsage)
	f.StringVar(&n.egress, "egress", "", egressUsage)
}

// open opens what the flags say.
func (n *networkFlags) open(log *slog.Logger) (spec sentry.NetSpec, err error) {
	if n.egress != "" {
		if spec.Egress, err = socket.ParseEgress(n.egress); err != nil {
			return spec, fmt.Errorf("--egress: %w", err)
		}
	}
	switch {
	case n.network == "" || n.network == "loopback":
		return spec, nil
	case n.network == "host":
		spec.HostNetwork, err = hostnet.OpenView()
	case strings.HasPrefix(n.network, "/"):
		spec.Network, err = openLink(n.network, log)
	default:
		err = errors.New("want loopback, host, or the path of a network namespace")
	}
	if err != nil {
		return spec, fmt.Errorf("--network=%s: %w", n.network, err)
	}
	return spec, nil
}

// openLink opens a network namespace.
func openLink(path string, log *slog.Logger) (*hostnet.Net, error) {
	ns, err := hostcall.OpenNetNS(path)
	if err == unix.EINVAL {
		return nil, errors.New("this is no network namespace")
	}
	if err != nil {
		return nil, err
	}
	defer hostcall.Close(ns)
	return hostnet.Open(ns, log)
}
