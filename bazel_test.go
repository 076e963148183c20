package house

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestBuildFilesThere: each Go package has a BUILD file. Whether it says what
// it should is TestBuildFiles.
func TestBuildFilesThere(t *testing.T) {
	for _, p := range packages(t) {
		if !exists(path.Join(p.dir(), "BUILD.bazel")) {
			t.Errorf("%s has no BUILD.bazel: make gazelle", p.dir())
		}
	}
}

var quoted = regexp.MustCompile(`"([^"]+)"`)

// TestRunnerGiven: what a test builds for itself under `go test`, Bazel has to
// give it, and say so by the harness's environment.
func TestRunnerGiven(t *testing.T) {
	program := regexp.MustCompile(`harness\.Program\(\w+, "(\w+)"`)
	needs := make(map[string][]string)
	each(t, "*.go", func(name string, text []byte) {
		dir := path.Dir(name)
		if !strings.HasPrefix(dir, "tests/") {
			return
		}
		if strings.Contains(string(text), "harness.Platforms(") {
			needs[dir] = append(needs[dir], "RUNSC_LITE")
		}
		if strings.Contains(string(text), "harness.Guests(") {
			needs[dir] = append(needs[dir], "RUNSC_LITE_GUESTS")
		}
		for _, m := range program.FindAllStringSubmatch(string(text), -1) {
			needs[dir] = append(needs[dir], m[1])
		}
	})
	if len(needs) < 3 {
		t.Fatalf("too few tests were found: %v", needs)
	}
	for dir, variables := range needs {
		text, err := os.ReadFile(path.Join(dir, "BUILD.bazel"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, v := range variables {
			if !strings.Contains(string(text), `"`+v+`": "`) {
				t.Errorf("%s/BUILD.bazel gives its test no %s", dir, v)
			}
		}
	}
}

// TestGuestRules: `go test` finds the guest programs by their names; Bazel
// builds the same ones, with the same flags, and gives them to the same tests.
func TestGuestRules(t *testing.T) {
	text, err := os.ReadFile("tests/guest/BUILD.bazel")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`c_srcs = glob(["*.c"])`, `headers = glob(["*.h"])`} {
		if !strings.Contains(string(text), line) {
			t.Errorf("tests/guest/BUILD.bazel has no %s", line)
		}
	}
	each(t, "main.go", func(name string, _ []byte) {
		dir, ok := strings.CutPrefix(path.Dir(name), "tests/guest/go/")
		if ok && !strings.Contains(string(text), `"`+dir+`": "//tests/guest/go/`+dir+`"`) {
			t.Errorf("tests/guest/BUILD.bazel does not build the Go program %s", dir)
		}
	})

	harness, err := os.ReadFile("tests/harness/build.go")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("tools/bazeldefs/guest.bzl")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?s)cflags = \[\]string\{(.*?)\n\}`).FindSubmatch(harness)
	line := regexp.MustCompile(`_CFLAGS = "([^"]+)"`).FindSubmatch(rules)
	if list == nil || line == nil {
		t.Fatal("the flags of the C compiler were not found")
	}
	var flags []string
	for _, q := range quoted.FindAllSubmatch(list[1], -1) {
		flags = append(flags, string(q[1]))
	}
	if got := strings.Join(flags, " "); got != string(line[1]) {
		t.Errorf("the harness compiles with\n\t%s\nBazel with\n\t%s", got, line[1])
	}
}
