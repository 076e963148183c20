package proc_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"runsc-lite/mm"
)

func TestSystemFiles(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	w.now = 150*time.Second + 370*time.Millisecond
	a.th.AccountUser(20 * time.Second)
	a.th.AccountSystem(4 * time.Second)
	for path, want := range map[string]string{
		"cmdline": "quiet\n", "filesystems": "nodev\tproc\nnodev\ttmpfs\n",
		"devices":                        "Character devices:\n  1 mem\n  5 /dev/tty\n\nBlock devices:\n",
		"uptime":                         "150.37 177.48\n",
		"version":                        "Linux version 6.0.0 (runsc-lite@sentry) (go) #1\n",
		"sys/kernel/osrelease":           "6.0.0\n",
		"sys/kernel/hostname":            "host\n",
		"sys/kernel/pid_max":             "1000\n",
		"sys/vm/mmap_min_addr":           "65536\n",
		"sys/vm/max_map_count":           fmt.Sprintf("%d\n", mm.MaxAreas),
		"sys/fs/file-nr":                 "0\t0\t1047527424\n",
		"sys/kernel/cap_last_cap":        "40\n",
		"sys/kernel/random/poolsize":     "256\n",
		"self/cgroup":                    "0::/\n",
		"self/uid_map":                   "         0          0 4294967295\n",
		"self/loginuid":                  "4294967295",
		"self/wchan":                     "0",
		"self/task/2/children":           "",
		"self/personality":               "00000000\n",
		"self/schedstat":                 "24000000000 0 0\n",
		"sys/../self/task/2/../../statm": "6 1 0 2 0 4 0\n",
	} {
		if got := a.text("/proc/" + path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if got, want := a.text("/proc/stat"), `cpu  2000 0 400 17748 0 0 0 0 0 0
cpu0 500 0 100 4437 0 0 0 0 0 0
cpu1 500 0 100 4437 0 0 0 0 0 0
cpu2 500 0 100 4437 0 0 0 0 0 0
cpu3 500 0 100 4437 0 0 0 0 0 0
intr 0
ctxt 0
btime 1700000000
processes 1
procs_running 2
procs_blocked 0
softirq 0 0 0 0 0 0 0 0 0 0 0
`; got != want {
		t.Errorf("stat is\n%swant\n%s", got, want)
	}
	meminfo := a.text("/proc/meminfo")
	if field(meminfo, "MemTotal") != "1048576 kB" || field(meminfo, "MemAvailable") != "786432 kB" {
		t.Errorf("meminfo is\n%s", meminfo)
	}
	boot := a.text("/proc/sys/kernel/random/boot_id")
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n$`)
	if !uuid.MatchString(boot) || a.text("/proc/sys/kernel/random/boot_id") != boot {
		t.Errorf("boot_id is %q", boot)
	}
	one, two := a.text("/proc/sys/kernel/random/uuid"), a.text("/proc/sys/kernel/random/uuid")
	if !uuid.MatchString(one) || one == two {
		t.Errorf("uuid is %q and %q", one, two)
	}
	if n := strings.Count(a.text("/proc/cpuinfo"), "processor\t: "); n != processors {
		t.Errorf("cpuinfo has %d processors", n)
	}
}

// TestAdditions looks at what others add.
func TestAdditions(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	for path, want := range map[string]string{
		"sys/net/core/somaxconn": "net/core/somaxconn\n", "sys/fs/inotify/max_user_watches": "fs/inotify/max_user_watches\n",
		"net/tcp": "tcp\n", "self/net/dev": "dev\n", "self/task/2/net/tcp": "tcp\n", "tty/drivers": "tty/drivers\n", "apm": "apm\n",
	} {
		if got := a.text("/proc/" + path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if list, err := a.list("/proc/sys/fs"); err != nil || !slices.Contains(list, "inotify") || !slices.Contains(list, "nr_open") {
		t.Errorf("/proc/sys/fs has %v, %v", list, err)
	}
}

func TestLoadAverage(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	if got := a.text("/proc/loadavg"); got != "0.00 0.00 0.00 2/2 2\n" {
		t.Errorf("at first it is %q", got)
	}
	// Two processors were busy for a minute.
	w.now += time.Minute
	a.th.AccountUser(2 * time.Minute)
	if got := a.text("/proc/loadavg"); got != "1.26 0.36 0.13 2/2 2\n" {
		t.Errorf("after a busy minute it is %q", got)
	}
	w.now += time.Hour
	if got := a.text("/proc/loadavg"); got != "0.00 0.00 0.00 2/2 2\n" {
		t.Errorf("after an idle hour it is %q", got)
	}
}
