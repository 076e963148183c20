package cgroup

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Beyond a limit on the guest's tasks, the host's groups allow what the sentry needs
// for itself and for each of them: its threads, the threads that guest code runs in,
// spare ones, and those that the Go runtime makes around blocking calls.
const (
	sentryTasks  = 256
	tasksForEach = 4
)

// Tasks returns how many tasks a guest may have, if that is limited.
func Tasks(r *specs.LinuxResources) (limit int64, limited bool) {
	if r == nil || r.Pids == nil || r.Pids.Limit == nil || *r.Pids.Limit <= 0 {
		return 0, false
	}
	return *r.Pids.Limit, true
}

// translate makes the library's terms of the specification's.
func translate(r *specs.LinuxResources, own []specs.LinuxDeviceCgroup) (*cgroups.Resources, error) {
	out := &cgroups.Resources{}
	if r == nil {
		r = &specs.LinuxResources{}
	}
	rules, err := deviceRules(r.Devices, own)
	if err != nil {
		return nil, err
	}
	out.Devices = rules
	if m := r.Memory; m != nil {
		set(&out.Memory, m.Limit)
		set(&out.MemoryReservation, m.Reservation)
		set(&out.MemorySwap, m.Swap)
		out.MemorySwappiness = m.Swappiness
		set(&out.OomKillDisable, m.DisableOOMKiller)
		set(&out.MemoryCheckBeforeUpdate, m.CheckBeforeUpdate)
	}
	if c := r.CPU; c != nil {
		set(&out.CpuShares, c.Shares)
		// A conversion that the v2 manager leaves to its callers.
		out.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(out.CpuShares)
		set(&out.CpuQuota, c.Quota)
		out.CpuBurst = c.Burst
		set(&out.CpuPeriod, c.Period)
		set(&out.CpuRtRuntime, c.RealtimeRuntime)
		set(&out.CpuRtPeriod, c.RealtimePeriod)
		out.CpusetCpus, out.CpusetMems = c.Cpus, c.Mems
		out.CPUIdle = c.Idle
	}
	if p := r.Pids; p != nil && p.Limit != nil {
		limit := int64(-1)
		if n := *p.Limit; n > 0 && n < 1<<40 {
			limit = n*tasksForEach + sentryTasks
		}
		out.PidsLimit = &limit
	}
	if b := r.BlockIO; b != nil {
		blockIO(out, b)
	}
	for _, l := range r.HugepageLimits {
		out.HugetlbLimit = append(out.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: l.Pagesize, Limit: l.Limit})
	}
	if n := r.Network; n != nil {
		set(&out.NetClsClassid, n.ClassID)
		for _, p := range n.Priorities {
			out.NetPrioIfpriomap = append(out.NetPrioIfpriomap, &cgroups.IfPrioMap{Interface: p.Name, Priority: int64(p.Priority)})
		}
	}
	for name, l := range r.Rdma {
		if out.Rdma == nil {
			out.Rdma = make(map[string]cgroups.LinuxRdma)
		}
		out.Rdma[name] = cgroups.LinuxRdma{HcaHandles: l.HcaHandles, HcaObjects: l.HcaObjects}
	}
	if len(r.Unified) > 0 {
		out.Unified = r.Unified
	}
	return out, nil
}

// set takes over what is said.
func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func blockIO(out *cgroups.Resources, b *specs.LinuxBlockIO) {
	set(&out.BlkioWeight, b.Weight)
	set(&out.BlkioLeafWeight, b.LeafWeight)
	for _, w := range b.WeightDevice {
		var weight, leaf uint16
		set(&weight, w.Weight)
		set(&leaf, w.LeafWeight)
		out.BlkioWeightDevice = append(out.BlkioWeightDevice, cgroups.NewWeightDevice(w.Major, w.Minor, weight, leaf))
	}
	for _, t := range []struct {
		from []specs.LinuxThrottleDevice
		to   *[]*cgroups.ThrottleDevice
	}{
		{b.ThrottleReadBpsDevice, &out.BlkioThrottleReadBpsDevice},
		{b.ThrottleWriteBpsDevice, &out.BlkioThrottleWriteBpsDevice},
		{b.ThrottleReadIOPSDevice, &out.BlkioThrottleReadIOPSDevice},
		{b.ThrottleWriteIOPSDevice, &out.BlkioThrottleWriteIOPSDevice},
	} {
		for _, d := range t.from {
			*t.to = append(*t.to, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
		}
	}
}

// alwaysAllowed are the devices that each container has (runtime-spec, "Default
// Devices"), and making nodes, which gives no access.
var alwaysAllowed = []devices.Rule{
	{Type: devices.CharDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "m", Allow: true},
	{Type: devices.BlockDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "m", Allow: true},
	{Type: devices.CharDevice, Major: 1, Minor: 3, Permissions: "rwm", Allow: true},                  // null
	{Type: devices.CharDevice, Major: 1, Minor: 5, Permissions: "rwm", Allow: true},                  // zero
	{Type: devices.CharDevice, Major: 1, Minor: 7, Permissions: "rwm", Allow: true},                  // full
	{Type: devices.CharDevice, Major: 1, Minor: 8, Permissions: "rwm", Allow: true},                  // random
	{Type: devices.CharDevice, Major: 1, Minor: 9, Permissions: "rwm", Allow: true},                  // urandom
	{Type: devices.CharDevice, Major: 5, Minor: 0, Permissions: "rwm", Allow: true},                  // tty
	{Type: devices.CharDevice, Major: 5, Minor: 2, Permissions: "rwm", Allow: true},                  // ptmx
	{Type: devices.CharDevice, Major: 136, Minor: devices.Wildcard, Permissions: "rwm", Allow: true}, // pts
}

// deviceRules translates rules about devices, in their order. Nothing is allowed that
// they do not allow, beside alwaysAllowed and the sandbox's own.
func deviceRules(list, own []specs.LinuxDeviceCgroup) ([]*devices.Rule, error) {
	var rules []*devices.Rule
	for i, d := range list {
		r, err := deviceRule(d)
		if err != nil {
			return nil, fmt.Errorf("linux.resources.devices[%d]: %w", i, err)
		}
		rules = append(rules, r)
	}
	for i := range alwaysAllowed {
		rules = append(rules, &alwaysAllowed[i])
	}
	for _, d := range own {
		r, err := deviceRule(d)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func deviceRule(d specs.LinuxDeviceCgroup) (*devices.Rule, error) {
	r := &devices.Rule{
		Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard,
		Permissions: devices.Permissions(d.Access), Allow: d.Allow,
	}
	switch d.Type {
	case "", "a":
	case "b":
		r.Type = devices.BlockDevice
	case "c":
		r.Type = devices.CharDevice
	default:
		return nil, fmt.Errorf("%q is no kind of device: a, b or c is", d.Type)
	}
	if r.Type == devices.WildcardDevice {
		// Whatever else such a rule says, it is about all devices.
		r.Permissions = "rwm"
	}
	set(&r.Major, d.Major)
	set(&r.Minor, d.Minor)
	if r.Permissions == "" || !r.Permissions.IsValid() {
		return nil, fmt.Errorf("access %q: it is of the letters r, w and m, in this order", d.Access)
	}
	return r, nil
}
