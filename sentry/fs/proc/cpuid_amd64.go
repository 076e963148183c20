package proc

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// cpuid is the CPUID instruction.
func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

// processor is what CPUID tells of the processor that it runs on; all are taken to
// be like it.
type processor struct {
	vendor, brand           string
	family, model, stepping uint32
	level                   uint32 // highest basic leaf
	flags                   string
	cacheKB                 uint32
	lineSize                uint32 // bytes
	physicalBits            uint32
	virtualBits             uint32
	mhz                     float64 // 0: not told
}

func readProcessor() *processor {
	p := &processor{}
	level, b, c, d := cpuid(0, 0)
	p.level = level
	p.vendor = text4(b, d, c)
	a, b, _, _ := cpuid(1, 0)
	p.stepping = a & 15
	p.family, p.model = a>>8&15, a>>4&15
	if p.family == 6 || p.family == 15 {
		p.model |= a >> 12 & 0xf0
	}
	if p.family == 15 {
		p.family += a >> 20 & 0xff
	}
	p.lineSize = b >> 8 & 0xff * 8
	extended, _, _, _ := cpuid(0x80000000, 0)
	if extended >= 0x80000004 {
		for leaf := uint32(0x80000002); leaf <= 0x80000004; leaf++ {
			p.brand += text4(cpuid(leaf, 0))
		}
		p.brand = strings.TrimSpace(strings.TrimRight(p.brand, "\x00"))
	}
	p.physicalBits, p.virtualBits = 36, 48
	if extended >= 0x80000008 {
		a, _, _, _ := cpuid(0x80000008, 0)
		p.physicalBits, p.virtualBits = a&0xff, a>>8&0xff
	}
	p.flags = readFlags(level, extended)
	p.cacheKB = p.readCache(extended)
	p.mhz = p.readMHz()
	return p
}

// text4 makes a string of registers.
func text4(regs ...uint32) string {
	var b []byte
	for _, r := range regs {
		b = binary.LittleEndian.AppendUint32(b, r)
	}
	return string(b)
}

// readCache returns what Linux shows as cache size: of AMD's the second level,
// otherwise the largest there is.
func (p *processor) readCache(extended uint32) (kb uint32) {
	if strings.Contains(p.vendor, "AMD") || strings.Contains(p.vendor, "Hygon") {
		if extended >= 0x80000006 {
			_, _, c, _ := cpuid(0x80000006, 0)
			return c >> 16
		}
		return 0
	}
	if p.level < 4 {
		return 0
	}
	for i := uint32(0); i < 8; i++ {
		a, b, c, _ := cpuid(4, i)
		if a&31 == 0 {
			break
		}
		ways, parts, line, sets := b>>22+1, b>>12&0x3ff+1, b&0xfff+1, c+1
		kb = max(kb, ways*parts*line*sets/1024)
	}
	return kb
}

// readMHz returns the base frequency: from CPUID if it tells, else from the name.
func (p *processor) readMHz() float64 {
	if p.level >= 0x16 {
		if a, _, _, _ := cpuid(0x16, 0); a&0xffff != 0 {
			return float64(a & 0xffff)
		}
	}
	if _, _, c, _ := cpuid(1, 0); c>>31 != 0 {
		// A hypervisor may tell the frequency of the TSC in kHz.
		if max, _, _, _ := cpuid(0x40000000, 0); max >= 0x40000010 && max < 0x40010000 {
			if a, _, _, _ := cpuid(0x40000010, 0); a != 0 {
				return float64(a) / 1000
			}
		}
	}
	if i := strings.LastIndex(p.brand, "@ "); i >= 0 {
		if v, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(p.brand[i+2:]), "GHz"), 64); err == nil {
			return v * 1000
		}
	}
	return 0
}

// flagWords are the words of feature bits, and the names that Linux gives to the
// bits from 0 on ("-": none), in the order in which it lists them
// (arch/x86/include/asm/cpufeatures.h).
var flagWords = []struct {
	leaf, sub uint32
	reg       int // 0: EAX … 3: EDX
	names     string
}{
	{1, 0, 3, "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"},
	{0x80000001, 0, 3, "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"},
	{0x80000007, 0, 3, "- - - - - - - - constant_tsc - - - - -"},
	{1, 0, 2, "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor"},
	{0x80000001, 0, 2, "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx"},
	{7, 0, 1, "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"},
	{0xd, 1, 0, "xsaveopt xsavec xgetbv1 xsaves xfd"},
	{7, 1, 0, "- - - - avx_vnni avx512_bf16 - cmpccxadd - - - - - - - - - - - - - amx_fp16 - avx_ifma - - lam"},
	{0x80000008, 0, 1, "clzero irperf xsaveerptr - - rdpru - - - wbnoinvd - - - - - - - - - - - - - amd_ppin - virt_ssbd - cppc"},
	{7, 0, 2, "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc"},
	{7, 0, 3, "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities"},
}

// readFlags spells the features.
func readFlags(level, extended uint32) string {
	var flags []string
	for _, w := range flagWords {
		if w.leaf < 0x80000000 && w.leaf > level || w.leaf >= 0x80000000 && w.leaf > extended {
			continue
		}
		var regs [4]uint32
		regs[0], regs[1], regs[2], regs[3] = cpuid(w.leaf, w.sub)
		for i, name := range strings.Fields(w.names) {
			if name != "-" && regs[w.reg]>>i&1 != 0 {
				flags = append(flags, name)
			}
		}
	}
	return strings.Join(flags, " ")
}
