package bundle

import (
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc-lite/procmgr"
)

// Process is a program to run in a container, checked and translated.
type Process struct {
	Args []string
	// Env has each variable once, the last of its values.
	Env []string
	Cwd string // clean and absolute

	UID, GID uint32
	Groups   []uint32
	Umask    uint32 // 0o22 if nothing was said

	Terminal bool
	// Rows and Columns are the terminal's size; 0 if nothing was said.
	Rows, Columns uint16

	Capabilities    Capabilities
	NoNewPrivileges bool
	Limits          []Limit
	OOMScoreAdj     *int
	// Scheduler is nil if nothing was said.
	Scheduler *specs.Scheduler
}

// Capabilities are the sets that a process begins with (capabilities(7)). Without any
// said they are empty, as with runc.
type Capabilities struct {
	Bounding, Permitted, Effective, Inheritable, Ambient procmgr.CapSet
}

// Limit is one resource limit (RLIMIT_* number).
type Limit struct {
	Resource int
	procmgr.Limit
}

// defaultUmask is what runc gives a process of whose mask nothing is said.
const defaultUmask = 0o22

// NewProcess checks and translates the process of an exec. file names where it was
// read from, for errors.
func NewProcess(p *specs.Process, file string) (*Process, []string, error) {
	c := &checker{file: file}
	n := newProcess(c, "", p)
	if err := c.err(); err != nil {
		return nil, nil, err
	}
	return n, c.warnings, nil
}

func newProcess(c *checker, in string, p *specs.Process) *Process {
	field := func(name string) string {
		if in == "" {
			return name
		}
		return in + "." + name
	}
	n := &Process{
		UID: p.User.UID, GID: p.User.GID, Groups: p.User.AdditionalGids, Umask: defaultUmask,
		Terminal: p.Terminal, NoNewPrivileges: p.NoNewPrivileges,
	}
	n.Args = args(c, field("args"), p.Args)
	n.Env = environment(c, field("env"), p.Env)
	n.Cwd = cwd(c, field("cwd"), p.Cwd)
	n.user(c, field("user"), &p.User)
	if s := p.ConsoleSize; s != nil && p.Terminal {
		const most = 1<<16 - 1
		if s.Height > most || s.Width > most {
			c.fail(field("consoleSize"), "%d lines of %d columns are more than a terminal has", s.Height, s.Width)
		} else {
			n.Rows, n.Columns = uint16(s.Height), uint16(s.Width)
		}
	}
	if p.Capabilities != nil {
		n.Capabilities = capabilities(c, field("capabilities"), p.Capabilities)
	}
	n.Limits = limits(c, field("rlimits"), p.Rlimits)
	n.OOMScoreAdj = oomScoreAdj(c, field("oomScoreAdj"), p.OOMScoreAdj)
	n.Scheduler = scheduler(c, field("scheduler"), p.Scheduler)
	n.ignored(c, field, p)
	return n
}

func args(c *checker, field string, list []string) []string {
	if len(list) == 0 {
		c.fail(field, "it is empty: it is the program and its arguments")
	} else if list[0] == "" {
		c.fail(at(field, 0), "the program's name is empty")
	}
	for i, a := range list {
		c.text(at(field, i), a)
	}
	return list
}

func cwd(c *checker, field, dir string) string {
	switch {
	case dir == "":
		c.fail(field, "it is empty: it is the working directory in the container, / for one")
	case !path.IsAbs(dir):
		c.fail(field, "%s is not absolute: it has to begin with /", quote(dir))
	default:
		c.text(field, dir)
	}
	return path.Clean(dir)
}

// environment checks variables and keeps the last of each.
func environment(c *checker, field string, list []string) []string {
	at0 := make(map[string]int, len(list))
	env := make([]string, 0, len(list))
	for i, kv := range list {
		if !c.text(at(field, i), kv) {
			continue
		}
		name, _, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			c.fail(at(field, i), "%s is not of the form NAME=VALUE", quote(kv))
			continue
		}
		if j, twice := at0[name]; twice {
			env[j] = kv
			continue
		}
		at0[name] = len(env)
		env = append(env, kv)
	}
	return env
}

