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
// A trampoline goes through the channel code: a call whose result the sentry has
// published is answered there (CallAnswerer); any other is posted in the thread's
// slot. The sentry answers in the slot as well: with a result, or with all registers
// (Load: a signal's handler, the return from one), and it can ask for floating-point
// state (Save). Mapping changes are made on the way into guest code: the thread is set
// going in the stub's batch code, and goes on from there. What that costs in host
// calls is held by a test:
//
//	call, both sides on a core of their own   none
//	call, both on one core                    CONT, wait4
//	call, then mapping changes                SETREGS, CONT, wait4
//	call by the trap                          CONT, wait4, GETREGS, SETREGS
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
// It is ptrace's, with a filter in the place of SYSEMU: guest code runs under
// PTRACE_CONT, since stub code has to make its calls on the same way. The filter
// allows what stub code calls, and asks for a key in each: random words in arguments
// that the kernel does not look at. The key is in the sentry, in the host's copy of the
// filter, and in registers while batch code runs, all of which it loads anew before the
// guest's first instruction; no memory that a guest can read has it. A call without the
// key is a SIGSYS, from every entry: the host does not make it, whatever the tracer does
// next and whatever the guest said elsewhere. (SECCOMP_RET_TRACE would be faster, but a
// thread that is let go from it makes its call. It is for the channel's stop, whose
// number is that of no call.)
//
// Two calls do not ask the filter: uretprobe(2) and uprobe(2), 335 and 336, which
// Linux 6.14 and later let pass everywhere. They do nothing outside of a probe's own
// code but end the caller with a SIGILL, which comes to us as any other.
//
// What the channel adds is memory, not rights: a guest may write anything to its
// threads' slots and jump anywhere in the channel code, which is mapped read-only and
// makes no call but one that stops it. A slot belongs to one process; its content
// are values of registers that the guest could have loaded as well. The words that
// steer the sentry say whether there is a call: a lie there is a call that was not
// meant, or one that is not answered. No wait of the sentry depends on one: an
// interruption ends each. That changes are in force is never concluded from a slot
// that a guest could have written since they were begun.
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
