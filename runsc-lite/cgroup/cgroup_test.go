package cgroup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// What runs in the groups is this test's own binary, told by roleVariable what to do.
const roleVariable = "RUNSC_LITE_CGROUP_TEST"

// limit ends what hangs.
const limit = 20 * time.Second

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		status := m.Run()
		removeAll()
		os.Exit(status)
	case "unified": // the tests, on a host of cgroups v2 alone
		if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""); err != nil {
			fmt.Println(err)
			os.Exit(77)
		}
		os.Unsetenv(roleVariable)
		os.Setenv("RUNSC_LITE_CGROUP_UNIFIED", "1")
		status := m.Run()
		removeAll()
		os.Exit(status)
	case "hog": // takes memory when a line arrives, without end
		os.Stdin.Read(make([]byte, 1))
		var hold [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			hold = append(hold, b)
			runtime.KeepAlive(hold)
		}
	case "open": // opens files, a line each
		for _, name := range os.Args[1:] {
			f, err := os.Open(name)
			if err == nil {
				f.Close()
			}
			fmt.Println(name, errors.Is(err, os.ErrPermission))
		}
		os.Exit(0)
	}
}

// role is a process of this binary that does what it is told.
func role(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+name)
	return cmd
}

// needs skips a test where groups cannot be made.
func needs(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: control groups are made by root only")
	}
	g, err := New(Config{ID: fmt.Sprintf("runsc-lite-probe-%d", os.Getpid()), Path: testPath(t, "probe")})
	if err != nil {
		t.Skipf("SKIPPED: no control groups here: %v", err)
	}
	defer g.Destroy()
	if err := g.manager.Apply(-1); err != nil {
		t.Skipf("SKIPPED: control groups cannot be made here: %v", err)
	}
}

// parent is the group that the tests' groups are in.
func parent() string { return fmt.Sprintf("/runsc-lite-test-%d", os.Getpid()) }

// removeAll removes parent, in all hierarchies.
func removeAll() {
	if g, err := New(Config{ID: "x", Path: parent()}); err == nil {
		g.Destroy()
	}
}

func testPath(t *testing.T, name string) string {
	return fmt.Sprintf("%s/%s-%s", parent(), strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()), name)
}

