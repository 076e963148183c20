package harness

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// cflags build every C program: static, so that it needs nothing but the
// kernel. The warnings left out are about arguments that the tests get wrong
// on purpose.
var cflags = []string{
	"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror",
	"-Wno-nonnull", "-Wno-stringop-overflow", "-Wno-stringop-overread",
	"-static", "-pthread",
}

// Slow says whether tests marked slow run too.
func Slow() bool { return os.Getenv("RUNSC_LITE_SLOW") == "1" }

// ModuleRoot is the directory that holds go.mod.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}

// SourceRoot is the directory that the documents and tools are in: the module's,
// or, under Bazel, that of the files a test was given.
func SourceRoot() (string, error) {
	if src := os.Getenv("TEST_SRCDIR"); src != "" {
		return filepath.Join(src, os.Getenv("TEST_WORKSPACE")), nil
	}
	return ModuleRoot()
}

var cacheDir = sync.OnceValues(func() (string, error) {
	dir := os.Getenv("RUNSC_LITE_CACHE")
	if dir == "" {
		if dir = os.Getenv("TEST_TMPDIR"); dir == "" { // Bazel
			base, err := os.UserCacheDir()
			if err != nil {
				base = os.TempDir()
			}
			dir = filepath.Join(base, "runsc-lite-tests")
		}
	}
	return dir, os.MkdirAll(dir, 0o755)
})

// maxScratch leaves room for a unix socket's name (sun_path, 108 bytes) in a
// scratch directory.
const maxScratch = 64

// Scratch makes an empty directory that is removed after the test. It is in
// the cache and not in /tmp, because a sandbox may have a /tmp of its own; where
// the cache's path is too long for sockets to be made below it, in /var/tmp.
func Scratch(t testing.TB) string {
	t.Helper()
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(cache, "scratch")
	if len(base) > maxScratch {
		base = "/var/tmp/runsc-lite-tests"
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(p, 0o700) // so that what is in it can go
			}
			return nil
		})
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("scratch directory: %v", err)
		}
	})
	return dir
}

// locate resolves a path from the environment: as it is, or, since Bazel names
// files relative to its runfiles, below those.
func locate(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	if src := os.Getenv("TEST_SRCDIR"); src != "" {
		for _, base := range []string{filepath.Join(src, os.Getenv("TEST_WORKSPACE")), src} {
			if q := filepath.Join(base, p); exists(q) {
				return q
			}
		}
	}
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

func exists(p string) bool { _, err := os.Stat(p); return err == nil }

// withLock runs fn while no other test binary builds.
func withLock(fn func(cache string) error) error {
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return fn(cache)
}

var runner = sync.OnceValues(func() (string, error) {
	if p := os.Getenv("RUNSC_LITE"); p != "" {
		p = locate(p)
		if _, err := os.Stat(p); err != nil {
			return "", fmt.Errorf("RUNSC_LITE: %w", err)
		}
		return p, nil
	}
	root, err := ModuleRoot()
	if err != nil {
		return "", fmt.Errorf("%w; RUNSC_LITE is not set, either", err)
	}
	var out string
	err = withLock(func(cache string) error {
		out = filepath.Join(cache, "runsc-lite")
		return goBuild(root, out, "./runsc-lite")
	})
	return out, err
})

// Platforms are the platforms under test. It is empty only if the environment
// says "none"; a runner that does not build is a failure.
func Platforms(t testing.TB) []Target {
	t.Helper()
	list, set := os.LookupEnv("RUNSC_LITE_PLATFORMS")
	if !set {
		list = "systrap,ptrace"
	}
	if list == "none" || list == "" {
		return nil
	}
	p, err := runner()
	if err != nil {
		t.Fatal(err)
	}
	var targets []Target
	for _, name := range strings.Split(list, ",") {
		targets = append(targets, NewTarget(p, strings.TrimSpace(name)))
	}
	return targets
}

// KVM is the platform kvm, for tests that are about it. Where the environment leaves
// it out, or there is no KVM, the test is skipped; see RUNSC_LITE_KVM.
func KVM(t testing.TB) Target {
	t.Helper()
	list, set := os.LookupEnv("RUNSC_LITE_PLATFORMS")
	if set && !slices.Contains(strings.Split(list, ","), "kvm") {
		t.Skipf("RUNSC_LITE_PLATFORMS is %q", list)
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		report := t.Skipf
		if os.Getenv("RUNSC_LITE_KVM") != "" {
			report = t.Fatalf
		}
		report("NOT TESTED: nothing runs on KVM here: %v", err)
	}
	f.Close()
	p, err := runner()
	if err != nil {
		t.Fatal(err)
	}
	return NewTarget(p, "kvm")
}

func goBuild(root, out, pkg string) error {
	// Build beside and rename: a running binary must not be overwritten.
	tmp := out + ".new"
	cmd := exec.Command("go", "build", "-trimpath", "-o", tmp, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, msg)
	}
	return os.Rename(tmp, out)
}

