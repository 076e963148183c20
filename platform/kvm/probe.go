package kvm

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// quirks are where hosts differ from the processor's manuals. What they are is
// found out at start, by running a few instructions. The zero value is a host
// whose ring 0 is the processor's own, on nested page tables, but for bases and
// sysret.
type quirks struct {
	// bases: the stub may use what ring 0 has: it keeps the segment bases.
	// Without, each exit asks the host for all system registers.
	bases bool
	// sysret: SYSRETQ works.
	sysret bool
	// answers: the stub returns from calls by itself.
	answers bool
	// callFaults: SYSCALL stays in ring 3, and arrives as a fetch from LSTAR.
	// Ring 0 is then emulated, an instruction at a time.
	callFaults bool
	// intIsInvalid: INT of a vector without a gate is #UD, not #GP; and INT3 is,
	// if the stack pointer is no address.
	intIsInvalid bool
}

const (
	// patience is how long the probe waits for a few instructions.
	patience = 2 * time.Second
	// rounds is how many system calls are timed.
	rounds = 15

	probeCode = 0x400000
	probeData = 0x600000
)

// Code of the probe, at probeCode.
var probeText = []byte{
	0: 0x0f, 0x05, // syscall
	8: 0xcd, 0x80, // int 0x80
	16: 0x48, 0x8b, 0x07, 0x0f, 0x05, // mov rax, [rdi]; syscall
	24: 0x0f, 0x05, 0x48, 0x97, 0x0f, 0x05, // syscall; xchg rdi, rax; syscall
}

const (
	probeCall = probeCode
	probeINT  = probeCode + 8
	probeRead = probeCode + 16
	probeTwo  = probeCode + 24
)

// prober runs code in an address space of pages of our own.
type prober struct {
	m *machine
	v *vcpu
	c *context
	s *space
}

// probe finds out what the host takes and what it does. It returns the vCPU that
// it used, fit for use.
func (m *machine) probe() (*vcpu, error) {
	v, err := m.newVCPU(0)
	if err != nil {
		return nil, err
	}
	m.nextVCPU.Store(1)
	runtime.LockOSThread() // kicks are for a thread
	defer runtime.UnlockOSThread()
	p := &prober{m: m, v: v, c: &context{tid: gettid()}, s: &space{id: ^uint64(0)}}
	if err := p.probe(); err != nil {
		v.close()
		return nil, fmt.Errorf("probing: %w", err)
	}
	// What the probe's pages were, no other may be before it is forgotten.
	p.s.pages.m = m
	var c change
	p.s.pages.release(&c)
	if err := m.giveBack(&c); err != nil {
		v.close()
		return nil, err
	}
	if err := v.reset(); err != nil {
		v.close()
		return nil, fmt.Errorf("resetting a virtual processor: %w", err)
	}
	return v, nil
}

func (p *prober) probe() error {
	m, v := p.m, p.v
	m.fresh = make([]byte, m.xsaveSize)
	if err := v.getXSave(m.fresh); err != nil {
		return err
	}
	explicit(m.fresh)
	if err := p.addressSpace(); err != nil {
		return err
	}
	vector, err := p.run(probeCall, 0)
	switch {
	case err != nil:
		return fmt.Errorf("a system call: %w", err)
	case vector == portException+vectorPageFault && v.frame.rip == v.base+entryCall:
		m.quirks.callFaults = true
	case vector != portSyscall:
		return fmt.Errorf("SYSCALL arrives as vector %#x (error code %#x, RIP %#x)", vector-portException, v.frame.errorCode, v.frame.rip)
	}
	switch vector, err = p.run(probeINT, 0); {
	case err != nil:
		return fmt.Errorf("INT 0x80: %w", err)
	case vector == portException+vectorInvalid:
		m.quirks.intIsInvalid = true
	case vector != portException+vectorProtection:
		return fmt.Errorf("INT 0x80 arrives as vector %#x", vector-portException)
	}
	if err := p.stale(); err != nil {
		return fmt.Errorf("changing a mapping: %w", err)
	}
	if !m.quirks.callFaults {
		if err := p.ring0(); err != nil {
			return err
		}
	}
	return p.time()
}

// addressSpace makes an address space with the probe's code and a page of data.
// Their pages are not the memory file's: nothing of that is touched.
func (p *prober) addressSpace() error {
	p.s.pages.m = p.m
	if err := p.s.pages.start(); err != nil {
		return err
	}
	code, err := p.m.newPage()
	if err != nil {
		return err
	}
	copy(p.m.sysPage(code), probeText)
	if err := p.set(probeCode, code|pteMapped|pteP|pteU|pteA|pteD); err != nil {
		return err
	}
	return nil
}

