// Command gazelle writes the BUILD.bazel files of the module, or shows how they
// differ from what it would write:
//
//	go run ./tools/gazelle [-diff]
//
// It runs the gazelle that tools/pin/go.mod pins, which has to be the version
// that WORKSPACE names for the dependencies. Gazelle is told the modules of
// go.mod, so that it need not ask the network which module a package is of.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const pinned = "tools/pin/go.mod"

func main() {
	diff := flag.Bool("diff", false, "show the difference, and fail if there is one, instead of writing")
	flag.Parse()
	if err := run(*diff); err != nil {
		fmt.Fprintf(os.Stderr, "gazelle: %v\n", err)
		os.Exit(1)
	}
}

func run(diff bool) error {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	if err := os.Chdir(filepath.Dir(strings.TrimSpace(string(out)))); err != nil {
		return err
	}
	if err := sameVersion(); err != nil {
		return err
	}
	config, err := repoConfig()
	if err != nil {
		return err
	}
	defer os.Remove(config)

	mode := "-mode=fix"
	if diff {
		mode = "-mode=diff"
	}
	cmd := exec.Command("go", "tool", "-modfile="+pinned, "gazelle", "update",
		mode, "-repo_config="+config, "-external=static", "-build_file_name=BUILD.bazel")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("BUILD files are missing or out of date; `make gazelle` writes them: %w", err)
	}
	return nil
}

var (
	inWorkspace = regexp.MustCompile(`(?s)gazelle_tool\(\s*name = "gazelle_tool",\s*version = "([^"]+)"`)
	inPinned    = regexp.MustCompile(`github\.com/bazelbuild/bazel-gazelle (\S+)`)
)

// sameVersion checks that one gazelle writes the BUILD files of the module and
// of its dependencies.
func sameVersion() error {
	var found [2]string
	for i, f := range []struct {
		name string
		re   *regexp.Regexp
	}{{"WORKSPACE", inWorkspace}, {pinned, inPinned}} {
		text, err := os.ReadFile(f.name)
		if err != nil {
			return err
		}
		m := f.re.FindSubmatch(text)
		if m == nil {
			return fmt.Errorf("%s names no version of gazelle", f.name)
		}
		found[i] = string(m[1])
	}
	if found[0] != found[1] {
		return fmt.Errorf("WORKSPACE names gazelle %s, %s %s", found[0], pinned, found[1])
	}
	return nil
}

// repoConfig writes a file that tells gazelle the repository of each module.
func repoConfig() (string, error) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		return "", fmt.Errorf("go mod edit -json: %w", err)
	}
	var mod struct{ Require []struct{ Path string } }
	if err := json.Unmarshal(out, &mod); err != nil {
		return "", fmt.Errorf("go mod edit -json: %w", err)
	}
	f, err := os.CreateTemp("", "repo_config")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, r := range mod.Require {
		fmt.Fprintf(f, "go_repository(\n    name = %q,\n    importpath = %q,\n)\n\n", repoName(r.Path), r.Path)
	}
	return f.Name(), nil
}

var special = regexp.MustCompile(`[^a-z0-9]`)

// repoName is gazelle's name for a module: golang.org/x/sys is
// org_golang_x_sys. tools/bazeldefs/repos.bzl has the same rule.
func repoName(path string) string {
	host, rest, _ := strings.Cut(strings.ToLower(path), "/")
	parts := strings.Split(host, ".")
	slices.Reverse(parts)
	name := strings.Join(parts, "_")
	if rest != "" {
		name += "_" + rest
	}
	return special.ReplaceAllString(name, "_")
}
