package proc_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/nsfs"
	"runsc-lite/sentry/vfs"
)

func (t *task) install(f *vfs.File, cloexec bool) int {
	t.w.Helper()
	f.IncRef()
	fd, err := t.fds.Install(f, 0, 1024, cloexec)
	t.w.must(err)
	return fd
}

func (t *task) readlink(path string) string {
	s, err := t.caller().Readlink(nil, path)
	if err != nil {
		return err.Error()
	}
	return s
}

func TestLinks(t *testing.T) {
	w := newWorld(t)
	a := w.start("prog", []string{"a"}, nil)
	w.must(a.caller().Chdir(nil, "/dir", 0))
	for path, want := range map[string]string{
		"/proc/self/exe": "/dir/prog", "/proc/self/cwd": "/dir", "/proc/self/root": "/",
		"/proc/self/ns/uts": "uts:[4026531838]", "/proc/self/ns/pid_for_children": "pid:[4026531836]",
		"/proc/1/root": "/", "/proc/1/exe": "no such file or directory",
	} {
		if got := a.readlink(path); got != want {
			t.Errorf("%s → %q, want %q", path, got, want)
		}
	}
	// The links lead to the things themselves.
	w.must(w.nobody().Rename(nil, "/dir/prog", nil, "/tmp/moved", 0))
	if got := a.readlink("/proc/self/exe"); got != "/tmp/moved" {
		t.Errorf("the program that was renamed is %q", got)
	}
	w.must(w.nobody().Unlink(nil, "/tmp/moved"))
	if got := a.readlink("/proc/self/exe"); got != "/tmp/moved (deleted)" {
		t.Errorf("the program that was removed is %q", got)
	}
	f, err := a.openFile("/proc/self/exe", unix.O_RDONLY)
	w.must(err)
	if f.Inode() != a.exe.Inode() {
		t.Error("exe opens another file")
	}
	if st, err := a.caller().Stat(nil, "/proc/self/cwd/../tmp", 0); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("a walk through cwd: %v", err)
	}
	if _, err := a.caller().Stat(nil, "/proc/self/exe/", 0); err != unix.ENOTDIR {
		t.Errorf("exe as a directory: %v", err)
	}
	ns, err := a.openFile("/proc/self/ns/pid", unix.O_RDONLY)
	w.must(err)
	if got, err := nsfs.FromFile(ns); err != nil || got.Object() != w.procs.Root() {
		t.Errorf("the pid namespace is %v, %v", got, err)
	}
	if kind, err := ns.Ioctl(nil, 0xb703, 0); kind != unix.CLONE_NEWPID || err != nil {
		t.Errorf("NS_GET_NSTYPE: %#x, %v", kind, err)
	}
	uts, err := a.openFile("/proc/self/ns/uts", unix.O_RDONLY)
	w.must(err)
	if got, err := nsfs.FromFile(uts); err != nil || got.Object() != w.first.UTS {
		t.Errorf("the uts namespace is %v, %v", got, err)
	}
	if _, err := nsfs.FromFile(f); err != unix.EINVAL {
		t.Errorf("another file stands for a namespace: %v", err)
	}
}