// set writes the entry that maps a page of the probe's.
func (p *prober) set(addr, entry uint64) error {
	t := p.m.table(p.s.pages.root.Load())
	for level := rootLevel; level > 0; level-- {
		i := int(addr / span(level) % 512)
		if t.load(i) == 0 {
			below, err := p.m.newPage()
			if err != nil {
				return err
			}
			t.store(i, below|pteTable)
		}
		t = p.m.table(t.load(i) & pteAddr)
	}
	t.store(int(addr/pageSize%512), entry)
	p.s.gen.Add(1)
	return nil
}

// run runs the probe's code from an address and returns the port of the stub's
// OUT.
func (p *prober) run(rip, rdi uint64) (int, error) {
	c := p.c
	c.regs.Rip, c.regs.Rdi, c.regs.Cs, c.regs.Eflags = rip, rdi, userCS, 1<<1|flagIF
	c.state.Store(running)
	late := time.AfterFunc(patience, func() { c.state.Store(kicked); p.v.kick() })
	defer late.Stop()
	for {
		port, how, err := p.v.guest(c, p.s)
		if err != nil {
			return 0, err
		}
		if how == exited {
			p.v.save(c)
			return port, nil
		}
		if c.state.Load() == kicked {
			return 0, fmt.Errorf("nothing happens: %w", unix.ETIMEDOUT)
		}
	}
}

// read is what the guest reads at probeData.
func (p *prober) read() (v uint64, ok bool, err error) {
	port, err := p.run(probeRead, probeData)
	if err != nil {
		return 0, false, err
	}
	if port == portException+vectorPageFault && p.v.frame.rip == probeRead {
		return 0, false, nil
	}
	return p.c.regs.Rax, true, nil
}

// stale finds out whether the host runs guests on copies of our tables, which it
// does not keep up to date with what we write: after loading CR3, an entry must
// be what it is.
func (p *prober) stale() error {
	var pages [2]uint64
	for i := range pages {
		var err error
		if pages[i], err = p.m.newPage(); err != nil {
			return err
		}
		p.m.sysPage(pages[i])[0] = byte(i + 1)
	}
	for round := range 6 {
		want := pages[round%2] | pteMapped | pteP | pteU | pteNX | pteA | pteD
		if err := p.set(probeData, want); err != nil {
			return err
		}
		v, ok, err := p.read()
		if err != nil {
			return err
		}
		if round == 0 && (!ok || v != 1) {
			return fmt.Errorf("the guest reads %d (%v) where there is 1", v, ok)
		}
		if !ok || v != uint64(round%2+1) {
			p.m.shadows = true
		}
	}
	if err := p.set(probeData, 0); err != nil {
		return err
	}
	if _, ok, err := p.read(); err != nil || ok {
		p.m.shadows = true
		return err
	}
	return nil
}

// ring0 finds out how much of the processor's ring 0 there is. What does not work
// is done without.
func (p *prober) ring0() error {
	q := &p.m.quirks
	for _, try := range []*bool{&q.bases, &q.sysret} {
		if try == &q.bases && (p.m.cr4&cr4FSGSBase == 0 || p.m.xcr0 == 0) {
			continue
		}
		*try = true
		p.v.configure()
		ok := true
		for range 3 { // the second time it returns from a call
			p.c.regs.Fs_base, p.c.regs.Gs_base = probeData, probeCode
			port, err := p.run(probeCall, 7)
			ok = ok && err == nil && port == portSyscall && p.c.regs.Rdi == 7 &&
				p.c.regs.Fs_base == probeData && p.c.regs.Gs_base == probeCode
			p.v.byCall = true
			p.c.regs.Rcx, p.c.regs.R11 = probeCall, 1<<1|flagIF
		}
		if !ok {
			*try = false
			p.v.configure()
			if err := p.v.reset(); err != nil {
				return err
			}
		}
	}
	return p.answers()
}

// answers finds out whether the stub can answer a call: the number of the second is
// in RDI then.
func (p *prober) answers() error {
	q := &p.m.quirks
	if !q.bases || !q.sysret {
		return nil
	}
	q.answers = true
	p.v.configure()
	const nr, v, next = unix.SYS_GETPID, 4711, maxAnswers
	p.c.answers, p.c.version = []answer{{nr, v}}, 1
	p.c.regs.Rax, p.c.regs.Rbx, p.c.regs.Rsp = nr, 17, probeData
	port, err := p.run(probeTwo, next)
	r := &p.c.regs
	if err == nil && port == portSyscall && r.Rdi == v && r.Rax == next && r.Rbx == 17 && r.Rsp == probeData && r.Rcx == probeTwo+6 {
		p.c.answers, p.c.version = nil, 0
		return nil
	}
	q.answers = false
	p.v.configure()
	return p.v.reset()
}

