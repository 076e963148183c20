// Package images makes one-file images with `runsc-lite pack` and runs them: each
// copied alone into an empty directory, by a user without rights, who has no PATH.
package images

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"runsc-lite/tests/harness"
)

const busybox = "/bin/busybox"

// runner is the runner under test.
func runner(t testing.TB) string {
	t.Helper()
	targets := harness.Platforms(t)
	if len(targets) == 0 {
		t.Skip("no platform to test")
	}
	return targets[0].Argv(harness.Spec{})[0]
}

// pack makes an image.
func pack(t testing.TB, args ...string) string {
	t.Helper()
	app := filepath.Join(t.TempDir(), "app")
	if out, err := exec.Command(runner(t), append([]string{"pack", "-o", app}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("pack %q: %v\n%s", args, err, out)
	}
	return app
}

// alone copies an image to where nothing else is.
func alone(t testing.TB, app string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "image")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(app)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "app")
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// command runs an image as nobody, with no PATH.
func command(ctx context.Context, app string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, app, args...)
	cmd.Dir = filepath.Dir(app)
	cmd.Env = append([]string{"PATH="}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 3 * time.Second
	return cmd
}

// result of running an image.
type result struct {
	stdout, stderr string
	status         int
}

func run(t testing.TB, app string, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := command(ctx, app, env, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", app, err)
	}
	return result{out.String(), errOut.String(), harness.Status(cmd.ProcessState)}
}

// each runs fn for every platform, and for what an image takes by itself.
func each(t *testing.T, fn func(t *testing.T, env []string)) {
	t.Helper()
	for _, target := range harness.Platforms(t) {
		t.Run(target.Name, func(t *testing.T) { fn(t, []string{"RUNSC_LITE_PLATFORM=" + target.Name}) })
	}
	t.Run("default", func(t *testing.T) { fn(t, nil) })
}

func hello(t testing.TB) string {
	return harness.Program(t, "RUNSC_LITE_HELLO", "tests/images/hello/hello.c")
}

// want compares what a run came to.
func want(t *testing.T, got result, status int, stdout string) {
	t.Helper()
	if got.status != status || got.stdout != stdout || got.stderr != "" {
		t.Errorf("status %d, want %d\nstderr: %s\nstdout: %s\nwant: %s", got.status, status, got.stderr, got.stdout, stdout)
	}
}

const packedEnv = "variable: PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"

func TestStatic(t *testing.T) {
	app := alone(t, pack(t, "--env", "A=1", "--env", "PASSED", "--env", "ABSENT", hello(t), "3"))
	name := filepath.Base(hello(t)) // Bazel's is hello.elf
	each(t, func(t *testing.T, env []string) {
		got := run(t, app, append(env, "PASSED=on", "OTHER=off", "TERM=dumb"), "two words")
		want(t, got, 3, "arguments: /"+name+" 3 two words\nuser: 0:0\ndirectory: /\nvariable: TERM=dumb\n"+packedEnv+
			"variable: A=1\nvariable: PASSED=on\nfiles: dev "+name+" proc sys\nwritten: by a child\n")
	})
}

// TestPlaced puts the program somewhere, and itself somewhere else, as somebody.
func TestPlaced(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "srv", "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	static := alone(t, pack(t, "--entry", "/opt/tool/run", "--user", "12:34", "--cwd", "/opt", hello(t)))
	got := run(t, static, nil)
	if !strings.HasPrefix(got.stdout, "arguments: /opt/tool/run\nuser: 12:34\ndirectory: /opt\n") {
		t.Errorf("%+v", got)
	}
	copyFile(t, hello(t), filepath.Join(dir, "srv", "run"))
	rooted := alone(t, pack(t, "--root", dir, "--entry", "/srv/run", "--cwd", "/srv/data", "0", "more"))
	got = run(t, rooted, nil, "last")
	if !strings.HasPrefix(got.stdout, "arguments: /srv/run 0 more last\nuser: 0:0\ndirectory: /srv/data\n") {
		t.Errorf("%+v", got)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// needs skips a test whose program is not installed.
func needs(t testing.TB, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			t.Skipf("%v: apt-get install it", err)
		}
	}
}

// dynamic copies programs and the libraries that ldd(1) says they need.
func dynamic(t testing.TB, dir string, programs ...string) {
	t.Helper()
	for _, p := range programs {
		copyFile(t, p, filepath.Join(dir, p))
		out, err := exec.Command("ldd", p).Output()
		if err != nil {
			t.Skipf("ldd %s: %v", p, err)
		}
		for _, lib := range regexp.MustCompile(`/[^ )]+`).FindAllString(string(out), -1) {
			copyFile(t, lib, filepath.Join(dir, lib))
		}
	}
}

