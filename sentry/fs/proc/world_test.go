package proc_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/mm/memfile"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/fs/fstest"
	"runsc-lite/sentry/fs/proc"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/socket/netns"
	"runsc-lite/sentry/vfs"
)

// world is a sandbox without a platform: processes have memory, descriptors and a
// place in the file tree, and run nothing.
type world struct {
	testing.TB
	memory *memfile.File
	procs  *procmgr.Table
	ns     *vfs.Namespace
	init   *procmgr.Process
	now    time.Duration
	first  *namespaces.Set
}

// Read implements proc.Clock.
func (w *world) Read(id int32) (int64, error) {
	if id == unix.CLOCK_REALTIME {
		return int64(w.now) + int64(1_700_000_000*time.Second), nil
	}
	return int64(w.now), nil
}

const (
	totalMemory = 1 << 30
	freeMemory  = 3 << 28
	processors  = 4
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, now: 100 * time.Second}
	var err error
	if w.memory, err = memfile.New(memfile.Config{Size: 1 << 30, Limit: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.memory.Close)
	w.first = namespaces.New(namespaces.Config{Host: "host", Net: netns.New(), NewIPC: func() (o namespaces.Objects) { return o }})
	w.procs = procmgr.NewTable(procmgr.Config{MaxPID: 1000, Now: func() time.Duration { return w.now }})
	if w.init, err = w.procs.CreateProcess(nil, "init", 0); err != nil {
		t.Fatal(err)
	}
	root := tmpfs.New(tmpfs.Options{Memory: fstest.NewMemory(t, 4<<20, false), Dev: unix.Mkdev(0, 30), Mode: 0o755})
	if w.ns, err = vfs.NewNamespace(vfs.Config{}, root, vfs.MountOptions{Source: "a root"}); err != nil {
		t.Fatal(err)
	}
	c := w.nobody()
	w.must(c.Mkdir(nil, "/proc", 0o555), c.Mkdir(nil, "/dir", 0o755), c.Mkdir(nil, "/tmp", 0o777))
	at, err := c.Walk(nil, "/proc", 0)
	w.must(err)
	_, err = w.ns.Mount(at, w.newProc(nil), vfs.MountOptions{Source: "proc", Flags: unix.MS_NOSUID | unix.MS_NOEXEC})
	w.must(err)
	return w
}

func (w *world) newProc(pids *procmgr.PIDNamespace) *proc.FS {
	return proc.New(proc.Config{
		Dev: unix.Mkdev(0, 31), Procs: w.procs, PIDs: pids, Place: vfs.NewFSContext(w.ns), Clock: w, First: func() *namespaces.Members { return &w.first.Members },
		Memory: func() (total, free uint64) { return totalMemory, freeMemory },
		CPUs:   processors, Sysname: "Linux", Release: "6.0.0", Version: "#1",
		CommandLine: "quiet", FileSystems: []string{"proc", "tmpfs"}, CharDevices: map[int][]string{5: {"/dev/tty"}, 1: {"mem"}},
		MinAddress: 65536, PipeMaxSize: 1 << 20,
		Sysctl: []synth.Leaf{file("net/core/somaxconn"), file("fs/inotify/max_user_watches")},
		Net:    func(*namespaces.Net) []synth.Leaf { return []synth.Leaf{file("dev"), file("tcp")} },
		Files:  []synth.Leaf{file("tty/drivers"), file("apm")},
	})
}

// file is a file that has its path.
func file(path string) synth.Leaf { return synth.Leaf{Path: path, Open: synth.Const(path + "\n").Open} }

func (w *world) must(errs ...error) {
	w.Helper()
	for _, err := range errs {
		if err != nil {
			w.Fatal(err)
		}
	}
}

// nobody is a caller that is no guest.
func (w *world) nobody() *vfs.Caller {
	return &vfs.Caller{FSContext: vfs.NewFSContext(w.ns), Creds: vfs.RootCreds()}
}

// task is a guest thread.
type task struct {
	w      *world
	th     *procmgr.Thread
	space  *mm.Space
	layout mm.Layout
	exe    *vfs.File
	fds    *fdtable.Table
	place  *vfs.FSContext
	slack  atomic.Uint64
	ended  atomic.Bool
}

