package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"runsc-lite/platform"
	"runsc-lite/platform/kvm"
	"runsc-lite/platform/ptrace"
	"runsc-lite/platform/systrap"
)

// newPlatform returns the constructor of a platform by its name.
func newPlatform(name string, log *slog.Logger) (func(memFD int) (platform.Platform, error), error) {
	switch name {
	case "auto":
		return func(memFD int) (platform.Platform, error) {
			p, why, err := fastest(memFD, log)
			if err == nil {
				log.Debug("platform "+p.Name(), "why", why)
			}
			return p, err
		}, nil
	case "kvm":
		return func(memFD int) (platform.Platform, error) {
			return kvm.New(kvm.Config{MemoryFD: memFD, Log: log})
		}, nil
	case "ptrace":
		return func(memFD int) (platform.Platform, error) {
			return ptrace.New(ptrace.Config{MemoryFD: memFD})
		}, nil
	case "systrap", "systrap:nopatch":
		return func(memFD int) (platform.Platform, error) {
			return systrap.New(systrap.Config{MemoryFD: memFD, NoPatch: name == "systrap:nopatch"})
		}, nil
	}
	return nil, fmt.Errorf("no platform %q; there are: %s", name, platformNames)
}

const platformNames = "auto (the fastest that works), systrap, systrap:nopatch (leaves the program's code as it is), kvm, ptrace"

// fastCall is what a system call has to take on KVM, at most, for KVM to be the
// fastest: no stop of a traced thread takes less, on any machine.
const fastCall = 2 * time.Microsecond

// fastest starts the fastest platform that works here, and says why it is that. KVM is
// not even tried where it cannot be it: that would take longer than starting the
// others.
func fastest(memFD int, log *slog.Logger) (p platform.Platform, why string, err error) {
	notKVM := kvm.Unlikely()
	if notKVM == "" {
		switch k, err := kvm.New(kvm.Config{MemoryFD: memFD, Log: log}); {
		case err != nil:
			notKVM = err.Error()
		case k.Report().RoundTrip > fastCall:
			notKVM = fmt.Sprintf("a system call takes %v there, more than %v", k.Report().RoundTrip, fastCall)
			k.Close()
		default:
			return k, fmt.Sprintf("a system call takes %v", k.Report().RoundTrip), nil
		}
	}
	s, err := systrap.New(systrap.Config{MemoryFD: memFD})
	if err == nil {
		return s, "not kvm: " + notKVM, nil
	}
	// Slow, but it works where nothing may be traced.
	k, kvmErr := kvm.New(kvm.Config{MemoryFD: memFD, Log: log})
	if kvmErr != nil {
		return nil, "", fmt.Errorf("no platform works here: %w", errors.Join(err, kvmErr))
	}
	return k, "not systrap: " + err.Error(), nil
}
