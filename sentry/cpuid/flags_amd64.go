package cpuid

import "strings"

// word is a register of feature bits, and the names that Linux gives to them from
// bit 0 on ("-": none).
type word struct {
	leaf, sub uint32
	reg       int // 0: EAX … 3: EDX
	names     string
}

// words are in the order in which Linux lists them
// (arch/x86/include/asm/cpufeatures.h).
var words = [...]word{
	{1, 0, 3, "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"},
	{0x80000001, 0, 3, "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"},
	{0x80000007, 0, 3, "- - - - - - - - constant_tsc"},
	{1, 0, 2, "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor"},
	{0x80000001, 0, 2, "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx"},
	{7, 0, 1, "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"},
	{0xd, 1, 0, "xsaveopt xsavec xgetbv1 xsaves xfd"},
	{7, 1, 0, "- - - - avx_vnni avx512_bf16 - cmpccxadd - - - - - - - - - - - - - amx_fp16 - avx_ifma - - lam"},
	{0x80000008, 0, 1, "clzero irperf xsaveerptr - - rdpru - - - wbnoinvd - - - - - - - - - - - - - amd_ppin - virt_ssbd - cppc"},
	{7, 0, 2, "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc"},
	{7, 0, 3, "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities"},
}

// readFlags spells the features. level and extended are the highest leaves.
func readFlags(level, extended uint32) string {
	var flags []string
	for _, w := range words {
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
