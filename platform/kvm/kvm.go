// Package kvm runs guest threads in ring 3 of a virtual machine.
//
// The sentry stays an ordinary process. In the virtual machine there is no kernel:
// ring 0 has a stub of a few instructions (stub.go), which every SYSCALL and
// exception enters and leaves the machine from, by an OUT whose port says what it
// was. The sentry reads the registers where the host shares them, and enters again
// at the stub's end, which returns to user code. Guest page tables are built by the
// sentry (pagetable.go) from pages that it gives to the machine, over the same
// memory file as on every platform.
//
// # Speed
//
// A system call is one KVM_RUN and no other host call. What else it may have to
// do is done by the stub on its way into the guest: loading CR3, for another
// address space or to forget old entries, and the segment bases. A mapping change
// is a store to memory; those of a batch are followed by one load of CR3 if they
// took something away, and by a kick of those vCPUs only that run in the space at
// that moment. Floating-point state stays in the vCPU until another guest thread
// gets it. Calls with results that only the kernel changes, as getpid(2), the stub
// answers itself, from a table of the thread's (answers.go). cost_test.go holds all
// that; docs/performance.md says what it comes to.
//
// A vCPU is a run slot (pool.go): who is to run is the process manager's business,
// who waits has none. Goroutines of guest threads are bound to a host thread only
// while they have one, so that the Go scheduler switches between guests.
//
// # Hosts
//
// On processors with VMX or SVM, ring 0 is the processor's. Where there are nested
// page tables, it walks ours; where there are not, the host walks copies of them
// (shadows), and does not look at an entry again that it has a copy of. Then the
// pages behind entries that were taken away are dropped from the sentry's mapping
// of the memory file, which makes the host forget what it made of them, and tables
// are used again only after the host forgot all of them. There is also a KVM
// without such hardware (kvm_pvm), which emulates ring 0 and whose SYSCALL stays in
// ring 3. The probe at start (probe.go) finds out which it is.
//
// # Isolation
//
// Guest code runs in ring 3 of a machine that has no devices, no interrupts, no
// memory but the memory file, page tables, and the stubs. User entries map pages
// of the memory file that the kernel asked for, and nothing else: addresses are
// checked when they are queued. Pages of ours are mapped for user code by the probe
// only, before there are guests. The stubs' pages are supervisor pages in the kernel's half, one set for all
// address spaces; what is in them are a guest thread's registers. Ring 3 has no way
// into ring 0 but SYSCALL and the gates, which lead to the stub, on a stack of its
// own (IST), with interrupts, TF, AC and NT off. The stub reads nothing that a guest
// wrote, but for RAX, one byte of which is the index of an answer, and TF. What goes into IRETQ and the bases is made such that the processor takes
// it first. An entry that is not present has its address inverted (L1TF).
//
// What would have to go wrong twice: a guest in ring 0 would have the memory file,
// that is all guest processes of its sandbox, and not the sentry, whose memory is
// not in the machine, nor the host. Port numbers and registers that it could send
// us are checked, or are what a guest thread could have in its registers anyhow.
//
// A triple fault, or anything else that the host does not go on with, is an error
// of Run: the guest thread ends, and its vCPU is reset.
//
// # Interruption
//
// A kick sets immediate_exit in the shared page and signals the vCPU's thread.
// Before it enters, a vCPU says so (seq), and then looks at what it may be kicked
// for; who kicks does it the other way round: no kick is lost. Where the vCPU has to
// go on to be left in order, immediate_exit is taken back, for it ends at the stub's
// OUT then: in an entry of the stub, which a call that is being answered is made to
// take to its end, and with an exception that the host is about to deliver, since it
// would hit whatever runs next. What else is left of the moment is cleared.
//
// # Where it differs from Linux
//
// DS, ES, FS and GS read as zero when a guest thread got its vCPU back from another.
// SGDT, SIDT and their like fault, where the processor can make them.
//
// Lock order:
//
//	space.mu
//	  machine.mu
//	KVM.mu
//	pool.mu
//	  machine.mu
package kvm

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// Config says what the platform works on.
type Config struct {
	// MemoryFD is the memory file.
	MemoryFD int
	// VCPUs is how many contexts run at a time. 0: as many as there are
	// processors.
	VCPUs int
	// Log is told at Close what was counted; nil: nobody.
	Log *slog.Logger
}

