package proc

import (
	"bytes"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/namespaces"
	"runsc-lite/sentry/vfs"
)

// subject is what a directory is of. It is comparable.
type subject struct {
	fs *FS
	p  *procmgr.Process
	th *procmgr.Thread // nil: whichever leads the process
	// whole is set for /proc/ID, not set for /proc/PID/task/ID: sums are over the
	// process then.
	whole bool
}

// thread returns the thread that is shown.
func (s *subject) thread() *procmgr.Thread {
	if s.th != nil {
		return s.th
	}
	return s.p.Leader()
}

// task returns what the thread runs with, nil if it runs no guest code.
func (s *subject) task() Task {
	t, _ := s.thread().Data().(Task)
	return t
}

// check returns ESRCH if the process or thread is gone.
func (s *subject) check() error {
	if s.thread().State() == procmgr.Dead {
		return unix.ESRCH
	}
	return nil
}

// mayTrace reports whether who c stands for may look into the thread: EACCES. c is
// nil when no guest asks.
func (s *subject) mayTrace(c *vfs.Caller, mode procmgr.TraceMode) error {
	th := readerOf(c)
	if th == nil || th.MayTrace(s.thread(), mode) == nil {
		return nil
	}
	return unix.EACCES
}

// isReader reports whether c is a thread of the process.
func (s *subject) isReader(c *vfs.Caller) bool {
	th := readerOf(c)
	return th != nil && th.Process() == s.p
}

// owner tells whose the files are (task_dump_owner): the effective user's, but
// root's if the process is not dumpable, or has no memory, as long as the file is
// not a directory open to all.
func (s *subject) owner(mode uint32) (uid, gid uint32) {
	if mode != unix.S_IFDIR|0o555 {
		t := s.task()
		if t == nil || t.Space() == nil || s.p.Dumpable() != 1 {
			return 0, 0
		}
	}
	c := s.thread().Credentials()
	return c.EUID, c.EGID
}

// Inode numbers: the id, then whether it is below task/, then what it is.
const (
	inoShift  = 25
	inoThread = 1 << 24
	inoFD     = 1 << 21 // and the descriptor
	inoFDInfo = 2 << 21
	inoNS     = 3 << 21
)

func inoOf(id int, inTask bool, n uint64) uint64 {
	ino := uint64(id)<<inoShift | n
	if inTask {
		ino |= inoThread
	}
	return ino
}

// node makes the attributes of an inode of s.
func (s *subject) node(mode uint32, n uint64) synth.Attr {
	return synth.Attr{
		Mode:  mode,
		Ino:   inoOf(s.thread().ID(), !s.whole, n),
		Owner: func() (uid, gid uint32) { return s.owner(mode) },
	}
}

// entry is a name in a process's directory.
type entry struct {
	name  string
	mode  uint32
	where uint8
	make  maker
}

// maker makes an inode with the attributes a.
type maker func(s *subject, a synth.Attr) vfs.Inode

// Where an entry is.
const (
	inProcess = 1 << iota // /proc/PID
	inThread              // /proc/PID/task/TID
	both      = inProcess | inThread
)

const (
	reg = unix.S_IFREG
	dir = unix.S_IFDIR
	lnk = unix.S_IFLNK
)

// entries are the names of a process's directory, in Linux's order
// (tgid_base_stuff, tid_base_stuff).
func entries() []entry {
	return []entry{
		{"task", dir | 0o555, inProcess, newThreads},
		{"fd", dir | 0o500, both, newFDs},
		{"fdinfo", dir | 0o555, both, newFDInfos},
		{"ns", dir | 0o511, both, newNamespaces},
		{"net", dir | 0o555, both, newNet},
		{"environ", reg | 0o400, both, traced(openEnviron)},
		{"auxv", reg | 0o400, both, traced(openAuxv)},
		{"status", reg | 0o444, both, text((*subject).status)},
		{"personality", reg | 0o400, both, tracedText((*subject).personality)},
		{"limits", reg | 0o444, both, text((*subject).limits)},
		{"comm", reg | 0o644, both, newComm},
		{"cmdline", reg | 0o444, both, file(openCmdline)},
		{"stat", reg | 0o444, both, file(openStat)},
		{"statm", reg | 0o444, both, text((*subject).statm)},
		{"maps", reg | 0o444, both, traced(openMaps)},
		{"mem", reg | 0o600, both, file(openMem)},
		{"cwd", lnk | 0o777, both, link((*subject).cwd)},
		{"root", lnk | 0o777, both, link((*subject).root)},
		{"exe", lnk | 0o777, both, link((*subject).exe)},
		{"mounts", reg | 0o444, both, mountFile(mountsLine)},
		{"mountinfo", reg | 0o444, both, mountFile(mountinfoLine)},
		{"mountstats", reg | 0o400, inProcess, mountFile(mountstatsLine)},
		{"smaps", reg | 0o444, both, traced(openSmaps)},
		{"smaps_rollup", reg | 0o444, both, traced(openSmapsRollup)},
		{"wchan", reg | 0o444, both, text((*subject).wchan)},
		{"schedstat", reg | 0o444, both, text((*subject).schedstat)},
		{"cpuset", reg | 0o444, both, text((*subject).cpuset)},
		{"cgroup", reg | 0o444, both, text((*subject).cgroup)},
		{"children", reg | 0o444, inThread, text((*subject).children)},
		{"oom_score", reg | 0o444, both, text((*subject).oomScore)},
		{"oom_score_adj", reg | 0o644, both, newOOMScoreAdj},
		{"loginuid", reg | 0o444, both, text((*subject).loginUID)},
		{"sessionid", reg | 0o444, both, text((*subject).loginUID)},
		{"io", reg | 0o400, both, tracedText((*subject).io)},
		{"uid_map", reg | 0o644, both, newIDMap((*procmgr.UserNamespace).UIDMap, (*procmgr.UserNamespace).SetUIDMap)},
		{"gid_map", reg | 0o644, both, newIDMap((*procmgr.UserNamespace).GIDMap, (*procmgr.UserNamespace).SetGIDMap)},
		{"projid_map", reg | 0o644, both, text((*subject).projIDMap)},
		{"setgroups", reg | 0o644, both, newSetgroups},
		{"timerslack_ns", reg | 0o666, inProcess, newTimerSlack},
	}
}

