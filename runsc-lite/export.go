package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"runsc-lite/sentry"
)

// exportFlag collects --export: files of the sandbox that are copied to the host
// when the program has ended.
type exportFlag []string

// Set implements flag.Value.
func (e *exportFlag) Set(path string) error {
	if !filepath.IsAbs(path) {
		return errors.New("the path is not absolute")
	}
	*e = append(*e, filepath.Clean(path))
	return nil
}

func (e *exportFlag) String() string { return strings.Join(*e, " ") }

// copyOut copies what is to be exported of a sandbox whose program has ended.
func (e exportFlag) copyOut(s *sentry.Sandbox) error {
	if len(e) == 0 {
		return nil
	}
	s.Stop()
	for _, path := range e {
		if err := copyPath(s, path); err != nil {
			return fmt.Errorf("exporting %s: %w", path, err)
		}
	}
	return nil
}

// copyPath copies a file or a directory to where it is on the host. Only the path
// itself, which the caller named, may lead over symbolic links of the host: what
// the program made is written below it, wherever its links say.
func copyPath(s *sentry.Sandbox, path string) error {
	var root *os.Root
	defer func() {
		if root != nil {
			root.Close()
		}
	}()
	return s.Files(path, func(name string, mode uint32, r io.Reader) (err error) {
		perm := os.FileMode(mode&0o777) | 0o600
		switch {
		case name == "" && r != nil:
			if root, err = os.OpenRoot(filepath.Dir(path)); err != nil {
				return err
			}
			return replace(root, filepath.Base(path), perm, r)
		case name == "":
			if err := os.Mkdir(path, perm|0o100); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			root, err = os.OpenRoot(path)
			return err
		case r != nil:
			return replace(root, name, perm, r)
		}
		if err := root.Mkdir(name, perm|0o100); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return nil
	})
}

// replace makes a file anew. The old one, if there is one, may be what r reads: the
// sandbox sees the host's files.
func replace(root *os.Root, name string, perm os.FileMode, r io.Reader) error {
	dir, base := filepath.Split(name)
	fresh := dir + ".runsc-lite-export-" + strconv.Itoa(os.Getpid())
	f, err := root.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(fresh, dir+base)
	}
	if err != nil {
		root.Remove(fresh)
	}
	return err
}
