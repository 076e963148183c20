package vfs

import (
	"strings"
)

// Path is a place in the file tree of a mount namespace: a name in a mounted
// file system. Paths are values and may be compared. A Path does not keep its
// names in the cache; a File or an FSContext that holds one does.
//
// Mount is nil for what is in no file system that a name leads to: pipes,
// sockets, eventfds.
type Path struct {
	Mount  *Mount
	Dentry *Dentry
}

// Ok reports whether p is a place at all (not the zero Path).
func (p Path) Ok() bool { return p.Dentry != nil }

// Inode returns what is at p.
func (p Path) Inode() Inode { return p.Dentry.inode }

// pin keeps p's names in the cache, and its mount busy, until unpin. It fails
// if the cache dropped the name since p was found.
func (p Path) pin() bool {
	if !p.Dentry.pin() {
		return false
	}
	if p.Mount != nil {
		p.Mount.users.Add(1)
		if p.Mount.expiring.Load() {
			p.Mount.expiring.Store(false)
		}
	}
	return true
}

func (p Path) unpin() {
	if p.Dentry == nil {
		return
	}
	p.Dentry.unpin()
	if m := p.Mount; m != nil && m.users.Add(-1) == 0 && m.dead.Load() {
		m.ns.mu.Lock()
		m.ns.finish(m)
		m.ns.mu.Unlock()
	}
}

// up returns the place that ".." means at p, without regard to a root: p
// itself at the top of everything.
func (p Path) up() Path {
	for p.Mount != nil && p.Dentry == p.Mount.root {
		parent, point := p.Mount.place()
		if parent == nil {
			return p
		}
		p = Path{parent, point}
	}
	if d := p.Dentry.parent.Load(); d != nil {
		return Path{p.Mount, d}
	}
	return p
}

// name spells p as seen from root (fs/d_path.c). reachable is false if root is
// not above p; the name then starts at the top of p's own mount tree. deleted
// tells that the last component was removed.
func (p Path) name(root Path) (name string, reachable, deleted bool) {
	if p.Mount == nil {
		return p.Dentry.Name(), true, false
	}
	sb := p.Dentry.sb
	sb.renameMu.RLock()
	defer func() { sb.renameMu.RUnlock() }()
	var parts []string
	at := p
	for at != root {
		if at.Dentry == at.Mount.root {
			parent, point := at.Mount.place()
			if parent == nil {
				break
			}
			at = Path{parent, point}
			if at.Dentry.sb != sb {
				sb.renameMu.RUnlock()
				sb = at.Dentry.sb
				sb.renameMu.RLock()
			}
			continue
		}
		up := at.Dentry.parent.Load()
		if up == nil {
			break // never had a name in the tree (O_TMPFILE's parent is its directory)
		}
		parts = append(parts, at.Dentry.Name())
		at.Dentry = up
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(parts[i])
	}
	if b.Len() == 0 {
		b.WriteByte('/')
	}
	return b.String(), at == root, p.Dentry.gone.Load()
}