// file makes a file by an Opener for the subject.
func file(open func(s *subject, c *vfs.Caller) (vfs.FileOps, error)) maker {
	return func(s *subject, a synth.Attr) vfs.Inode {
		return s.fs.File(a, func(c *vfs.Caller, _ uint32) (vfs.FileOps, error) { return open(s, c) })
	}
}

// traced is file for those who may look into the process (proc_mem_open with
// PTRACE_MODE_READ).
func traced(open func(s *subject, c *vfs.Caller) (vfs.FileOps, error)) maker {
	return file(func(s *subject, c *vfs.Caller) (vfs.FileOps, error) {
		if err := s.check(); err != nil {
			return nil, err
		}
		if err := s.mayTrace(c, 0); err != nil {
			return nil, err
		}
		return open(s, c)
	})
}

// text guards what makes a content: ESRCH if the process is gone.
func (s *subject) text(fn func(*subject, *bytes.Buffer) error) synth.Text {
	return func(b *bytes.Buffer) error {
		if err := s.check(); err != nil {
			return err
		}
		return fn(s, b)
	}
}

// text makes a small file (ONE in fs/proc/base.c).
func text(fn func(*subject, *bytes.Buffer) error) maker {
	return func(s *subject, a synth.Attr) vfs.Inode { return s.fs.File(a, s.text(fn).Open) }
}

// tracedText is text for those who may look into the process; others may open it,
// but reading answers EACCES.
func tracedText(fn func(*subject, *bytes.Buffer) error) maker {
	return file(func(s *subject, c *vfs.Caller) (vfs.FileOps, error) {
		reader := readerOf(c)
		return s.text(func(s *subject, b *bytes.Buffer) error {
			if reader != nil && reader.MayTrace(s.thread(), 0) != nil {
				return unix.EACCES
			}
			return fn(s, b)
		}).Open(c, 0)
	})
}

// taskDir is the directory of a process or thread.
type taskDir struct {
	synth.Node
	s subject
}

func (fs *FS) newTaskDir(s subject) *taskDir {
	d := &taskDir{s: s}
	a := d.s.node(unix.S_IFDIR|0o555, 0)
	a.Nlink = 2
	for i := range fs.entries {
		if e := &fs.entries[i]; e.mode&unix.S_IFMT == unix.S_IFDIR && d.has(e) {
			a.Nlink++
		}
	}
	d.Node = fs.Node(a)
	return d
}

func (d *taskDir) has(e *entry) bool {
	if e.name == "net" && d.s.fs.cfg.Net == nil {
		return false
	}
	if d.s.whole {
		return e.where&inProcess != 0
	}
	return e.where&inThread != 0
}

// PermissionFor implements vfs.CallerGuard (proc_pid_permission): ESRCH in a
// directory of a process that is gone.
func (d *taskDir) PermissionFor(c *vfs.Caller, want uint32) error {
	if err := d.s.check(); err != nil && d.s.whole {
		return err
	}
	return c.Creds.Permission(d, want)
}

// Lookup implements vfs.Dir.
func (d *taskDir) Lookup(name string) (vfs.Inode, error) {
	if d.s.check() != nil {
		return nil, unix.ENOENT
	}
	for i := range d.s.fs.entries {
		if e := &d.s.fs.entries[i]; e.name == name && d.has(e) {
			return e.make(&d.s, d.s.node(e.mode, uint64(i)+1)), nil
		}
	}
	return nil, unix.ENOENT
}

// DirectoryOf returns the process, nil if it is the directory of a thread: what
// pidfd_send_signal(2) takes for a pidfd.
func (d *taskDir) DirectoryOf() *procmgr.Process {
	if d.s.th != nil {
		return nil
	}
	return d.s.p
}