func TestDescriptors(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	r, err := a.openFile("/tmp/f", unix.O_CREAT|unix.O_RDONLY)
	w.must(err)
	rw, err := a.openFile("/tmp/f", unix.O_RDWR|unix.O_APPEND)
	w.must(err)
	path, err := a.openFile("/dir", unix.O_PATH)
	w.must(err)
	anon := vfs.NewFile(nothing{}, &vfs.AnonInode{Ino: 5}, unix.O_WRONLY, "anon_inode:[thing]")
	defer anon.DecRef()
	for i, f := range []*vfs.File{r, rw, path, anon} {
		if fd := a.install(f, i == 1); fd != i {
			t.Fatalf("descriptor %d, want %d", fd, i)
		}
	}
	if _, err := rw.Write(nil, [][]byte{make([]byte, 10)}, -1); err != nil {
		t.Fatal(err)
	}
	for fd, want := range []struct {
		mode uint32
		to   string
		info string
	}{
		{0o500, "/tmp/f", "pos:\t0\nflags:\t0100000\nmnt_id:\t20\n"},
		{0o700, "/tmp/f", "pos:\t10\nflags:\t02102002\nmnt_id:\t20\n"},
		{0o100, "/dir", "pos:\t0\nflags:\t010000000\nmnt_id:\t20\n"},
		{0o300, "anon_inode:[thing]", "pos:\t0\nflags:\t01\nmnt_id:\t0\nino:\t5\n"},
	} {
		link := fmt.Sprintf("/proc/self/fd/%d", fd)
		st, err := a.caller().Stat(nil, link, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil || st.Mode != unix.S_IFLNK|want.mode || st.Size != 64 {
			t.Errorf("%s has mode %o, size %d, %v, want %o", link, st.Mode, st.Size, err, want.mode)
		}
		if got := a.readlink(link); got != want.to {
			t.Errorf("%s → %q, want %q", link, got, want.to)
		}
		if got := a.text(fmt.Sprintf("/proc/self/fdinfo/%d", fd)); !strings.HasPrefix(got, want.info) {
			t.Errorf("fdinfo of %d is %q, want %q", fd, got, want.info)
		}
	}
	for _, dir := range []string{"/proc/self/fd", "/proc/self/fdinfo"} {
		if got, err := a.list(dir); err != nil || fmt.Sprint(got) != "[0 1 2 3]" {
			t.Errorf("%s has %v, %v", dir, got, err)
		}
	}
	if st, err := a.caller().Stat(nil, "/proc/self/fd", 0); err != nil || st.Size != 4 || st.Mode != unix.S_IFDIR|0o500 {
		t.Errorf("fd has size %d, mode %o, %v", st.Size, st.Mode, err)
	}
	// Through the link the file is opened anew.
	f, err := a.openFile("/proc/self/fd/0", unix.O_WRONLY|unix.O_TRUNC|unix.O_CREAT)
	w.must(err)
	if st, err := r.Stat(); err != nil || st.Size != 0 || f.Inode() != r.Inode() {
		t.Errorf("after O_TRUNC through the link the size is %d, %v", st.Size, err)
	}
	if _, err := a.openFile("/proc/self/fd/3", unix.O_RDONLY); err != unix.ENXIO {
		t.Errorf("opening what cannot be opened anew: %v, want ENXIO", err)
	}
	w.must(w.nobody().Unlink(nil, "/tmp/f"))
	if got := a.readlink("/proc/self/fd/0"); got != "/tmp/f (deleted)" {
		t.Errorf("a removed file is %q", got)
	}
	if _, err := a.openFile("/proc/self/fd/0", unix.O_RDWR); err != nil {
		t.Errorf("a removed file: %v", err)
	}
	// A number that is closed, or is another file, is seen at once.
	w.must(a.fds.Dup2(2, 1, 1024), a.fds.Close(0))
	if got := a.readlink("/proc/self/fd/1"); got != "/dir" {
		t.Errorf("after dup2 it is %q", got)
	}
	if st, err := a.caller().Stat(nil, "/proc/self/fd/1", unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&0o777 != 0o100 {
		t.Errorf("after dup2 the mode is %o, %v", st.Mode, err)
	}
	for _, name := range []string{"0", "4", "-1", "01", "x", "99999999999"} {
		if got := a.readlink("/proc/self/fd/" + name); got != "no such file or directory" {
			t.Errorf("descriptor %s is %q", name, got)
		}
	}
}

type nothing struct{}

func (nothing) Release() {}

// TestOwnFDInfo reads the fdinfo of itself, which must not wait for itself.
func TestOwnFDInfo(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	fd := a.install(w.must2(a.openFile("/dir", unix.O_DIRECTORY)), false)
	f := w.must2(a.openFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd), unix.O_RDONLY))
	f.IncRef()
	w.must(a.fds.InstallAt(fd, f, false))
	if got, err := readAll(f, 100); err != nil || !strings.HasPrefix(got, "pos:\t0\n") {
		t.Errorf("%q, %v", got, err)
	}
}

func (w *world) must2(f *vfs.File, err error) *vfs.File {
	w.Helper()
	w.must(err)
	return f
}

