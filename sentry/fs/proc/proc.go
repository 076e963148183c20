// Package proc is the proc file system (proc(5), Linux's fs/proc).
//
// Everything in it is made when it is read, from the process table (procmgr) and,
// for what a guest thread runs with, from the object that Thread.Data holds (Task).
// What the rest of the sentry knows comes by Config. Nothing is kept here.
//
//	/            root: a fixed list (system.go, cpuinfo.go, sysctl.go) and the processes
//	/PID         taskDir, of a process or of one of its threads (pid.go)
//	  files      status.go, stat.go, maps.go, memory.go, mounts.go, small.go
//	  links      links.go
//	  fd, fdinfo fd.go
//
// A directory of a process holds on to its procmgr.Process, and that of a thread to
// its procmgr.Thread: an id that is given anew is another directory, which
// Revalidate finds out. Of a process that is gone, what is open answers ESRCH.
//
// Access is as in Linux: files belong to the process's effective user, or to root
// if the process is not dumpable, and what would tell of memory or open files is
// for those who may trace it (Thread.MayTrace).
//
// # Mounting
//
//	fs := proc.New(proc.Config{…})
//	ns.Mount(place, fs, vfs.MountOptions{Source: "proc", Flags: MS_NOSUID|MS_NODEV|MS_NOEXEC|MS_RELATIME})
//
// Lock order: as vfs has it; contents are made under the lock of an open file
// (package synth), and procmgr's, mm's and fdtable's locks come below.
package proc

import (
	"bytes"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/vfs"
)

// Task is what proc asks of a guest thread: procmgr.Thread.Data is one, or nil for
// a thread without guest code. A thread that ends has its parts taken away: they
// are nil then. All methods are safe from any goroutine.
type Task interface {
	Thread() *procmgr.Thread
	// Space is the address space, Layout where the program lies in it.
	Space() *mm.Space
	Layout() mm.Layout
	// Executable is the program, with a reference for the caller.
	Executable() *vfs.File
	// Descriptors and Place are the descriptor table, and root and working
	// directory.
	Descriptors() *fdtable.Table
	Place() *vfs.FSContext

	// Affinity holds the processors that the thread may use, a bit for each.
	Affinity() []uint64
	// SchedPolicy is a SCHED_* number.
	SchedPolicy() uint32
	// TimerSlack is the timer slack in nanoseconds; 0 sets the default.
	TimerSlack() uint64
	// Personality is personality(2)'s.
	Personality() uint32
	SetTimerSlack(ns uint64)
	// Namespaces are the uts, ipc, net and cgroup namespaces.
	Namespaces() *namespaces.Set
	// Seccomp is the mode (PR_GET_SECCOMP), and how many filters there are.
	Seccomp() (mode, filters int)
}

// Clock reads the clocks of the system, in nanoseconds (sentry/clock).
type Clock interface {
	Read(id int32) (int64, error)
}

// Config is what proc needs to know of the rest of the sentry.
type Config struct {
	// Dev is the device number of the file system.
	Dev   uint64
	Procs *procmgr.Table
	// PIDs is the pid namespace whose processes are shown; nil for the root.
	PIDs  *procmgr.PIDNamespace
	Clock Clock
	// First are the first namespaces, which are shown to who is in none.
	First func() *namespaces.Members
	// Place is where threads without guest code are in the file tree; nil: nowhere.
	Place *vfs.FSContext
	// Memory tells how much memory there is and how much is free, in bytes.
	Memory func() (total, free uint64)
	// CPUs is how many processors guests see.
	CPUs int
	// Sysname, Release and Version are uname(2)'s.
	Sysname, Release, Version string
	// CommandLine is the kernel's (/proc/cmdline).
	CommandLine string
	// FileSystems are the types that mount(2) knows, none of which needs a device.
	FileSystems []string
	// CharDevices are the names of character devices by major number
	// (/proc/devices).
	CharDevices map[int][]string
	// MinAddress is the lowest address that guests may map.
	MinAddress hostarch.Addr
	// PipeMaxSize is fs.pipe-max-size, in bytes.
	PipeMaxSize int
	// Sysctl are files in /proc/sys besides proc's own, and Files such in the root,
	// by their paths: "net/core/somaxconn".
	Sysctl, Files []synth.Leaf
	// Net makes the files of /proc/PID/net, for threads in a network namespace; nil:
	// there is no network.
	Net func(*namespaces.Net) []synth.Leaf
}