func (t *task) Thread() *procmgr.Thread { return t.th }
func (t *task) Space() *mm.Space {
	if t.ended.Load() {
		return nil
	}
	return t.space
}
func (t *task) Layout() mm.Layout { return t.layout }
func (t *task) Executable() *vfs.File {
	if t.ended.Load() || !t.exe.TryIncRef() {
		return nil
	}
	return t.exe
}
func (t *task) Descriptors() *fdtable.Table {
	if t.ended.Load() {
		return nil
	}
	return t.fds
}
func (t *task) Place() *vfs.FSContext {
	if t.ended.Load() {
		return nil
	}
	return t.place
}
func (t *task) Affinity() []uint64          { return []uint64{0b101} }
func (t *task) SchedPolicy() uint32         { return 3 }
func (t *task) Personality() uint32         { return 0 }
func (t *task) TimerSlack() uint64          { return t.slack.Load() }
func (t *task) SetTimerSlack(ns uint64)     { t.slack.Store(ns) }
func (t *task) Seccomp() (int, int)         { return 0, 0 }
func (t *task) Namespaces() *namespaces.Set { return t.w.first }

// noGuest is a Mapper without a guest side.
type noGuest struct{}

func (noGuest) Map(hostarch.Addr, uint64, uint64, hostarch.AccessType) {}
func (noGuest) Unmap(hostarch.Addr, uint64)                            {}
func (noGuest) Protect(hostarch.Addr, uint64, hostarch.AccessType)     {}
func (noGuest) AfterFlush(fn func())                                   { fn() }
func (noGuest) Contexts() int                                          { return 1 }
func (noGuest) Release()                                               {}

// Where the parts of a process lie.
const (
	codeAt  = 0x400000
	stackAt = 0x7ff000000000
	argsAt  = stackAt + 0x100
)

// start makes a process, a child of init, with code, a stack that holds arguments
// and environment, and a program.
func (w *world) start(name string, args, env []string) *task {
	w.Helper()
	p, err := w.procs.CreateProcess(w.init, name, 0)
	w.must(err)
	t := &task{w: w, th: p.Leader(), fds: fdtable.New(), place: vfs.NewFSContext(w.ns)}
	t.slack.Store(50_000)
	t.space = mm.NewSpace(mm.Config{File: w.memory, Mapper: noGuest{}, Min: 1 << 16, Max: 1 << 47})
	strs := strings.Join(args, "\x00") + "\x00"
	envs := strings.Join(env, "\x00") + "\x00"
	t.layout = mm.Layout{
		StartCode: codeAt, EndCode: codeAt + 0x1800, StartData: codeAt + 0x2000, EndData: codeAt + 0x2400, StackStart: stackAt,
		Args: hostarch.AddrRange{Start: argsAt, End: argsAt + hostarch.Addr(len(strs))},
		Env:  hostarch.AddrRange{Start: argsAt + hostarch.Addr(len(strs)), End: argsAt + hostarch.Addr(len(strs)+len(envs))},
		Auxv: []byte("auxiliary vector"),
	}
	t.mmap(codeAt, 2, mm.MmapOptions{Prot: hostarch.ReadExecute})
	t.mmap(codeAt+0x2000, 1, mm.MmapOptions{Prot: hostarch.ReadWrite})
	t.mmap(stackAt, 3, mm.MmapOptions{Prot: hostarch.ReadWrite, GrowsDown: true, Name: "[stack]"})
	_, err = t.space.CopyOut(argsAt, []byte(strs+envs))
	w.must(err)
	exe := "/dir/" + name
	f, err := w.nobody().Open(nil, exe, vfs.OpenHow{Flags: unix.O_CREAT | unix.O_RDONLY, Mode: 0o755})
	w.must(err)
	t.exe = f
	t.th.SetData(t)
	w.Cleanup(func() {
		t.space.DecUsers()
		t.exe.DecRef()
	})
	return t
}

