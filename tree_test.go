// Package house holds the tests of the source tree as a whole: who may import
// whom, linters, BUILD files, what every file must have, and whether the
// documents say what is true. They read the tree and run the go command; the
// tests of what the code does are in its packages and in tests/.
package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "runsc-lite"

// files lists the files of the tree, slash-separated and relative to it. What
// git ignores is left out: build output, and caches of editors.
var files = sync.OnceValues(func() ([]string, error) {
	if out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output(); err == nil {
		var list []string
		for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
			// A file that was removed and not yet committed is listed too.
			if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
				list = append(list, name)
			}
		}
		return list, nil
	}
	// A source tree without its history.
	var list []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "bin" || name == ".git" || strings.HasPrefix(name, "bazel-")):
			return fs.SkipDir
		case d.Type().IsRegular():
			list = append(list, filepath.ToSlash(name))
		}
		return nil
	})
	return list, err
})

// each runs fn on each file of the tree whose name matches a pattern of
// path.Match, applied to its last element.
func each(t *testing.T, pattern string, fn func(name string, text []byte)) {
	t.Helper()
	all, err := files()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, name := range all {
		if ok, err := path.Match(pattern, path.Base(name)); err != nil {
			t.Fatal(err)
		} else if !ok {
			continue
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went away meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		found = true
		fn(name, text)
	}
	if !found {
		t.Fatalf("no file matches %s: nothing was checked", pattern)
	}
}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath   string
	Dir          string
	Doc          string
	GoFiles      []string
	Imports      []string
	Deps         []string
	TestImports  []string
	XTestImports []string
}

// dir is the package's directory, relative to the tree.
func (p goPackage) dir() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

var goPackages = sync.OnceValues(func() ([]goPackage, error) {
	// -e: a package that does not build is a failure of vet, not of all.
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Doc,GoFiles,Imports,Deps,TestImports,XTestImports", "./...").Output()
	if err != nil {
		return nil, err
	}
	var list []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return nil, err
		}
		list = append(list, p)
	}
})

func packages(t *testing.T) []goPackage {
	t.Helper()
	list, err := goPackages()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 10 {
		t.Fatalf("go list found %d packages", len(list))
	}
	return list
}

// run runs a command and returns what it printed, both streams.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}