// FS is a proc file system: a vfs.FileSystem.
type FS struct {
	*synth.FS
	cfg    Config
	bootID string

	entries []entry // of a process's directory
}

// magic is PROC_SUPER_MAGIC.
const magic = 0x9fa0

// New makes a proc file system.
func New(c Config) *FS {
	if c.PIDs == nil {
		c.PIDs = c.Procs.Root()
	}
	fs := &FS{
		FS: synth.New(synth.Options{Type: "proc", Magic: magic, Dev: c.Dev, Now: func() unix.Timespec {
			ns, _ := c.Clock.Read(unix.CLOCK_REALTIME)
			return unix.NsecToTimespec(ns)
		}}),
		cfg:     c,
		bootID:  newUUID(),
		entries: entries(),
	}
	names := []synth.Entry{
		{Name: "self", Inode: fs.Link(synth.Attr{}, fs.self)},
		{Name: "thread-self", Inode: fs.Link(synth.Attr{}, fs.threadSelf)},
		fs.To("mounts", "self/mounts"),
		fs.Text("cmdline", synth.Const(c.CommandLine+"\n")),
		fs.Text("cpuinfo", cachedText(func(b *bytes.Buffer) { writeCPUInfo(b, c.CPUs) })),
		fs.Text("devices", fs.devices),
		fs.Text("diskstats", synth.Const("")),
		fs.Text("filesystems", fs.filesystems),
		fs.Text("interrupts", fs.interrupts),
		fs.Text("loadavg", fs.loadavg),
		{Name: "locks", Inode: fs.File(synth.Attr{Mode: 0o444}, locks)},
		fs.Text("meminfo", fs.meminfo),
		fs.Text("modules", synth.Const("")),
		fs.Text("partitions", synth.Const("major minor  #blocks  name\n\n")),
		fs.Text("stat", fs.stat),
		fs.Text("swaps", synth.Const("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
		fs.sysctl(),
		fs.Text("uptime", fs.uptime),
		fs.Text("version", fs.version),
		fs.Text("vmstat", fs.vmstat),
	}
	if c.Net != nil {
		names = append(names, fs.To("net", "self/net"))
	}
	static := fs.Dir(0o555, append(names, fs.Tree(0o555, c.Files).Entries()...)...)
	fs.SetRoot(&root{Node: fs.Node(synth.Attr{Mode: unix.S_IFDIR | 0o555, Ino: 1}), fs: fs, static: static})
	return fs
}

// CachedNames implements vfs.NameCacher: names of processes that are gone hold on to
// what is left of those, some 8 KiB for a process.
func (fs *FS) CachedNames() int { return 256 }

// root is the root directory.
type root struct {
	synth.Node
	fs     *FS
	static *synth.Dir
}

// firstProcess is the position of pid 0 in a listing: the fixed names come before
// it (FIRST_PROCESS_ENTRY).
const firstProcess = 256

// Stat implements vfs.Inode: each process is a link.
func (r *root) Stat() (vfs.Stat, error) {
	st, err := r.Node.Stat()
	st.Nlink = r.static.Attr().Nlink + uint32(r.fs.cfg.Procs.ProcessCount())
	return st, err
}

// Lookup implements vfs.Dir. Threads have a directory, too, which is not listed.
func (r *root) Lookup(name string) (vfs.Inode, error) {
	if i, err := r.static.Lookup(name); err == nil {
		return i, nil
	}
	s, ok := r.fs.subject(name)
	if !ok {
		return nil, unix.ENOENT
	}
	return r.fs.newTaskDir(s), nil
}

// Revalidate implements vfs.Revalidator.
func (r *root) Revalidate(name string, child vfs.Inode) bool {
	d, ok := child.(*taskDir)
	if !ok {
		return true
	}
	s, ok := r.fs.subject(name)
	return ok && s == d.s
}

// subject finds the process or thread that a name in the root means.
func (fs *FS) subject(name string) (subject, bool) {
	id, ok := parseID(name)
	if !ok {
		return subject{}, false
	}
	th := fs.cfg.PIDs.GetThread(id)
	if th == nil {
		return subject{}, false
	}
	if p := th.Process(); fs.idOf(p) == id {
		return subject{fs: fs, p: p, whole: true}, true
	}
	return subject{fs: fs, p: th.Process(), th: th, whole: true}, true
}

// parseID reads a number as the kernel writes it (name_to_int).
func parseID(name string) (int, bool) {
	if name == "" || name[0] == '0' && len(name) > 1 || name[0] == '+' || name[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 10, 31)
	return int(n), err == nil
}

// Open implements vfs.Inode.
func (r *root) Open(uint32) (vfs.FileOps, error) { return synth.OpenDir(r.list), nil }

func (r *root) list(off int64, emit func(vfs.Entry) bool) error {
	if off < firstProcess {
		more := true
		err := r.static.List(off, func(e vfs.Entry) bool {
			more = emit(e)
			return more
		})
		if err != nil || !more {
			return err
		}
		off = firstProcess
	}
	more := true
	r.fs.cfg.PIDs.ForEach(func(p *procmgr.Process) {
		id := int64(r.fs.idOf(p))
		if !more || id == 0 || id < off-firstProcess {
			return
		}
		more = emit(vfs.Entry{Name: strconv.FormatInt(id, 10), Ino: inoOf(p.ID(), false, 0), Type: unix.DT_DIR, Next: firstProcess + id + 1})
	})
	return nil
}

// self is /proc/self.
func (fs *FS) self(c *vfs.Caller) (string, error) {
	th := readerOf(c)
	if th == nil || fs.idOf(th.Process()) == 0 {
		return "", unix.ENOENT
	}
	return strconv.Itoa(fs.idOf(th.Process())), nil
}

// threadSelf is /proc/thread-self.
func (fs *FS) threadSelf(c *vfs.Caller) (string, error) {
	th := readerOf(c)
	if th == nil || th.IDIn(fs.cfg.PIDs) == 0 {
		return "", unix.ENOENT
	}
	return strconv.Itoa(fs.idOf(th.Process())) + "/task/" + strconv.Itoa(th.IDIn(fs.cfg.PIDs)), nil
}

// idOf returns the id of a process as fs shows it, 0 if it does not.
func (fs *FS) idOf(p *procmgr.Process) int { return p.IDIn(fs.cfg.PIDs) }

// readerOf returns the thread that c stands for, nil if it is no guest's.
func readerOf(c *vfs.Caller) *procmgr.Thread {
	if c == nil {
		return nil
	}
	if t, ok := c.Task.(interface{ Thread() *procmgr.Thread }); ok {
		return t.Thread()
	}
	return nil
}

// NamespacesOf returns the namespaces of who c stands for, nil if it is no guest's
// thread.
func NamespacesOf(c *vfs.Caller) *namespaces.Members {
	if th := readerOf(c); th != nil {
		if t, ok := th.Data().(Task); ok {
			if s := t.Namespaces(); s != nil {
				return &s.Members
			}
		}
	}
	return nil
}

// uts returns the uts namespace of a reader.
func (fs *FS) uts(c *vfs.Caller) *namespaces.UTS {
	if ns := NamespacesOf(c); ns != nil {
		return ns.UTS
	}
	return fs.cfg.First().UTS
}

// now returns CLOCK_BOOTTIME.
func (fs *FS) now() time.Duration {
	ns, _ := fs.cfg.Clock.Read(unix.CLOCK_BOOTTIME)
	return time.Duration(ns)
}

// cachedText is a Text that is made when it is first read, and then stays.
func cachedText(fn func(b *bytes.Buffer)) synth.Text {
	text := sync.OnceValue(func() []byte {
		var b bytes.Buffer
		fn(&b)
		return b.Bytes()
	})
	return func(b *bytes.Buffer) error {
		b.Write(text())
		return nil
	}
}
