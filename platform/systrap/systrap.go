// Package systrap is the fast platform where there is no virtualization: the
// stub processes and tracers of package ptrace, and system calls that do not
// trap.
//
// The code at call sites that are used often is changed to jump to a trampoline
// and on to the channel (package channel), which posts the call in memory that
// the sentry shares. Which sites, is the kernel's business: PatchCall only says
// how. Everything else is as on ptrace: calls of other sites, faults and signals
// stop the guest's thread, and mapping changes are executed by the stub under
// the tracer's eyes.
//
// # Why not by signals
//
// gVisor's systrap lets seccomp send a SIGSYS for each call, and its stub hands
// that over. A ptrace stop whose tracer runs on the same core costs less than a
// signal, its frame and a futex there, and leaves nothing in the guest's address
// space that has to be trusted: the tracee's registers, signal mask and
// floating-point state are the host kernel's to keep, and no host call is ever
// allowed to code that a guest can run.
//
// # Isolation
//
// It is ptrace's. What is added is memory, not rights: a guest may write
// anything to its threads' slots and jump anywhere in the channel code, which is
// mapped read-only and makes no call but one that stops it. A slot belongs to
// one process; its content are values of registers that the guest could have
// loaded as well. The one word that steers the sentry says whether there is a
// call: a lie there is a call that was not meant, or one that is not answered.
package systrap

import (
	"fmt"

	"runsc-lite/platform"
	"runsc-lite/platform/channel"
	"runsc-lite/platform/ptrace"
)

// Config says what the platform works on.
type Config struct {
	// MemoryFD is the memory file.
	MemoryFD int
	// NoPatch leaves guest code as it is: all calls trap.
	NoPatch bool
}

// New starts the platform. It fails where ptrace's does.
func New(c Config) (platform.Platform, error) {
	p, err := ptrace.New(ptrace.Config{MemoryFD: c.MemoryFD, Channel: !c.NoPatch})
	if err != nil {
		return nil, fmt.Errorf("systrap: %w", err)
	}
	if c.NoPatch {
		return trapping{p}, nil
	}
	return patching{trapping{p}}, nil
}

// trapping is the platform without changes of guest code.
type trapping struct{ *ptrace.Ptrace }

// Name implements platform.Platform.
func (trapping) Name() string { return "systrap" }

// patching is the platform with them.
type patching struct{ trapping }

// PatchCall implements platform.CallPatcher.
func (patching) PatchCall(c platform.CallSite) (platform.CallPatch, bool) {
	return channel.PatchCall(c, ptrace.ChannelEntry)
}