// group makes groups around a sleeping process.
func group(t *testing.T, name string, r *specs.LinuxResources) (*Group, *exec.Cmd) {
	t.Helper()
	g, err := New(Config{ID: "x", Path: testPath(t, name), Resources: r})
	if err != nil {
		t.Fatal(err)
	}
	cmd := sleeper(t)
	t.Cleanup(func() {
		if err := g.Kill(limit); err != nil {
			t.Error(err)
		}
		if err := g.Destroy(); err != nil {
			t.Error(err)
		}
	})
	if err := g.Join(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return g, cmd
}

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// TestUnified runs the tests once more, in a mount namespace where cgroups v2 is all
// that there is. Its controllers may be few: those that v1 has, v2 has not.
func TestUnified(t *testing.T) {
	if os.Getenv("RUNSC_LITE_CGROUP_UNIFIED") != "" || cgroups.IsCgroup2UnifiedMode() {
		t.Skip("this is a host of v2")
	}
	needs(t)
	cmd := role(t, "unified", "-test.v", "-test.count=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // with all mounts private
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skipf("SKIPPED: cgroup2 cannot be mounted here: %s", out)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestLife")) {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func TestLife(t *testing.T) {
	needs(t)
	g, cmd := group(t, "a", nil)
	pids, err := g.Pids()
	if err != nil || len(pids) != 1 || pids[0] != cmd.Process.Pid {
		t.Fatalf("%v, %v", pids, err)
	}
	other := sleeper(t)
	if err := g.Add(other.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if pids, _ := g.Pids(); len(pids) != 2 {
		t.Errorf("%v", pids)
	}

	// Another runtime process finds the groups by what was kept of them.
	text, err := json.Marshal(g.State())
	if err != nil {
		t.Fatal(err)
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Exists() || again.Dir() != g.Dir() {
		t.Errorf("%s, %s", again.Dir(), g.Dir())
	}
	if err := again.Freeze(); err != nil {
		t.Fatal(err)
	}
	if frozen, err := g.Frozen(); err != nil || !frozen {
		t.Errorf("%v, %v", frozen, err)
	}
	if err := again.Thaw(); err != nil {
		t.Fatal(err)
	}
	if frozen, err := g.Frozen(); err != nil || frozen {
		t.Errorf("%v, %v", frozen, err)
	}
	stats, err := again.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.CPU.Usage.Total == 0 && stats.Pids.Current == 0 {
		t.Errorf("nothing was counted: %+v", stats)
	}

	// The groups are taken.
	twice, err := New(Config{ID: "x", Path: testPath(t, "a")})
	if err != nil {
		t.Fatal(err)
	}
	if err := twice.Join(sleeper(t).Process.Pid); err == nil || !strings.Contains(err.Error(), "in use: it holds 2 processes") {
		t.Errorf("%v", err)
	}

	// Frozen processes are killed, too.
	if err := again.Freeze(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	go other.Wait()
	if err := again.Kill(limit); err != nil {
		t.Fatal(err)
	}
	if err := again.Destroy(); err != nil {
		t.Fatal(err)
	}
	if g.Exists() {
		t.Error("there still")
	}
	if err := g.Destroy(); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if err := g.Kill(limit); err != nil {
		t.Errorf("killing what is gone: %v", err)
	}
}

// value reads a file of the first of the controllers that is there.
func value(t *testing.T, g *Group, controller string, files ...string) string {
	t.Helper()
	for _, f := range files {
		if text, err := os.ReadFile(filepath.Join(g.manager.Path(controller), f)); err == nil {
			return strings.TrimSpace(string(text))
		}
	}
	t.Skipf("SKIPPED: the host has no %v", files)
	return ""
}

func TestLimits(t *testing.T) {
	needs(t)
	for _, c := range []struct {
		name       string
		controller string
		files      []string
		want       string
		r          specs.LinuxResources
		after      string
		update     specs.LinuxResources
	}{
		{"memory", "memory", []string{"memory.limit_in_bytes", "memory.max"}, "67108864",
			specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20))}},
			"134217728", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(128 << 20))}}},
		{"pids", "pids", []string{"pids.max"}, "296",
			specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(10))}},
			"max", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(-1))}}},
		{"cpu", "cpu", []string{"cpu.cfs_quota_us"}, "50000",
			specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(100000))}},
			"-1", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: ptr(int64(-1))}}},
		{"cpuset", "cpuset", []string{"cpuset.cpus"}, "0",
			specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}},
			"0", specs.LinuxResources{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			probe, err := New(Config{ID: "x", Path: testPath(t, "probe")})
			if err != nil {
				t.Fatal(err)
			}
			probe.manager.Apply(-1)
			found := false
			for _, f := range c.files {
				_, err := os.Stat(filepath.Join(probe.manager.Path(c.controller), f))
				found = found || err == nil
			}
			probe.Destroy()
			if !found {
				t.Skipf("SKIPPED: the host has no %v", c.files)
			}
			g, _ := group(t, "l", &c.r)
			if got := value(t, g, c.controller, c.files...); got != c.want {
				t.Errorf("want %s, got %s", c.want, got)
			}
			if err := g.Update(&c.update); err != nil {
				t.Fatal(err)
			}
			if got := value(t, g, c.controller, c.files...); got != c.after {
				t.Errorf("after the update: want %s, got %s", c.after, got)
			}
		})
	}
}

// TestImpossible: a limit that the host refuses leaves nothing behind.
func TestImpossible(t *testing.T) {
	needs(t)
	g, err := New(Config{ID: "x", Path: testPath(t, "i"), Resources: &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "9999"}}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := sleeper(t)
	err = g.Join(cmd.Process.Pid)
	if err == nil {
		t.Fatal("there is processor 9999")
	}
	t.Log(err)
	cmd.Process.Kill()
	cmd.Wait()
	g.Destroy()
}

