package kvm

import (
	"fmt"
	"math"
)

// cpuid is the CPUID instruction.
func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

// announced is what guests' CPUID says: what the host supports, but for what
// only kernels use, and what we do not switch on. User space finds out about the
// rest from there, and by AT_HWCAP2.
func announced(kvmFD int) (*cpuidTable, error) {
	t := &cpuidTable{n: maxCPUIDEntries}
	if err := ioctlPtr(kvmFD, ioGetSupportedID, t); err != nil {
		return nil, fmt.Errorf("asking which processor features guests can have: %w", err)
	}
	kept := uint32(0)
	for _, e := range t.entries[:min(t.n, maxCPUIDEntries)] {
		switch {
		case e.function>>16 == 0x4000:
			continue // what guest kernels may ask of KVM
		case e.function == 0xd && e.index > 1 && (e.index > 63 || xcr0Wanted&(1<<e.index) == 0):
			continue
		case e.function == 0x1d || e.function == 0x1e:
			continue // tiles
		}
		switch e.function {
		case 1:
			e.ecx &^= 1<<3 | 1<<5 | 1<<15 | 1<<17 | 1<<21 | 1<<24 // MONITOR, VMX, PDCM, PCID, X2APIC, TSC deadline
			e.edx &^= 1<<7 | 1<<12                                // MCE, MTRR: not for us to say, and of no use
		case 7:
			if e.index == 0 {
				e.ecx &^= 1<<3 | 1<<4 | 1<<7 | 1<<16    // PKU, OSPKE, shadow stacks, LA57
				e.edx &^= 1<<20 | 1<<22 | 1<<24 | 1<<25 // IBT, tiles
			}
		case 0xd:
			if e.index == 0 {
				e.eax &= xcr0Wanted
				e.edx = 0
				e.ecx = uint32(xstateSize(uint64(e.eax)))
			} else if e.index == 1 {
				e.ecx, e.edx = 0, 0 // states that only kernels save
				e.eax &^= 1 << 3    // XSAVES
			}
		case 0x80000001:
			e.ecx &^= 1 << 2 // SVM
		}
		t.entries[kept] = e
		kept++
	}
	t.n = kept
	return t, nil
}

// feature looks up a leaf of what guests see.
func (t *cpuidTable) leaf(function, index uint32) (e cpuidEntry) {
	for _, e := range t.entries[:t.n] {
		if e.function == function && e.index == index {
			return e
		}
	}
	return cpuidEntry{}
}

// xcr0Wanted is what guests have of the extended state: x87, SSE, AVX, AVX-512.
const xcr0Wanted = 0xe7

// xcr0 is what of it there is here.
func (t *cpuidTable) xcr0() uint64 {
	// Some hosts do not say that guests can have XSAVE, though they can.
	if _, _, c, _ := cpuid(1, 0); c&(1<<27) == 0 {
		return 0 // no XSAVE
	}
	x := uint64(t.leaf(0xd, 0).eax) & xcr0Wanted
	if x&0xe0 != 0xe0 {
		x &^= 0xe0
	}
	return x
}

// xstateSize is the size in bytes of an XSAVE area in standard format.
func xstateSize(xcr0 uint64) int {
	size := xsaveHeaderEnd
	for i := uint32(2); i < 63; i++ {
		if xcr0&(1<<i) != 0 {
			n, off, _, _ := cpuid(0xd, i)
			if off < math.MaxInt16 {
				size = max(size, int(off+n))
			}
		}
	}
	return size
}
