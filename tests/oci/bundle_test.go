package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"runsc-lite/tests/harness"
)

// configVariable makes this binary the program that changes config.json.
const configVariable = "RUNSC_LITE_OCI_CONFIG"

// TestBundle drives the runtimes' verbs, without an engine.
func TestBundle(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: runc is driven by root only here")
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("SKIPPED: there is no runc: apt-get install runc")
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("SKIPPED: %v: apt-get install busybox-static", err)
	}
	if os.Getenv("TEST_TMPDIR") != "" {
		t.Skip("SKIPPED: not under Bazel, whose sandbox has no place for runc: go test ./tests/oci")
	}
	prelude, err := os.ReadFile("testdata/bundle-prelude.sh")
	if err != nil {
		t.Fatal(err)
	}
	gaps := harness.LoadGaps(t, "known_gaps.txt")
	list := runtimes(t)
	if !harness.Slow() {
		list = list[:min(1, len(list))]
	}
	for i, c := range load(t, "bundle-") {
		if c.slow && !harness.Slow() || testing.Short() && i%5 != 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			once := func(t *testing.T, r runtime) harness.Result {
				dir := harness.Scratch(t)
				rt := bundleIn(t, dir, r)
				env := append(harness.BaseEnv(), "RT="+rt, "STATE="+dir+"/state", "CONFIG="+dir+"/config")
				defer func() {
					exec.Command(rt, "--root", dir+"/state", "delete", "--force", "c").Run() // whether it is there or not
				}()
				return runSh(t, string(prelude)+c.text, dir+"/bundle", env)
			}
			want := once(t, runtime{path: runc})
			reference(t, want)
			for _, r := range list {
				t.Run(r.name, func(t *testing.T) {
					got := once(t, r)
					// What runtimes say is for people; the cases look at words of it.
					want.Stderr, got.Stderr = nil, nil
					gaps.Judge(t, r.name, c.name, harness.Diff(want, got))
				})
			}
		})
	}
}

// bundleIn makes a bundle, and the commands that a case has. It returns the runtime's.
func bundleIn(t *testing.T, dir string, r runtime) string {
	t.Helper()
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(dir, "bundle", "rootfs")
	fail(os.MkdirAll(root, 0o755))
	fail(unpack(root))
	self, err := os.Executable()
	fail(err)
	rt := filepath.Join(dir, "rt")
	script := fmt.Sprintf("#!/bin/sh\nexec %s %s \"$@\"\n", r.path, strings.Join(r.args, " "))
	fail(os.WriteFile(rt, []byte(script), 0o755))
	script = fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", configVariable, self)
	fail(os.WriteFile(filepath.Join(dir, "config"), []byte(script), 0o755))
	cmd := exec.Command("runc", "spec")
	cmd.Dir = filepath.Join(dir, "bundle")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("runc spec: %v: %s", err, out)
	}
	// The control groups need names that nobody else has.
	group := fmt.Sprintf("/runsc-lite-oci-%d/%s", os.Getpid(), filepath.Base(dir))
	t.Cleanup(func() {
		list, _ := filepath.Glob("/sys/fs/cgroup/*" + filepath.Dir(group))
		for _, d := range list {
			os.Remove(d)
		}
	})
	fail(changeConfig(filepath.Join(dir, "bundle", "config.json"), []string{
		"process.terminal=false", `process.env=["PATH=/bin","TERM=xterm"]`, "root.readonly=false", `process.capabilities.ambient=[]`,
		`linux.cgroupsPath="` + group + `"`,
	}))
	return rt
}

// changeConfig puts values of the form KEY.KEY=JSON into a file.
func changeConfig(file string, changes []string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return err
	}
	for _, c := range changes {
		path, value, ok := strings.Cut(c, "=")
		if !ok {
			return fmt.Errorf("%q is not of the form KEY.KEY=JSON", c)
		}
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		if tree, err = put(tree, strings.Split(path, "."), v); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	if text, err = json.MarshalIndent(tree, "", "\t"); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

func put(tree any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	var err error
	switch v := tree.(type) {
	case map[string]any:
		if value == nil && len(path) == 1 {
			delete(v, path[0])
			return v, nil
		}
		v[path[0]], err = put(v[path[0]], path[1:], value)
		return v, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i > len(v) {
			return nil, fmt.Errorf("there is no place %s in a list of %d", path[0], len(v))
		}
		if i == len(v) {
			v = append(v, nil)
		}
		v[i], err = put(v[i], path[1:], value)
		return v, err
	case nil:
		return put(map[string]any{}, path, value)
	}
	return nil, fmt.Errorf("%v is in a %T", path, tree)
}
