package unikernel

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
	"runsc-lite/archive"
)

// maxLinks is how many symbolic links a path may lead over, as in path_resolution(7).
const maxLinks = 40

// errNotThere is what find says of a path that does not exist.
var errNotThere = errors.New("no such file")

// find follows a path in a tree, symbolic links within it, and never above its
// root. make, unless it is nil, makes directories that are missing.
func find(root *archive.Node, name string, make func() *archive.Node) (*archive.Node, error) {
	links := 0
	stack := []*archive.Node{root}
	parts := strings.Split(name, "/")
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		at := stack[len(stack)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		if !at.IsDir() {
			return nil, fmt.Errorf("%s: what it leads through is no directory", name)
		}
		next := at.Children[part]
		if next == nil {
			if make == nil {
				return nil, fmt.Errorf("%s: %w", name, errNotThere)
			}
			next = make()
			at.Children[part] = next
		}
		if next.Mode&unix.S_IFMT == unix.S_IFLNK {
			if links++; links > maxLinks {
				return nil, fmt.Errorf("%s: too many symbolic links", name)
			}
			if path.IsAbs(next.Target) {
				stack = stack[:1]
			}
			parts = append(strings.Split(next.Target, "/"), parts...)
			continue
		}
		stack = append(stack, next)
	}
	return stack[len(stack)-1], nil
}

// newDir is a directory of root's.
func newDir() *archive.Node {
	return &archive.Node{Mode: unix.S_IFDIR | 0o755, Children: map[string]*archive.Node{}}
}

// each runs fn on all nodes, on each once.
func each(root *archive.Node, fn func(*archive.Node)) {
	seen := map[*archive.Node]bool{}
	var visit func(n *archive.Node)
	visit = func(n *archive.Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		fn(n)
		for _, c := range n.Children {
			visit(c)
		}
	}
	visit(root)
}

// isProgram says whether a node is a file that somebody may execute.
func isProgram(n *archive.Node) bool {
	return n.Mode&unix.S_IFMT == unix.S_IFREG && n.Mode&0o111 != 0
}

// lookPath finds the program of an image as execvp(3) will: with a slash as it is,
// else in PATH.
func lookPath(root *archive.Node, name, cwd string, dirs string) error {
	try := []string{path.Join("/", cwd, name)}
	if path.IsAbs(name) {
		try = []string{name}
	}
	if !strings.Contains(name, "/") {
		try = nil
		for dir := range strings.SplitSeq(dirs, ":") {
			try = append(try, path.Join("/", dir, name))
		}
	}
	for _, p := range try {
		n, err := find(root, p, nil)
		if err == nil && isProgram(n) {
			return nil
		}
		if err == nil && len(try) == 1 {
			return fmt.Errorf("%s is in the image, but is no executable file", p)
		}
	}
	return fmt.Errorf("%s is not in the image (looked for %s)", name, strings.Join(try, ", "))
}
