// Package programs runs real programs of Debian that do real work, natively
// and on each platform: the result has to be the same.
//
// The cases are data, in testdata/*.txt; the name of a case is that of the file
// without its end, a slash, and the word after ===:
//
//	# text before the first case is a comment
//	=== name [key=value]… [slow]
//	text, run by `bash -c` in an empty directory; it ends with 126 or 127 where
//	the case itself does not work
//
// The keys:
//
//	needs=PATH,…      files without which the case is skipped
//	package=NAME,…    the Debian packages that they come from
//	limit=DURATION    bounds a run; 60s if it is not said
//	compare=HOW       how two runs are compared
//	platforms=NAME,…  the platforms it runs on; all, if it is not said
//
// HOW is one of
//
//	all       standard output, standard error and exit status (the default)
//	out       standard output and exit status
//	unittest  the outcome of each test that Python's unittest tells of with -v
//
// `make programs` installs the packages.
package programs

import (
	"fmt"
	"strings"
	"time"

	"runsc-lite/tests/harness"
)

const (
	compareAll      = "all"
	compareOut      = "out"
	compareUnittest = "unittest"
)

// defaultLimit is for a loaded machine: it exists to end hangs.
const defaultLimit = time.Minute

type testCase struct {
	name      string
	needs     []string
	packages  []string
	limit     time.Duration
	compare   string
	platforms []string // nil: all
	slow      bool
	text      string
}

func newCase(from harness.Case) (testCase, error) {
	c := testCase{name: from.Name, text: from.Text, limit: defaultLimit, compare: compareAll}
	for _, word := range from.Words {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "slow":
			c.slow = true
		case "needs":
			c.needs = strings.Split(value, ",")
		case "package":
			c.packages = strings.Split(value, ",")
		case "platforms":
			c.platforms = strings.Split(value, ",")
		case "limit":
			c.limit, err = time.ParseDuration(value)
		case "compare":
			if c.compare = value; value != compareAll && value != compareOut && value != compareUnittest {
				err = fmt.Errorf("compare=%s is not known", value)
			}
		default:
			err = fmt.Errorf("the key %q is not known", key)
		}
		if err != nil {
			return c, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if (c.needs == nil) != (c.packages == nil) {
		return c, fmt.Errorf("%s: needs= and package= belong together", c.name)
	}
	return c, nil
}

// outcomes reads what unittest prints with -v: a line
//
//	test_close (test.test_os.FileTests.test_close) ... ok
//
// a test, with what the test itself prints perhaps between the dots and the
// outcome. Tests of a name are told apart by what is in the parentheses.
func outcomes(text string) map[string]string {
	list := make(map[string]string)
	open := "" // the test whose outcome is still to come
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if head, rest, ok := strings.Cut(line, " ... "); ok && strings.HasPrefix(head, "test") || ok && strings.Contains(head, ")") {
			if i, j := strings.LastIndexByte(head, '('), strings.LastIndexByte(head, ')'); i >= 0 && j > i {
				open = head[i+1 : j]
			}
			line = rest
		} else if i, j := strings.LastIndexByte(line, '('), strings.LastIndexByte(line, ')'); strings.HasPrefix(line, "test_") && i > 0 && j == len(line)-1 {
			// A test with a doc string: the string follows on a line of
			// its own, with the outcome.
			open = line[i+1 : j]
			continue
		}
		if open == "" {
			continue
		}
		if o := outcome(line); o != "" {
			list[open] = o
			open = ""
		}
	}
	return list
}

func outcome(line string) string {
	for _, o := range []string{"ok", "FAIL", "ERROR", "expected failure", "unexpected success"} {
		if line == o || strings.HasSuffix(line, " "+o) {
			return o
		}
	}
	if i := strings.LastIndex(line, "skipped '"); i == 0 || i > 0 && line[i-1] == ' ' {
		return "skipped"
	}
	if strings.HasPrefix(line, `skipped "`) {
		return "skipped"
	}
	return ""
}
