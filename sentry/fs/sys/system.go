package sys

import (
	"bytes"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/cpuid"
	"runsc-lite/sentry/fs/synth"
)

// system is /sys/devices/system.
func (fs *builder) system() *synth.Dir { return fs.Dir(0o755, fs.cpu(), fs.node()) }

// cpu is /sys/devices/system/cpu: all processors are there and online, each a core
// of its own, in one socket.
func (fs *builder) cpu() synth.Entry {
	n := fs.cfg.CPUs
	all := synth.FirstBits(n)
	list := synth.Ranges(all, n)
	entries := make([]synth.Entry, 0, n+8)
	caches := cpuid.Read().Caches
	for i := range n {
		entries = append(entries, fs.processor(i, caches))
	}
	return fs.dir("cpu", append(entries,
		fs.line("isolated", ""),
		fs.line("kernel_max", strconv.Itoa(n-1)),
		fs.line("offline", ""),
		fs.line("online", list),
		fs.line("possible", list),
		fs.line("present", list),
		fs.dir("smt", fs.line("active", "0"), fs.line("control", "notsupported")),
	)...)
}

// processor is /sys/devices/system/cpu/cpuN.
func (fs *builder) processor(i int, caches []cpuid.Cache) synth.Entry {
	n := fs.cfg.CPUs
	self := make([]uint64, n/64+1)
	self[i/64] |= 1 << (i % 64)
	all := synth.FirstBits(n)
	topology := []synth.Entry{
		fs.line("core_id", strconv.Itoa(i)),
		fs.line("die_id", "0"),
		fs.line("physical_package_id", "0"),
	}
	for _, g := range [...]struct {
		name, list string
		set        []uint64
	}{
		{"core_cpus", "core_cpus_list", self}, {"thread_siblings", "thread_siblings_list", self},
		{"core_siblings", "core_siblings_list", all}, {"die_cpus", "die_cpus_list", all},
		{"package_cpus", "package_cpus_list", all},
	} {
		topology = append(topology, fs.line(g.name, synth.Bitmap(g.set, n)), fs.line(g.list, synth.Ranges(g.set, n)))
	}
	var cache []synth.Entry
	for index, c := range caches {
		// The first two levels are taken to be each core's own.
		shared := self
		if c.Level > 2 {
			shared = all
		}
		cache = append(cache, fs.dir("index"+strconv.Itoa(index),
			fs.line("coherency_line_size", fmt.Sprint(c.LineSize)),
			fs.line("id", strconv.Itoa(i*bit(c.Level <= 2))),
			fs.line("level", fmt.Sprint(c.Level)),
			fs.line("number_of_sets", fmt.Sprint(c.Sets)),
			fs.line("physical_line_partition", fmt.Sprint(c.Parts)),
			fs.line("shared_cpu_list", synth.Ranges(shared, n)),
			fs.line("shared_cpu_map", synth.Bitmap(shared, n)),
			fs.line("size", fmt.Sprintf("%dK", c.Size>>10)),
			fs.line("type", c.Type),
			fs.line("ways_of_associativity", fmt.Sprint(c.Ways)),
		))
	}
	entries := []synth.Entry{
		fs.dir("cache", cache...),
		fs.To("node0", "../../node/node0"),
		fs.dir("topology", topology...),
	}
	if i > 0 {
		entries = append(entries, fs.line("online", "1"))
	}
	return fs.dir("cpu"+strconv.Itoa(i), entries...)
}

func bit(on bool) int {
	if on {
		return 1
	}
	return 0
}

// node is /sys/devices/system/node: there is one, with all processors and all
// memory.
func (fs *builder) node() synth.Entry {
	n := fs.cfg.CPUs
	all := synth.FirstBits(n)
	node0 := []synth.Entry{
		fs.line("cpulist", synth.Ranges(all, n)),
		fs.line("cpumap", synth.Bitmap(all, n)),
		fs.line("distance", "10"),
		fs.text("meminfo", fs.meminfo),
		fs.line("numastat", "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0"),
	}
	for i := range n {
		name := "cpu" + strconv.Itoa(i)
		node0 = append(node0, fs.To(name, "../../cpu/"+name))
	}
	return fs.dir("node",
		fs.line("has_cpu", "0"),
		fs.line("has_memory", "0"),
		fs.line("has_normal_memory", "0"),
		fs.dir("node0", node0...),
		fs.line("online", "0"),
		fs.line("possible", "0"),
	)
}

// meminfo is /sys/devices/system/node/node0/meminfo (node_read_meminfo).
func (fs *builder) meminfo(b *bytes.Buffer) error {
	if fs.cfg.Memory == nil {
		return unix.EIO
	}
	total, free := fs.cfg.Memory()
	for _, f := range [...]struct {
		name  string
		bytes uint64
	}{
		{"MemTotal:", total}, {"MemFree:", free}, {"MemUsed:", total - free},
		{"Active:", total - free}, {"Inactive:", 0}, {"Dirty:", 0}, {"Writeback:", 0}, {"FilePages:", 0}, {"Mapped:", 0},
		{"AnonPages:", 0}, {"Shmem:", 0}, {"Slab:", 0},
	} {
		fmt.Fprintf(b, "Node 0 %-16s%8d kB\n", f.name, f.bytes>>10)
	}
	b.WriteString("Node 0 HugePages_Total:     0\nNode 0 HugePages_Free:      0\nNode 0 HugePages_Surp:      0\n")
	return nil
}