func TestDevices(t *testing.T) {
	needs(t)
	var st unix.Stat_t
	if err := unix.Stat("/dev/fuse", &st); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	for _, allowed := range []bool{false, true} {
		g, err := New(Config{ID: "x", Path: testPath(t, fmt.Sprint(allowed)), Resources: &specs.LinuxResources{Devices: rules}})
		if err != nil {
			t.Fatal(err)
		}
		shell := exec.Command("sh", "-c", `read x; exec "$@"`, "sh")
		open := role(t, "open", "/dev/null", "/dev/fuse")
		shell.Args, shell.Env = append(shell.Args, open.Args...), open.Env
		in, err := shell.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		shell.Stdout, shell.Stderr = &out, &out
		if err := shell.Start(); err != nil {
			t.Fatal(err)
		}
		if err := g.Join(shell.Process.Pid); err != nil {
			t.Fatal(err)
		}
		in.Write([]byte("\n"))
		if err := shell.Wait(); err != nil {
			t.Fatalf("%v: %s", err, out.Bytes())
		}
		if want := fmt.Sprintf("/dev/null false\n/dev/fuse %v\n", !allowed); out.String() != want {
			t.Errorf("want %q, got %q", want, out.String())
		}
		if err := g.Destroy(); err != nil {
			t.Error(err)
		}
		major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rwm"})
	}
}

func TestOOM(t *testing.T) {
	needs(t)
	// All memory counts, or the host's swap takes what is too much.
	most := int64(48 << 20)
	r := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &most, Swap: &most}}
	g, err := New(Config{ID: "x", Path: testPath(t, "oom"), Resources: r})
	if err != nil {
		t.Fatal(err)
	}
	hog := role(t, "hog")
	in, err := hog.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hog.Start(); err != nil {
		t.Fatal(err)
	}
	defer hog.Process.Kill()
	defer g.Destroy()
	if err := g.Join(hog.Process.Pid); err != nil {
		if cgroups.IsCgroup2UnifiedMode() {
			t.Skipf("SKIPPED: %v", err)
		}
		t.Fatal(err)
	}
	value(t, g, "memory", "memory.limit_in_bytes", "memory.max")
	if n, err := g.OOMKills(); err != nil || n != 0 {
		t.Errorf("%d, %v", n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	told, watched := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		watched <- g.WatchOOM(ctx, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	time.Sleep(50 * time.Millisecond) // usually, so that the watcher is first; either order is right
	in.Write([]byte("\n"))
	if err := hog.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("%v", err)
	}
	for n := uint64(0); n == 0 && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		if n, err = g.OOMKills(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-told:
	case <-ctx.Done():
		t.Error("nobody was told")
	}
	if err := g.Destroy(); err != nil {
		t.Error(err)
	}
	if err := <-watched; err != nil {
		t.Errorf("the watcher did not end with the group: %v", err)
	}
}

func TestSystemdTruth(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		t.Skip("this host runs systemd")
	}
	if _, err := New(Config{ID: "x", Systemd: true}); err == nil || !strings.Contains(err.Error(), "does not run systemd") {
		t.Errorf("%v", err)
	}
}

// TestRootless: without the right to make groups, a container runs with a warning, and
// one that wants limits does not.
func TestRootless(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root, to become somebody else")
	}
	needs(t)
	if os.Getenv("RUNSC_LITE_CGROUP_NOBODY") == "" {
		// The test's own binary may be where only root gets.
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(self)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestRootlessInside$", "-test.v")
		cmd.ExtraFiles = []*os.File{f}
		// Under Bazel it would go to its own directory, which is root's alone.
		cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "TEST_SRCDIR=") })
		cmd.Env = append(cmd.Env, "RUNSC_LITE_CGROUP_NOBODY=1")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestRootlessInside")) {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestRootlessInside(t *testing.T) {
	if os.Getenv("RUNSC_LITE_CGROUP_NOBODY") == "" {
		t.Skip("run by TestRootless")
	}
	var said bytes.Buffer
	g, err := New(Config{ID: "runsc-lite-rootless", Rootless: true, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Join(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "no control groups") {
		t.Errorf("no warning: %q", said.String())
	}
	if len(g.State().Paths) != 0 {
		t.Errorf("%v", g.State())
	}
	again, err := Open(g.State(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := again.Pids(); err != nil || len(pids) != 0 {
		t.Errorf("%v, %v", pids, err)
	}
	if again.Kill(time.Second) != nil || again.Destroy() != nil || again.Exists() {
		t.Error("something is there")
	}
	if err := again.Freeze(); err == nil || !strings.Contains(err.Error(), "no control groups") {
		t.Error(err)
	}
	g, err = New(Config{ID: "runsc-lite-rootless", Rootless: true, Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: ptr(int64(10))}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Join(os.Getpid()); err == nil {
		t.Error("a limit that was not set was accepted")
	}
}
