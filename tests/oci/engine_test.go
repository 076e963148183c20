package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/tests/harness"
)

const (
	busybox = "/bin/busybox"
	image   = "busybox-test"

	// engineVariable makes this binary the first process of an engine's namespaces.
	engineVariable = "RUNSC_LITE_OCI_ENGINE"

	// patience bounds how long the engine takes to start and to stop.
	patience = 60 * time.Second
)

// engine is a Docker engine of the tests' own.
type engine struct {
	dir    string
	init   *exec.Cmd
	log    string
	cgroup string // all containers' groups are below
	docker string // the client
}

var (
	engineOnce sync.Once
	theEngine  *engine
	engineErr  error  // it does not start
	engineSkip string // it cannot be had here
)

func TestMain(m *testing.M) {
	if os.Getenv(engineVariable) != "" {
		engineInit()
	}
	if os.Getenv(configVariable) != "" {
		if err := changeConfig("config.json", os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "config:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	status := m.Run()
	if theEngine != nil {
		if err := theEngine.stop(); err != nil {
			fmt.Println("FAIL: stopping the Docker engine:", err)
			status = 1
		}
	}
	os.Exit(status)
}

// startedEngine returns the engine, started by the first who asks; without Docker or
// root the test is skipped.
func startedEngine(t *testing.T) *engine {
	t.Helper()
	engineOnce.Do(func() {
		if engineSkip = whyNoEngine(); engineSkip == "" {
			theEngine, engineErr = startEngine(runtimes(t))
		}
	})
	if engineSkip != "" { // startEngine may have found out
		t.Skip("SKIPPED: " + engineSkip)
	}
	if engineErr != nil {
		t.Fatal(engineErr)
	}
	return theEngine
}

// whyNoEngine says why there can be no engine here.
func whyNoEngine() string {
	if os.Getuid() != 0 {
		return "a Docker engine is started by root only"
	}
	if os.Getenv("TEST_TMPDIR") != "" {
		return "not under Bazel, whose sandbox has no place for a Docker engine: go test ./tests/oci"
	}
	for _, p := range []string{"dockerd", "containerd", "runc", "docker"} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Sprintf("there is no %s: apt-get install docker.io runc", p)
		}
	}
	if _, err := os.Stat(busybox); err != nil {
		return fmt.Sprintf("%v: apt-get install busybox-static", err)
	}
	return ""
}

// runtime is a runtime that the engine knows.
type runtime struct {
	name string
	path string
	args []string
}

// runtimes are those under test, one for each platform.
func runtimes(t testing.TB) []runtime {
	t.Helper()
	if p := os.Getenv("RUNSC_LITE_OCI"); p != "" {
		return []runtime{{name: "systrap", path: p}}
	}
	var list []runtime
	for _, target := range harness.Platforms(t) {
		list = append(list, runtime{name: target.Name, path: target.Argv(harness.Spec{})[0], args: []string{"--platform=" + target.Name}})
	}
	return list
}

// startEngine starts an engine that knows runtimes beside runc.
func startEngine(list []runtime) (e *engine, err error) {
	removeStale()
	// A short path: sockets have names of at most 107 bytes.
	dir, err := os.MkdirTemp("", fmt.Sprintf("rl-oci-%d-", os.Getpid()))
	if err != nil {
		return nil, err
	}
	e = &engine{dir: dir, log: filepath.Join(dir, "log"), cgroup: fmt.Sprintf("/runsc-lite-oci-%d", os.Getpid())}
	defer func() {
		if err != nil {
			text, _ := os.ReadFile(e.log)
			err = errors.Join(fmt.Errorf("starting a Docker engine: %w\n%s", err, tail(text)), e.stop())
			e = nil
		}
	}()
	if e.docker, err = exec.LookPath("/usr/bin/docker"); err != nil {
		if e.docker, err = exec.LookPath("docker"); err != nil {
			return e, err
		}
	}
	type dockerRuntime struct {
		Path string   `json:"path"`
		Args []string `json:"runtimeArgs,omitempty"`
	}
	config := struct {
		Runtimes map[string]dockerRuntime `json:"runtimes"`
	}{map[string]dockerRuntime{}}
	for _, r := range list {
		config.Runtimes[r.name] = dockerRuntime{r.path, r.args}
	}
	text, err := json.Marshal(config)
	if err != nil {
		return e, err
	}
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), text, 0o600); err != nil {
		return e, err
	}
	log, err := os.Create(e.log)
	if err != nil {
		return e, err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return e, err
	}
	e.init = exec.Command(self)
	e.init.Env = append(os.Environ(), engineVariable+"="+dir, "RUNSC_LITE_OCI_CGROUP="+e.cgroup)
	e.init.Stdout, e.init.Stderr = log, log
	e.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Unshareflags: syscall.CLONE_NEWNS, // with all mounts private
		Pdeathsig:    syscall.SIGKILL,
	}
	if err := e.init.Start(); err != nil {
		e.init = nil
		if errors.Is(err, syscall.EPERM) {
			engineSkip = fmt.Sprintf("no namespaces for a Docker engine: %v", err)
		}
		return e, err
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		out, err := e.command("version").CombinedOutput()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return e, fmt.Errorf("it does not answer: %w: %s", err, out)
		}
	}
	return e, e.importImage()
}

// command is a docker command.
func (e *engine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(e.docker, args...)
	cmd.Env = e.env()
	return cmd
}

func (e *engine) env() []string {
	return append(harness.BaseEnv(), "DOCKER_HOST=unix://"+e.dir+"/docker.sock", "DOCKER_CONFIG="+e.dir+"/client",
		"DOCKER="+e.docker, "IMAGE="+image, "PS1=$ ")
}

