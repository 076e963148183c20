package overlay

import (
	"runtime"
	"sync"
	"weak"

	"golang.org/x/sys/unix"
	"runsc-lite/sentry/vfs"
)

// dirNode is a directory, perhaps one of each layer merged.
type dirNode struct {
	*node

	kidsMu sync.Mutex
	// kids are the nodes that somebody may still have, so that a name leads to
	// the same one for as long.
	kids  map[string]weak.Pointer[node]
	sweep int // look for dead kids when there are so many
}

// lowerDir and upperDir return the directory in each layer, nil if it is not
// there.
func (d *dirNode) lowerDir() vfs.Dir {
	if d.lower == nil {
		return nil
	}
	l, _ := d.lower.(vfs.Dir)
	return l
}

func (d *dirNode) upperDir() mutable {
	m, _ := d.upper().(mutable)
	return m
}

// inLower looks name up in the lower directory: nil if it is not there.
func (d *dirNode) inLower(name string) (vfs.Inode, error) {
	l := d.lowerDir()
	if l == nil {
		return nil, nil
	}
	i, err := l.Lookup(name)
	if err == unix.ENOENT {
		return nil, nil
	}
	return i, err
}

// inUpper looks name up in the upper directory: nil if it is not there.
func (d *dirNode) inUpper(name string) (i vfs.Inode, whiteout bool, err error) {
	u := d.upperDir()
	if u == nil {
		return nil, false, nil
	}
	i, err = u.Lookup(name)
	if err == unix.ENOENT {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	st, err := i.Stat()
	if err != nil {
		return nil, false, err
	}
	if isWhiteout(&st) {
		return nil, true, nil
	}
	return i, false, nil
}

// Lookup implements vfs.Dir.
func (d *dirNode) Lookup(name string) (vfs.Inode, error) {
	n, err := d.lookup(name)
	if err != nil {
		return nil, err
	}
	return n.self, nil
}

func (d *dirNode) lookup(name string) (*node, error) {
	if n := d.kid(name); n != nil {
		return n, nil
	}
	upper, whiteout, err := d.inUpper(name)
	if err != nil {
		return nil, err
	}
	if whiteout {
		return nil, unix.ENOENT
	}
	if upper != nil {
		st, err := upper.Stat()
		if err != nil {
			return nil, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return d.upperFile(name, upper, st.Nlink > 1)
		}
	}
	var lower vfs.Inode
	if upper == nil || !isOpaque(upper) {
		if lower, err = d.inLower(name); err != nil {
			return nil, err
		}
	}
	if upper != nil && lower != nil {
		if st, err := lower.Stat(); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			lower = nil
		}
	}
	if upper == nil && lower == nil {
		return nil, unix.ENOENT
	}
	n, err := d.fs.newNode(d, name, lower, upper)
	if err != nil {
		return nil, err
	}
	return d.adopt(name, n), nil
}

// upperFile finds or makes the node of a file in the upper.
func (d *dirNode) upperFile(name string, upper vfs.Inode, linked bool) (*node, error) {
	if linked {
		d.fs.linkedMu.Lock()
		n := d.fs.linked[upper].Value()
		d.fs.linkedMu.Unlock()
		if n != nil {
			return d.adopt(name, n), nil
		}
	}
	n, err := d.fs.newNode(d, name, nil, upper)
	if err != nil {
		return nil, err
	}
	if linked {
		d.fs.share(n)
	}
	return d.adopt(name, n), nil
}

// share makes n the node of all names of its upper file.
func (fs *FS) share(n *node) {
	fs.linkedMu.Lock()
	defer fs.linkedMu.Unlock()
	up := n.upper()
	if fs.linked[up].Value() == n {
		return
	}
	fs.linked[up] = weak.Make(n)
	runtime.AddCleanup(n, fs.unshare, up)
}

func (fs *FS) unshare(up vfs.Inode) {
	fs.linkedMu.Lock()
	defer fs.linkedMu.Unlock()
	if p, ok := fs.linked[up]; ok && p.Value() == nil {
		delete(fs.linked, up)
	}
}

// kid returns the node that name led to before, if anybody still has it.
func (d *dirNode) kid(name string) *node {
	d.kidsMu.Lock()
	defer d.kidsMu.Unlock()
	return d.kids[name].Value()
}

// adopt remembers n as the node of name; if another was faster, that one is.
func (d *dirNode) adopt(name string, n *node) *node {
	d.kidsMu.Lock()
	defer d.kidsMu.Unlock()
	if old := d.kids[name].Value(); old != nil {
		return old
	}
	if d.kids == nil {
		d.kids = make(map[string]weak.Pointer[node])
		d.sweep = 64
	}
	if len(d.kids) >= d.sweep {
		for k, p := range d.kids {
			if p.Value() == nil {
				delete(d.kids, k)
			}
		}
		d.sweep = max(64, 2*len(d.kids))
	}
	d.kids[name] = weak.Make(n)
	return n
}

// disown forgets the node of name.
func (d *dirNode) disown(name string) {
	d.kidsMu.Lock()
	delete(d.kids, name)
	d.kidsMu.Unlock()
}

// Open implements vfs.Inode.
func (d *dirNode) Open(uint32) (vfs.FileOps, error) {
	o := &openDir{d: d}
	return o, nil
}

// openDir lists a directory: what both layers have when the listing begins.
type openDir struct {
	d       *dirNode
	mu      sync.Mutex
	read    bool
	entries []vfs.Entry
}

// Release implements vfs.FileOps.
func (o *openDir) Release() {}

// ReadDir implements vfs.DirReader.
func (o *openDir) ReadDir(off int64, emit func(vfs.Entry) bool) error {
	o.mu.Lock()
	if !o.read || off == 0 {
		entries, err := o.d.list()
		if err != nil {
			o.mu.Unlock()
			return err
		}
		o.entries, o.read = entries, true
	}
	entries := o.entries
	o.mu.Unlock()
	for i := max(off, 0); i < int64(len(entries)); i++ {
		e := entries[i]
		e.Next = i + 1
		if !emit(e) {
			return nil
		}
	}
	return nil
}

// list merges the layers: the upper's entries hide the lower's.
func (d *dirNode) list() ([]vfs.Entry, error) {
	var out []vfs.Entry
	var seen map[string]struct{}
	if up := d.upperDir(); up != nil {
		err := readAll(up, func(e vfs.Entry) {
			if e.Name[0] == 0 {
				return // scratch
			}
			if d.lower != nil {
				if seen == nil {
					seen = make(map[string]struct{})
				}
				seen[e.Name] = struct{}{}
			}
			i, err := up.Lookup(e.Name)
			if err != nil {
				return
			}
			st, err := i.Stat()
			if err != nil || isWhiteout(&st) {
				return
			}
			e.Ino = inoOf(i, &st)
			out = append(out, e)
		})
		if err != nil {
			return nil, err
		}
	}
	if d.lower == nil {
		return out, nil
	}
	st, err := d.lower.Stat()
	if err != nil {
		return nil, err
	}
	err = readAll(d.lower, func(e vfs.Entry) {
		if _, hidden := seen[e.Name]; !hidden {
			e.Ino = d.fs.lowerIno(st.Dev, e.Ino)
			out = append(out, e)
		}
	})
	return out, err
}

func readAll(dir vfs.Inode, fn func(vfs.Entry)) error {
	ops, err := dir.Open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer ops.Release()
	r, ok := ops.(vfs.DirReader)
	if !ok {
		return unix.ENOTDIR
	}
	return r.ReadDir(0, func(e vfs.Entry) bool {
		fn(e)
		return true
	})
}