func TestAccess(t *testing.T) {
	w := newWorld(t)
	a, b, root := w.start("a", []string{"a"}, []string{"SECRET=1"}), w.start("b", []string{"b"}, nil), w.start("r", []string{"r"}, nil)
	a.install(w.must2(a.openFile("/dir", unix.O_RDONLY)), false)
	a.become(1000)
	secret := []string{"environ", "auxv", "maps", "smaps", "smaps_rollup", "mem", "personality", "io"}
	open := []string{"status", "stat", "statm", "cmdline", "comm", "limits", "mounts", "oom_score", "task/2/status"}
	links := []string{"exe", "cwd", "root", "fd/0", "ns/uts"}
	check := func(who string, c *task, paths []string, want error) {
		t.Helper()
		for _, p := range paths {
			if p == "fd/0" && want == unix.EACCES {
				continue // see below
			}
			_, err := c.read(a.path(p))
			if p == "mem" && err == unix.EIO {
				err = nil // there is nothing at 0
			}
			if err != want {
				t.Errorf("%s reads %s: %v, want %v", who, p, err, want)
			}
		}
	}
	checkLinks := func(who string, c *task, want error) {
		t.Helper()
		for _, p := range links {
			if _, err := c.caller().Readlink(nil, a.path(p)); err != want {
				t.Errorf("%s reads the link %s: %v, want %v", who, p, err, want)
			}
			if _, err := c.caller().Stat(nil, a.path(p), 0); err != want {
				t.Errorf("%s follows %s: %v, want %v", who, p, err, want)
			}
		}
	}
	owner := func(path string, want uint32) {
		t.Helper()
		if st, err := root.caller().Stat(nil, a.path(path), 0); err != nil || st.UID != want || st.GID != want {
			t.Errorf("%s is %d's, %v, want %d's", path, st.UID, err, want)
		}
	}

	b.become(1001)
	check("another user", b, secret, unix.EACCES)
	check("another user", b, open, nil)
	checkLinks("another user", b, unix.EACCES)
	for _, dir := range []string{"fd", "fdinfo"} {
		if _, err := b.list(a.path(dir)); err != unix.EACCES {
			t.Errorf("another user lists %s: %v, want EACCES", dir, err)
		}
	}
	owner("status", 1000)
	owner("", 1000)

	b.become(1000)
	check("the same user", b, secret, nil)
	checkLinks("the same user", b, nil)

	a.th.Process().SetDumpable(0)
	check("the same user, not dumpable", b, secret, unix.EACCES)
	check("the same user, not dumpable", b, open, nil)
	checkLinks("the same user, not dumpable", b, unix.EACCES)
	check("root, not dumpable", root, secret, nil)
	checkLinks("root, not dumpable", root, nil)
	owner("status", 0)
	owner("fd", 0)
	owner("", 1000)
	owner("task", 1000)

	// A process that is not dumpable sees its own descriptors all the same.
	if _, err := a.list("/proc/self/fd"); err != nil {
		t.Errorf("the own descriptors: %v", err)
	}
	checkLinks("the process itself", a, nil)
	if _, err := a.read("/proc/self/environ"); err != unix.EACCES {
		t.Errorf("its environment is root's: %v, want EACCES", err)
	}
}