// time measures a round trip.
func (p *prober) time() error {
	var took []time.Duration
	for range rounds {
		began := time.Now()
		if _, err := p.run(probeCall, 0); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	p.m.roundTrip = took[len(took)/2]
	return nil
}

// chooseCR4 sets the bits that the host takes, in a vCPU's system registers.
func (m *machine) chooseCR4(v *vcpu) error {
	m.cr4 = cr4Wanted
	err := v.setSRegs()
	if err == nil || !errors.Is(err, unix.EINVAL) {
		return err
	}
	m.cr4 = cr4Needed
	if err := v.setSRegs(); err != nil {
		return err
	}
	for bit := uint64(1); bit < 1<<32; bit <<= 1 {
		if bit&cr4Wanted&^cr4Needed == 0 {
			continue
		}
		m.cr4 |= bit
		if v.setSRegs() != nil {
			m.cr4 &^= bit
		}
	}
	return v.setSRegs()
}

// Report is what the probe of this host found.
type Report struct {
	RoundTrip time.Duration // of a system call
	// Ring0 says that ring 0 is the processor's own, not emulated.
	Ring0 bool
	// Shadows says that the host runs guests on copies of their page tables.
	Shadows bool
	// Stub says that the stub keeps segment bases: one host call for an exit.
	Stub   bool
	SysRet bool
	// Answers says that the stub answers some calls.
	Answers bool
	// INTInvalid says that INT without a gate raises #UD.
	INTInvalid bool
	// SlowThreads says that letting another thread run a vCPU takes milliseconds.
	SlowThreads bool
	// FewSlots says that memory slots have to be large.
	FewSlots bool
	CR4      uint64 // bits that the host takes
	XCR0     uint64 // extended state that guests have
}

// Report returns what the platform found out when it started.
func (p *KVM) Report() Report {
	m := p.m
	return Report{
		RoundTrip: m.roundTrip, Ring0: !m.quirks.callFaults, Shadows: m.shadows,
		Stub: m.quirks.bases, SysRet: m.quirks.sysret, Answers: m.quirks.answers,
		INTInvalid: m.quirks.intIsInvalid, SlowThreads: !m.threadsCheap, FewSlots: m.chunk == largeChunk,
		CR4: m.cr4, XCR0: m.xcr0,
	}
}

// Features says in words what guests have here.
func (r Report) Features() []string {
	f := []string{"nested page tables"}
	if r.Shadows {
		f[0] = "shadow page tables"
	}
	if r.Answers {
		f = append(f, "answers some calls in the stub")
	}
	for _, b := range []struct {
		name string
		has  bool
	}{
		{"SMEP", r.CR4&cr4SMEP != 0}, {"SMAP", r.CR4&cr4SMAP != 0}, {"UMIP", r.CR4&cr4UMIP != 0}, {"FSGSBASE", r.CR4&cr4FSGSBase != 0},
		{"SYSRET", r.SysRet}, {"AVX", r.XCR0&4 != 0}, {"AVX-512", r.XCR0&0xe0 == 0xe0},
	} {
		if b.has {
			f = append(f, b.name)
		}
	}
	return f
}

// Quirks says in words where the host is not as the processor's manuals have it, or
// slow for another reason.
func (r Report) Quirks() []string {
	var q []string
	for _, b := range []struct {
		is   bool
		what string
	}{
		{!r.Ring0, "SYSCALL stays in ring 3, and ring 0 is emulated (a virtual machine without hardware for it)"},
		{r.Ring0 && !r.Stub, "the host is asked for segment bases at each exit"},
		{r.Ring0 && !r.SysRet, "SYSRET does not work"},
		{r.Shadows, "changed page table entries are stale until the host is made to forget them"},
		{r.INTInvalid, "INT without a gate is an invalid instruction"},
		{r.CR4 != cr4Wanted, fmt.Sprintf("CR4 has no bits %#x", cr4Wanted&^r.CR4)},
		{r.SlowThreads, "a virtual processor changes its thread slowly (Linux before 6.13)"},
		{r.FewSlots, "there are few memory slots"},
	} {
		if b.is {
			q = append(q, b.what)
		}
	}
	return q
}
