package proc_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/vfs"
)

// walk calls fn for everything below path, links not followed.
func walk(t *testing.T, c *vfs.Caller, path string, fn func(path string, st vfs.Stat)) {
	f, err := c.Open(nil, path, vfs.OpenHow{Flags: unix.O_DIRECTORY})
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	defer f.DecRef()
	var list []vfs.Entry
	if err := f.ReadDir(c, func(e vfs.Entry) bool { list = append(list, e); return true }); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	for _, e := range list[2:] {
		at := strings.TrimSuffix(path, "/") + "/" + e.Name
		st, err := c.Stat(nil, at, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			t.Errorf("%s: %v", at, err)
			continue
		}
		if st.Ino != e.Ino || uint8(st.Mode>>12&15) != e.Type {
			t.Errorf("%s is listed as inode %d of type %d, but is %d and %d", at, e.Ino, e.Type, st.Ino, st.Mode>>12&15)
		}
		fn(at, st)
		if e.Type == unix.DT_DIR {
			walk(t, c, at, fn)
		}
	}
}

// TestEverythingCanBeRead walks over everything that there is.
func TestEverythingCanBeRead(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a", "b c"}, []string{"X=1"})
	if _, err := w.procs.Fork(a.th, procmgr.CloneOptions{Flags: unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM}); err != nil {
		t.Fatal(err)
	}
	f, err := a.openFile("/dir/a", unix.O_RDONLY)
	w.must(err)
	f.IncRef()
	if _, err := a.fds.Install(f, 3, 1024, false); err != nil {
		t.Fatal(err)
	}
	inos := map[uint64]string{}
	files := 0
	walk(t, a.caller(), "/proc", func(path string, st vfs.Stat) {
		if other, twice := inos[st.Ino]; twice && !strings.Contains(path, "/net/") {
			t.Errorf("%s and %s have inode %d", path, other, st.Ino)
		}
		inos[st.Ino] = path
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			files++
			if strings.HasSuffix(path, "/mem") || strings.HasPrefix(path, "/proc/1/") && strings.HasSuffix(path, "smaps_rollup") {
				return
			}
			text, err := a.read(path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			// A piece of one byte gives the same as a large one, unless time passes.
			g, err := a.openFile(path, unix.O_RDONLY)
			w.must(err)
			if small, err := readAll(g, 1); err != nil || len(small) != len(text) {
				t.Errorf("%s: %d bytes one by one, %d at once, %v", path, len(small), len(text), err)
			}
		case unix.S_IFLNK:
			if _, err := a.caller().Readlink(nil, path); err != nil && (!strings.HasPrefix(path, "/proc/1/") || !strings.HasSuffix(path, "/exe")) {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
	if files < 150 {
		t.Errorf("only %d files", files)
	}
}

func TestRoot(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	thread, err := w.procs.Fork(a.th, procmgr.CloneOptions{Flags: unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM})
	w.must(err)
	thread.SetData(&task{w: w, th: thread, place: a.place, fds: a.fds, space: a.space, exe: a.exe})
	thread.Start()
	b := w.start("b", []string{"b"}, nil)
	list, err := a.list("/proc")
	w.must(err)
	for _, name := range []string{"1", "2", "4", "self", "thread-self", "mounts", "meminfo", "sys"} {
		if !slices.Contains(list, name) {
			t.Errorf("/proc has no %s: %v", name, list)
		}
	}
	if slices.Contains(list, "3") {
		t.Error("a thread is listed")
	}
	for path, want := range map[string]string{
		"/proc/self": "2", "/proc/thread-self": "2/task/2", "/proc/mounts": "self/mounts",
	} {
		if got, err := a.caller().Readlink(nil, path); err != nil || got != want {
			t.Errorf("%s → %q, %v, want %s", path, got, err, want)
		}
	}
	c := a.caller()
	c.Task = thread.Data()
	if got, err := c.Readlink(nil, "/proc/thread-self"); err != nil || got != "2/task/3" {
		t.Errorf("the thread's self is %q, %v", got, err)
	}
	if _, err := w.nobody().Readlink(nil, "/proc/self"); err != unix.ENOENT {
		t.Errorf("nobody's self: %v, want ENOENT", err)
	}
	for _, name := range []string{"0", "02", "+2", "-2", "5", "999999999999", "1x", ""} {
		if _, err := a.caller().Stat(nil, "/proc/"+name+"/status", 0); err != unix.ENOENT {
			t.Errorf("/proc/%s/status: %v, want ENOENT", name, err)
		}
	}
	// A thread has a directory, though it is not listed, which is the process's.
	if got := field(a.text("/proc/3/status"), "Pid"); got != "3" {
		t.Errorf("/proc/3 is of %s", got)
	}
	if got := field(a.text("/proc/3/status"), "Tgid"); got != "2" {
		t.Errorf("/proc/3 is of process %s", got)
	}
	for path, want := range map[string]string{"/proc/2/task": "[2 3]", "/proc/3/task": "[2 3]", "/proc/4/task": "[4]"} {
		if got, err := a.list(path); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s has %v, %v, want %s", path, got, err, want)
		}
	}
	if _, err := a.caller().Stat(nil, "/proc/2/task/4", 0); err != unix.ENOENT {
		t.Errorf("another process's thread: %v", err)
	}
	if _, err := a.caller().Stat(nil, "/proc/2/task/2/task", 0); err != unix.ENOENT {
		t.Errorf("a thread has threads: %v", err)
	}
	_ = b
}

// TestListingGoesOn lists /proc piece by piece while processes come and go.
func TestListingGoesOn(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	for range 20 {
		w.start("p", []string{"p"}, nil)
	}
	f, err := a.openFile("/proc", unix.O_DIRECTORY)
	w.must(err)
	var seen []string
	for piece := 1; ; piece++ {
		n := 0
		w.must(f.ReadDir(a.caller(), func(e vfs.Entry) bool {
			if n == 3 {
				return false
			}
			n++
			seen = append(seen, e.Name)
			return true
		}))
		if n < 3 {
			break
		}
		w.start("q", []string{"q"}, nil)
	}
	for pid := 1; pid <= 22; pid++ {
		if n := len(slices.DeleteFunc(slices.Clone(seen), func(s string) bool { return s != strconv.Itoa(pid) })); n != 1 {
			t.Errorf("process %d is listed %d times", pid, n)
		}
	}
	last := 0
	for _, name := range seen {
		if pid, err := strconv.Atoi(name); err == nil {
			if pid <= last {
				t.Errorf("%d comes after %d", pid, last)
			}
			last = pid
		}
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	a.th.SetName("na\\me\n")
	a.become(1000)
	a.th.SetSignalMask(procmgr.SetOf(unix.SIGUSR1))
	w.must(a.th.SendSignal(procmgr.SigInfo{Signo: int32(unix.SIGUSR1)}))
	a.mmap(0x10000000, 256, mm.MmapOptions{Prot: hostarch.ReadWrite})
	if _, err := a.space.ZeroOut(0x10000000, 100*hostarch.PageSize); err != nil {
		t.Fatal(err)
	}
	a.mmap(0x20000000, 16, mm.MmapOptions{Prot: hostarch.ReadWrite})
	w.must(a.space.Munmap(0x20000000, 16*hostarch.PageSize))
	text := a.text("/proc/self/status")
	for name, want := range map[string]string{
		"Name": `na\\me\n`, "Umask": "0022", "State": "R (running)", "Tgid": "2", "Pid": "2", "PPid": "1", "TracerPid": "0",
		"Uid": "1000\t1000\t1000\t1000", "Gid": "1000\t1000\t1000\t1000", "FDSize": "64", "Groups": "",
		"NSpid": "2", "NStgid": "2", "NSpgid": "1", "NSsid": "1", "Kthread": "0",
		"VmSize": "1048 kB", "VmPeak": "1112 kB", "VmRSS": "404 kB", "RssAnon": "404 kB", "RssFile": "0 kB",
		"VmData": "1028 kB", "VmStk": "12 kB", "VmExe": "8 kB", "VmLib": "0 kB", "VmLck": "0 kB",
		"Threads": "1", "SigQ": "1/31000", "SigPnd": "0000000000000200", "ShdPnd": "0000000000000000", "SigBlk": "0000000000000200",
		"CapEff": "0000000000000000", "CapBnd": "000001ffffffffff", "NoNewPrivs": "0",
		"Cpus_allowed": "5", "Cpus_allowed_list": "0,2", "Mems_allowed": "1", "Mems_allowed_list": "0",
		"voluntary_ctxt_switches": "0",
	} {
		if got := field(text, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	line := regexp.MustCompile(`^[A-Za-z_]+:\t.*\n$`)
	for l := range strings.Lines(text) {
		if !line.MatchString(l) {
			t.Errorf("a line of status: %q", l)
		}
	}
	// A thread without guest code has no memory to tell of.
	init := w.start("b", []string{"b"}, nil).text("/proc/1/status")
	if strings.Contains(init, "Vm") || field(init, "Kthread") != "1" || field(init, "PPid") != "0" {
		t.Errorf("init's status is\n%s", init)
	}
}

func TestStat(t *testing.T) {
	w := newWorld(t)
	w.now = 7 * time.Second
	a := w.start("a", []string{"a"}, []string{"E"})
	a.th.SetName("a ) b")
	a.th.AccountUser(1230 * time.Millisecond)
	a.th.AccountSystem(450 * time.Millisecond)
	for range 3 {
		a.th.AccountFault()
	}
	text := a.text("/proc/self/stat")
	i := strings.LastIndex(text, ")")
	if text[:i+1] != "2 (a ) b)" {
		t.Fatalf("stat begins with %q", text[:i+1])
	}
	f := append([]string{"", "", ""}, strings.Fields(text[i+1:])...) // f[n] is field n of proc(5)
	if len(f) != 53 {
		t.Fatalf("%d fields, want 52", len(f)-1)
	}
	for n, want := range map[int]string{
		3: "R", 4: "1", 5: "1", 6: "1", 7: "0", 8: "-1", 10: "3", 12: "0", 14: "123", 15: "45", 16: "0", 17: "0",
		18: "20", 19: "0", 20: "1", 21: "0", 22: "700", 23: "24576", 24: "1", 26: "4194304", 27: "4200448",
		28: strconv.Itoa(stackAt), 38: "17", 39: "0", 41: "3", 45: "4202496", 46: "4203520",
		48: strconv.Itoa(argsAt), 49: strconv.Itoa(argsAt + 2), 50: strconv.Itoa(argsAt + 2), 51: strconv.Itoa(argsAt + 4), 52: "0",
	} {
		if f[n] != want {
			t.Errorf("field %d is %s, want %s", n, f[n], want)
		}
	}
	if got := a.text("/proc/self/statm"); got != "6 1 0 2 0 4 0\n" {
		t.Errorf("statm is %q", got)
	}
	// Addresses are for those who may look into the process.
	b := w.start("b", []string{"b"}, nil)
	b.become(1000)
	text = b.text("/proc/2/stat")
	f = append([]string{"", "", ""}, strings.Fields(text[strings.LastIndex(text, ")")+1:])...)
	for n, want := range map[int]string{14: "123", 23: "24576", 26: "1", 27: "1", 28: "0", 45: "0", 48: "0", 51: "0"} {
		if f[n] != want {
			t.Errorf("for another user field %d is %s, want %s", n, f[n], want)
		}
	}
}

func TestMaps(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	f, err := a.openFile("/tmp/a file", unix.O_CREAT|unix.O_RDWR)
	w.must(err)
	if _, err := f.Write(nil, [][]byte{bytes.Repeat([]byte{1}, 3*hostarch.PageSize)}, -1); err != nil {
		t.Fatal(err)
	}
	pager, err := f.Pager()
	w.must(err)
	a.mmap(0x7f0000000000, 2, mm.MmapOptions{Prot: hostarch.Read, Pager: pager, File: f, Offset: hostarch.PageSize, Shared: true})
	w.must(w.nobody().Rename(nil, "/tmp/a file", nil, "/tmp/a\nname", 0))
	st, err := f.Stat()
	w.must(err)
	want := fmt.Sprintf(`00400000-00402000 r-xp 00000000 00:00 0 
00402000-00403000 rw-p 00000000 00:00 0 
7f0000000000-7f0000002000 r--s 00001000 00:1e %-26d /tmp/a\012name
7ff000000000-7ff000003000 rw-p 00000000 00:00 0                          [stack]
`, st.Ino)
	if got := a.text("/proc/self/maps"); got != want {
		t.Errorf("maps is\n%swant\n%s", got, want)
	}
	smaps := a.text("/proc/self/smaps")
	stack := smaps[strings.Index(smaps, "[stack]"):]
	for name, want := range map[string]string{
		"Size": "12 kB", "Rss": "4 kB", "Pss": "4 kB", "Private_Dirty": "4 kB", "Anonymous": "4 kB", "VmFlags": "rd wr mr mw me gd",
	} {
		if got := field(stack, name); got != want {
			t.Errorf("the stack's %s is %q, want %q", name, got, want)
		}
	}
	rollup := a.text("/proc/self/smaps_rollup")
	if !strings.HasPrefix(rollup, "00400000-7ff000003000 ---p 00000000 00:00 0                              [rollup]\n") || field(rollup, "Rss") != "4 kB" {
		t.Errorf("smaps_rollup is\n%s", rollup)
	}
}

// TestManyAreas reads the maps of a process with thousands of mappings in small
// pieces.
func TestManyAreas(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	const n = 3000
	for i := range hostarch.Addr(n) {
		prot := hostarch.Read
		if i%2 == 0 {
			prot = hostarch.ReadWrite
		}
		a.mmap(0x10000000+i*hostarch.PageSize, 1, mm.MmapOptions{Prot: prot})
	}
	f, err := a.openFile("/proc/self/maps", unix.O_RDONLY)
	w.must(err)
	whole, err := readAll(f, 1<<20)
	w.must(err)
	if got := strings.Count(whole, "\n"); got != n+3 {
		t.Errorf("%d lines, want %d", got, n+3)
	}
	for _, piece := range []int{1, 77, 4096} {
		if got, err := readAll(f, piece); err != nil || got != whole {
			t.Errorf("in pieces of %d bytes it differs, %v", piece, err)
		}
	}
	// Mappings that go away while somebody reads are left out, the rest stays.
	if _, err := f.Lseek(0, unix.SEEK_SET); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 100)
	if _, err := f.Read([][]byte{first}); err != nil {
		t.Fatal(err)
	}
	w.must(a.space.Munmap(0x10000000+1000*hostarch.PageSize, 1000*hostarch.PageSize))
	rest := make([]byte, 1<<20)
	got, err := f.Read([][]byte{rest})
	w.must(err)
	if lines := strings.Count(string(first)+string(rest[:got]), "\n"); lines != n+3-1000 {
		t.Errorf("%d lines are left, want %d", lines, n+3-1000)
	}
}

func TestArguments(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"prog", "-x", ""}, []string{"A=1", "B=2"})
	check := func(name, want string) {
		t.Helper()
		if got := a.text("/proc/self/" + name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	check("cmdline", "prog\x00-x\x00\x00")
	check("environ", "A=1\x00B=2\x00")
	check("auxv", "auxiliary vector")
	var b [6]byte
	f, err := a.openFile("/proc/self/cmdline", unix.O_RDONLY)
	w.must(err)
	if n, err := f.PRead([][]byte{b[:2], b[2:]}, 3); err != nil || string(b[:n]) != "g\x00-x\x00\x00" {
		t.Errorf("from the middle: %q, %v", b[:n], err)
	}
	if n, err := f.PRead([][]byte{b[:]}, 1<<40); err != nil || n != 0 {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	// Programs write over their arguments to change what ps shows.
	_, err = a.space.CopyOut(argsAt, []byte("new title\x00rest"))
	w.must(err)
	check("cmdline", "new title\x00")
	_, err = a.space.CopyOut(argsAt, []byte("abc\x00\x00\x00\x00\x00\x00"))
	w.must(err)
	check("cmdline", "abc\x00\x00\x00\x00\x00\x00")
	// Memory that is gone cannot be read.
	w.must(a.space.Munmap(stackAt, 3*hostarch.PageSize))
	if _, err := a.read("/proc/self/environ"); err != unix.EIO {
		t.Errorf("environ without memory: %v, want EIO", err)
	}
}

func TestMem(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"args"}, nil)
	f, err := a.openFile("/proc/self/mem", unix.O_RDWR)
	w.must(err)
	b := make([]byte, 4)
	if n, err := f.PRead([][]byte{b}, argsAt); err != nil || string(b[:n]) != "args" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if _, err := f.PRead([][]byte{b}, 0x1000); err != unix.EIO {
		t.Errorf("nothing there: %v, want EIO", err)
	}
	// Code is not writable, but debuggers write to it.
	if n, err := f.PWrite(a.caller().Creds, [][]byte{[]byte("co"), []byte("de")}, codeAt, -1); n != 4 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
	if _, err := a.space.CopyIn(codeAt, b); err != nil || string(b) != "code" {
		t.Errorf("the code is %q, %v", b, err)
	}
	end := int64(codeAt + 3*hostarch.PageSize)
	if n, err := f.PWrite(a.caller().Creds, [][]byte{make([]byte, 100)}, end-10, -1); n != 10 || err != nil {
		t.Errorf("write over the end: %d, %v, want 10", n, err)
	}
	if n, err := f.PRead([][]byte{make([]byte, 100)}, end-10); n != 10 || err != nil {
		t.Errorf("read over the end: %d, %v, want 10", n, err)
	}
	if _, err := f.PWrite(a.caller().Creds, [][]byte{b}, 0x1000, -1); err != unix.EIO {
		t.Errorf("write to nothing: %v, want EIO", err)
	}
	if pos, err := f.Lseek(argsAt, unix.SEEK_SET); pos != argsAt || err != nil {
		t.Errorf("lseek: %#x, %v", pos, err)
	}
	if n, err := f.Read([][]byte{b}); err != nil || string(b[:n]) != "args" {
		t.Errorf("read at the position: %q, %v", b[:n], err)
	}
}

func TestMounts(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	c := w.nobody()
	w.must(c.Mkdir(nil, "/a\tb", 0o755))
	at, err := c.Walk(nil, "/a\tb", 0)
	w.must(err)
	src, err := c.Walk(nil, "/dir", 0)
	w.must(err)
	_, err = w.ns.Bind(at, src, false)
	w.must(err)
	if got, want := a.text("/proc/mounts"), `a\040root / tmpfs rw 0 0
proc /proc proc rw,nosuid,noexec 0 0
a\040root /a\011b tmpfs rw 0 0
`; got != want {
		t.Errorf("mounts is\n%swant\n%s", got, want)
	}
	if got, want := a.text("/proc/self/mountinfo"), `20 20 0:30 / / rw - tmpfs a\040root rw
21 20 0:31 / /proc rw,nosuid,noexec - proc proc rw
22 20 0:30 /dir /a\011b rw - tmpfs a\040root rw
`; got != want {
		t.Errorf("mountinfo is\n%swant\n%s", got, want)
	}
	// With many mounts it comes in pieces.
	for i := range 200 {
		w.must(c.Mkdir(nil, fmt.Sprintf("/tmp/%d", i), 0o755))
		at, err := c.Walk(nil, fmt.Sprintf("/tmp/%d", i), 0)
		w.must(err)
		_, err = w.ns.Bind(at, src, false)
		w.must(err)
	}
	for _, name := range []string{"mounts", "mountinfo", "mountstats"} {
		f := w.must2(a.openFile("/proc/self/"+name, unix.O_RDONLY))
		whole, err := readAll(f, 1<<20)
		if err != nil || strings.Count(whole, "\n") != 203 || !strings.Contains(whole, " /tmp/199 ") {
			t.Errorf("%s has %d lines, %v", name, strings.Count(whole, "\n"), err)
		}
		if pieces, err := readAll(f, 100); err != nil || pieces != whole {
			t.Errorf("%s in pieces differs, %v", name, err)
		}
	}
	// Another root sees less.
	w.must(a.caller().Chroot("/a\tb"))
	b := w.start("b", []string{"b"}, nil)
	if got, want := b.text(a.path("mounts")), "a\\040root / tmpfs rw 0 0\n"; got != want {
		t.Errorf("in another root: %q, want %q", got, want)
	}
}

func TestIO(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	a.th.AccountRead(100)
	a.th.AccountWrite(30)
	a.th.AccountWrite(3)
	want := "rchar: 100\nwchar: 33\nsyscr: 1\nsyscw: 2\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"
	for _, path := range []string{"/proc/self/io", "/proc/self/task/2/io"} {
		if got := a.text(path); got != want {
			t.Errorf("%s is %q", path, got)
		}
	}
	b := w.start("b", []string{"b"}, nil)
	b.become(1000)
	a.become(1000)
	if got := b.text(a.path("io")); got != want {
		t.Errorf("for the same user it is %q", got)
	}
	f, err := b.openFile(a.path("io"), unix.O_RDONLY)
	w.must(err)
	a.th.Process().SetDumpable(0)
	if _, err := readAll(f, 100); err != unix.EACCES {
		t.Errorf("once that is not allowed any more: %v, want EACCES", err)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	a := w.start("a", []string{"a"}, nil)
	if _, err := w.procs.Prlimit(a.th, 0, unix.RLIMIT_NOFILE, &procmgr.Limit{Cur: 100, Max: 200}); err != nil {
		t.Fatal(err)
	}
	text := a.text("/proc/self/limits")
	for _, line := range []string{
		"Limit                     Soft Limit           Hard Limit           Units     \n",
		"Max open files            100                  200                  files     \n",
		"Max cpu time              unlimited            unlimited            seconds   \n",
		"Max nice priority         0                    0                    \n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	if n := strings.Count(text, "\n"); n != 17 {
		t.Errorf("%d lines", n)
	}
}
