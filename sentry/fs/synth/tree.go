package synth

import (
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

// Leaf is a file in a tree that is written down as a list.
type Leaf struct {
	// Path is where it is, below the top of the tree: "kernel/hostname".
	Path string
	// Mode holds the permissions; 0: 0444.
	Mode uint32
	Open Opener
	// Target, if it is not empty, makes it a symbolic link instead.
	Target string
}

// Tree makes a directory of files, and of directories as their paths ask for, with
// the permissions dirMode. Names are listed in the order in which they first come.
func (fs *FS) Tree(dirMode uint32, leaves []Leaf) *Dir {
	var entries []Entry
	below := map[string][]Leaf{}
	for _, l := range leaves {
		name, rest, deeper := strings.Cut(l.Path, "/")
		if !deeper {
			entries = append(entries, Entry{name, fs.leaf(l)})
			continue
		}
		if below[name] == nil {
			entries = append(entries, Entry{Name: name})
		}
		l.Path = rest
		below[name] = append(below[name], l)
	}
	for i := range entries {
		if e := &entries[i]; e.Inode == nil {
			e.Inode = fs.Tree(dirMode, below[e.Name])
		}
	}
	return fs.Dir(dirMode, entries...)
}

func (fs *FS) leaf(l Leaf) vfs.Inode {
	if l.Target != "" {
		return fs.Symlink(l.Target)
	}
	if l.Mode == 0 {
		l.Mode = 0o444
	}
	return fs.File(Attr{Mode: unix.S_IFREG | l.Mode, Size: fs.o.FileSize}, l.Open)
}
