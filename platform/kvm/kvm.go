// Package kvm runs guest threads in a virtual machine of their own.
package kvm

import (
	"errors"
	"fmt"
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
}

// KVM implements platform.Platform.
type KVM struct {
	m    *machine
	pool *pool

	ids     atomic.Uint64 // of spaces
	closing atomic.Bool
	counts  *counters

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
	p := &KVM{counts: &counters{}}
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
