package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Case is a case of a file of them. Text before the first is a comment:
//
//	=== name [word]…
//	text
type Case struct {
	Name  string // with its group, the file's name without its end: "group/name"
	Words []string
	Text  string
}

// ParseCases reads a file of cases. A case without a name or a text is an error.
func ParseCases(group, text string) ([]Case, error) {
	var cases []Case
	for line := range strings.Lines(text) {
		head, ok := strings.CutPrefix(line, "=== ")
		if !ok {
			if n := len(cases); n > 0 {
				cases[n-1].Text += line
			}
			continue
		}
		f := strings.Fields(head)
		if len(f) == 0 {
			return nil, fmt.Errorf("%q: no name", strings.TrimSpace(line))
		}
		cases = append(cases, Case{Name: group + "/" + f[0], Words: f[1:]})
	}
	for _, c := range cases {
		if strings.TrimSpace(c.Text) == "" {
			return nil, fmt.Errorf("%s: there is nothing to run", c.Name)
		}
	}
	return cases, nil
}

// LoadCases reads the files that match pattern, each of which holds some cases. Two
// of one name are an error.
func LoadCases(t testing.TB, pattern string) []Case {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no cases: %v", pattern, err)
	}
	var all []Case
	names := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases, err := ParseCases(strings.TrimSuffix(filepath.Base(file), ".txt"), string(text))
		if err != nil || len(cases) == 0 {
			t.Fatalf("%s: %d cases: %v", file, len(cases), err)
		}
		for _, c := range cases {
			if names[c.Name] {
				t.Errorf("%s: there are two of them", c.Name)
			}
			names[c.Name] = true
		}
		all = append(all, cases...)
	}
	return all
}