// Revalidate implements vfs.Revalidator.
func (d *taskDir) Revalidate(string, vfs.Inode) bool { return d.s.check() == nil }

// Open implements vfs.Inode.
func (d *taskDir) Open(uint32) (vfs.FileOps, error) { return synth.OpenDir(d.list), nil }

func (d *taskDir) list(off int64, emit func(vfs.Entry) bool) error {
	if d.s.check() != nil {
		return unix.ENOENT
	}
	id := d.s.thread().ID()
	for i := range d.s.fs.entries {
		e := &d.s.fs.entries[i]
		if int64(i) < off || !d.has(e) {
			continue
		}
		if !emit(vfs.Entry{Name: e.name, Ino: inoOf(id, !d.s.whole, uint64(i)+1), Type: uint8(e.mode >> 12), Next: int64(i) + 1}) {
			break
		}
	}
	return nil
}

// threads is /proc/PID/task.
type threads struct {
	synth.Node
	s *subject
}

func newThreads(s *subject, a synth.Attr) vfs.Inode { return &threads{s.fs.Node(a), s} }

// ids returns the ids of the process's threads, a leader that has ended among them.
func (t *threads) ids() []int {
	var ids []int
	for _, th := range t.s.p.Threads() {
		ids = append(ids, th.IDIn(t.s.fs.cfg.PIDs))
	}
	if leader := t.s.fs.idOf(t.s.p); !slices.Contains(ids, leader) {
		ids = append(ids, leader)
	}
	slices.Sort(ids)
	return ids
}

// Stat implements vfs.Inode: each thread is a link.
func (t *threads) Stat() (vfs.Stat, error) {
	st, err := t.Node.Stat()
	st.Nlink = 2 + uint32(len(t.ids()))
	return st, err
}

func (t *threads) find(name string) (subject, bool) {
	id, ok := parseID(name)
	if !ok {
		return subject{}, false
	}
	th := t.s.fs.cfg.PIDs.GetThread(id)
	if th == nil || th.Process() != t.s.p {
		return subject{}, false
	}
	return subject{fs: t.s.fs, p: t.s.p, th: th}, true
}

// Lookup implements vfs.Dir.
func (t *threads) Lookup(name string) (vfs.Inode, error) {
	s, ok := t.find(name)
	if !ok {
		return nil, unix.ENOENT
	}
	return t.s.fs.newTaskDir(s), nil
}

// Revalidate implements vfs.Revalidator.
func (t *threads) Revalidate(name string, child vfs.Inode) bool {
	s, ok := t.find(name)
	return ok && s == child.(*taskDir).s
}

// Open implements vfs.Inode.
func (t *threads) Open(uint32) (vfs.FileOps, error) { return synth.OpenDir(t.list), nil }

func (t *threads) list(off int64, emit func(vfs.Entry) bool) error {
	if t.s.check() != nil {
		return unix.ENOENT
	}
	for _, id := range t.ids() {
		if int64(id) < off {
			continue
		}
		th := t.s.fs.cfg.PIDs.GetThread(id)
		if th == nil {
			continue
		}
		if !emit(vfs.Entry{Name: strconv.Itoa(id), Ino: inoOf(th.ID(), true, 0), Type: unix.DT_DIR, Next: int64(id) + 1}) {
			break
		}
	}
	return nil
}

// network is /proc/PID/net: the directory of the network namespace that the process is
// in when it is used.
type network struct {
	synth.Node
	s *subject

	mu  sync.Mutex
	net *namespaces.Net // that dir shows
	dir *synth.Dir
}

func newNet(s *subject, a synth.Attr) vfs.Inode { return &network{Node: s.fs.Node(a), s: s} }

// current returns the directory, nil if the process is in no namespace any more
// (proc_tgid_net_lookup).
func (n *network) current() *synth.Dir {
	net := n.s.fs.cfg.First().Net
	if t := n.s.task(); t != nil {
		s := t.Namespaces()
		if s == nil {
			return nil
		}
		net = s.Net
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.net != net {
		n.net, n.dir = net, n.s.fs.Tree(0o555, n.s.fs.cfg.Net(net))
	}
	return n.dir
}

// Lookup implements vfs.Dir.
func (n *network) Lookup(name string) (vfs.Inode, error) {
	if d := n.current(); d != nil {
		return d.Lookup(name)
	}
	return nil, unix.ENOENT
}

// Revalidate implements vfs.Revalidator.
func (n *network) Revalidate(name string, child vfs.Inode) bool {
	d := n.current()
	if d == nil {
		return false
	}
	now, err := d.Lookup(name)
	return err == nil && now == child
}

// Open implements vfs.Inode.
func (n *network) Open(flags uint32) (vfs.FileOps, error) {
	if d := n.current(); d != nil {
		return d.Open(flags)
	}
	return nil, unix.ENOENT
}
