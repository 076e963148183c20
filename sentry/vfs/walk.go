package vfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one walk follows (MAXSYMLINKS): ELOOP
// beyond.
const maxLinks = 40

// Kinds of last components (LAST_NORM and friends in fs/namei.c).
const (
	lastNorm = iota
	lastRoot
	lastDot
	lastDotDot
)

// walk is a walk in progress (struct nameidata).
type walk struct {
	c       *Caller
	root    Path // what "/" and ".." stop at
	at      Path // where it is; always positive
	rest    string
	resolve uint64 // unix.RESOLVE_*
	links   int

	// Once toLast is done: the component that is left.
	last     string
	lastKind int
	slash    bool // a slash follows it: it is to be a directory
}

// start begins a walk of path.
func (c *Caller) start(w *walk, at *File, path string, resolve uint64) error {
	if len(path) >= unix.PathMax {
		return unix.ENAMETOOLONG
	}
	c.mu.RLock()
	*w = walk{c: c, rest: path, resolve: resolve, root: c.FSContext.root, at: c.FSContext.cwd}
	c.mu.RUnlock()
	if path == "" {
		return unix.ENOENT
	}
	absolute := path[0] == '/'
	if at != nil && (!absolute || resolve&unix.RESOLVE_IN_ROOT != 0) {
		w.at = at.path
		if !w.at.Ok() || !w.at.Dentry.IsDir() {
			return unix.ENOTDIR
		}
	}
	if resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0 {
		w.root = w.at
	}
	if absolute {
		if resolve&unix.RESOLVE_BENEATH != 0 {
			return unix.EXDEV
		}
		w.at = w.root
	}
	return nil
}

// toLast walks until the last component is left. w.at is then the directory
// that holds it.
func (w *walk) toLast() error {
	for {
		rest := w.rest
		for len(rest) > 0 && rest[0] == '/' {
			rest = rest[1:]
		}
		if rest == "" {
			w.rest, w.last, w.lastKind, w.slash = "", "", lastRoot, false
			return nil
		}
		// "may_lookup": every component, "." too, needs search permission.
		if err := w.c.search(w.at.Dentry); err != nil {
			return err
		}
		name, tail := rest, ""
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			name, tail = rest[:i], rest[i:]
		}
		kind := lastNorm
		switch name {
		case ".":
			kind = lastDot
		case "..":
			kind = lastDotDot
		}
		i := 0
		for i < len(tail) && tail[i] == '/' {
			i++
		}
		if i == len(tail) {
			w.rest, w.last, w.lastKind, w.slash = "", name, kind, tail != ""
			return nil
		}
		w.rest = tail[i:]
		p, err := w.step(name, kind)
		if err != nil {
			return err
		}
		if !p.Ok() {
			return unix.ENOENT
		}
		if p.Dentry.isSymlink() {
			if err := w.follow(p); err != nil {
				return err
			}
			continue
		}
		if !p.Dentry.IsDir() {
			return unix.ENOTDIR
		}
		w.at = p
	}
}

// step looks one component up in w.at, without following it if it is a
// symbolic link. The zero Path means that there is nothing of the name.
func (w *walk) step(name string, kind int) (Path, error) {
	switch kind {
	case lastDot, lastRoot:
		return w.at, nil
	case lastDotDot:
		if w.at == w.root {
			if w.resolve&unix.RESOLVE_BENEATH != 0 {
				return Path{}, unix.EXDEV
			}
			return w.at, nil
		}
		up := w.at.up()
		if up.Mount != nil {
			up = w.c.ns.top(up)
		}
		if up.Mount != w.at.Mount && w.resolve&unix.RESOLVE_NO_XDEV != 0 {
			return Path{}, unix.EXDEV
		}
		return up, nil
	}
	d, err := w.at.Dentry.lookup(name)
	if err != nil {
		if err == unix.ENOENT {
			err = nil
		}
		return Path{}, err
	}
	if d.kind == 0 {
		return Path{}, nil
	}
	p := Path{w.at.Mount, d}
	if d.mounted.Load() != 0 {
		p = w.c.ns.top(p)
		if p.Mount != w.at.Mount && w.resolve&unix.RESOLVE_NO_XDEV != 0 {
			return Path{}, unix.EXDEV
		}
	}
	return p, nil
}