// noID is (uid_t)-1, which means "as it is" to the calls that change ids.
const noID = ^uint32(0)

func (n *Process) user(c *checker, field string, u *specs.User) {
	const maxGroups = 65536 // NGROUPS_MAX
	if u.UID == noID {
		c.fail(field+".uid", "%d is no user", u.UID)
	}
	if u.GID == noID {
		c.fail(field+".gid", "%d is no group", u.GID)
	}
	if len(u.AdditionalGids) > maxGroups {
		c.fail(field+".additionalGids", "there are %d of them, and a process has at most %d", len(u.AdditionalGids), maxGroups)
	}
	for i, g := range u.AdditionalGids {
		if g == noID {
			c.fail(at(field+".additionalGids", i), "%d is no group", g)
		}
	}
	if u.Umask != nil {
		if *u.Umask > 0o777 {
			c.fail(field+".umask", "%#o is no mask: it is from 0 to 0777 (511)", *u.Umask)
		}
		n.Umask = *u.Umask & 0o777
	}
	if u.Username != "" {
		c.warn(field+".username", "on Linux the user is uid: the name has no effect")
	}
}

func oomScoreAdj(c *checker, field string, v *int) *int {
	if v != nil && (*v < -1000 || *v > 1000) {
		c.fail(field, "%d is out of range: it is from -1000 to 1000", *v)
	}
	return v
}

func scheduler(c *checker, field string, s *specs.Scheduler) *specs.Scheduler {
	if s == nil {
		return nil
	}
	c.warn(field, "the program begins with SCHED_OTHER, and may choose for itself: it has no effect")
	switch s.Policy {
	case specs.SchedOther, specs.SchedBatch, specs.SchedIdle:
		if s.Priority != 0 {
			c.fail(field+".priority", "%s has no priorities: leave it out, nice is what counts", s.Policy)
		}
	case specs.SchedFIFO, specs.SchedRR:
		if s.Priority < 1 || s.Priority > 99 {
			c.fail(field+".priority", "%d is out of range: %s has priorities from 1 to 99", s.Priority, s.Policy)
		}
	case specs.SchedISO, specs.SchedDeadline:
		c.fail(field+".policy", "%s is not supported: SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO and SCHED_RR are", s.Policy)
	default:
		c.fail(field+".policy", "there is no policy %s", quote(string(s.Policy)))
	}
	if s.Nice < -20 || s.Nice > 19 {
		c.fail(field+".nice", "%d is out of range: it is from -20 to 19", s.Nice)
	}
	for i, f := range s.Flags {
		if f != specs.SchedFlagResetOnFork {
			c.fail(at(field+".flags", i), "%s is not supported; %s is", quote(string(f)), specs.SchedFlagResetOnFork)
		}
	}
	return s
}

// ignored warns of what has no effect.
func (n *Process) ignored(c *checker, field func(string) string, p *specs.Process) {
	if p.ApparmorProfile != "" {
		c.warn(field("apparmorProfile"), "AppArmor does not act inside the container: profile %s has no effect", quote(p.ApparmorProfile))
	}
	if p.SelinuxLabel != "" {
		c.warn(field("selinuxLabel"), "SELinux does not act inside the container: label %s has no effect", quote(p.SelinuxLabel))
	}
	if p.IOPriority != nil {
		c.warn(field("ioPriority"), "the program begins without an I/O priority, and may choose for itself: it has no effect")
	}
	if p.ExecCPUAffinity != nil {
		c.warn(field("execCPUAffinity"), "it has no effect: linux.resources.cpu.cpus binds the container to processors")
	}
	if p.CommandLine != "" {
		c.warn(field("commandLine"), "on Linux the program is args: it has no effect")
	}
}
