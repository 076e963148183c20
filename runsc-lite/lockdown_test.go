package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// started is a container that sleeps. It returns its sandbox's pid.
func (b *testBundle) started() int {
	b.t.Helper()
	pidFile := filepath.Join(b.dir, "pid")
	// Not connected to the test's output, which would wait for it.
	cmd := b.command("create", "--bundle", b.dir, "--pid-file", pidFile, b.id)
	secret, err := os.Open(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	defer secret.Close()
	cmd.ExtraFiles = []*os.File{secret} // what an engine might leave open
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("create: %v", err)
	}
	b.must("start", b.id)
	text, err := os.ReadFile(pidFile)
	if err != nil {
		b.t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		b.t.Fatal(err)
	}
	return pid
}

// TestLockedDown looks at the sandbox's process from the host.
func TestLockedDown(t *testing.T) {
	b := newBundle(t, "sleep", "1000")
	pid := b.started()
	proc := func(name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
	text, err := os.ReadFile(proc("status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "CapInh:\t0000000000000000\n", "CapPrm:\t000000008000001f\n",
		"CapEff:\t000000008000001f\n", "CapAmb:\t0000000000000000\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("/proc/PID/status has no %q:\n%s", want, text)
		}
	}
	for _, ns := range []string{"user", "mnt", "pid", "ipc", "uts", "net", "cgroup"} {
		own, err := os.Readlink(proc("ns/" + ns))
		if err != nil {
			t.Fatal(err)
		}
		if hosts, err := os.Readlink("/proc/self/ns/" + ns); err != nil || hosts == own {
			t.Errorf("its %s namespace is the host's", ns)
		}
	}
	entries, err := os.ReadDir(proc("root"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "proc" {
		t.Errorf("its root has %v, %v; want proc alone", entries, err)
	}
	mounts, err := os.ReadFile(proc("mountinfo"))
	if err != nil || strings.Count(string(mounts), "\n") != 2 {
		t.Errorf("it sees other mounts than its root and /proc: %v\n%s", err, mounts)
	}
	fds, err := os.ReadDir(proc("fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink(proc("fd/" + fd.Name()))
		if to == b.dir {
			t.Errorf("descriptor %s of who called the runtime has leaked: %s", fd.Name(), to)
		}
	}
	if cwd, err := os.Readlink(proc("cwd")); err != nil || cwd != "/" {
		t.Errorf("its working directory is %q, %v", cwd, err)
	}
}

// TestMountsStayInside has mount points that lead out of the root, if the host followed
// them.
func TestMountsStayInside(t *testing.T) {
	outside := t.TempDir()
	b := newBundle(t, "sh", "-c", "ls /away /up; mount | grep -c outside-test; touch /away/made /up/made; ls /away /up; grep ' /dev ' /proc/mounts; echo x >/dev/null")
	rootfs := filepath.Join(b.dir, "rootfs")
	for name, target := range map[string]string{"away": outside, "up": strings.Repeat("../", 30) + outside, "dev": "/away"} {
		if err := os.Symlink(target, filepath.Join(rootfs, name)); err != nil {
			t.Fatal(err)
		}
	}
	b.spec.Mounts = append([]specs.Mount{
		{Destination: "/away", Type: "tmpfs", Source: "outside-test"},
		{Destination: "/up", Type: "tmpfs", Source: "outside-test"},
	}, b.spec.Mounts...)
	out, status := b.run()
	if status != 0 {
		t.Errorf("status %d: %s", status, out)
	}
	left, err := os.ReadDir(outside)
	if err != nil || len(left) != 0 {
		t.Errorf("the container made files outside: %v, %v", left, err)
	}
	if mounts, err := exec.Command("grep", "outside-test", "/proc/mounts").Output(); err == nil {
		t.Errorf("the container has mounted something on the host: %s", mounts)
	}
}

// TestMasks: what is masked or read-only stays so, by whatever way.
func TestMasks(t *testing.T) {
	b := newBundle(t, "sh", "-c", `cat /etc/secret | grep -c .; ls /hidden; cat /link; echo x > /proc/sys/kernel/hostname; echo $?; mount -o remount,rw /ro; echo x > /ro/file; echo $?`)
	rootfs := filepath.Join(b.dir, "rootfs")
	for name, text := range map[string]string{"etc/secret": "secret\n", "hidden/file": "secret\n", "ro/file": ""} {
		path := filepath.Join(rootfs, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/secret", filepath.Join(rootfs, "link")); err != nil {
		t.Fatal(err)
	}
	b.spec.Linux.MaskedPaths = []string{"/etc/secret", "/hidden", "/not/there"}
	b.spec.Linux.ReadonlyPaths = []string{"/ro", "/proc/sys"}
	out, _ := b.run()
	if strings.Contains(out, "secret") || strings.Contains(out, "file\n") {
		t.Errorf("what is masked can be read:\n%s", out)
	}
	if got := strings.Count("\n"+out, "\n1\n"); got != 2 {
		t.Errorf("what is read-only could be written (%d of 2 refused):\n%s", got, out)
	}
}
