// Package platform says what runs guest code.
//
// A platform executes the user-mode instructions of guest threads and gives
// control back at every system call, fault and signal. It knows nothing of
// processes, files or memory policy: it maps what it is told to map and runs
// what it is told to run.
//
//	Platform      one for a sandbox: makes address spaces, runs guest threads
//	AddressSpace  the guest side of one mm.Space: a set of mappings of the
//	              sandbox's one memory file
//	Context       one guest thread: registers, and Run
//
// Mapping changes are queued on the AddressSpace and applied in one batch
// when a Context next runs in it (or when Flush asks for it).
package platform

import (
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Registers are the user-visible general registers of a guest thread, in the
// layout of Linux's struct user_regs_struct (216 bytes).
type Registers = unix.PtraceRegs

// ExitKind says why Run returned.
type ExitKind uint8

const (
	// ExitInterrupted: Interrupt was called, or nothing in particular
	// happened; look for work and run again. Spurious ones are allowed.
	ExitInterrupted ExitKind = iota
	// ExitSyscall: a SYSCALL instruction. Orig_rax holds the number; RIP is
	// past the instruction; the result goes into RAX.
	ExitSyscall
	// ExitFault: a memory access could not be made (host SIGSEGV or SIGBUS
	// with an address). RIP is at the instruction. Calls of the vsyscall page
	// arrive as this too: fetches at an address in it.
	ExitFault
	// ExitSignal: the processor raised an exception other than a memory
	// fault (SIGILL, SIGFPE, SIGTRAP, a general protection fault as SIGSEGV
	// with Code SI_KERNEL, INT 0x80 as the same).
	ExitSignal
)

// Exit is what Run found. It is a value so that Run allocates nothing.
type Exit struct {
	Kind ExitKind
	// Access is what the faulting instruction tried, as far as is known:
	// the zero AccessType when the platform cannot tell.
	Access hostarch.AccessType
	Signo  int32         // ExitFault, ExitSignal: SIGSEGV, SIGFPE, …
	Code   int32         // ExitFault, ExitSignal: si_code as the host gave it
	Addr   hostarch.Addr // ExitFault, ExitSignal: si_addr
	// Trapped says of an ExitSyscall that it came by the processor's trap. If
	// the Platform is a CallPatcher, the call's site could be made faster.
	Trapped bool
}

// Platform makes address spaces and runs guest threads.
type Platform interface {
	// Name is the value of --platform that selects it.
	Name() string

	// MinAddress and MaxAddress bound what guests may map: [Min, Max).
	MinAddress() hostarch.Addr
	MaxAddress() hostarch.Addr

	// NewAddressSpace makes an empty address space. It is cheap: host
	// resources are taken when a Context first runs in it.
	NewAddressSpace() (AddressSpace, error)

	// Spawn runs fn on a goroutine fit to hold a Context, which fn owns until
	// it returns. near, if not nil, is the Context of the calling goroutine:
	// the new one starts close to it (on the same processor), and if as is
	// the space that near last ran in, near makes room for one more thread
	// there. Registers and floating-point state start as zero and as after
	// FNINIT. Errors are the host's (no more processes, no memory); fn is
	// then not run.
	Spawn(near Context, as AddressSpace, fn func(Context)) error

	// Close ends every host process of the platform, whatever it is doing,
	// and returns once they are gone. Contexts in Run get an error; Close waits
	// for the functions given to Spawn, which have to return on that.
	Close()
}

// AddressSpace is the guest side of one address space. Its methods are safe
// from any goroutine. Map, Unmap and Protect only queue; see Context.Flush.
// Addresses, lengths and offsets are multiples of the page size, inside
// [MinAddress, MaxAddress).
type AddressSpace interface {
	// Map maps length bytes at offset off of the memory file at addr, in
	// place of what was there.
	Map(addr hostarch.Addr, length uint64, off uint64, at hostarch.AccessType)

	// Unmap removes what is mapped in the range; holes are fine.
	Unmap(addr hostarch.Addr, length uint64)

	// Protect changes the access of a range that is mapped throughout.
	Protect(addr hostarch.Addr, length uint64, at hostarch.AccessType)

	// AfterFlush calls fn once every change queued so far is in force (at
	// once if none is pending): the memory that they took away from the guest
	// may then be used for something else. fn must not block, nor call this
	// AddressSpace.
	AfterFlush(fn func())

	// Contexts returns how many Contexts are running or may run in the space
	// at this moment. At most one means that its owner, if it is the caller,
	// can leave changes queued: nobody runs until they are applied.
	Contexts() int

	// Release gives the address space back. No Context runs in it any more;
	// AfterFlush functions still queued are called when the guest side is
	// gone. A Context that last ran in it may reuse its host resources.
	Release()
}

// Context runs one guest thread. Only the goroutine that Spawn made may call
// its methods, except Interrupt.
type Context interface {
	// Registers returns the guest's registers as of the last Run. Changes
	// are carried into the next Run. The pointer stays valid for the life of
	// the Context.
	Registers() *Registers

	// Run applies the mapping changes queued on as, then runs guest code
	// until something happens. An error means that the guest side is gone or
	// unusable (killed from outside, host out of memory): the guest thread
	// cannot continue.
	Run(as AddressSpace) (Exit, error)

	// Flush applies the mapping changes queued on as now, without running
	// guest code. as is the space of the last Run (or any, if there was
	// none).
	Flush(as AddressSpace) error

	// FPState returns a copy of the floating-point and vector state: an
	// XSAVE area in standard format, as in NT_X86_XSTATE and signal frames. It
	// is good until the next call of FPState.
	FPState() ([]byte, error)

	// SetFPState replaces it. nil means the state of a fresh program. An
	// area that the processor would refuse is EINVAL, and changes nothing.
	SetFPState(xsave []byte) error

	// Interrupt makes the Run in progress return soon, or the next one
	// return at once: no wake-up is lost. Safe from any goroutine.
	Interrupt()

	// SetSingleStep makes every Run stop with SIGTRAP after one instruction.
	SetSingleStep(on bool)
}

// SlotLimiter is a Platform that runs only so many guest threads at a time. The
// kernel leases them to those that are to run; a Context that nobody keeps from
// it waits in Run for another to leave.
type SlotLimiter interface {
	// RunSlots is how many Contexts can be in guest code at the same time.
	RunSlots() int
}

// DebugRegisters are what the processor watches for a guest thread (DR0 to DR3 and DR7).
// Addresses are the guest's own, and what Control says of each is something that the
// processor can do: the caller has checked it.
type DebugRegisters struct {
	Addr    [4]uint64
	Control uint64
}

// Debugger is a Context whose guest thread can have them. What was watched arrives as
// ExitSignal, SIGTRAP with Code TRAP_HWBKPT.
type Debugger interface {
	// SetDebugRegisters replaces them; a new Context has none, and so has one in
	// another AddressSpace. Errors are the host's (ENOSPC: it has none to spare), and
	// leave none.
	SetDebugRegisters(DebugRegisters) error
	// DebugStatus returns DR6 as of the last such Exit: a bit for each address that
	// was met.
	DebugStatus() uint64
}

// Nicer is a Context whose guest thread competes for processors by the host's own
// scheduling.
type Nicer interface {
	// SetNice makes the guest thread n steps, 0 to 19, more yielding than the
	// sandbox's others (setpriority(2)). Nothing happens where the host would not
	// let it be taken back. Safe from any goroutine.
	SetNice(n int)
}

// CPUMeter is a Context that knows how much processor time its guest thread takes.
type CPUMeter interface {
	// CPUTimes returns how much processor time the guest's own code has used since
	// Spawn, and how much the kernel on its behalf: the goroutine that Spawn made,
	// and the platform. Waiting is neither. The figures are the host's own, up to
	// this moment, and never shrink. Where a platform cannot tell exactly which of
	// the threads of an AddressSpace it was, their sum is right all the same.
	//
	// Safe from any goroutine, while fn of Spawn runs and after. It does not block,
	// and is read on demand, so that calls and faults need not measure anything;
	// it is read once at least when a guest thread ends, and has to be cheap then.
	CPUTimes() (user, system time.Duration)
}

// CallAnswerer is a Context that can answer system calls on the guest side, where
// that costs nothing: those whose result is a number that only the kernel changes.
type CallAnswerer interface {
	// SetAnswer says that call nr, whatever its arguments, returns v until
	// SetAnswer says otherwise. With ok false it has no answer. Calls may reach
	// the kernel all the same.
	SetAnswer(nr int, v uint64, ok bool)
}

// CallPatcher is a Platform on which system calls cost less when the code at
// their site jumps to a trampoline instead of trapping. The kernel decides which
// sites are worth it, and writes both; see package task.
type CallPatcher interface {
	// PatchCall returns what is to be written for a site. It changes nothing;
	// false means that the code there is not known to be safe to change.
	PatchCall(CallSite) (CallPatch, bool)
}

// CallSite is a system call in guest code.
type CallSite struct {
	Addr   hostarch.Addr // of Code
	Code   []byte        // the text around the site
	After  int           // index in Code of the byte after the SYSCALL instruction
	Number uint64        // of the call that was made there
	// Trampoline is where the trampoline will be: TrampolineSize bytes of code
	// of its own, less than 1 GiB away.
	Trampoline hostarch.Addr
	// Alone says that nobody will return to where the call returns to, but by the
	// kernel, which takes them to CallPatch.Return: no frame of a signal handler.
	Alone bool
}

// TrampolineSize is the room for one trampoline, in bytes.
const TrampolineSize = 64

// CallPatch is a change of guest code. The trampoline is to be written first.
type CallPatch struct {
	Addr       hostarch.Addr
	Code       [5]byte // one instruction in the place of whole ones
	Trampoline []byte
	// Return is where the call that was made at the site returns to now.
	Return hostarch.Addr
}