// follow goes to where the symbolic link p, which is in w.at, leads: w.rest
// becomes what is left to walk (step_into and pick_link in fs/namei.c).
func (w *walk) follow(p Path) error {
	if w.links++; w.links > maxLinks || w.resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
		return unix.ELOOP
	}
	if p.Mount.has(unix.MS_NOSYMFOLLOW) {
		return unix.ELOOP
	}
	if j, ok := p.Inode().(Jumper); ok {
		if w.resolve&unix.RESOLVE_NO_MAGICLINKS != 0 {
			return unix.ELOOP
		}
		if w.resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0 {
			return unix.EXDEV
		}
		to, err := j.Jump(w.c)
		if err != nil {
			return err
		}
		if !to.Ok() {
			return unix.ENOENT
		}
		if w.resolve&unix.RESOLVE_NO_XDEV != 0 && to.Mount != w.at.Mount {
			return unix.EXDEV
		}
		if w.rest != "" && !to.Dentry.IsDir() {
			return unix.ENOTDIR
		}
		w.at = to
		return nil
	}
	target, err := w.c.readlink(p.Inode())
	if err != nil {
		return err
	}
	if target == "" {
		return unix.ENOENT
	}
	if target[0] == '/' {
		if w.resolve&unix.RESOLVE_BENEATH != 0 {
			return unix.EXDEV
		}
		if w.resolve&unix.RESOLVE_NO_XDEV != 0 && w.root.Mount != w.at.Mount {
			return unix.EXDEV
		}
		w.at = w.root
	}
	if w.rest == "" {
		w.rest = target
	} else {
		w.rest = target + "/" + w.rest
	}
	return nil
}

// finish walks the last component too, following it if it is a symbolic link
// and follow is set or a slash comes after it. ENOENT if it is absent.
func (w *walk) finish(follow bool) (Path, error) {
	slash := false
	for {
		if err := w.toLast(); err != nil {
			return Path{}, err
		}
		p, err := w.step(w.last, w.lastKind)
		if err != nil {
			return Path{}, err
		}
		if !p.Ok() {
			return Path{}, unix.ENOENT
		}
		slash = slash || w.slash
		if !p.Dentry.isSymlink() || w.lastKind != lastNorm || !follow && !w.slash {
			if slash && !p.Dentry.IsDir() {
				return Path{}, unix.ENOTDIR
			}
			return p, nil
		}
		if w.slash {
			// What the link leads to is followed as well.
			follow = true
		}
		if err := w.follow(p); err != nil {
			return Path{}, err
		}
	}
}

// Walk finds path. flags: AT_SYMLINK_NOFOLLOW; AT_EMPTY_PATH, with which an
// empty path stands for at itself (the working directory if nil). The Path is
// good for use at once: it keeps nothing in the cache.
func (c *Caller) Walk(at *File, path string, flags uint32) (Path, error) {
	return c.resolve(at, path, flags, 0)
}

func (c *Caller) resolve(at *File, path string, flags uint32, how uint64) (Path, error) {
	if path == "" && flags&unix.AT_EMPTY_PATH != 0 {
		if at == nil {
			return c.Cwd(), nil
		}
		if !at.path.Ok() {
			return Path{}, unix.EBADF
		}
		return at.path, nil
	}
	for range retries {
		var w walk
		if err := c.start(&w, at, path, how); err != nil {
			return Path{}, err
		}
		p, err := w.finish(flags&unix.AT_SYMLINK_NOFOLLOW == 0)
		if err != errStale {
			return p, err
		}
	}
	return Path{}, unix.ENOENT
}

// Beside finds name in the directory that p is in, in the same mount, and what is
// mounted there. ENOENT.
func (c *Caller) Beside(p Path, name string) (Path, error) {
	parent := p.Dentry.parent.Load()
	if parent == nil {
		return Path{}, unix.ENOENT
	}
	return c.Below(Path{p.Mount, parent}, name)
}

// Below finds name in the directory p, and what is mounted there. ENOENT.
func (c *Caller) Below(p Path, name string) (Path, error) {
	d, err := p.Dentry.lookup(name)
	if err != nil {
		return Path{}, err
	}
	if d.kind == 0 {
		return Path{}, unix.ENOENT
	}
	return c.ns.top(Path{p.Mount, d}), nil
}

// toParent walks to the directory of path's last component.
func (c *Caller) toParent(w *walk, at *File, path string) error {
	if err := c.start(w, at, path, 0); err != nil {
		return err
	}
	return w.toLast()
}

func (c *Caller) readlink(i Inode) (string, error) {
	switch l := i.(type) {
	case CallerSymlinker:
		return l.ReadlinkFor(c)
	case Symlinker:
		return l.Readlink()
	}
	return "", unix.EINVAL
}

// Readlink returns a symbolic link's text (readlinkat(2)). EINVAL: not a
// symbolic link; ENOENT if it was asked for by an empty path.
func (c *Caller) Readlink(at *File, path string) (string, error) {
	p, err := c.Walk(at, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
	if err != nil {
		return "", err
	}
	if !p.Dentry.isSymlink() {
		if path == "" {
			return "", unix.ENOENT
		}
		return "", unix.EINVAL
	}
	return c.readlink(p.Inode())
}
