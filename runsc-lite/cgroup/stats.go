package cgroup

import (
	"errors"

	"github.com/opencontainers/cgroups"
)

// Stats are the counters of the groups, in the form in which runc tells them (events
// --stats), so that whoever reads those reads these.
type Stats struct {
	CPU     CPU                `json:"cpu"`
	CPUSet  CPUSet             `json:"cpuset"`
	Memory  Memory             `json:"memory"`
	Pids    Pids               `json:"pids"`
	BlkIO   BlkIO              `json:"blkio"`
	Hugetlb map[string]Hugetlb `json:"hugetlb"`
}

// CPU is processor time, in nanoseconds.
type CPU struct {
	Usage      CPUUsage      `json:"usage"`
	Throttling CPUThrottling `json:"throttling"`
	PSI        *PSI          `json:"psi,omitempty"`
}

// CPUUsage is processor time, in nanoseconds.
type CPUUsage struct {
	Total        uint64   `json:"total,omitempty"`
	Percpu       []uint64 `json:"percpu,omitempty"`
	PercpuKernel []uint64 `json:"percpu_kernel,omitempty"`
	PercpuUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

// CPUThrottling counts periods of a quota, and the time without processor in
// nanoseconds.
type CPUThrottling struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"`
}

// CPUSet are the processors and memory nodes that may be used.
type CPUSet struct {
	CPUs []uint16 `json:"cpus,omitempty"`
	Mems []uint16 `json:"mems,omitempty"`
}

// Memory is in bytes.
type Memory struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     MemoryEntry       `json:"usage"`
	Swap      MemoryEntry       `json:"swap"`
	Kernel    MemoryEntry       `json:"kernel"`
	KernelTCP MemoryEntry       `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *PSI              `json:"psi,omitempty"`
}

// MemoryEntry is in bytes; Failcnt is how often the limit was in the way.
type MemoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// Pids counts the host's tasks.
type Pids struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// BlkIO is what block devices were asked for.
type BlkIO struct {
	Bytes  []BlkIOEntry `json:"ioServiceBytesRecursive,omitempty"`
	Ops    []BlkIOEntry `json:"ioServicedRecursive,omitempty"`
	Queued []BlkIOEntry `json:"ioQueueRecursive,omitempty"`
	Time   []BlkIOEntry `json:"ioServiceTimeRecursive,omitempty"`
	Wait   []BlkIOEntry `json:"ioWaitTimeRecursive,omitempty"`
	Merged []BlkIOEntry `json:"ioMergedRecursive,omitempty"`
	PSI    *PSI         `json:"psi,omitempty"`
}

// BlkIOEntry is a counter of one device and operation.
type BlkIOEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

// Hugetlb is in bytes.
type Hugetlb struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// PSI is how long some, or all, tasks waited (pressure stall information).
type PSI = cgroups.PSIStats

// Stats reads all counters.
func (g *Group) Stats() (*Stats, error) {
	if g.isAbsent() {
		return nil, errors.New("the container has no control groups that would count")
	}
	s, err := g.manager.GetStats()
	if err != nil {
		return nil, err
	}
	c, m := &s.CpuStats, &s.MemoryStats
	out := &Stats{
		CPU: CPU{
			Usage: CPUUsage{
				Total: c.CpuUsage.TotalUsage, Percpu: c.CpuUsage.PercpuUsage,
				PercpuKernel: c.CpuUsage.PercpuUsageInKernelmode, PercpuUser: c.CpuUsage.PercpuUsageInUsermode,
				Kernel: c.CpuUsage.UsageInKernelmode, User: c.CpuUsage.UsageInUsermode,
			},
			Throttling: CPUThrottling{
				Periods: c.ThrottlingData.Periods, ThrottledPeriods: c.ThrottlingData.ThrottledPeriods,
				ThrottledTime: c.ThrottlingData.ThrottledTime,
			},
			PSI: c.PSI,
		},
		CPUSet: CPUSet{CPUs: s.CPUSetStats.CPUs, Mems: s.CPUSetStats.Mems},
		Memory: Memory{
			Cache: m.Cache, Usage: memoryEntry(m.Usage), Swap: memoryEntry(m.SwapUsage),
			Kernel: memoryEntry(m.KernelUsage), KernelTCP: memoryEntry(m.KernelTCPUsage),
			Raw: m.Stats, PSI: m.PSI,
		},
		Pids: Pids{Current: s.PidsStats.Current, Limit: s.PidsStats.Limit},
		BlkIO: BlkIO{
			Bytes: entries(s.BlkioStats.IoServiceBytesRecursive), Ops: entries(s.BlkioStats.IoServicedRecursive),
			Queued: entries(s.BlkioStats.IoQueuedRecursive), Time: entries(s.BlkioStats.IoServiceTimeRecursive),
			Wait: entries(s.BlkioStats.IoWaitTimeRecursive), Merged: entries(s.BlkioStats.IoMergedRecursive),
			PSI: s.BlkioStats.PSI,
		},
		Hugetlb: make(map[string]Hugetlb, len(s.HugetlbStats)),
	}
	for size, h := range s.HugetlbStats {
		out.Hugetlb[size] = Hugetlb{Usage: h.Usage, Max: h.MaxUsage, Failcnt: h.Failcnt}
	}
	return out, nil
}

func memoryEntry(d cgroups.MemoryData) MemoryEntry {
	return MemoryEntry{Limit: d.Limit, Usage: d.Usage, Max: d.MaxUsage, Failcnt: d.Failcnt}
}

func entries(list []cgroups.BlkioStatEntry) []BlkIOEntry {
	var out []BlkIOEntry
	for _, e := range list {
		out = append(out, BlkIOEntry(e))
	}
	return out
}