func TestZombie(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a", []string{"arg"}, []string{"E=1"}), w.start("b", []string{"b"}, nil)
	a.become(1000)
	status := w.must2(b.openFile(a.path("status"), unix.O_RDONLY))
	maps := w.must2(b.openFile(a.path("maps"), unix.O_RDONLY))
	dir := w.must2(b.openFile(a.path(""), unix.O_DIRECTORY))
	tasks := w.must2(b.openFile(a.path("task"), unix.O_DIRECTORY))
	a.exit()

	if got := field(b.text(a.path("status")), "State"); got != "Z (zombie)" {
		t.Errorf("the state is %q", got)
	}
	if text := b.text(a.path("status")); strings.Contains(text, "Vm") || strings.Contains(text, "Umask") || field(text, "Threads") != "1" || field(text, "FDSize") != "0" {
		t.Errorf("a zombie's status is\n%s", text)
	}
	stat := strings.Fields(b.text(a.path("stat")))
	if stat[2] != "Z" || stat[22] != "0" || stat[19] != "1" || stat[51] != "1792" {
		t.Errorf("a zombie's stat is %v", stat)
	}
	for name, want := range map[string]string{
		"cmdline": "", "environ": "", "auxv": "", "maps": "", "smaps": "", "statm": "0 0 0 0 0 0 0\n", "comm": "a\n", "oom_score": "0\n",
	} {
		if got := b.text(a.path(name)); got != want {
			t.Errorf("a zombie's %s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"exe", "cwd", "root"} {
		if got := b.readlink(a.path(name)); got != "no such file or directory" {
			t.Errorf("a zombie's %s is %q", name, got)
		}
	}
	if _, err := b.read(a.path("mounts")); err != unix.EINVAL {
		t.Errorf("a zombie's mounts: %v, want EINVAL", err)
	}
	if got, err := b.list(a.path("fd")); err != nil || len(got) != 0 {
		t.Errorf("a zombie's descriptors are %v, %v", got, err)
	}
	if got, err := b.list(a.path("task")); err != nil || fmt.Sprint(got) != "[2]" {
		t.Errorf("a zombie's threads are %v, %v", got, err)
	}
	if st, err := b.caller().Stat(nil, a.path("status"), 0); err != nil || st.UID != 0 {
		t.Errorf("a zombie's files are %d's, %v", st.UID, err)
	}
	if st, err := b.caller().Stat(nil, a.path(""), 0); err != nil || st.UID != 1000 {
		t.Errorf("a zombie's directory is %d's, %v", st.UID, err)
	}

	a.reap()
	for _, f := range []*vfs.File{status, maps} {
		if _, err := readAll(f, 100); err != unix.ESRCH {
			t.Errorf("reading what was open: %v, want ESRCH", err)
		}
	}
	for _, d := range []*vfs.File{dir, tasks} {
		n := 0
		if err := d.ReadDir(b.caller(), func(vfs.Entry) bool { n++; return true }); err != unix.ENOENT {
			t.Errorf("listing what was open: %d names, %v, want ENOENT", n, err)
		}
	}
	if _, err := b.caller().Open(dir, "status", vfs.OpenHow{}); err != unix.ESRCH {
		t.Errorf("a walk from what was open: %v, want ESRCH", err)
	}
	if _, err := b.caller().Stat(nil, a.path("status"), 0); err != unix.ENOENT {
		t.Errorf("stat: %v, want ENOENT", err)
	}
	if list, err := b.list("/proc"); err != nil || slices.Contains(list, "2") {
		t.Errorf("it is still listed: %v, %v", list, err)
	}
}

// TestReuse gives an id to another process.
func TestReuse(t *testing.T) {
	w := newWorld(t)
	b := w.start("b", []string{"b"}, nil)
	a := w.start("a", []string{"a"}, nil)
	pid := a.pid()
	old := w.must2(b.openFile(a.path(""), unix.O_DIRECTORY))
	oldComm := w.must2(b.openFile(a.path("comm"), unix.O_RDONLY))
	if got := b.text(a.path("comm")); got != "a\n" {
		t.Fatalf("comm is %q", got)
	}
	a.exit()
	a.reap()
	th, err := w.procs.Fork(w.init.Leader(), procmgr.CloneOptions{ExitSignal: unix.SIGCHLD, SetTID: []int{pid}})
	w.must(err)
	th.Start()
	th.SetName("new")
	if got := b.text(fmt.Sprintf("/proc/%d/comm", pid)); got != "new\n" {
		t.Errorf("the new process's comm is %q", got)
	}
	if _, err := readAll(oldComm, 10); err != unix.ESRCH {
		t.Errorf("the old one's: %v, want ESRCH", err)
	}
	if _, err := b.caller().Stat(old, "comm", 0); err != unix.ESRCH {
		t.Errorf("in the old directory: %v, want ESRCH", err)
	}
}

// TestExecByThread: what /proc shows of a process goes on when a thread of it
// executes a program and becomes its leader.
func TestExecByThread(t *testing.T) {
	w := newWorld(t)
	a, b := w.start("a", []string{"a"}, nil), w.start("b", []string{"b"}, nil)
	thread, err := w.procs.Fork(a.th, procmgr.CloneOptions{Flags: unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM})
	w.must(err)
	thread.SetData(&task{w: w, th: thread, place: a.place, fds: a.fds, space: a.space, exe: a.exe})
	thread.Start()
	thread.SetRunner(noRunner{})
	status := w.must2(b.openFile(a.path("status"), unix.O_RDONLY))
	ofThread := w.must2(b.openFile(fmt.Sprintf("/proc/%d/task/%d/status", a.pid(), thread.ID()), unix.O_RDONLY))
	done := make(chan error)
	go func() { done <- thread.BeginExec() }()
	a.th.SetRunner(noRunner{})
	for a.th.NextWork().Kind != procmgr.WorkExit {
	}
	a.th.FinishExit()
	w.must(<-done)
	thread.CompleteExec(procmgr.NewProgram{Name: "new"})
	if got, err := readAll(status, 1000); err != nil || field(got, "Name") != "new" || field(got, "Pid") != fmt.Sprint(a.pid()) {
		t.Errorf("status is %q, %v", got, err)
	}
	// The thread has another id now, and is the same.
	if got, err := readAll(ofThread, 1000); err != nil || field(got, "Pid") != fmt.Sprint(a.pid()) {
		t.Errorf("the thread's status is %q, %v", got, err)
	}
	if got, err := b.list(a.path("task")); err != nil || fmt.Sprint(got) != fmt.Sprintf("[%d]", a.pid()) {
		t.Errorf("its threads are %v, %v", got, err)
	}
}

func TestPIDNamespace(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	w.must(a.th.UnshareNamespace())
	th, err := w.procs.Fork(a.th, procmgr.CloneOptions{ExitSignal: unix.SIGCHLD})
	w.must(err)
	th.Start()
	child := &task{w: w, th: th, place: vfs.NewFSContext(w.ns), fds: a.fds, space: a.space, exe: a.exe}
	th.SetData(child)
	w.must(w.nobody().Mkdir(nil, "/inner", 0o555))
	at, err := w.nobody().Walk(nil, "/inner", 0)
	w.must(err)
	_, err = w.ns.Mount(at, w.newProc(th.Namespace()), vfs.MountOptions{})
	w.must(err)

	outer, inner := child.text("/proc/3/status"), child.text("/inner/1/status")
	for name, want := range map[string][2]string{
		"Pid": {"3", "1"}, "PPid": {"2", "0"}, "NSpid": {"3\t1", "1"}, "NStgid": {"3\t1", "1"}, "NSsid": {"1\t0", "0"},
	} {
		if got := [2]string{field(outer, name), field(inner, name)}; got != want {
			t.Errorf("%s is %q outside and inside, want %q", name, got, want)
		}
	}
	if got := child.readlink("/inner/self"); got != "1" {
		t.Errorf("self is %q inside", got)
	}
	if got := child.readlink("/proc/self"); got != "3" {
		t.Errorf("self is %q outside", got)
	}
	if got := a.readlink("/inner/self"); got != "no such file or directory" {
		t.Errorf("who is not in the namespace finds self %q", got)
	}
	list, err := a.list("/inner")
	w.must(err)
	if !slices.Contains(list, "1") || slices.Contains(list, "2") || slices.Contains(list, "3") {
		t.Errorf("inside there are %v", list)
	}
	if a.readlink(a.path("ns/pid")) == child.readlink("/proc/3/ns/pid") || a.readlink(a.path("ns/pid_for_children")) != child.readlink("/proc/3/ns/pid") {
		t.Errorf("the namespaces are %q, %q and %q", a.readlink(a.path("ns/pid")), a.readlink(a.path("ns/pid_for_children")), child.readlink("/proc/3/ns/pid"))
	}
	if got := a.text("/proc/2/task/2/children"); got != "3 " {
		t.Errorf("children: %q", got)
	}
}

// TestRace reads everything while processes begin, change and end.
func TestRace(t *testing.T) {
	w := newWorld(t)
	reader := w.start("reader", []string{"r"}, nil)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			c := reader.caller()
			for {
				select {
				case <-stop:
					return
				default:
				}
				readTree(c, "/proc", 0)
			}
		})
	}
	for range 30 {
		a := w.start("a", []string{"a"}, []string{"E=1"})
		f, err := a.caller().Open(nil, "/dir", vfs.OpenHow{})
		w.must(err)
		fd, err := a.fds.Install(f, 0, 1024, false)
		w.must(err)
		a.mmap(0x10000000, 4, mm.MmapOptions{Prot: hostarch.ReadWrite})
		a.th.SetName("renamed")
		a.become(1000)
		w.must(a.space.Munmap(0x10000000, 4*hostarch.PageSize), a.fds.Close(fd))
		a.exit()
		a.reap()
	}
	close(stop)
	wg.Wait()
}

// readTree reads and lists whatever it can.
func readTree(c *vfs.Caller, path string, depth int) {
	f, err := c.Open(nil, path, vfs.OpenHow{Flags: unix.O_NOFOLLOW})
	if err == unix.ELOOP {
		_, _ = c.Readlink(nil, path)
		_, _ = c.Stat(nil, path, 0)
		return
	}
	if err != nil {
		return
	}
	defer f.DecRef()
	if !f.IsDir() {
		_, _ = f.Read([][]byte{make([]byte, 3000)})
		return
	}
	var names []string
	_ = f.ReadDir(c, func(e vfs.Entry) bool { names = append(names, e.Name); return true })
	for _, name := range names[min(2, len(names)):] {
		if depth < 3 && !(depth == 0 && name == "sys") {
			readTree(c, path+"/"+name, depth+1)
		}
	}
}
