package kvm

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// vcpu is a virtual processor: one run slot. Between runs it is in ring 0, at the
// end of an entry of the stub, or in ring 3 if it was interrupted there.
type vcpu struct {
	m     *machine
	fd    int
	run   *runPage
	runB  []byte
	index int
	base  uint64 // of its area, in the guest's kernel half
	data  *vcpuData
	frame *frame
	code  []byte

	events vcpuEvents // scratch
	to     resume

	// The pool's lock guards these.
	user  *context // has the lease
	owner *context // whose floating-point state is in it
	used  uint64   // when it was leased last, counted in leases

	// Who has the lease changes these.
	spaceID uint64 // whose page tables CR3 has; 0: none
	gen     uint64 // and their generation when it was loaded
	fs, gs  uint64 // bases that are loaded
	bases   bool   // fs and gs are known
	foreign bool   // DS, ES, FS, GS may be another thread's
	ring3   bool   // it was interrupted in user code
	byCall  bool   // it is in ring 0 by SYSCALL
	broken  bool   // it is in a state that is not known
	answers bool   // the stub answers calls
	told    uint64 // version of the answers that the stub has
	toldOf  []int  // and their numbers

	// For those who kick it.
	seq   atomic.Uint64 // odd: in the guest, or about to be
	space atomic.Pointer[space]
	tid   atomic.Int32
}

// control registers. What a host does not take is left out; see probe.go.
const (
	cr0 = 1<<31 | 1<<18 | 1<<16 | 1<<5 | 1<<4 | 1<<1 | 1<<0 // PG AM WP NE ET MP PE

	cr4PAE      = 1 << 5
	cr4FXSR     = 1 << 9
	cr4XMM      = 1 << 10
	cr4UMIP     = 1 << 11
	cr4FSGSBase = 1 << 16
	cr4XSave    = 1 << 18
	cr4SMEP     = 1 << 20
	cr4SMAP     = 1 << 21

	cr4Needed = cr4PAE | cr4FXSR | cr4XMM
	cr4Wanted = cr4Needed | cr4UMIP | cr4FSGSBase | cr4XSave | cr4SMEP | cr4SMAP

	efer = 1<<0 | 1<<8 | 1<<10 | 1<<11 // SCE LME LMA NX

	msrStar         = 0xc0000081
	msrLStar        = 0xc0000082
	msrCStar        = 0xc0000083
	msrSFMask       = 0xc0000084
	msrKernelGSBase = 0xc0000102
	msrTSC          = 0x10

	star   = (compatCS&^3|3)<<48 | kernelCS<<32
	sfmask = 1<<18 | 1<<14 | 3<<12 | 1<<10 | 1<<9 | 1<<8 // AC NT IOPL DF IF TF
)

// newVCPU makes vCPU number index.
func (m *machine) newVCPU(index int) (_ *vcpu, err error) {
	v := &vcpu{m: m, fd: -1, index: index, base: kernelBase + uint64(index)*areaSize}
	defer func() {
		if err != nil {
			v.close()
			err = fmt.Errorf("making virtual processor %d: %w", index, err)
		}
	}()
	fd, err := ioctl(m.vmFD, ioCreateVCPU, uintptr(index))
	if err != nil {
		return nil, err
	}
	v.fd = int(fd)
	if v.run, v.runB, err = mapRun(v.fd, m.runSize); err != nil {
		v.run = nil
		return nil, fmt.Errorf("mapping what it shares with the host: %w", err)
	}
	if err := ioctlPtr(v.fd, ioSetCPUID, m.cpuid); err != nil {
		return nil, fmt.Errorf("setting its CPUID: %w", err)
	}
	area, err := m.mapArea(v.base)
	if err != nil {
		return nil, err
	}
	page := func(i int) []byte { return area[i*pageSize:][:pageSize:pageSize] }
	v.data, v.frame = asData(page(dataPage)), asFrame(page(stackPage))
	v.code = page(codePage)
	writeTables(v.data, page(idtPage), v.base)
	if err := v.setMSRs(); err != nil {
		return nil, err
	}
	if m.cr4 == 0 {
		err = m.chooseCR4(v)
	} else {
		err = v.setSRegs()
	}
	if err != nil {
		return nil, err
	}
	if err := v.setXCR0(); err != nil {
		return nil, err
	}
	v.configure()
	return v, nil
}

// configure makes the vCPU what the host's quirks want.
func (v *vcpu) configure() {
	v.answers = v.m.quirks.answers
	v.to = writeStub(v.code, v.base, v.m.quirks.bases, v.answers)
	v.run.validRegs = syncRegs
	if !v.m.quirks.bases {
		v.run.validRegs |= syncSRegs
	}
}

