package proc

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// place is where a magic link leads. drop, if it is not nil, is to be called once
// the path is no longer used.
type place struct {
	path vfs.Path
	drop func()
}

// link makes a magic link (proc_pid_link_inode_operations): who may look into the
// process reads and follows it, others get EACCES.
func link(find func(s *subject) (place, error)) maker {
	return func(s *subject, a synth.Attr) vfs.Inode { return s.magic(a, func() (place, error) { return find(s) }) }
}

func (s *subject) magic(a synth.Attr, find func() (place, error)) *synth.Magic {
	allowed := func(c *vfs.Caller) (place, error) {
		if s.check() != nil {
			return place{}, unix.ENOENT
		}
		if err := s.mayTrace(c, 0); err != nil {
			return place{}, err
		}
		return find()
	}
	text := func(c *vfs.Caller) (string, error) {
		to, err := allowed(c)
		if err != nil {
			return "", err
		}
		if to.drop != nil {
			defer to.drop()
		}
		return c.PathName(to.path), nil
	}
	jump := func(c *vfs.Caller) (vfs.Path, error) {
		to, err := allowed(c)
		if err != nil {
			return vfs.Path{}, err
		}
		if to.drop != nil {
			defer to.drop()
		}
		return to.path, nil
	}
	return s.fs.Magic(a, text, jump)
}

// exe is /proc/PID/exe.
func (s *subject) exe() (place, error) {
	t := s.task()
	if t == nil {
		return place{}, unix.ENOENT
	}
	f := t.Executable()
	if f == nil {
		return place{}, unix.ENOENT
	}
	return place{f.Path(), f.DecRef}, nil
}

// context returns where the process is in the file tree: ENOENT when it has ended.
func (s *subject) context() (*vfs.FSContext, error) {
	c := s.fs.cfg.Place
	if t := s.task(); t != nil {
		c = t.Place()
	}
	if c == nil {
		return nil, unix.ENOENT
	}
	return c, nil
}

// cwd is /proc/PID/cwd.
func (s *subject) cwd() (place, error) {
	c, err := s.context()
	if err != nil {
		return place{}, err
	}
	return found(c.Cwd())
}

// root is /proc/PID/root.
func (s *subject) root() (place, error) {
	c, err := s.context()
	if err != nil {
		return place{}, err
	}
	return found(c.Root())
}

func found(p vfs.Path) (place, error) {
	if !p.Ok() {
		return place{}, unix.ENOENT // released meanwhile
	}
	return place{path: p}, nil
}
