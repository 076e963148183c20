package proc

import (
	"bytes"
	"fmt"

	"runsc-lite/sentry/cpuid"
)

// writeCPUInfo is /proc/cpuinfo (arch/x86/kernel/cpu/proc.c) for n processors of one
// socket. What only a Linux on the bare machine knows (microcode, bugs) is left out.
func writeCPUInfo(b *bytes.Buffer, n int) {
	p := cpuid.Read()
	for i := range n {
		fmt.Fprintf(b, "processor\t: %d\nvendor_id\t: %s\ncpu family\t: %d\nmodel\t\t: %d\nmodel name\t: %s\nstepping\t: %d\n",
			i, p.Vendor, p.Family, p.Model, p.Brand, p.Stepping)
		if p.MHz != 0 {
			fmt.Fprintf(b, "cpu MHz\t\t: %.3f\n", p.MHz)
		}
		if p.CacheSize != 0 {
			fmt.Fprintf(b, "cache size\t: %d KB\n", p.CacheSize)
		}
		fmt.Fprintf(b, "physical id\t: 0\nsiblings\t: %d\ncore id\t\t: %d\ncpu cores\t: %d\napicid\t\t: %d\ninitial apicid\t: %d\n",
			n, i, n, i, i)
		fmt.Fprintf(b, "fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: %d\nwp\t\t: yes\nflags\t\t: %s\n", p.Level, p.Flags)
		if p.MHz != 0 {
			fmt.Fprintf(b, "bogomips\t: %.2f\n", 2*p.MHz)
		}
		fmt.Fprintf(b, "clflush size\t: %d\ncache_alignment\t: %d\n", p.LineSize, p.LineSize)
		fmt.Fprintf(b, "address sizes\t: %d bits physical, %d bits virtual\npower management:\n\n", p.PhysicalBits, p.VirtualBits)
	}
}
