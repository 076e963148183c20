package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go/features"

	"runsc-lite/runsc-lite/bundle"
)

// commandEnv is the environment in which the test's binary is the command. Under Bazel
// it would leave its working directory, were it told where Bazel's files are.
func commandEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "TEST_SRCDIR=") })
	return append(env, asCommand+"=1")
}

// output runs the command with arguments, in a directory.
func output(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = dir
	cmd.Env = commandEnv()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	docker := filepath.Join(dir, "docker.json")
	const before = `{"debug": true}`
	if err := os.WriteFile(docker, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	files := []string{"--docker-config", docker, "--containerd-config", filepath.Join(dir, "sub/config.toml"), "--podman-config", filepath.Join(dir, "podman.conf")}
	install := append([]string{"install", "--engines", "docker,containerd,podman", "--path", busybox}, files...)
	out, err := output(t, dir, install...)
	if err != nil || strings.Count(out, "wrote") != 3 {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(docker)
	if err != nil || !strings.Contains(string(text), `"debug": true`) || !strings.Contains(string(text), busybox) {
		t.Errorf("%v: %s", err, text)
	}
	if info, err := os.Stat(docker); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	backups, err := filepath.Glob(docker + ".*.bak")
	if err != nil || len(backups) != 1 {
		t.Fatalf("%v, %v", backups, err)
	}
	if text, err := os.ReadFile(backups[0]); err != nil || string(text) != before {
		t.Errorf("%v: %s", err, text)
	}
	if out, err = output(t, dir, install...); err != nil || strings.Count(out, "is as it should be") != 3 {
		t.Errorf("twice: %v: %s", err, out)
	}
	if out, err = output(t, dir, append([]string{"uninstall"}, files...)...); err != nil || strings.Count(out, "wrote")+strings.Count(out, "removed") != 3 {
		t.Fatalf("%v: %s", err, out)
	}
	if text, err := os.ReadFile(docker); err != nil || strings.Contains(string(text), busybox) || !strings.Contains(string(text), "debug") {
		t.Errorf("%v: %s", err, text)
	}
	if _, err := os.Stat(filepath.Join(dir, "podman.conf")); err == nil {
		t.Error("an empty file was left")
	}
	for _, bad := range [][]string{
		{"install", "--engines", "rkt"},
		{"install", "--engines", "docker", "--docker-config", docker, "--path", "/no/such"},
		{"install", "--engines", "containerd", "--containerd-config", filepath.Join(dir, "x"), "--path", busybox, "--", "--debug"},
		{"uninstall", "x"},
	} {
		if out, err := output(t, dir, bad...); err == nil {
			t.Errorf("%v: %s", bad, out)
		}
	}
}

func TestSpec(t *testing.T) {
	for _, flags := range [][]string{nil, {"--rootless"}} {
		dir := t.TempDir()
		if out, err := output(t, dir, append([]string{"spec"}, flags...)...); err != nil || out != "" {
			t.Fatalf("%v: %s", err, out)
		}
		s, err := bundle.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := bundle.New(s, dir); err != nil || len(b.Warnings) > 0 {
			t.Errorf("%v, %v", b, err)
		}
		if out, err := output(t, dir, "spec"); err == nil || !strings.Contains(out, "exists") {
			t.Errorf("over one that is there: %v: %s", err, out)
		}
	}
}

func TestFeatures(t *testing.T) {
	out, err := output(t, t.TempDir(), "features")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var f features.Features
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		t.Fatal(err)
	}
	if f.OCIVersionMin != "1.0.0" || f.Linux == nil || len(f.Linux.Capabilities) != 41 || len(f.MountOptions) < 50 ||
		!*f.Linux.Seccomp.Enabled || *f.Linux.Apparmor.Enabled {
		t.Errorf("%s", out)
	}
}
