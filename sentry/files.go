package sentry

import (
	"io"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/vfs"
)

// maxDepth bounds how deep Files goes.
const maxDepth = 64

// Stop ends all processes of the sandbox. Its files are still there, until Close.
func (s *Sandbox) Stop() {
	s.kernel.Procs.KillAll()
	s.kernel.Wait()
}

// Files calls fn for the regular file at path in the sandbox, or for the directory
// there and all regular files and directories below it, a directory (of which r is
// nil) before what is in it. A symbolic link to a file counts as that file of the
// sandbox; below path, one to a directory is left out. name
// is relative to path, slash-separated, and leads nowhere else. What is not there is
// no error, and what is neither file nor directory is left out. The program has
// ended (Stop).
func (s *Sandbox) Files(path string, fn func(name string, mode uint32, r io.Reader) error) error {
	where := vfs.NewFSContext(s.kernel.Mounts)
	defer where.Release()
	f := files{who: caller(where, procmgr.RootCredentials()), fn: fn}
	return f.visit(path, "", 0)
}

type files struct {
	who *vfs.Caller
	fn  func(name string, mode uint32, r io.Reader) error
}

func (f *files) visit(path, name string, depth int) error {
	st, err := f.who.Stat(nil, path, 0)
	switch {
	case err == unix.ENOENT, err == unix.ENOTDIR, err == unix.ELOOP:
		return nil
	case err != nil:
		return err
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFDIR && name != "" {
		if l, err := f.who.Stat(nil, path, unix.AT_SYMLINK_NOFOLLOW); err != nil || l.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil // or it could lead back, or make one directory many
		}
	}
	if kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil
	}
	file, err := f.who.Open(nil, path, vfs.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK})
	if err != nil {
		return err
	}
	defer file.DecRef()
	if kind == unix.S_IFREG {
		return f.fn(name, st.Mode&0o777, reader{file})
	}
	if depth > maxDepth {
		return unix.ELOOP
	}
	if err := f.fn(name, st.Mode, nil); err != nil {
		return err
	}
	var names []string
	for {
		n := len(names)
		seen := 0
		if err := file.ReadDir(f.who, func(e vfs.Entry) bool {
			seen++
			if e.Name != "." && e.Name != ".." {
				names = append(names, e.Name)
			}
			return true
		}); err != nil {
			return err
		}
		if seen == 0 || n == len(names) {
			break
		}
	}
	for _, n := range names {
		below := n
		if name != "" {
			below = name + "/" + n
		}
		if err := f.visit(path+"/"+n, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// reader reads an open file from its position on.
type reader struct{ f *vfs.File }

// Read implements io.Reader.
func (r reader) Read(b []byte) (int, error) {
	n, err := r.f.Read([][]byte{b})
	if n == 0 && err == nil {
		err = io.EOF
	}
	return int(n), err
}