// setMSRs sets what SYSCALL does, and the clock: guests read the host's time
// stamp counter, which the vDSO computes with.
func (v *vcpu) setMSRs() error {
	t := &msrTable{n: 5}
	copy(t.entries[:], []msrEntry{
		{index: msrStar, data: star},
		{index: msrLStar, data: v.base + entryCall},
		{index: msrCStar, data: v.base + entryCompat},
		{index: msrSFMask, data: sfmask},
		{index: msrKernelGSBase, data: 0},
	})
	n, err := ioctlCount(v.fd, ioSetMSRs, t)
	if err == nil && n != int(t.n) {
		err = fmt.Errorf("%w: the host refuses MSR %#x", unix.EINVAL, t.entries[n].index)
	}
	if err != nil {
		return fmt.Errorf("setting MSRs: %w", err)
	}
	if tscOffsetZero(v.fd) != nil {
		// Before Linux 5.16: the host turns what we say it is now into the same
		// offset for vCPUs that are set within a second.
		t := &msrTable{n: 1}
		t.entries[0] = msrEntry{index: msrTSC, data: rdtsc()}
		ioctlCount(v.fd, ioSetMSRs, t)
	}
	return nil
}

// Segments as KVM has them.
var (
	kernelCode = segment{selector: kernelCS, limit: maxDescriptorLimit, typ: 0xb, present: 1, s: 1, l: 1, g: 1}
	kernelData = segment{selector: kernelSS, limit: maxDescriptorLimit, typ: 0x3, present: 1, s: 1, db: 1, g: 1}
	noSegment  = segment{unusable: 1}
)

// setSRegs puts the vCPU into ring 0 of long mode.
func (v *vcpu) setSRegs() error {
	s := new(systemRegs)
	if err := ioctlPtr(v.fd, ioGetSRegs, s); err != nil {
		return fmt.Errorf("reading system registers: %w", err)
	}
	s.cs, s.ss = kernelCode, kernelData
	s.ds, s.es, s.fs, s.gs = noSegment, noSegment, noSegment, noSegment
	s.tr = segment{base: v.base + offTSS, limit: tssSize - 1, selector: tssSel, typ: 0xb, present: 1}
	s.ldt = segment{typ: 2, unusable: 1}
	s.gdt = descriptorTable{base: v.base + offGDT, limit: gdtEntries*8 - 1}
	s.idt = descriptorTable{base: v.base + idtPage*pageSize, limit: vectors*16 - 1}
	s.cr0, s.cr4, s.efer, s.cr3 = cr0, v.m.cr4, efer, v.m.bootCR3
	if err := ioctlPtr(v.fd, ioSetSRegs, s); err != nil {
		return fmt.Errorf("setting system registers (CR4 %#x): %w", s.cr4, err)
	}
	v.run.sregs = *s
	return nil
}

// setXCR0 switches the extended state on that guests have.
func (v *vcpu) setXCR0() error {
	if v.m.xcr0 == 0 {
		return nil
	}
	x := &xcrTable{n: 1}
	x.xcrs[0].value = v.m.xcr0
	if err := ioctlPtr(v.fd, ioSetXCRs, x); err != nil {
		return fmt.Errorf("setting XCR0 to %#x: %w", v.m.xcr0, err)
	}
	return nil
}

// reset puts a vCPU into its first state again. Some hosts clear all of it after a
// triple fault, what SYSCALL does included.
func (v *vcpu) reset() error {
	v.spaceID, v.bases, v.foreign, v.ring3, v.byCall, v.broken = 0, false, true, false, false, false
	if err := ioctlPtr(v.fd, ioSetEvents, noEvents()); err != nil {
		return err
	}
	if err := v.setMSRs(); err != nil {
		return err
	}
	if err := v.setSRegs(); err != nil {
		return err
	}
	return v.setXCR0()
}

// close gives the vCPU back.
func (v *vcpu) close() {
	if v.run != nil {
		unix.Munmap(v.runB)
		v.run = nil
	}
	if v.fd >= 0 {
		unix.Close(v.fd)
		v.fd = -1
	}
}

// mapArea makes the pages of a vCPU's area, at base in the kernel's half of all
// address spaces, or returns those that are there.
func (m *machine) mapArea(base uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.areas
	for level := rootLevel - 1; level > 0; level-- {
		i := int(base / span(level) % 512)
		if t.load(i) == 0 {
			below, err := m.newPagesLocked(1)
			if err != nil {
				return nil, err
			}
			t.store(i, below|pteP|pteW|pteA)
		}
		t = m.table(t.load(i) & pteAddr)
	}
	i := int(base / pageSize % 512)
	if t.load(i) == 0 {
		first, err := m.newPagesLocked(areaPages)
		if err != nil {
			return nil, err
		}
		for k, bits := range [areaPages]uint64{codePage: 0, dataPage: pteW | pteNX, idtPage: pteNX, stackPage: pteW | pteNX} {
			t.store(i+k, first+uint64(k)*pageSize|pteP|pteA|pteD|bits)
		}
	}
	return m.sysBytes(t.load(i)&pteAddr, areaPages*pageSize), nil
}
