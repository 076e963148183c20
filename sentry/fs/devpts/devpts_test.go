package devpts_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/devpts"
	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/fs/tty"
	"runsc-lite/sentry/vfs"
)

// guest is who makes ioctls: their memory, and where new descriptors go.
type guest struct {
	*vfs.Caller
	p    *procmgr.Process
	b    [64]byte
	fds  []*vfs.File
	exec bool
}

func (g *guest) Thread() *procmgr.Thread { return g.p.Leader() }
func (g *guest) CopyIn(a hostarch.Addr, dst []byte) (int, error) {
	return copy(dst, g.b[a:]), nil
}
func (g *guest) CopyOut(a hostarch.Addr, src []byte) (int, error) {
	return copy(g.b[a:], src), nil
}

// peer is the guest's memory as ptmx's ioctl sees it.
type peer struct{ *guest }

func (p peer) Caller() *vfs.Caller { return p.guest.Caller }
func (p peer) Install(f *vfs.File, cloexec bool) (int32, error) {
	p.fds, p.exec = append(p.fds, f), cloexec
	return int32(len(p.fds) - 1), nil
}

// newGuest makes a tree with /dev/ptmx and devpts on /dev/pts, and another devpts on
// /other.
func newGuest(t *testing.T, o devpts.Options) *guest {
	t.Helper()
	procs := procmgr.NewTable(procmgr.Config{})
	init, err := procs.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	root := tmpfs.New(tmpfs.Options{Memory: fstest.NewMemory(t, 1<<20, false), Dev: 1})
	ns, err := vfs.NewNamespace(vfs.Config{OpenDevice: devpts.Open}, root, vfs.MountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &vfs.Caller{FSContext: vfs.NewFSContext(ns), Creds: vfs.RootCreds()}
	g := &guest{Caller: c, p: init}
	c.Task = g
	c.SetUmask(0)
	for _, dir := range []string{"/dev", "/dev/pts", "/other", "/empty"} {
		if err := c.Mkdir(nil, dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/dev/ptmx", "/empty/ptmx"} {
		if err := c.Mknod(nil, path, unix.S_IFCHR|0o666, devpts.Ptmx); err != nil {
			t.Fatal(err)
		}
	}
	o.Procs = procs
	for path, dev := range map[string]uint64{"/dev/pts": 7, "/other": 8} {
		at, err := c.Walk(nil, path, 0)
		if err != nil {
			t.Fatal(err)
		}
		o.Dev = dev
		if _, err := ns.Mount(at, devpts.New(o), vfs.MountOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g *guest) open(path string, flags uint32) (*vfs.File, error) {
	return g.Open(nil, path, vfs.OpenHow{Flags: flags})
}

func (g *guest) mustOpen(t *testing.T, path string) *vfs.File {
	t.Helper()
	f, err := g.open(path, unix.O_RDWR|unix.O_NOCTTY)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return f
}

func (g *guest) number(t *testing.T, f *vfs.File) string {
	t.Helper()
	if _, err := f.Ioctl(peer{g}, unix.TIOCGPTN, 0); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(binary.LittleEndian.Uint32(g.b[:]))
}

func (g *guest) unlock(t *testing.T, f *vfs.File) {
	t.Helper()
	clear(g.b[:])
	if _, err := f.Ioctl(peer{g}, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
}

func (g *guest) list(t *testing.T, dir string) (names []string) {
	t.Helper()
	f, err := g.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.DecRef()
	if err := f.ReadDir(g.Caller, func(e vfs.Entry) bool {
		names = append(names, e.Name)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return names[2:]
}

func TestComeAndGo(t *testing.T) {
	g := newGuest(t, devpts.Options{UID: -1, GID: 5, Mode: 0o620, PtmxMode: 0o666})
	var masters []*vfs.File
	for i := range 3 {
		m := g.mustOpen(t, "/dev/ptmx")
		masters = append(masters, m)
		if n := g.number(t, m); n != fmt.Sprint(i) {
			t.Errorf("terminal %d has number %s", i, n)
		}
	}
	if got := g.list(t, "/dev/pts"); !slices.Equal(got, []string{"ptmx", "0", "1", "2"}) {
		t.Errorf("/dev/pts has %v", got)
	}
	p, err := g.Walk(nil, "/dev/pts/1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := p.Inode().Stat(); st.Mode != unix.S_IFCHR|0o620 || st.GID != 5 || st.Rdev != unix.Mkdev(136, 1) || st.Dev != 7 {
		t.Errorf("%+v", st)
	}
	if _, err := g.open("/dev/pts/1", unix.O_RDWR); err != unix.EIO {
		t.Errorf("locked: %v, want EIO", err)
	}
	g.unlock(t, masters[1])
	s := g.mustOpen(t, "/dev/pts/1")
	masters[1].DecRef()
	for _, path := range []string{"/dev/pts/1", "/dev/pts/3", "/dev/pts/01", "/dev/pts/x"} {
		if _, err := g.open(path, unix.O_RDWR); err != unix.ENOENT {
			t.Errorf("%s: %v, want ENOENT", path, err)
		}
	}
	if n, err := s.Read([][]byte{make([]byte, 9)}); n != 0 || err != nil {
		t.Errorf("the slave's side after that: %d, %v", n, err)
	}
	// The number is free again, and it is another terminal.
	m := g.mustOpen(t, "/dev/ptmx")
	g.unlock(t, m)
	again := g.mustOpen(t, "/dev/pts/"+g.number(t, m))
	if again.Inode() == s.Inode() || g.number(t, m) != "1" {
		t.Error("number 1 leads to the terminal that is gone")
	}
	for _, f := range []*vfs.File{s, again, m, masters[0], masters[2]} {
		f.DecRef()
	}
	if got := g.list(t, "/dev/pts"); !slices.Equal(got, []string{"ptmx"}) {
		t.Errorf("in the end /dev/pts has %v", got)
	}
}

// TestInstances: each mount of its own has its own numbers, and ptmx finds its own.
func TestInstances(t *testing.T) {
	g := newGuest(t, devpts.Options{UID: -1, GID: -1, PtmxMode: 0o666})
	a, b := g.mustOpen(t, "/dev/ptmx"), g.mustOpen(t, "/other/ptmx")
	if g.number(t, a) != "0" || g.number(t, b) != "0" {
		t.Error("the numbers are not those of two instances")
	}
	if _, err := g.open("/empty/ptmx", unix.O_RDWR); err != unix.ENODEV {
		t.Errorf("ptmx with no pts beside it: %v, want ENODEV", err)
	}
	// The number alone is no terminal.
	if err := g.Mknod(nil, "/fake", unix.S_IFCHR|0o666, unix.Mkdev(136, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.open("/fake", unix.O_RDWR); err != unix.EIO {
		t.Errorf("a node of the slave's number: %v, want EIO", err)
	}
	a.DecRef()
	b.DecRef()
}

func TestPeer(t *testing.T) {
	g := newGuest(t, devpts.Options{UID: -1, GID: -1})
	m := g.mustOpen(t, "/dev/ptmx")
	defer m.DecRef()
	get := func(flags uint64) (uint64, error) { return m.Ioctl(peer{g}, 0x5441, flags) }
	if _, err := get(unix.O_RDWR); err != unix.EIO {
		t.Errorf("TIOCGPTPEER while it is locked: %v, want EIO", err)
	}
	g.unlock(t, m)
	fd, err := get(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	if err != nil || fd != 0 || !g.exec {
		t.Fatalf("TIOCGPTPEER: %d, %v, close on exec %v", fd, err, g.exec)
	}
	s := g.fds[0]
	defer s.DecRef()
	if name := g.PathName(s.Path()); name != "/dev/pts/0" || s.Flags()&unix.O_ACCMODE != unix.O_RDWR {
		t.Errorf("it is %s, with flags %#x", name, s.Flags())
	}
	m.Write(nil, [][]byte{[]byte("x\n")}, -1)
	b := make([]byte, 9)
	if n, err := s.Read([][]byte{b}); string(b[:n]) != "x\n" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
}

func TestLimit(t *testing.T) {
	g := newGuest(t, devpts.Options{UID: -1, GID: -1, Max: 2, PtmxMode: 0o666})
	a, b := g.mustOpen(t, "/dev/ptmx"), g.mustOpen(t, "/dev/pts/ptmx")
	if _, err := g.open("/dev/ptmx", unix.O_RDWR); err != unix.ENOSPC {
		t.Errorf("a third: %v, want ENOSPC", err)
	}
	a.DecRef()
	b.DecRef()
}

func TestOwners(t *testing.T) {
	g := newGuest(t, devpts.Options{UID: -1, GID: -1})
	user := &vfs.Caller{FSContext: g.FSContext, Creds: &vfs.Creds{UID: 1000, GID: 100}, Task: g}
	if _, err := user.Open(nil, "/dev/pts/ptmx", vfs.OpenHow{Flags: unix.O_RDWR}); err != unix.EACCES {
		t.Errorf("ptmx without permissions: %v, want EACCES", err)
	}
	m, err := user.Open(nil, "/dev/ptmx", vfs.OpenHow{Flags: unix.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	defer m.DecRef()
	if err := user.Unlink(nil, "/dev/pts/0"); err == nil {
		t.Error("a terminal's name was removed")
	}
	p, _ := g.Walk(nil, "/dev/pts/0", 0)
	n := p.Inode().(vfs.StatSetter)
	if err := n.SetStat(vfs.SetStat{Mask: vfs.SetMode | vfs.SetGID, Mode: 0o620, GID: 5}); err != nil {
		t.Fatal(err)
	}
	if st, _ := p.Inode().Stat(); st.UID != 1000 || st.GID != 5 || st.Mode != unix.S_IFCHR|0o620 {
		t.Errorf("%+v", st)
	}
}

// known is a terminal that is none of the file system's own.
type known struct{ opened *int }

func (k known) Open(*vfs.Caller, uint32) (vfs.FileOps, error) {
	*k.opened++
	return nil, unix.EBUSY
}

func TestAddTerminal(t *testing.T) {
	procs := procmgr.NewTable(procmgr.Config{})
	fs := devpts.New(devpts.Options{Procs: procs, UID: -1, GID: -1})
	opened := 0
	if n, _, err := fs.AddTerminal(1000, 5, func(int) (tty.Terminal, error) { return nil, unix.ENOTTY }); err != unix.ENOTTY {
		t.Errorf("one that is none: %d, %v", n, err)
	}
	n, term, err := fs.AddTerminal(1000, 5, func(int) (tty.Terminal, error) { return known{&opened}, nil })
	if n != 0 || term == nil || err != nil {
		t.Fatalf("%d, %v, %v", n, term, err)
	}
	inode, err := fs.Root().(vfs.Dir).Lookup("0")
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := inode.Stat(); st.UID != 1000 || st.Rdev != unix.Mkdev(136, 0) {
		t.Errorf("%+v", st)
	}
}
