package proc

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/synth"
)

// everything is the end of all address spaces, for mm.Space.Pages.
const everything = hostarch.Addr(math.MaxUint64 &^ (hostarch.PageSize - 1))

// stateNames are the states as /proc/PID/status spells them (task_state_array).
var stateNames = map[byte]string{
	'R': "R (running)", 'S': "S (sleeping)", 'T': "T (stopped)", 't': "t (tracing stop)", 'Z': "Z (zombie)", 'X': "X (dead)",
}

// statusName spells a thread's name (proc_task_name).
var statusName = strings.NewReplacer("\n", `\n`, `\`, `\\`)

// status is /proc/PID/status (proc_pid_status).
func (s *subject) status(b *bytes.Buffer) error {
	th, t := s.thread(), s.task()
	b.WriteString("Name:\t" + statusName.Replace(th.Name()) + "\n")
	s.statusIDs(b, th, t)
	if t != nil {
		if space := t.Space(); space != nil {
			statusMemory(b, space, t.Layout(), s.p)
		}
	}
	s.statusSignals(b, th)
	s.statusPrivileges(b, th.Credentials(), t)
	s.statusCPUs(b, th, t)
	return nil
}

// statusIDs is task_state.
func (s *subject) statusIDs(b *bytes.Buffer, th *procmgr.Thread, t Task) {
	c := th.Credentials()
	fdSize := 0
	if t != nil {
		if place := t.Place(); place != nil {
			fmt.Fprintf(b, "Umask:\t%04o\n", place.Umask())
		}
		if fds := t.Descriptors(); fds != nil {
			fdSize = fds.Size()
		}
	}
	fmt.Fprintf(b, "State:\t%s\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t%d\n",
		stateNames[th.State().Letter()], s.fs.idOf(s.p), th.IDIn(s.fs.cfg.PIDs), s.p.ParentIDIn(s.fs.cfg.PIDs),
		th.TracerIDIn(s.fs.cfg.PIDs))
	fmt.Fprintf(b, "Uid:\t%d\t%d\t%d\t%d\nGid:\t%d\t%d\t%d\t%d\nFDSize:\t%d\nGroups:\t",
		c.RUID, c.EUID, c.SUID, c.FSUID, c.RGID, c.EGID, c.SGID, c.FSGID, fdSize)
	for _, g := range c.Groups {
		fmt.Fprintf(b, "%d ", g)
	}
	b.WriteByte('\n')
	inner := s.innerNamespaces()
	for _, ids := range [...]struct {
		name string
		in   func(*procmgr.PIDNamespace) int
	}{
		{"NStgid", s.p.IDIn}, {"NSpid", th.IDIn}, {"NSpgid", s.p.GroupIDIn}, {"NSsid", s.p.SessionIDIn},
	} {
		b.WriteString(ids.name + ":")
		for _, ns := range inner {
			fmt.Fprintf(b, "\t%d", ids.in(ns))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "Kthread:\t%d\n", bit(t == nil))
}

// innerNamespaces returns the pid namespaces from the one that is shown to the
// process's own.
func (s *subject) innerNamespaces() []*procmgr.PIDNamespace {
	var list []*procmgr.PIDNamespace
	for ns := s.p.Namespace(); ns != nil; ns = ns.Parent() {
		list = append(list, ns)
		if ns == s.fs.cfg.PIDs {
			break
		}
	}
	slices.Reverse(list)
	return list
}

func bit(on bool) int {
	if on {
		return 1
	}
	return 0
}

// statusMemory is task_mem. The most that was resident is what anybody saw of it.
func statusMemory(b *bytes.Buffer, space *mm.Space, l mm.Layout, p *procmgr.Process) {
	z := space.Sizes()
	pages := space.Pages(0, everything)
	rss := pages.Resident()
	p.AccountRSS(rss)
	text := textSize(&l, z.Text)
	for _, f := range [...]struct {
		name  string
		bytes uint64
	}{
		{"VmPeak", z.Peak}, {"VmSize", z.Virtual}, {"VmLck", z.Locked}, {"VmPin", 0},
		{"VmHWM", max(rss, p.Usage().MaxRSS)}, {"VmRSS", rss},
		{"RssAnon", pages.Anonymous}, {"RssFile", pages.File}, {"RssShmem", pages.Shmem},
		{"VmData", z.Data}, {"VmStk", z.Stack}, {"VmExe", text}, {"VmLib", z.Text - text},
		{"VmPTE", 0}, {"VmSwap", 0}, {"HugetlbPages", 0},
	} {
		fmt.Fprintf(b, "%s:\t%8d kB\n", f.name, f.bytes>>10)
	}
	b.WriteString("CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n")
}

// textSize is how much of a Space's executable memory is the program's own.
func textSize(l *mm.Layout, all uint64) uint64 {
	const mask = hostarch.PageSize - 1
	return min(uint64((l.EndCode+mask)&^mask-l.StartCode&^mask), all)
}

// statusSignals is task_sig.
func (s *subject) statusSignals(b *bytes.Buffer, th *procmgr.Thread) {
	own, shared := th.PendingSets()
	ignored, caught := s.p.Actions()
	fmt.Fprintf(b, "Threads:\t%d\nSigQ:\t%d/%d\n", s.threadCount(),
		s.fs.cfg.Procs.PendingSignals(th.Credentials().RUID), s.p.Limits().Soft(rlimitSigPending))
	for _, f := range [...]struct {
		name string
		set  procmgr.SigSet
	}{
		{"SigPnd", own}, {"ShdPnd", shared}, {"SigBlk", th.SignalMask()}, {"SigIgn", ignored}, {"SigCgt", caught},
	} {
		fmt.Fprintf(b, "%s:\t%016x\n", f.name, uint64(f.set))
	}
}

// rlimitSigPending is RLIMIT_SIGPENDING, which package unix lacks.
const rlimitSigPending = 11

// threadCount is how many threads the process has; a leader that has ended is
// there until the process is waited for.
func (s *subject) threadCount() int {
	n := s.p.ThreadCount()
	if s.p.Leader().State() == procmgr.Zombie {
		n++
	}
	return n
}

// statusPrivileges is task_cap and task_seccomp.
func (s *subject) statusPrivileges(b *bytes.Buffer, c *procmgr.Credentials, t Task) {
	for _, f := range [...]struct {
		name string
		set  procmgr.CapSet
	}{
		{"CapInh", c.CapInheritable}, {"CapPrm", c.CapPermitted}, {"CapEff", c.CapEffective},
		{"CapBnd", c.CapBounding}, {"CapAmb", c.CapAmbient},
	} {
		fmt.Fprintf(b, "%s:\t%016x\n", f.name, uint64(f.set))
	}
	mode, filters := 0, 0
	if t != nil {
		mode, filters = t.Seccomp()
	}
	fmt.Fprintf(b, "NoNewPrivs:\t%d\nSeccomp:\t%d\nSeccomp_filters:\t%d\n", bit(c.NoNewPrivs), mode, filters)
	b.WriteString("Speculation_Store_Bypass:\tunknown\nSpeculationIndirectBranch:\tunknown\n")
}

// statusCPUs is task_cpus_allowed, cpuset_task_status_allowed and
// task_context_switch_counts. There is one memory node.
func (s *subject) statusCPUs(b *bytes.Buffer, th *procmgr.Thread, t Task) {
	set := synth.FirstBits(s.fs.cfg.CPUs)
	if t != nil {
		set = t.Affinity()
	}
	u := th.Usage()
	fmt.Fprintf(b, "Cpus_allowed:\t%s\nCpus_allowed_list:\t%s\nMems_allowed:\t1\nMems_allowed_list:\t0\n",
		synth.Bitmap(set, s.fs.cfg.CPUs), synth.Ranges(set, s.fs.cfg.CPUs))
	fmt.Fprintf(b, "voluntary_ctxt_switches:\t%d\nnonvoluntary_ctxt_switches:\t%d\n",
		u.VoluntarySwitches, u.InvoluntarySwitches)
}

// escape writes the given characters of a string in octal (seq_escape).
func escape(s, chars string) string {
	if !strings.ContainsAny(s, chars) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(chars, s[i]) >= 0 {
			fmt.Fprintf(&b, "\\%03o", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// limits is /proc/PID/limits (proc_pid_limits).
func (s *subject) limits(b *bytes.Buffer) error {
	fmt.Fprintf(b, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units")
	all := s.p.Limits().All()
	for i, l := range all {
		fmt.Fprintf(b, "%-25s %-20s %-20s ", limitNames[i].name, limitValue(l.Cur), limitValue(l.Max))
		if u := limitNames[i].unit; u != "" {
			fmt.Fprintf(b, "%-10s", u)
		}
		b.WriteByte('\n')
	}
	return nil
}

func limitValue(v uint64) string {
	if v == procmgr.Infinity {
		return "unlimited"
	}
	return fmt.Sprint(v)
}

// limitNames are by RLIMIT_* number (lnames).
var limitNames = [procmgr.NumLimits]struct{ name, unit string }{
	unix.RLIMIT_CPU:     {"Max cpu time", "seconds"},
	unix.RLIMIT_FSIZE:   {"Max file size", "bytes"},
	unix.RLIMIT_DATA:    {"Max data size", "bytes"},
	unix.RLIMIT_STACK:   {"Max stack size", "bytes"},
	unix.RLIMIT_CORE:    {"Max core file size", "bytes"},
	unix.RLIMIT_RSS:     {"Max resident set", "bytes"},
	unix.RLIMIT_NPROC:   {"Max processes", "processes"},
	unix.RLIMIT_NOFILE:  {"Max open files", "files"},
	unix.RLIMIT_MEMLOCK: {"Max locked memory", "bytes"},
	unix.RLIMIT_AS:      {"Max address space", "bytes"},
	10:                  {"Max file locks", "locks"},
	rlimitSigPending:    {"Max pending signals", "signals"},
	12:                  {"Max msgqueue size", "bytes"},
	13:                  {"Max nice priority", ""},
	14:                  {"Max realtime priority", ""},
	15:                  {"Max realtime timeout", "us"},
}
