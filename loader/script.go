package loader

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// parseScript reads a #! line as Linux does (load_script): the interpreter's
// path, and all that follows it as one argument, if there is any. A path that may
// be cut off at the end of head is refused; a cut argument is not. ENOEXEC.
func parseScript(head *[headSize]byte) ([]string, error) {
	last := len(head) - 1
	line := head[:]
	// The line ends at a newline, if one comes before a NUL.
	if i := bytes.IndexAny(line, "\n\x00"); i >= 0 && line[i] == '\n' {
		line = line[:i]
	} else {
		i := skipBlanks(line, 2)
		if i > last {
			return nil, unix.ENOEXEC
		}
		if terminator(line, i) > last {
			return nil, unix.ENOEXEC
		}
		line = line[:last]
	}
	line = bytes.TrimRight(line, " \t")
	start := skipBlanks(line, min(2, len(line)))
	if start >= len(line) {
		return nil, unix.ENOEXEC
	}
	end := terminator(line, start)
	words := []string{string(line[start:end])}
	if end < len(line) && line[end] != 0 {
		rest := line[skipBlanks(line, end):]
		if i := bytes.IndexByte(rest, 0); i >= 0 {
			rest = rest[:i]
		}
		words = append(words, string(rest))
	}
	return words, nil
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// skipBlanks returns the index of the first byte from i on that is no blank, or
// the length.
func skipBlanks(b []byte, i int) int {
	for i < len(b) && blank(b[i]) {
		i++
	}
	return i
}

// terminator returns the index of the first blank or NUL from i on, or the
// length.
func terminator(b []byte, i int) int {
	for i < len(b) && !blank(b[i]) && b[i] != 0 {
		i++
	}
	return i
}
