package loader

import (
	"golang.org/x/sys/unix"
)

const (
	// maxString bounds one argument or variable with its NUL (MAX_ARG_STRLEN).
	maxString = 32 * pageSize
	// minArguments is what may be passed whatever the stack limit is (ARG_MAX).
	minArguments = 128 << 10
	// maxArguments is 3/4 of the default stack limit, 8 MiB.
	maxArguments = 6 << 20
)

// arguments are the strings that a program starts with, and how much room is
// left for more.
type arguments struct {
	path string // AT_EXECFN
	argv []string
	env  []string
	room uint64
	size uint64 // of all strings with their NULs
}

// newArguments checks the request's strings against the limits that Linux has
// (bprm_stack_limits): E2BIG.
func newArguments(r *Request) (*arguments, error) {
	limit := max(min(r.StackLimit/4, maxArguments), minArguments)
	pointers := uint64(max(len(r.Argv), 1)+len(r.Env)) * 8
	if limit <= pointers {
		return nil, unix.E2BIG
	}
	a := &arguments{path: r.Path, argv: r.Argv, env: r.Env, room: limit - pointers}
	if err := a.take(r.Path); err != nil {
		return nil, err
	}
	for _, s := range r.Env {
		if err := a.take(s); err != nil {
			return nil, err
		}
	}
	for _, s := range r.Argv {
		if err := a.take(s); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *arguments) take(s string) error {
	n := uint64(len(s)) + 1
	if n > maxString || n > a.room {
		return unix.E2BIG
	}
	a.room -= n
	a.size += n
	return nil
}

// script puts a script's interpreter, its argument and the script's name in the
// place of argv[0].
func (a *arguments) script(words []string, name string) error {
	rest := a.argv
	if len(rest) > 0 {
		n := uint64(len(rest[0])) + 1
		a.room += n
		a.size -= n
		rest = rest[1:]
	}
	argv := make([]string, 0, len(words)+1+len(rest))
	argv = append(append(argv, words...), name)
	for _, s := range argv {
		if err := a.take(s); err != nil {
			return err
		}
	}
	a.argv = append(argv, rest...)
	return nil
}