// importImage makes the image.
func (e *engine) importImage() error {
	root, err := rootTar()
	if err != nil {
		return err
	}
	cmd := e.command("import", "-", image)
	cmd.Stdin = bytes.NewReader(root)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker import: %w: %s", err, out)
	}
	return nil
}

// removeStale removes what is left of engines whose tests were killed.
func removeStale() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "rl-oci-*-*"))
	for _, d := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(d), "rl-oci-%d-", &pid); err != nil || syscall.Kill(pid, 0) != syscall.ESRCH {
			continue
		}
		old := &engine{dir: d, cgroup: fmt.Sprintf("/runsc-lite-oci-%d", pid)}
		if err := old.stop(); err != nil {
			fmt.Println("removing what is left of an engine:", err)
		}
	}
}

// stop ends the engine and everything that it started, and looks whether something is
// left.
func (e *engine) stop() error {
	var errs []error
	if e.init != nil {
		e.init.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(patience, func() {
			errs = append(errs, errors.New("it had to be killed"))
			e.init.Process.Kill()
		})
		e.init.Wait()
		timer.Stop()
	}
	errs = append(errs, e.removeGroups())
	if text, err := os.ReadFile("/proc/self/mounts"); err != nil || bytes.Contains(text, []byte(e.dir)) {
		errs = append(errs, fmt.Errorf("mounts are left below %s (%v)", e.dir, err))
	}
	errs = append(errs, os.RemoveAll(e.dir))
	return errors.Join(errs...)
}

// removeGroups removes the control groups, which are the host's. Those of containers
// that ran when the engine was stopped may need a moment.
func (e *engine) removeGroups() error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*" + e.cgroup)
	if err != nil {
		return err
	}
	roots = append(roots, "/sys/fs/cgroup"+e.cgroup)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var left []string
		for _, root := range roots {
			var dirs []string
			filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, p)
				}
				return nil
			})
			for i := len(dirs) - 1; i >= 0; i-- {
				if err := unix.Rmdir(dirs[i]); err != nil && err != unix.ENOENT {
					left = append(left, dirs[i])
				}
			}
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("control groups are left: %v", left)
		}
	}
}

// engineInit is the first process of the engine's namespaces: it starts the engine,
// collects what ends, and stops the engine on SIGTERM. All that is left then ends with
// the pid namespace.
func engineInit() {
	dir := os.Getenv(engineVariable)
	fail := func(what string, err error) {
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
			os.Exit(1)
		}
	}
	fail("mounting /proc", unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	// Sockets and state of shims are at fixed places below /run.
	fail("mounting /run", unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"))
	fail("the loopback link", exec.Command("ip", "link", "set", "lo", "up").Run())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	cmd := exec.Command("dockerd",
		"-H", "unix://"+dir+"/docker.sock", "--data-root", dir+"/data", "--exec-root", dir+"/exec",
		"--pidfile", dir+"/pid", "--config-file", dir+"/daemon.json", "--bip", "10.201.0.1/24",
		"--cgroup-parent", os.Getenv("RUNSC_LITE_OCI_CGROUP"))
	cmd.Env = append(os.Environ(), engineVariable+"=", "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	fail("dockerd", cmd.Start())
	go func() {
		<-stop
		cmd.Process.Signal(syscall.SIGTERM)
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid == cmd.Process.Pid {
			os.Exit(0)
		}
	}
}

// rootTar is the image's file tree.
func rootTar() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := rootFiles(func(h tar.Header, text []byte) error {
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}

// rootFiles calls add for each file of the image: busybox under its applets' names, and
// what programs expect.
func rootFiles(add func(h tar.Header, text []byte) error) error {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	for _, dir := range []string{"bin", "dev", "etc", "home", "home/user", "mnt", "proc", "root", "sys", "usr", "usr/bin", "var"} {
		h := tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}
		if dir == "home/user" {
			h.Uid, h.Gid = 1000, 1000
		}
		if err := add(h, nil); err != nil {
			return err
		}
	}
	if err := add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil); err != nil {
		return err
	}
	if err := add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, program); err != nil {
		return err
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if name == "busybox" {
			continue
		}
		if err := add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}, nil); err != nil {
			return err
		}
	}
	for name, f := range map[string]struct {
		mode int64
		text string
	}{
		"etc/passwd":  {0o644, "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"},
		"etc/group":   {0o644, "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"},
		"etc/shadow":  {0o600, "root:*:::::::\n"},
		"bin/noexec":  {0o644, "#!/bin/sh\necho no\n"},
		"bin/text":    {0o755, "this is no program\n"},
		"bin/nointer": {0o755, "#!/bin/none\n"},
		// busybox with the rights of root, for whoever runs it.
		"usr/bin/suid": {0o4755, string(program)},
	} {
		if err := add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: f.mode}, []byte(f.text)); err != nil {
			return err
		}
	}
	return nil
}

// unpack writes the image's file tree to a directory.
func unpack(dir string) error {
	root, err := rootTar()
	if err != nil {
		return err
	}
	for r := tar.NewReader(bytes.NewReader(root)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(p, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, p)
			if err == nil {
				continue
			}
		default:
			var text []byte
			if text, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(p, text, 0o644)
			}
		}
		if err == nil {
			err = os.Lchown(p, h.Uid, h.Gid)
		}
		if err == nil {
			err = unix.Chmod(p, uint32(h.Mode))
		}
		if err != nil {
			return err
		}
	}
}

// tail is the end of a log.
func tail(text []byte) []byte {
	const most = 4000
	return text[max(0, len(text)-most):]
}