func (t *task) mmap(at hostarch.Addr, pages uint64, o mm.MmapOptions) {
	t.w.Helper()
	o.Addr, o.Length, o.Fixed, o.MaxProt = at, pages*hostarch.PageSize, true, hostarch.AnyAccess
	_, err := t.space.Mmap(o)
	t.w.must(err)
}

// caller is the task as it makes calls.
func (t *task) caller() *vfs.Caller {
	c := t.th.Credentials()
	return &vfs.Caller{FSContext: t.place, Task: t, Creds: &vfs.Creds{UID: c.FSUID, GID: c.FSGID, Groups: c.Groups, Caps: uint64(c.CapEffective)}}
}

// become changes the user, and gives up all capabilities. The process stays
// dumpable.
func (t *task) become(uid uint32) {
	c := procmgr.RootCredentials()
	c.RUID, c.EUID, c.SUID, c.FSUID = uid, uid, uid, uid
	c.RGID, c.EGID, c.SGID, c.FSGID = uid, uid, uid, uid
	c.CapEffective, c.CapPermitted = 0, 0
	t.th.SetCredentials(c)
	t.th.Process().SetDumpable(1)
}

// exit ends a process of one thread, which becomes a zombie.
func (t *task) exit() {
	t.ended.Store(true)
	t.fds.DecRef()
	t.th.SetRunner(noRunner{})
	t.th.ExitGroup(procmgr.ExitStatus(7))
	t.th.NextWork()
	t.th.FinishExit()
}

type noRunner struct{}

func (noRunner) Interrupt() {}

// reap collects a zombie.
func (t *task) reap() {
	_, err := t.w.init.Leader().Waitpid(t.pid(), 0)
	t.w.must(err)
}

func (t *task) pid() int { return t.th.Process().ID() }

// path is a file of the task's in /proc.
func (t *task) path(name string) string { return fmt.Sprintf("/proc/%d/%s", t.pid(), name) }

// openFile opens a file for the task.
func (t *task) openFile(path string, flags uint32) (*vfs.File, error) {
	f, err := t.caller().Open(nil, path, vfs.OpenHow{Flags: flags, Mode: 0o644})
	if err == nil {
		t.w.Cleanup(f.DecRef)
	}
	return f, err
}

// readAll reads a file from the beginning, in pieces of n bytes.
func readAll(f *vfs.File, n int) (string, error) {
	if _, err := f.Lseek(0, unix.SEEK_SET); err != nil {
		return "", err
	}
	var all []byte
	b := make([]byte, n)
	for {
		got, err := f.Read([][]byte{b})
		if err != nil || got == 0 {
			return string(all), err
		}
		all = append(all, b[:got]...)
	}
}

// read reads a file as the task.
func (t *task) read(path string) (string, error) {
	f, err := t.caller().Open(nil, path, vfs.OpenHow{})
	if err != nil {
		return "", err
	}
	defer f.DecRef()
	return readAll(f, 1<<16)
}

// text is read that succeeds.
func (t *task) text(path string) string {
	t.w.Helper()
	s, err := t.read(path)
	if err != nil {
		t.w.Fatalf("%s: %v", path, err)
	}
	return s
}

// write writes to a file as the task.
func (t *task) write(path, text string) error {
	f, err := t.caller().Open(nil, path, vfs.OpenHow{Flags: unix.O_WRONLY | unix.O_TRUNC})
	if err != nil {
		return err
	}
	defer f.DecRef()
	n, err := f.Write(t.caller().Creds, [][]byte{[]byte(text)}, -1)
	if err == nil && n != int64(len(text)) {
		return fmt.Errorf("%d bytes of %d were written", n, len(text))
	}
	return err
}

// list lists a directory as the task, but for "." and "..".
func (t *task) list(path string) (list []string, err error) {
	f, err := t.caller().Open(nil, path, vfs.OpenHow{Flags: unix.O_DIRECTORY})
	if err != nil {
		return nil, err
	}
	defer f.DecRef()
	err = f.ReadDir(t.caller(), func(e vfs.Entry) bool { list = append(list, e.Name); return true })
	return list[min(2, len(list)):], err
}

// field returns the value of a line "name: value".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "(no " + name + ")"
}
