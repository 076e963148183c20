package house

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code       = regexp.MustCompile("`([^`\n]+)`")
	makeTarget = regexp.MustCompile(`\bmake ([a-z]+)`)
	goPath     = regexp.MustCompile(`\bgo (?:test|doc|run|build|vet) (?:-[a-z=]+ )*(\./[a-z/_-]*)`)
	verb       = regexp.MustCompile(`bin/runsc-lite ([a-z]+)`)
	setting    = regexp.MustCompile(`\bRUNSC_LITE(?:_[A-Z]+)?\b`)
	treePath   = regexp.MustCompile(`^(?:\./)?[A-Za-z0-9_.*-]+(?:/[A-Za-z0-9_.*-]+)*/?$`)
)

// eachDocument runs fn on each document, and the directory that it is in.
func eachDocument(t *testing.T, fn func(name, dir, text string)) {
	t.Helper()
	each(t, "*.md", func(name string, text []byte) { fn(name, path.Dir(name), string(text)) })
}

func exists(name string) bool { _, err := os.Stat(name); return err == nil }

func TestDocumentLinks(t *testing.T) {
	eachDocument(t, func(name, dir, text string) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to, _, _ := strings.Cut(m[1], "#")
			if to == "" || strings.Contains(to, "://") {
				continue
			}
			if !exists(path.Join(dir, to)) {
				t.Errorf("%s: %s is not there", name, m[1])
			}
		}
	})
}

// TestDocumentPaths: what a document names as a file or directory of the tree
// is there. A star stands for any name.
func TestDocumentPaths(t *testing.T) {
	top, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	inTree := func(p string) bool {
		first, _, _ := strings.Cut(strings.TrimPrefix(p, "./"), "/")
		return first != "bin" && slices.ContainsFunc(top, func(e os.DirEntry) bool { return e.Name() == first })
	}
	eachDocument(t, func(name, _, text string) {
		for _, m := range code.FindAllStringSubmatch(text, -1) {
			p := m[1]
			if !treePath.MatchString(p) || !strings.ContainsAny(p, "/.") || !inTree(p) {
				continue
			}
			if found, err := filepath.Glob(filepath.FromSlash(p)); err != nil || len(found) == 0 {
				t.Errorf("%s: %s is not there", name, p)
			}
		}
		for _, m := range goPath.FindAllStringSubmatch(text, -1) {
			if p := strings.TrimSuffix(m[1], "/"); p != "." && !exists(p) {
				t.Errorf("%s: %s: %s is not there", name, m[0], p)
			}
		}
	})
}

func TestDocumentTargets(t *testing.T) {
	text, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	eachDocument(t, func(name, _, doc string) {
		for _, m := range makeTarget.FindAllStringSubmatch(doc, -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(text) {
				t.Errorf("%s: there is no make %s", name, m[1])
			}
		}
	})
}

// TestDocumentVerbs: the commands of the documents, and their flags, are there.
// tests/lifecycle runs those of the README.
func TestDocumentVerbs(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "runsc-lite")
	if out, err := run(t, "go", "build", "-o", bin, "./runsc-lite"); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	verbs, err := run(t, bin, "help")
	if err != nil {
		t.Fatalf("help: %v\n%s", err, verbs)
	}
	do, err := run(t, bin, "help", "do")
	if err != nil {
		t.Fatalf("help do: %v\n%s", err, do)
	}
	flag := regexp.MustCompile(` --([a-z-]+)`)
	eachDocument(t, func(name, _, text string) {
		for _, m := range verb.FindAllStringSubmatchIndex(text, -1) {
			v := text[m[2]:m[3]]
			if !regexp.MustCompile(`(?m)^\s+` + v + `\s`).MatchString(verbs) {
				t.Errorf("%s: there is no verb %q", name, v)
			}
			if v != "do" {
				continue
			}
			line, _, _ := strings.Cut(text[m[3]:], "\n")
			line, _, _ = strings.Cut(line, " /") // what follows is the program's
			for _, f := range flag.FindAllStringSubmatch(line, -1) {
				if !strings.Contains(do, "-"+f[1]) {
					t.Errorf("%s: do has no flag --%s", name, f[1])
				}
			}
		}
	})
}

// TestDocumentSettings: the environment variables are those of the harness, and
// those that an image takes.
func TestDocumentSettings(t *testing.T) {
	var known []string
	for _, name := range []string{"tests/harness/harness.go", "runsc-lite/image.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, setting.FindAllString(string(text), -1)...)
	}
	eachDocument(t, func(name, _, doc string) {
		for _, s := range setting.FindAllString(doc, -1) {
			if !slices.Contains(known, s) {
				t.Errorf("%s: nothing knows %s", name, s)
			}
		}
	})
}

// TestArchitectureTable: each package of the sandbox has its row in the table
// of ARCHITECTURE.md, and each row its package. A row may name several, and
// end in an ellipsis for all below.
func TestArchitectureTable(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.Contains(cells[1], "`") {
			continue
		}
		story := cells[2]
		for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
			row := strings.TrimSuffix(m[1], "/")
			rows = append(rows, row)
			if below, ok := strings.CutSuffix(row, "/…"); ok {
				// The story names them, after a colon.
				_, list, _ := strings.Cut(story, ": ")
				for word := range strings.SplitSeq(list, ",") {
					name, _, _ := strings.Cut(strings.Trim(word, " ."), " ")
					if name = strings.Trim(name, "`"); !exists(path.Join(below, name)) {
						t.Errorf("%s/%s is not there", below, name)
					}
				}
				continue
			}
			if !exists(row) {
				t.Errorf("%s is not there", row)
			}
		}
	}
	if len(rows) < 10 {
		t.Fatalf("the table was not found: %q", rows)
	}
	for _, p := range packages(t) {
		dir := p.dir()
		if dir == "." || strings.HasPrefix(dir, "tests/") || strings.HasPrefix(dir, "tools/") {
			continue
		}
		if !slices.ContainsFunc(rows, func(row string) bool {
			below, all := strings.CutSuffix(row, "…")
			return row == dir || all && strings.HasPrefix(dir, below) ||
				strings.HasPrefix(dir, row+"/") && (dir == "sentry/vfs/lock" || dir == "platform/platformtest")
		}) {
			t.Errorf("ARCHITECTURE.md says nothing of %s", dir)
		}
	}
}

// TestGoVersion: the documents name the version of Go that go.mod asks for.
func TestGoVersion(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(text)
	if m == nil {
		t.Fatal("go.mod names no version")
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range regexp.MustCompile(`\bGo (\d+\.\d+)`).FindAllSubmatch(readme, -1) {
		if string(v[1]) != string(m[1]) {
			t.Errorf("README.md says Go %s, go.mod %s", v[1], m[1])
		}
	}
}
