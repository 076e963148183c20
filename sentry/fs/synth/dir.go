package synth

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

// Entry is a name in a Dir.
type Entry struct {
	Name  string
	Inode vfs.Inode
}

// Dir is a directory with a fixed list of names.
type Dir struct {
	Node
	entries []Entry
	names   map[string]vfs.Inode
}

// Dir makes a directory with the permissions of mode. Its names are listed in the
// order in which they are given.
func (fs *FS) Dir(mode uint32, entries ...Entry) *Dir {
	d := &Dir{names: make(map[string]vfs.Inode, len(entries))}
	a := Attr{Mode: unix.S_IFDIR | mode, Nlink: 2}
	for _, e := range entries {
		d.add(e)
		if _, sub := e.Inode.(vfs.Dir); sub {
			a.Nlink++
		}
	}
	d.Node = fs.Node(a)
	return d
}

func (d *Dir) add(e Entry) {
	if d.names[e.Name] != nil {
		panic("synth: two entries of the name " + e.Name)
	}
	d.names[e.Name] = e.Inode
	d.entries = append(d.entries, e)
}

// Lookup implements vfs.Dir.
func (d *Dir) Lookup(name string) (vfs.Inode, error) {
	if i := d.names[name]; i != nil {
		return i, nil
	}
	return nil, unix.ENOENT
}

// Entries returns the names.
func (d *Dir) Entries() []Entry { return d.entries }

// Open implements vfs.Inode.
func (d *Dir) Open(uint32) (vfs.FileOps, error) { return OpenDir(d.List), nil }

// List lists the names from position off on, as vfs.DirReader has it; the
// positions are 1, 2 and so on.
func (d *Dir) List(off int64, emit func(vfs.Entry) bool) error {
	for i := max(off, 0); i < int64(len(d.entries)); i++ {
		e := d.entries[i]
		st, err := e.Inode.Stat()
		if err != nil {
			return err
		}
		if !emit(vfs.Entry{Name: e.Name, Ino: st.Ino, Type: uint8(st.Mode >> 12), Next: i + 1}) {
			return nil
		}
	}
	return nil
}

// Lazy is a Dir that is made when somebody comes near it, for what is large and
// seldom looked at.
type Lazy struct{ dir func() *Dir }

// Lazy makes a Lazy.
func (fs *FS) Lazy(dir func() *Dir) *Lazy { return &Lazy{sync.OnceValue(dir)} }

// Stat implements vfs.Inode.
func (l *Lazy) Stat() (vfs.Stat, error) { return l.dir().Stat() }

// Owner implements vfs.Owned.
func (l *Lazy) Owner() (mode, uid, gid uint32) { return l.dir().Owner() }

// SetStat implements vfs.StatSetter.
func (l *Lazy) SetStat(s vfs.SetStat) error { return l.dir().SetStat(s) }

// Lookup implements vfs.Dir.
func (l *Lazy) Lookup(name string) (vfs.Inode, error) { return l.dir().Lookup(name) }

// Open implements vfs.Inode.
func (l *Lazy) Open(flags uint32) (vfs.FileOps, error) { return l.dir().Open(flags) }

// OpenDir makes an open directory that list lists, as vfs.DirReader has it.
func OpenDir(list func(off int64, emit func(vfs.Entry) bool) error) vfs.FileOps {
	return openDir{list}
}

type openDir struct {
	list func(off int64, emit func(vfs.Entry) bool) error
}

func (openDir) Release() {}

// ReadDir implements vfs.DirReader.
func (d openDir) ReadDir(off int64, emit func(vfs.Entry) bool) error { return d.list(off, emit) }

// The rest is for writing trees down.

// Sub is a directory as an Entry.
func (fs *FS) Sub(name string, entries ...Entry) Entry { return Entry{name, fs.Dir(0o555, entries...)} }

// Text is a file that anybody may read as an Entry.
func (fs *FS) Text(name string, text Text) Entry {
	return Entry{name, fs.File(Attr{Mode: 0o444}, text.Open)}
}

// Const is a Text that is always the same.
func (fs *FS) Const(name, text string) Entry { return fs.Text(name, Const(text)) }

// To is a symbolic link as an Entry.
func (fs *FS) To(name, target string) Entry { return Entry{name, fs.Symlink(target)} }
