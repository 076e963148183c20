package sys_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/sys"
	"runsc-lite/sentry/vfs"
)

func mounted(t *testing.T, cpus int) *vfs.Caller {
	t.Helper()
	fs := sys.New(sys.Config{Dev: unix.Mkdev(0, 9), CPUs: cpus, Memory: func() (total, free uint64) { return 8 << 20, 3 << 20 }})
	ns, err := vfs.NewNamespace(vfs.Config{}, fs, vfs.MountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &vfs.Caller{FSContext: vfs.NewFSContext(ns), Creds: &vfs.Creds{UID: 1000, GID: 1000}}
}

func content(t *testing.T, c *vfs.Caller, path string) string {
	t.Helper()
	f, err := c.Open(nil, path, vfs.OpenHow{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer f.DecRef()
	b := make([]byte, 1<<16)
	n, err := f.Read([][]byte{b})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(b[:n])
}

// walk calls fn for all that is below path.
func walk(t *testing.T, c *vfs.Caller, path string, fn func(path string, st vfs.Stat)) {
	f, err := c.Open(nil, path, vfs.OpenHow{Flags: unix.O_DIRECTORY})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer f.DecRef()
	var names []string
	if err := f.ReadDir(c, func(e vfs.Entry) bool { names = append(names, e.Name); return true }); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, name := range names[2:] {
		at := strings.TrimSuffix(path, "/") + "/" + name
		st, err := c.Stat(nil, at, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			t.Errorf("%s: %v", at, err)
			continue
		}
		fn(at, st)
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			walk(t, c, at, fn)
		}
	}
}

func TestEverythingCanBeRead(t *testing.T) {
	c := mounted(t, 3)
	files := 0
	walk(t, c, "/", func(path string, st vfs.Stat) {
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			files++
			if text := content(t, c, path); !strings.HasSuffix(text, "\n") || len(text) > 4096 {
				t.Errorf("%s has %q", path, text)
			}
			if st.Size != 4096 || st.Mode&0o777 != 0o444 {
				t.Errorf("%s: size %d, mode %o", path, st.Size, st.Mode)
			}
		case unix.S_IFLNK:
			if _, err := c.Stat(nil, path, 0); err != nil {
				t.Errorf("%s leads nowhere: %v", path, err)
			}
		}
	})
	if files < 60 {
		t.Errorf("only %d files", files)
	}
}

func TestProcessors(t *testing.T) {
	const cpu = "/devices/system/cpu/"
	for _, n := range []int{1, 2, 40} {
		c := mounted(t, n)
		list := fmt.Sprintf("0-%d\n", n-1)
		if n == 1 {
			list = "0\n"
		}
		for _, name := range []string{"online", "possible", "present", "../node/node0/cpulist"} {
			if got := content(t, c, cpu+name); got != list {
				t.Errorf("%d processors: %s has %q, want %q", n, name, got, list)
			}
		}
		cores := map[string]bool{}
		for i := range n {
			cores[content(t, c, fmt.Sprintf("%scpu%d/topology/core_id", cpu, i))] = true
			if got := content(t, c, fmt.Sprintf("%scpu%d/topology/thread_siblings_list", cpu, i)); got != fmt.Sprintf("%d\n", i) {
				t.Errorf("siblings of %d: %s", i, got)
			}
			if got := content(t, c, fmt.Sprintf("%scpu%d/topology/core_siblings_list", cpu, i)); got != list {
				t.Errorf("the package of %d: %s", i, got)
			}
			if got := content(t, c, fmt.Sprintf("%scpu%d/node0/cpu%d/node0/cpulist", cpu, i, i)); got != list {
				t.Errorf("the node of %d: %s", i, got)
			}
		}
		if len(cores) != n {
			t.Errorf("%d cores, want %d", len(cores), n)
		}
		if _, err := c.Stat(nil, fmt.Sprintf("%scpu%d", cpu, n), 0); err != unix.ENOENT {
			t.Errorf("cpu%d: %v, want ENOENT", n, err)
		}
		if _, err := c.Stat(nil, cpu+"cpu0/online", 0); err != unix.ENOENT {
			t.Errorf("the first processor cannot be put offline: %v", err)
		}
	}
}

func TestMemory(t *testing.T) {
	c := mounted(t, 2)
	text := content(t, c, "/devices/system/node/node0/meminfo")
	for _, line := range []string{"Node 0 MemTotal:           8192 kB\n", "Node 0 MemFree:            3072 kB\n", "Node 0 MemUsed:            5120 kB\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	if got := content(t, c, "/kernel/mm/transparent_hugepage/enabled"); got != "always madvise [never]\n" {
		t.Errorf("huge pages: %q", got)
	}
}
