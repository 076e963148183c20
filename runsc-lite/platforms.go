package main

import (
	"fmt"

	"runsc-lite/platform"
	"runsc-lite/platform/kvm"
	"runsc-lite/platform/ptrace"
	"runsc-lite/platform/systrap"
)

// newPlatform returns the constructor of a platform by its name.
func newPlatform(name string) (func(memFD int) (platform.Platform, error), error) {
	switch name {
	case "ptrace":
		return func(memFD int) (platform.Platform, error) {
			return ptrace.New(ptrace.Config{MemoryFD: memFD})
		}, nil
	case "systrap", "systrap:nopatch":
		return func(memFD int) (platform.Platform, error) {
			return systrap.New(systrap.Config{MemoryFD: memFD, NoPatch: name == "systrap:nopatch"})
		}, nil
	case "kvm":
		return func(memFD int) (platform.Platform, error) {
			return kvm.New(kvm.Config{MemoryFD: memFD})
		}, nil
	}
	return nil, fmt.Errorf("no platform %q; there are: %s", name, platformNames)
}

const platformNames = "systrap, systrap:nopatch (leaves the program's code as it is), kvm, ptrace"