// buildC compiles one source file into the cache, unless an identical build is
// there already. headers are other files that the result depends on.
func buildC(cache, src string, headers ...string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, cflags)
	for _, f := range append([]string{src}, headers...) {
		text, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d\n%s", len(text), text)
	}
	name := strings.TrimSuffix(filepath.Base(src), ".c")
	dir := filepath.Join(cache, fmt.Sprintf("%x", h.Sum(nil)[:8]))
	out := filepath.Join(dir, name)
	if exists(out) {
		return out, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp := out + ".new"
	args := append(append([]string{}, cflags...), "-o", tmp, src)
	if msg, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", errors.New("gcc is missing: apt-get install gcc libc6-dev")
		}
		return "", fmt.Errorf("gcc %s: %w\n%s", src, err, msg)
	}
	return out, os.Rename(tmp, out)
}

// Program is the path of a C program that is no guest test: what the
// environment variable says (Bazel has built it), or else built of src, which
// is relative to the module.
func Program(t testing.TB, variable, src string) string {
	t.Helper()
	if p := os.Getenv(variable); p != "" {
		return locate(p)
	}
	root, err := ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	src = filepath.Join(root, filepath.FromSlash(src))
	headers, err := filepath.Glob(filepath.Join(filepath.Dir(src), "*.h"))
	if err != nil {
		t.Fatal(err)
	}
	var out string
	err = withLock(func(cache string) (err error) {
		out, err = buildC(cache, src, headers...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Guest is one guest program.
type Guest struct {
	Name string
	Path string
}

var guests = sync.OnceValues(func() ([]Guest, error) {
	if dir := os.Getenv("RUNSC_LITE_GUESTS"); dir != "" {
		return listGuests(locate(dir))
	}
	root, err := ModuleRoot()
	if err != nil {
		return nil, err
	}
	var list []Guest
	err = withLock(func(cache string) (err error) {
		list, err = buildGuests(cache, root)
		return err
	})
	return list, err
})

func listGuests(dir string) ([]Guest, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("RUNSC_LITE_GUESTS: %w", err)
	}
	var list []Guest
	for _, e := range entries {
		if info, err := e.Info(); err == nil && (info.Mode().IsRegular() || info.Mode()&os.ModeSymlink != 0) {
			list = append(list, Guest{e.Name(), filepath.Join(dir, e.Name())})
		}
	}
	return list, nil
}

// buildGuests builds tests/guest/*.c and the Go programs of tests/guest/go.
func buildGuests(cache, root string) ([]Guest, error) {
	dir := filepath.Join(root, "tests", "guest")
	sources, err := filepath.Glob(filepath.Join(dir, "*.c"))
	if err != nil {
		return nil, err
	}
	headers, err := filepath.Glob(filepath.Join(dir, "*.h"))
	if err != nil {
		return nil, err
	}
	list := make([]Guest, len(sources))
	errs := make([]error, len(sources))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i, src := range sources {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			path, err := buildC(cache, src, headers...)
			list[i], errs[i] = Guest{strings.TrimSuffix(filepath.Base(src), ".c"), path}, err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	programs, err := filepath.Glob(filepath.Join(dir, "go", "*", "main.go"))
	if err != nil {
		return nil, err
	}
	if len(programs) == 0 {
		return list, nil
	}
	out := filepath.Join(cache, "go")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	for _, p := range programs {
		name := filepath.Base(filepath.Dir(p))
		path := filepath.Join(out, name)
		if err := goBuild(root, path, "./tests/guest/go/"+name); err != nil {
			return nil, err
		}
		list = append(list, Guest{name, path})
	}
	return list, nil
}

// Guests are the guest programs, built if need be.
func Guests(t testing.TB) []Guest {
	t.Helper()
	list, err := guests()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("no guest programs")
	}
	return list
}
