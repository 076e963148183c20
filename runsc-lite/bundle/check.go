package bundle

import (
	"errors"
	"fmt"
	"strings"
)

// maxProblems is how many errors are reported of one configuration.
const maxProblems = 8

// checker collects what is wrong with a configuration.
type checker struct {
	file     string // that the fields are in
	problems []string
	more     int // problems beyond maxProblems
	warnings []string
}

// fail records that a field is wrong: what is wrong, and what to do.
func (c *checker) fail(field, format string, args ...any) {
	if len(c.problems) == maxProblems {
		c.more++
		return
	}
	c.problems = append(c.problems, fmt.Sprintf("%s: %s: %s", c.file, field, fmt.Sprintf(format, args...)))
}

// warn records that a field has no effect, or another than it says.
func (c *checker) warn(field, format string, args ...any) {
	if len(c.warnings) < 4*maxProblems {
		c.warnings = append(c.warnings, fmt.Sprintf("%s: %s: %s", c.file, field, fmt.Sprintf(format, args...)))
	}
}

// err returns all problems as one error, nil if there are none.
func (c *checker) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	text := strings.Join(c.problems, "\n")
	if c.more > 0 {
		text += fmt.Sprintf("\nand %d more", c.more)
	}
	return errors.New(text)
}

// text checks a string that goes to the kernel: it has no NUL byte, which would end
// it there.
func (c *checker) text(field, s string) bool {
	if strings.ContainsRune(s, 0) {
		c.fail(field, "%s holds a NUL byte", quote(s))
		return false
	}
	return true
}

// quote quotes a string of the configuration, shortened.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// at names an element of a list.
func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
