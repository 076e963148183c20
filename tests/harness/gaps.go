package harness

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// Gaps is a list of tests known to fail on a platform. The list only shrinks:
// a listed test that passes is a failure until its line is removed.
type Gaps struct {
	file    string
	reasons map[[2]string]string
}

// everywhere stands for each platform, where the reason is none of theirs.
const everywhere = "*"

// LoadGaps reads a list of lines "platform test reason…", where * is each platform;
// empty lines and lines that begin with # are skipped.
func LoadGaps(t testing.TB, file string) *Gaps {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatalf("known gaps: %v", err)
	}
	defer f.Close()
	g, err := parseGaps(f)
	if err != nil {
		t.Fatalf("known gaps: %s: %v", file, err)
	}
	g.file = file
	return g
}

func parseGaps(r io.Reader) (*Gaps, error) {
	g := &Gaps{reasons: make(map[[2]string]string)}
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 3 {
			return nil, fmt.Errorf("line %d: want \"platform test reason\", got %q", n, line)
		}
		key := [2]string{f[0], f[1]}
		if _, ok := g.reasons[key]; ok {
			return nil, fmt.Errorf("line %d: %s is listed twice for %s", n, f[1], f[0])
		}
		g.reasons[key] = strings.Join(f[2:], " ")
	}
	return g, sc.Err()
}

// verdict of one test on one platform.
type verdict int

const (
	pass     verdict = iota // no difference, not listed
	fail                    // a difference, not listed
	gap                     // a difference, listed
	outdated                // no difference, but listed
)

func (g *Gaps) verdict(platform, test, diff string) (verdict, string) {
	reason, listed := g.reason(platform, test)
	switch {
	case diff == "" && !listed:
		return pass, ""
	case diff == "":
		return outdated, reason
	case listed:
		return gap, reason
	}
	return fail, ""
}

// Listed says whether a test is known to fail on a platform.
func (g *Gaps) Listed(platform, test string) bool {
	_, listed := g.reason(platform, test)
	return listed
}

func (g *Gaps) reason(platform, test string) (reason string, listed bool) {
	if g == nil {
		return "", false
	}
	if reason, listed = g.reasons[[2]string{platform, test}]; !listed {
		reason, listed = g.reasons[[2]string{everywhere, test}]
	}
	return reason, listed
}

// Judge turns the difference found on a platform (empty: none) into the
// outcome of the test.
func (g *Gaps) Judge(t *testing.T, platform, test, diff string) {
	t.Helper()
	switch v, reason := g.verdict(platform, test, diff); v {
	case fail:
		t.Errorf("%s differs from native:\n%s", platform, diff)
	case gap:
		t.Skipf("known gap (%s):\n%s", reason, diff)
	case outdated:
		t.Errorf("%s passes on %s now: remove its line (%s) from %s", test, platform, reason, g.file)
	}
}

// CheckNames reports lines about tests that do not exist.
func (g *Gaps) CheckNames(t *testing.T, exists func(test string) bool) {
	t.Helper()
	if g == nil {
		return
	}
	for key := range g.reasons {
		if !exists(key[1]) {
			t.Errorf("%s: there is no test %q", g.file, key[1])
		}
	}
}
