package house

import (
	"strings"
	"testing"
)

func TestVet(t *testing.T) {
	t.Parallel()
	if out, err := run(t, "go", "vet", "./..."); err != nil {
		t.Errorf("go vet: %v\n%s", err, out)
	}
}

// TestStaticcheck runs the version that tools/pin pins.
func TestStaticcheck(t *testing.T) {
	t.Parallel()
	if out, err := run(t, "go", "tool", "-modfile=tools/pin/go.mod", "staticcheck", "./..."); err != nil {
		t.Errorf("staticcheck: %v\n%s", err, out)
	}
}

func TestGofmt(t *testing.T) {
	t.Parallel()
	var names []string
	each(t, "*.go", func(name string, _ []byte) { names = append(names, name) })
	out, err := run(t, "gofmt", append([]string{"-l"}, names...)...)
	if err != nil {
		t.Fatalf("gofmt: %v\n%s", err, out)
	}
	for name := range strings.Lines(out) {
		t.Errorf("gofmt would change %s", strings.TrimSpace(name))
	}
}

// TestBuildFiles compares the BUILD files, and the modules that MODULE.bazel
// names, with those that gazelle would write.
func TestBuildFiles(t *testing.T) {
	t.Parallel()
	if out, err := run(t, "go", "run", "./tools/gazelle", "-diff"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestModules: go.mod says what the code imports, and go.sum knows all of it.
func TestModules(t *testing.T) {
	t.Parallel()
	if out, err := run(t, "go", "mod", "tidy", "-diff"); err != nil {
		t.Errorf("go mod tidy would change:\n%s", out)
	}
	if out, err := run(t, "go", "mod", "verify"); err != nil {
		t.Errorf("go mod verify: %v\n%s", err, out)
	}
}

func TestShellScripts(t *testing.T) {
	each(t, "*", func(name string, text []byte) {
		if !strings.HasPrefix(string(text), "#!/bin/sh\n") {
			return
		}
		if out, err := run(t, "sh", "-n", name); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if !strings.Contains(string(text), "\nset -eu\n") {
			t.Errorf("%s: no set -eu", name)
		}
	})
}
