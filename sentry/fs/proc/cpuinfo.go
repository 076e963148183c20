package proc

import (
	"bytes"
	"fmt"
)

// writeCPUInfo is /proc/cpuinfo (arch/x86/kernel/cpu/proc.c) for n processors of one
// socket. What only a Linux on the bare machine knows (microcode, bugs) is left out.
func writeCPUInfo(b *bytes.Buffer, n int) {
	p := readProcessor()
	for i := range n {
		fmt.Fprintf(b, "processor\t: %d\nvendor_id\t: %s\ncpu family\t: %d\nmodel\t\t: %d\nmodel name\t: %s\n",
			i, p.vendor, p.family, p.model, p.brand)
		fmt.Fprintf(b, "stepping\t: %d\n", p.stepping)
		if p.mhz != 0 {
			fmt.Fprintf(b, "cpu MHz\t\t: %.3f\n", p.mhz)
		}
		if p.cacheKB != 0 {
			fmt.Fprintf(b, "cache size\t: %d KB\n", p.cacheKB)
		}
		fmt.Fprintf(b, "physical id\t: 0\nsiblings\t: %d\ncore id\t\t: %d\ncpu cores\t: %d\napicid\t\t: %d\ninitial apicid\t: %d\n",
			n, i, n, i, i)
		fmt.Fprintf(b, "fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: %d\nwp\t\t: yes\nflags\t\t: %s\n", p.level, p.flags)
		if p.mhz != 0 {
			fmt.Fprintf(b, "bogomips\t: %.2f\n", 2*p.mhz)
		}
		fmt.Fprintf(b, "clflush size\t: %d\ncache_alignment\t: %d\n", p.lineSize, p.lineSize)
		fmt.Fprintf(b, "address sizes\t: %d bits physical, %d bits virtual\npower management:\n\n", p.physicalBits, p.virtualBits)
	}
}
