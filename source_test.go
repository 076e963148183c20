package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// maxLines is how long a source file may be. A file of 500 lines usually tells
// two stories; this is where it stops being a matter of taste.
const maxLines = 900

func TestFileSizes(t *testing.T) {
	check := func(name string, text []byte) {
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			t.Errorf("%s: %d lines; split it by what it tells", name, n)
		}
	}
	for _, pattern := range []string{"*.go", "*.c", "*.s"} {
		each(t, pattern, check)
	}
}

// eachGo parses each Go file.
func eachGo(t *testing.T, fn func(name string, fset *token.FileSet, f *ast.File)) {
	t.Helper()
	each(t, "*.go", func(name string, text []byte) {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		fn(name, fset, f)
	})
}

func TestUnsafe(t *testing.T) {
	eachGo(t, func(name string, fset *token.FileSet, f *ast.File) {
		marked := strings.HasSuffix(name, "_unsafe.go") || strings.HasSuffix(name, "_unsafe_test.go")
		uses := false
		for _, spec := range f.Imports {
			switch spec.Path.Value {
			case `"C"`:
				t.Errorf("%s uses cgo", name)
			case `"unsafe"`:
				uses = true
			}
		}
		for _, group := range f.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname") {
					uses = true
				}
			}
		}
		if uses && !marked {
			t.Errorf("%s is unsafe, and its name does not end in _unsafe.go", name)
		}
	})
	each(t, "*.s", func(name string, _ []byte) {
		if !strings.HasSuffix(name, "_amd64.s") {
			t.Errorf("%s: assembly is in files named *_amd64.s", name)
		}
	})
}

// TestCBesideGo: a directory with Go and C files builds only with cgo off.
func TestCBesideGo(t *testing.T) {
	dirs := make(map[string]bool)
	each(t, "*.go", func(name string, _ []byte) { dirs[path.Dir(name)] = true })
	each(t, "*.c", func(name string, _ []byte) {
		if dirs[path.Dir(name)] {
			t.Errorf("%s stands beside Go files: the go command takes it for cgo", name)
		}
	})
}

func TestNoInit(t *testing.T) {
	eachGo(t, func(name string, fset *token.FileSet, f *ast.File) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: an init function; what is to be set up is set up by who needs it", fset.Position(fn.Pos()))
			}
		}
	})
}

func TestPackageComments(t *testing.T) {
	type pkg struct {
		name string
		doc  []string
	}
	pkgs := make(map[string]*pkg)
	eachGo(t, func(name string, _ *token.FileSet, f *ast.File) {
		dir, of := path.Dir(name), strings.TrimSuffix(f.Name.Name, "_test")
		if pkgs[dir] == nil {
			pkgs[dir] = &pkg{name: of}
		}
		if f.Doc != nil {
			pkgs[dir].doc = append(pkgs[dir].doc, f.Doc.Text())
		}
	})
	for dir, p := range pkgs {
		want := "Package " + p.name + " "
		if p.name == "main" {
			want = "Command " + path.Base(dir) + " "
			if base := path.Base(dir); len(p.doc) == 1 && strings.HasPrefix(strings.ToLower(p.doc[0]), base+" ") {
				continue // as in "Gofmt formats Go programs."
			}
		}
		switch {
		case len(p.doc) != 1:
			t.Errorf("%s: %d package comments, want one", dir, len(p.doc))
		case !strings.HasPrefix(p.doc[0], want):
			t.Errorf("%s: the package comment does not begin with %q", dir, want)
		}
	}
}

// pure are functions of x/sys/unix that call no kernel.
var pure = []string{
	"Auxv", "ByteSliceToString", "ByteSliceFromString", "BytePtrFromString", "CmsgLen", "CmsgSpace",
	"ErrnoName", "Major", "Minor", "Mkdev", "NsecToTimespec", "NsecToTimeval", "SignalName", "SignalNum",
	"TimespecToNsec", "TimevalToNsec",
}

// TestHostCalls: the host's kernel is called by hostcall and the platforms
// alone, by the command, which makes the sandbox's place on the host, and by what
// compares with it.
func TestHostCalls(t *testing.T) {
	calls := hostFunctions(t)
	eachGo(t, func(name string, fset *token.FileSet, f *ast.File) {
		dir := path.Dir(name)
		switch {
		case strings.HasSuffix(name, "_test.go"), dir == "hostcall", dir == "runsc-lite", strings.HasPrefix(dir, "runsc-lite/"), dir == "sentry/fs/fstest",
			strings.HasPrefix(dir, "platform/"), strings.HasPrefix(dir, "tests/"), strings.HasPrefix(dir, "tools/"):
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "unix" && x.Obj == nil && calls[sel.Sel.Name] {
					t.Errorf("%s: unix.%s: host calls are in hostcall and the platforms", fset.Position(n.Pos()), sel.Sel.Name)
				}
			}
			return true
		})
	})
}

// hostFunctions are the functions of x/sys/unix that call the kernel.
func hostFunctions(t *testing.T) map[string]bool {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}\n{{range .GoFiles}}{{.}}\n{{end}}", "golang.org/x/sys/unix").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(out))
	calls := make(map[string]bool)
	for _, name := range names[1:] {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(names[0], name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.IsExported() && !slices.Contains(pure, fn.Name.Name) {
				calls[fn.Name.Name] = true
			}
		}
	}
	if !calls["Mmap"] || !calls["RawSyscall6"] {
		t.Fatal("the functions of x/sys/unix were not found")
	}
	return calls
}

func TestLicense(t *testing.T) {
	each(t, "LICENSE", func(name string, text []byte) {
		for _, s := range []string{"Apache License\n", "Version 2.0, January 2004\n", "END OF TERMS AND CONDITIONS"} {
			if !bytes.Contains(text, []byte(s)) {
				t.Errorf("%s is not the whole Apache License 2.0: no %q", name, s)
			}
		}
	})
}

// mostGaps is how many lines each list of known gaps may have. The numbers only
// go down: the commit that raises one explains why it must.
var mostGaps = map[string]int{
	"tests/bench/known_gaps.txt":        0,
	"tests/busybox/known_gaps.txt":      0,
	"tests/differential/known_gaps.txt": 0,
	"tests/oci/known_gaps.txt":          10,
	"tests/programs/known_gaps.txt":     4,
}

func TestKnownGapsShrink(t *testing.T) {
	each(t, "known_gaps.txt", func(name string, text []byte) {
		n := 0
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				n++
			}
		}
		most, ok := mostGaps[name]
		switch {
		case !ok:
			t.Errorf("%s is not in mostGaps", name)
		case n > most:
			t.Errorf("%s has %d lines; at most %d are known", name, n, most)
		case n < most:
			t.Errorf("%s shrank: set its number in mostGaps to %s", name, strconv.Itoa(n))
		}
	})
}
