package bundle

import (
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// checkResources checks the form of what control groups are asked for. Whether the host
// has them is package cgroup's.
func checkResources(c *checker, r *specs.LinuxResources) {
	if r == nil {
		return
	}
	for i, d := range r.Devices {
		field := at("linux.resources.devices", i)
		switch d.Type {
		case "", "a", "b", "c":
		default:
			c.fail(field+".type", "%s is no kind of device: a (all), b or c is", quote(d.Type))
		}
		if strings.Trim(d.Access, "rwm") != "" {
			c.fail(field+".access", "%s is no access: any of the letters r, w and m are", quote(d.Access))
		}
		for _, n := range []*int64{d.Major, d.Minor} {
			if n != nil && *n < -1 {
				c.fail(field, "%d is no device number: it is from 0, and -1 or nothing for all", *n)
			}
		}
	}
	if m := r.Memory; m != nil {
		for name, v := range map[string]*int64{"limit": m.Limit, "reservation": m.Reservation, "swap": m.Swap} {
			if v != nil && *v < -1 {
				c.fail("linux.resources.memory."+name, "%d is no limit: it is in bytes, and -1 for none", *v)
			}
		}
		if m.Swappiness != nil && *m.Swappiness > 100 {
			c.fail("linux.resources.memory.swappiness", "%d is out of range: it is from 0 to 100", *m.Swappiness)
		}
		if m.Limit != nil && m.Swap != nil && *m.Limit > 0 && *m.Swap > 0 && *m.Swap < *m.Limit {
			c.fail("linux.resources.memory.swap", "%d is below the limit of memory, %d, which it includes", *m.Swap, *m.Limit)
		}
		//lint:ignore SA1019 it is what the warning is about
		if k := m.Kernel; k != nil && *k > 0 {
			c.warn("linux.resources.memory.kernel", "Linux has no such limit any more: it has no effect")
		}
	}
	if p := r.CPU; p != nil {
		c.text("linux.resources.cpu.cpus", p.Cpus)
		c.text("linux.resources.cpu.mems", p.Mems)
		if p.Quota != nil && *p.Quota < -1 {
			c.fail("linux.resources.cpu.quota", "%d is no quota: it is in microseconds, and -1 for none", *p.Quota)
		}
		if p.Idle != nil && *p.Idle != 0 && *p.Idle != 1 {
			c.fail("linux.resources.cpu.idle", "%d is neither 0 nor 1", *p.Idle)
		}
	}
	for name, value := range r.Unified {
		if name == "" || strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") {
			c.fail("linux.resources.unified", "%s is no file of a control group", quote(name))
		}
		c.text("linux.resources.unified["+quote(name)+"]", value)
	}
	if b := r.BlockIO; b != nil && b.Weight != nil && *b.Weight != 0 && (*b.Weight < 10 || *b.Weight > 1000) {
		c.fail("linux.resources.blockIO.weight", "%d is out of range: it is from 10 to 1000", *b.Weight)
	}
}
