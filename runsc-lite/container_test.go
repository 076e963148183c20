package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/sandbox"
)

// asCommand makes the test's binary the command.
const asCommand = "RUNSC_LITE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == sandbox.BootVerb || os.Args[1] == stayVerb) || os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

const busybox = "/bin/busybox"

// testBundle is a bundle in a directory of its own, and the runtime that runs it.
type testBundle struct {
	t    *testing.T
	dir  string
	root string
	spec *specs.Spec
	id   string
}

// bundles counts those that were made.
var bundles atomic.Int64

// newBundle makes a bundle of busybox that runs args.
func newBundle(t *testing.T, args ...string) *testBundle {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers are made by root here")
	}
	text, err := os.ReadFile(busybox)
	if err != nil {
		t.Skipf("no static busybox: %v", err)
	}
	b := &testBundle{t: t, dir: t.TempDir(), root: filepath.Join(t.TempDir(), "root")}
	// Its cgroup has the name, too, and others test at the same time.
	b.id = fmt.Sprintf("runsc-lite-test-%d-%d", os.Getpid(), bundles.Add(1))
	for _, dir := range []string{"bin", "etc", "tmp", "root"} {
		if err := os.MkdirAll(filepath.Join(b.dir, "rootfs", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.dir, "rootfs/bin/busybox"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, applet := range strings.Fields("sh cat echo id ls mount sleep true touch stat hostname pwd kill ps stty tty env grep mkdir rm mv ln chmod chown dd") {
		if err := os.Symlink("busybox", filepath.Join(b.dir, "rootfs/bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	b.spec = &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: "pid"}, {Type: "network"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"},
		}},
	}
	t.Cleanup(func() {
		b.runtime("delete", "--force", b.id) // whether it is there or not
		if left, err := os.ReadDir(b.root); err == nil && len(left) != 0 {
			t.Errorf("the runtime left behind: %v", left)
		}
	})
	return b
}

// command is the runtime with arguments.
func (b *testBundle) command(args ...string) *exec.Cmd {
	b.t.Helper()
	text, err := json.Marshal(b.spec)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, "config.json"), text, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"--root", b.root}, args...)...)
	cmd.Env = commandEnv()
	return cmd
}

// runtime runs it, and returns what it says and its exit status.
func (b *testBundle) runtime(args ...string) (out string, status int) {
	b.t.Helper()
	var said bytes.Buffer
	cmd := b.command(args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		b.t.Fatalf("%v: %v", args, err)
	}
	return said.String(), cmd.ProcessState.ExitCode()
}

// must is runtime for what has to succeed.
func (b *testBundle) must(args ...string) string {
	b.t.Helper()
	out, status := b.runtime(args...)
	if status != 0 {
		b.t.Fatalf("%v ended with status %d: %s", args, status, out)
	}
	return out
}

// run runs the container to its end.
func (b *testBundle) run() (out string, status int) {
	b.t.Helper()
	return b.runtime("run", "--bundle", b.dir, b.id)
}

func (b *testBundle) status() string {
	b.t.Helper()
	var st specs.State
	if err := json.Unmarshal([]byte(b.must("state", b.id)), &st); err != nil {
		b.t.Fatal(err)
	}
	return string(st.Status)
}

// until waits for something to become true.
func until(t *testing.T, what string, true func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !true(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for a minute: %s", what)
		}
	}
}

func TestRun(t *testing.T) {
	b := newBundle(t, "sh", "-c", "echo hello; id -u; pwd; echo $$; echo wrong >&2; exit 7")
	b.spec.Process.Cwd = "/tmp/made"
	out, status := b.run()
	if want := "hello\n0\n/tmp/made\n1\nwrong\n"; out != want || status != 7 {
		t.Errorf("status %d, output %q; want 7, %q", status, out, want)
	}
}

func TestLifecycle(t *testing.T) {
	b := newBundle(t, "sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 1; done")
	out, err := os.Create(filepath.Join(b.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pidFile := filepath.Join(b.dir, "pid")
	create := b.command("create", "--bundle", b.dir, "--pid-file", pidFile, b.id)
	create.Stdout, create.Stderr = out, out
	if err := create.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		t.Fatalf("create: %v: %s", err, text)
	}
	if got := b.status(); got != "created" {
		t.Errorf("after create it is %s", got)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil || unix.Kill(pid, 0) != nil {
		t.Errorf("the pid file says %q", text)
	}
	if out, status := b.runtime("create", "--bundle", b.dir, b.id); status == 0 || !strings.Contains(out, "already exists") {
		t.Errorf("creating it twice: %d, %s", status, out)
	}
	b.must("start", b.id)
	if got := b.status(); got != "running" {
		t.Errorf("after start it is %s", got)
	}
	if out, status := b.runtime("start", b.id); status != 1 || !strings.Contains(out, "already running") {
		t.Errorf("starting it twice: %d, %s", status, out)
	}
	if out, status := b.runtime("delete", b.id); status != 1 || !strings.Contains(out, "is not stopped") {
		t.Errorf("deleting it while it runs: %d, %s", status, out)
	}
	until(t, "the program says that it is up", func() bool {
		text, _ := os.ReadFile(out.Name())
		return strings.Contains(string(text), "up\n")
	})
	b.must("kill", b.id, "TERM")
	if got := b.must("wait", b.id); !strings.Contains(got, `"exitStatus": 3`) {
		t.Errorf("wait says %s", got)
	}
	until(t, "the container has stopped", func() bool { return b.status() == "stopped" })
	if out, status := b.runtime("kill", b.id, "TERM"); status != 1 || !strings.Contains(out, "not running") {
		t.Errorf("killing it when it has ended: %d, %s", status, out)
	}
	b.must("delete", b.id)
	if out, status := b.runtime("state", b.id); status != 1 || !strings.Contains(out, "does not exist") {
		t.Errorf("after delete: %d, %s", status, out)
	}
}

func TestNoProgram(t *testing.T) {
	for _, c := range []struct{ program, want string }{
		{"nothing", `exec: "nothing": executable file not found in $PATH`},
		{"/bin/nothing", `exec: "/bin/nothing": stat /bin/nothing: no such file or directory`},
		{"/etc", `exec: "/etc": is a directory`},
	} {
		b := newBundle(t, c.program)
		if out, status := b.runtime("create", "--bundle", b.dir, b.id); status != 1 || !strings.Contains(strings.ReplaceAll(out, `\"`, `"`), c.want) {
			t.Errorf("%s: status %d, %s; want %q", c.program, status, out, c.want)
		}
		if out, status := b.runtime("state", b.id); status != 1 {
			t.Errorf("%s: the container is there: %s", c.program, out)
		}
	}
}
