// Command gazelle writes the BUILD.bazel files of the module, and the list of
// modules in MODULE.bazel, or shows how they differ from what it would write:
//
//	go run ./tools/gazelle [-diff]
//
// It runs the gazelle that tools/pin/go.mod pins, which has to be the version
// that tools/bazeldefs/repos.bzl names for the dependencies. Gazelle is told the modules of
// go.mod, so that it need not ask the network which module a package is of.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	pinned  = "tools/pin/go.mod"
	inBazel = "tools/bazeldefs/repos.bzl"
)

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
	outdated := useRepos(diff)
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
		err = fmt.Errorf("BUILD files are missing or out of date; `make gazelle` writes them: %w", err)
		return errors.Join(outdated, err)
	}
	return outdated
}

var (
	inRules  = regexp.MustCompile(`(?s)\ngazelle_tool = repository_rule\(.*?"version": attr\.string\(default = "([^"]+)"`)
	inPinned = regexp.MustCompile(`github\.com/bazelbuild/bazel-gazelle (\S+)`)
)

// sameVersion checks that one gazelle writes the BUILD files of the module and
// of its dependencies.
func sameVersion() error {
	var found [2]string
	for i, f := range []struct {
		name string
		re   *regexp.Regexp
	}{{inBazel, inRules}, {pinned, inPinned}} {
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
		return fmt.Errorf("%s names gazelle %s, %s %s", inBazel, found[0], pinned, found[1])
	}
	return nil
}

// required is a module that go.mod names.
type required struct {
	Path     string
	Indirect bool
}

func modules() ([]required, error) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		return nil, fmt.Errorf("go mod edit -json: %w", err)
	}
	var mod struct{ Require []required }
	if err := json.Unmarshal(out, &mod); err != nil {
		return nil, fmt.Errorf("go mod edit -json: %w", err)
	}
	return mod.Require, nil
}

const moduleFile = "MODULE.bazel"

var useRepo = regexp.MustCompile(`(?s)use_repo\(\s*go_deps,.*?\)`)

// useRepos brings MODULE.bazel, which lists the modules that BUILD files refer
// to, in line with go.mod.
func useRepos(diff bool) error {
	mods, err := modules()
	if err != nil {
		return err
	}
	list := "use_repo(\n    go_deps,\n"
	var names []string
	for _, m := range mods {
		if !m.Indirect {
			names = append(names, repoName(m.Path))
		}
	}
	slices.Sort(names)
	for _, n := range names {
		list += fmt.Sprintf("    %q,\n", n)
	}
	list += ")"
	text, err := os.ReadFile(moduleFile)
	if err != nil {
		return err
	}
	old := useRepo.FindString(string(text))
	switch {
	case old == "":
		return fmt.Errorf("%s: no use_repo(go_deps, …)", moduleFile)
	case old == list:
		return nil
	case diff:
		return fmt.Errorf("%s is out of date; `make gazelle` writes it; it should say\n%s", moduleFile, list)
	}
	return os.WriteFile(moduleFile, []byte(strings.Replace(string(text), old, list, 1)), 0o644)
}

// repoConfig writes a file that tells gazelle the repository of each module.
func repoConfig() (string, error) {
	mods, err := modules()
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "repo_config")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, r := range mods {
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