// KVM implements platform.Platform.
type KVM struct {
	m    *machine
	pool *pool

	ids     atomic.Uint64 // of spaces
	closing atomic.Bool
	counts  *counters
	log     *slog.Logger

	mu       sync.Mutex
	closed   bool
	contexts sync.WaitGroup
}

const (
	minAddress = 0x10000
	maxAddress = 1<<47 - pageSize
)

var (
	errClosed = errors.New("the platform is closed")
	errGone   = errors.New("the address space is gone")
)

// New starts the platform. It fails where there is no KVM, or none that does what
// the platform needs, and says so.
func New(c Config) (*KVM, error) {
	p := &KVM{counts: &counters{}, log: c.Log}
	m, err := newMachine(c.MemoryFD, p.counts)
	if err != nil {
		return nil, fmt.Errorf("kvm platform: %w", err)
	}
	v, err := m.probe()
	if err != nil {
		m.close()
		return nil, fmt.Errorf("kvm platform: %w", err)
	}
	if c.VCPUs == 0 {
		c.VCPUs = processors()
	}
	p.m, p.pool = m, newPool(m, c.VCPUs, v)
	return p, nil
}

// processors is how many of the host's we may use.
func processors() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err == nil && set.Count() > 0 {
		return set.Count()
	}
	return runtime.NumCPU()
}

// Name implements platform.Platform.
func (p *KVM) Name() string { return "kvm" }

// RunSlots implements platform.SlotLimiter.
func (p *KVM) RunSlots() int { return p.pool.slots }

// MinAddress implements platform.Platform.
func (p *KVM) MinAddress() hostarch.Addr { return minAddress }

// MaxAddress implements platform.Platform.
func (p *KVM) MaxAddress() hostarch.Addr { return maxAddress }

// NewAddressSpace implements platform.Platform.
func (p *KVM) NewAddressSpace() (platform.AddressSpace, error) {
	return p.newSpace(), nil
}

func (p *KVM) newSpace() *space {
	s := &space{p: p, id: p.ids.Add(1)}
	s.pages.m = p.m
	return s
}

// Spawn implements platform.Platform. Goroutines are what the Go scheduler makes
// of them: one that waits gives its thread, and the vCPU that goes with it, to
// the next.
func (p *KVM) Spawn(_ platform.Context, as platform.AddressSpace, fn func(platform.Context)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	p.contexts.Add(1)
	c := p.newContext(as.(*space))
	go func() {
		defer p.contexts.Done()
		defer c.end()
		fn(c)
	}()
	return nil
}

// Close implements platform.Platform.
func (p *KVM) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	p.mu.Unlock()
	p.closing.Store(true)
	p.pool.close()
	p.contexts.Wait()
	for _, v := range append(p.pool.lost, *p.pool.all.Load()...) {
		v.close()
	}
	p.m.close()
	if p.log != nil {
		p.counts.report(p.log)
	}
}

// counters are what operations cost.
type counters struct {
	runs        atomic.Uint64 // KVM_RUN
	ioctls      atomic.Uint64 // others of a vCPU, after it was made
	calls       atomic.Uint64 // system calls
	faults      atomic.Uint64 // page faults
	exceptions  atomic.Uint64 // others
	interrupts  atomic.Uint64 // by a signal of the host's
	pending     atomic.Uint64 // of those, with an exception on its way
	spurious    atomic.Uint64 // page faults that were nothing any more
	switches    atomic.Uint64 // loads of CR3
	kicks       atomic.Uint64 // signals to a vCPU's thread
	slots       atomic.Uint64 // memory slots
	drops       atomic.Uint64 // ranges of the memory file dropped for shadows
	shadowDrops atomic.Uint64 // times that the host forgot all shadows
}

func (c *counters) report(log *slog.Logger) {
	log.Debug("kvm has counted",
		"runs", c.runs.Load(), "ioctls", c.ioctls.Load(), "calls", c.calls.Load(), "faults", c.faults.Load(),
		"exceptions", c.exceptions.Load(), "interrupts", c.interrupts.Load(), "spurious", c.spurious.Load(),
		"switches", c.switches.Load(), "kicks", c.kicks.Load(), "slots", c.slots.Load(),
		"drops", c.drops.Load(), "shadowDrops", c.shadowDrops.Load())
}
