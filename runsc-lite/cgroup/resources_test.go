package cgroup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func ptr[T any](v T) *T { return &v }

func TestTranslate(t *testing.T) {
	got, err := translate(&specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(1 << 20)), Swap: ptr(int64(2 << 20)), Reservation: ptr(int64(5)), Swappiness: ptr(uint64(9)), DisableOOMKiller: ptr(true), CheckBeforeUpdate: ptr(true)},
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(50000)), Period: ptr(uint64(100000)), Burst: ptr(uint64(7)), Cpus: "0-1", Mems: "0", Idle: ptr(int64(1))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(10))},
		BlockIO: &specs.LinuxBlockIO{Weight: ptr(uint16(100)),
			WeightDevice:          []specs.LinuxWeightDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: 8, Minor: 1}, Weight: ptr(uint16(200))}},
			ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{LinuxBlockIODevice: specs.LinuxBlockIODevice{Major: 8}, Rate: 99}}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4}},
		Network:        &specs.LinuxNetwork{ClassID: ptr(uint32(3)), Priorities: []specs.LinuxInterfacePriority{{Name: "eth0", Priority: 4}}},
		Rdma:           map[string]specs.LinuxRdma{"x": {HcaHandles: ptr(uint32(1))}},
		Unified:        map[string]string{"memory.high": "5"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got.Devices = nil
	want := &cgroups.Resources{
		Memory: 1 << 20, MemorySwap: 2 << 20, MemoryReservation: 5, MemorySwappiness: ptr(uint64(9)), OomKillDisable: true, MemoryCheckBeforeUpdate: true,
		CpuShares: 1024, CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(1024), CpuQuota: 50000, CpuPeriod: 100000, CpuBurst: ptr(uint64(7)), CpusetCpus: "0-1", CpusetMems: "0", CPUIdle: ptr(int64(1)),
		PidsLimit:                  ptr(int64(10*tasksForEach + sentryTasks)),
		BlkioWeight:                100,
		BlkioWeightDevice:          []*cgroups.WeightDevice{cgroups.NewWeightDevice(8, 1, 200, 0)},
		BlkioThrottleReadBpsDevice: []*cgroups.ThrottleDevice{cgroups.NewThrottleDevice(8, 0, 99)},
		HugetlbLimit:               []*cgroups.HugepageLimit{{Pagesize: "2MB", Limit: 4}},
		NetClsClassid:              3, NetPrioIfpriomap: []*cgroups.IfPrioMap{{Interface: "eth0", Priority: 4}},
		Rdma:    map[string]cgroups.LinuxRdma{"x": {HcaHandles: ptr(uint32(1))}},
		Unified: map[string]string{"memory.high": "5"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, err := translate(nil, nil); err != nil || got.PidsLimit != nil || got.Memory != 0 || got.Unified != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTasks(t *testing.T) {
	for _, c := range []struct {
		r       *specs.LinuxResources
		want    int64
		limited bool
		host    int64
	}{
		{nil, 0, false, 0},
		{&specs.LinuxResources{}, 0, false, 0},
		{&specs.LinuxResources{Pids: &specs.LinuxPids{}}, 0, false, 0},
		{&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(0))}}, 0, false, -1},
		{&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}, 0, false, -1},
		{&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(7))}}, 7, true, 7*tasksForEach + sentryTasks},
		{&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(1<<63 - 1))}}, 1<<63 - 1, true, -1},
	} {
		n, limited := Tasks(c.r)
		if n != c.want || limited != c.limited {
			t.Errorf("%+v: %d, %v", c.r, n, limited)
		}
		r, err := translate(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.host == 0 && r.PidsLimit != nil || c.host != 0 && *r.PidsLimit != c.host {
			t.Errorf("%+v: the host's is %v, want %d", c.r, r.PidsLimit, c.host)
		}
	}
}

func TestDeviceRules(t *testing.T) {
	kvm := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(10)), Minor: ptr(int64(232)), Access: "rw"}
	rules, err := deviceRules([]specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Major: ptr(int64(10)), Access: "r"},
	}, []specs.LinuxDeviceCgroup{kvm})
	if err != nil {
		t.Fatal(err)
	}
	n := len(alwaysAllowed)
	if len(rules) != n+3 || *rules[0] != (devices.Rule{Type: 'a', Major: -1, Minor: -1, Permissions: "rwm"}) ||
		*rules[1] != (devices.Rule{Type: 'c', Major: 10, Minor: -1, Permissions: "r", Allow: true}) ||
		*rules[n+2] != (devices.Rule{Type: 'c', Major: 10, Minor: 232, Permissions: "rw", Allow: true}) {
		t.Errorf("%v", rules)
	}
	for _, bad := range []specs.LinuxDeviceCgroup{{Type: "x", Access: "r"}, {Type: "c"}, {Type: "c", Access: "rx"}} {
		if _, err := deviceRules([]specs.LinuxDeviceCgroup{bad}, nil); err == nil || !strings.Contains(err.Error(), "linux.resources.devices[0]") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestSystemd(t *testing.T) {
	props, err := systemdProperties(map[string]string{
		"other": "x", "org.systemd.property.TimeoutStopSec": "uint32 5", "org.systemd.property.CollectMode": "'inactive-or-failed'",
	})
	if err != nil || len(props) != 2 || props[0].Name != "CollectMode" || props[0].Value.Value() != "inactive-or-failed" ||
		props[1].Name != "TimeoutStopUSec" || props[1].Value.Value() != uint64(5_000_000) {
		t.Errorf("%v, %v", props, err)
	}
	for k, v := range map[string]string{
		"org.systemd.property.A": "true", "org.systemd.property.Collect-Mode": "true", "org.systemd.property.CollectMode": "what",
		"org.systemd.property.TimeoutStopSec": "'x'",
	} {
		if p, err := systemdProperties(map[string]string{k: v}); err == nil {
			t.Errorf("%s=%s was taken: %v", k, v, p)
		}
	}
	cg := &cgroups.Cgroup{}
	if err := systemdNames(cg, &Config{ID: "x", Path: "user.slice:docker:abc"}); err != nil || cg.Parent != "user.slice" || cg.ScopePrefix != "docker" || cg.Name != "abc" {
		t.Errorf("%+v, %v", cg, err)
	}
	if err := systemdNames(cg, &Config{ID: "x"}); err != nil || cg.Parent != "system.slice" || cg.ScopePrefix != defaultPrefix || cg.Name != "x" {
		t.Errorf("%+v, %v", cg, err)
	}
	for _, bad := range []string{"/x/y", "a:b", "a:b:", "a:b:c:d"} {
		if err := systemdNames(cg, &Config{ID: "x", Path: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
