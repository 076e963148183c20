package house

import (
	"os"
	"path"
	"regexp"
	"slices"
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

var (
	repoLabel = regexp.MustCompile(`"@([a-z0-9_]+)//`)
	useRepo   = regexp.MustCompile(`(?s)use_repo\(\s*go_deps,(.*?)\)`)
	quoted    = regexp.MustCompile(`"([^"]+)"`)
)

// TestModuleRepos: MODULE.bazel, which Debian's Bazel does not read, names the
// modules that BUILD files refer to, and no others.
func TestModuleRepos(t *testing.T) {
	text, err := os.ReadFile("MODULE.bazel")
	if err != nil {
		t.Fatal(err)
	}
	m := useRepo.FindSubmatch(text)
	if m == nil {
		t.Fatal("MODULE.bazel: no use_repo(go_deps, …)")
	}
	var declared []string
	for _, q := range quoted.FindAllSubmatch(m[1], -1) {
		declared = append(declared, string(q[1]))
	}
	var used []string
	each(t, "BUILD.bazel", func(_ string, text []byte) {
		for _, l := range repoLabel.FindAllSubmatch(text, -1) {
			if repo := string(l[1]); repo != "io_bazel_rules_go" {
				used = append(used, repo)
			}
		}
	})
	slices.Sort(used)
	if used = slices.Compact(used); !slices.Equal(declared, used) {
		t.Errorf("MODULE.bazel: use_repo has\n\t%s\nBUILD files refer to\n\t%s",
			strings.Join(declared, " "), strings.Join(used, " "))
	}
}

// TestGuestRules: `go test` finds the guest programs by their names; Bazel
// builds the same ones, with the same flags, and gives them to the same tests.
func TestGuestRules(t *testing.T) {
	text, err := os.ReadFile("tests/guest/BUILD.bazel")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `c_srcs = glob(["*.c"])`) {
		t.Error("tests/guest/BUILD.bazel does not build all of *.c")
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
