package main

import (
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/sentry/socket/hostnet"
)

const networkUsage = "what the sandbox has of a network: loopback, or the `path` of a network namespace of the host (as /run/netns/NAME), whose interfaces become the sandbox's"

// openNetwork opens what --network says: nil for lo alone.
func openNetwork(name string, log *slog.Logger) (*hostnet.Net, error) {
	if name == "loopback" || name == "" {
		return nil, nil
	}
	if !strings.HasPrefix(name, "/") {
		return nil, fmt.Errorf("--network=%s: want loopback, or the path of a network namespace", name)
	}
	ns, err := hostcall.OpenNetNS(name)
	if err == unix.EINVAL {
		return nil, fmt.Errorf("--network=%s: this is no network namespace", name)
	}
	if err != nil {
		return nil, fmt.Errorf("--network=%s: %w", name, err)
	}
	defer hostcall.Close(ns)
	n, err := hostnet.Open(ns, log)
	if err != nil {
		return nil, fmt.Errorf("--network=%s: %w", name, err)
	}
	return n, nil
}