// box makes a root with busybox and its names.
func box(t testing.TB) string {
	t.Helper()
	needs(t, busybox)
	dir := t.TempDir()
	copyFile(t, busybox, filepath.Join(dir, busybox))
	for _, name := range []string{"sh", "echo", "ls", "cat", "seq", "sort", "wc", "mkdir", "id", "grep", "sleep"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBusybox(t *testing.T) {
	app := alone(t, pack(t, "--root", box(t), "sh", "-c", `mkdir /d && seq 1000 | sort -r | wc -l >/d/n; cat /d/n; echo "$0 $*"; exit 7`))
	each(t, func(t *testing.T, env []string) {
		want(t, run(t, app, env, "zero", "one", "two"), 7, "1000\nzero one two\n")
	})
	fitting(t, app, box(t))
}

func TestWebServer(t *testing.T) {
	var program string
	for _, g := range harness.Guests(t) {
		if g.Name == "goweb" {
			program = g.Path
		}
	}
	app := alone(t, pack(t, program))
	each(t, func(t *testing.T, env []string) {
		for _, part := range []string{"page", "post", "large", "parallel"} {
			want(t, run(t, app, env, part), 0, part+": ok\n")
		}
	})
}

func TestRedis(t *testing.T) {
	needs(t, "/usr/bin/redis-server", "/usr/bin/redis-cli")
	dir := box(t)
	dynamic(t, dir, "/usr/bin/redis-server", "/usr/bin/redis-cli")
	app := alone(t, pack(t, "--root", dir, "sh", "-c", `
redis-server --port 0 --unixsocket /s --save '' --daemonize yes --logfile /log >/dev/null || exit
until redis-cli -s /s ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
redis-cli -s /s set key value
redis-cli -s /s get key
redis-cli -s /s shutdown nosave`))
	each(t, func(t *testing.T, env []string) {
		want(t, run(t, app, env), 0, "OK\nvalue\n")
	})
	fitting(t, app, dir)
}

func TestPython(t *testing.T) {
	found, err := filepath.Glob("/usr/bin/python3.[0-9]*[0-9]")
	if err != nil || len(found) == 0 {
		t.Skip("no python3 of Debian's: apt-get install python3")
	}
	python := found[0]
	lib := "/usr/lib/" + filepath.Base(python)
	needs(t, lib)
	dir := t.TempDir()
	dynamic(t, dir, python)
	err = filepath.WalkDir(lib, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && regexp.MustCompile(`^(__pycache__|test|idlelib|lib2to3|pydoc_data|config-.*)$`).MatchString(d.Name()):
			return fs.SkipDir
		case d.Type().IsRegular():
			copyFile(t, p, filepath.Join(dir, p))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	application := `
import hashlib, json, sys, threading, tempfile
total = []
threads = [threading.Thread(target=lambda n=n: total.append(n * n)) for n in range(10)]
for t in threads: t.start()
for t in threads: t.join()
with tempfile.TemporaryFile("w+") as f:
    json.dump({"sum": sum(total), "arguments": sys.argv[1:]}, f)
    f.seek(0)
    print(f.read())
print(hashlib.sha256(b"image").hexdigest()[:16])
`
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte(application), 0o644); err != nil {
		t.Fatal(err)
	}
	app := alone(t, pack(t, "--root", dir, python, "/app.py", "first"))
	each(t, func(t *testing.T, env []string) {
		want(t, run(t, app, env, "second"), 0, `{"sum": 285, "arguments": ["first", "second"]}`+"\n6105d6cc76af4003\n")
	})
	fitting(t, app, dir)
}

// fitting checks the size of an image: at most the runner and the files, each
// compressed by itself, and 1 %.
func fitting(t *testing.T, app, dir string) {
	t.Helper()
	size := func(path string) int64 {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	var compressed counter
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		z, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
		if err != nil {
			return err
		}
		_, err = io.Copy(z, f)
		return errors.Join(err, z.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	most := (size(runner(t)) + int64(compressed)) * 101 / 100
	t.Logf("the image has %d bytes, the runner %d, the files compressed %d", size(app), size(runner(t)), compressed)
	if size(app) > most {
		t.Errorf("the image has %d bytes, more than %d", size(app), most)
	}
}

// counter counts what is written.
type counter int64

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// TestOverrides: what the caller's environment says goes before what was packed.
func TestOverrides(t *testing.T) {
	app := alone(t, pack(t, "--root", box(t), "--memory", "256M", "grep", "MemTotal", "/proc/meminfo"))
	if got := run(t, app, nil).stdout; !strings.Contains(got, " 262144 kB") {
		t.Errorf("as packed: %q", got)
	}
	if got := run(t, app, []string{"RUNSC_LITE_MEMORY=64M"}).stdout; !strings.Contains(got, " 65536 kB") {
		t.Errorf("overridden: %q", got)
	}
	got := run(t, app, []string{"RUNSC_LITE_STRACE=1"})
	if !strings.Contains(got.stderr, `execve("/bin/grep"`) {
		t.Errorf("strace: %q", got.stderr)
	}
	for setting, word := range map[string]string{
		"RUNSC_LITE_PLATFORM=xen": "kvm", "RUNSC_LITE_MEMORY=much": "512M", "RUNSC_LITE_STRACE=/none/file": "/none/file",
	} {
		if got := run(t, app, []string{setting}); got.status != 125 || !strings.Contains(got.stderr, word) {
			t.Errorf("%s: %+v", setting, got)
		}
	}
	// They are the runner's business, not the program's.
	app = alone(t, pack(t, hello(t)))
	if got := run(t, app, []string{"RUNSC_LITE_MEMORY=512M"}); strings.Contains(got.stdout, "RUNSC") {
		t.Errorf("handed on: %s", got.stdout)
	}
}

// TestMemory: a program that wants more than the image may have does not get it.
func TestMemory(t *testing.T) {
	root := box(t)
	app := alone(t, pack(t, "--root", root, "--memory", "128M", "sh", "-c", `cat /dev/zero >/full; echo $?; rm -f /full 2>/dev/null; ls /bin/sh`))
	got := run(t, app, nil)
	if !strings.HasPrefix(got.stdout, "1\n") || got.status != 0 && got.status != 127 {
		t.Errorf("%+v", got)
	}
}

func TestInfo(t *testing.T) {
	app := alone(t, pack(t, "--env", "A=two words", "--memory", "1G", hello(t), "0", "x y"))
	name := filepath.Base(hello(t))
	got := run(t, app, nil, "--runsc-lite-info")
	st, err := os.Stat(app)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`(?m)^packed by: +\d+\.\d+\.\d+$`, `(?m)^digest: +sha256:[0-9a-f]{64}$`, `(?m)^entry: +/` + regexp.QuoteMeta(name) + ` 0 "x y"$`,
		`(?m)^env: .* "A=two words"$`, `(?m)^memory: +1.0G$`, fmt.Sprintf(`(?m)^size: +%d bytes`, st.Size()), `(?m)^kernel: +Linux `,
	} {
		if !regexp.MustCompile(line).MatchString(got.stdout) {
			t.Errorf("nothing matches %s:\n%s%s", line, got.stdout, got.stderr)
		}
	}
	// With an argument more, it is the program's.
	if got := run(t, app, nil, "--runsc-lite-info", "x"); !strings.Contains(got.stdout, "arguments: /"+name+" 0 x y --runsc-lite-info x\n") {
		t.Errorf("%+v", got)
	}
}

// TestReproducible: the same files make the same image, wherever and whenever.
func TestReproducible(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	var images [2][]byte
	for i := range images {
		dir := box(t)
		dynamicOrNot(t, dir)
		b, err := os.ReadFile(pack(t, "--root", dir, "sh"))
		if err != nil {
			t.Fatal(err)
		}
		images[i] = b
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two images of the same files differ")
	}
}

// dynamicOrNot adds a dynamic program where there is ldd.
func dynamicOrNot(t testing.TB, dir string) {
	if _, err := exec.LookPath("ldd"); err == nil {
		dynamic(t, dir, "/bin/ls")
	}
}

// TestUnpack gets the files back, with the runner and with an image as the runner.
func TestUnpack(t *testing.T) {
	dir := box(t)
	app := pack(t, "--root", dir, "sh")
	to := filepath.Join(t.TempDir(), "files")
	if out, err := exec.Command(runner(t), "unpack", "-o", to, app).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("diff", "-r", "--no-dereference", dir, to).CombinedOutput(); err != nil {
		t.Errorf("other files: %v\n%s", err, out)
	}
	out, err := exec.Command(runner(t), "unpack", "--tar", app).Output()
	if err != nil {
		t.Fatal(err)
	}
	tarFile := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(tarFile, out, 0o644); err != nil {
		t.Fatal(err)
	}
	again, err1 := os.ReadFile(pack(t, "--root", tarFile, "sh"))
	first, err2 := os.ReadFile(app)
	if err := errors.Join(err1, err2); err != nil || !bytes.Equal(first, again) {
		t.Errorf("packed again, it is another image: %v", err)
	}
	if out, err := exec.Command(runner(t), "unpack", "-o", to+"2", busybox).CombinedOutput(); err == nil || !strings.Contains(string(out), "no archive") {
		t.Errorf("what is no image: %v, %s", err, out)
	}
}
