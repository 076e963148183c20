package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry"
)

// containerSpec translates the configuration for the sentry.
func containerSpec(a *bootArgs) (sentry.ContainerSpec, error) {
	s := sentry.ContainerSpec{
		Root:         a.Root,
		RootReadonly: a.Spec.Root.Readonly,
		Hostname:     a.Hostname,
		Domainname:   a.Spec.Domainname,
		Sysctl:       a.Spec.Linux.Sysctl,
	}
	s.MaskedPaths, s.ReadonlyPaths = a.Spec.Linux.MaskedPaths, a.Spec.Linux.ReadonlyPaths
	for i := range a.Spec.Mounts {
		m := &a.Spec.Mounts[i]
		mount := sentry.Mount{
			Target: m.Destination, Type: m.Type, Source: m.Source, Host: -1,
			Flags: mountFlags(m.Options), CopyUp: slices.Contains(m.Options, "tmpcopyup"),
		}
		if !strings.HasPrefix(mount.Target, "/") {
			mount.Target = "/" + mount.Target
		}
		if fd, ok := a.Mounts[i]; ok {
			mount.Type, mount.Host = "", fd
		} else {
			mount.Options = mountData(m.Options)
		}
		s.Mounts = append(s.Mounts, mount)
	}
	for i := range a.Spec.Linux.Devices {
		d, err := device(&a.Spec.Linux.Devices[i])
		if err != nil {
			return s, err
		}
		s.Devices = append(s.Devices, d)
	}
	return s, nil
}

func device(d *specs.LinuxDevice) (sentry.Device, error) {
	n := sentry.Device{Path: d.Path, Rdev: unix.Mkdev(uint32(d.Major), uint32(d.Minor)), Mode: 0o666}
	if d.FileMode != nil {
		n.Mode = uint32(*d.FileMode) & 0o7777
	}
	switch d.Type {
	case "c", "u":
		n.Mode |= unix.S_IFCHR
	case "b":
		n.Mode |= unix.S_IFBLK
	case "p":
		n.Mode |= unix.S_IFIFO
		n.Rdev = 0
	default:
		return n, fmt.Errorf("device %s: there is no type %q of devices", d.Path, d.Type)
	}
	if d.UID != nil {
		n.UID = *d.UID
	}
	if d.GID != nil {
		n.GID = *d.GID
	}
	return n, nil
}

// program translates a process for the sentry. seccomp is the container's.
func program(p *specs.Process) (*sentry.Program, error) {
	if p == nil {
		return nil, errors.New("the configuration has no process")
	}
	g := &sentry.Program{
		Argv: p.Args, Env: p.Env, Cwd: p.Cwd,
		UID: p.User.UID, GID: p.User.GID, Groups: p.User.AdditionalGids, Umask: 0o022,
		NoNewPrivs: p.NoNewPrivileges, Terminal: p.Terminal,
	}
	if p.User.Umask != nil {
		g.Umask = *p.User.Umask
	}
	if p.OOMScoreAdj != nil {
		g.OOMScoreAdj = *p.OOMScoreAdj
	}
	if c := p.Capabilities; c != nil {
		for _, set := range []struct {
			to   *procmgr.CapSet
			from []string
		}{
			{&g.Bounding, c.Bounding}, {&g.Effective, c.Effective}, {&g.Permitted, c.Permitted},
			{&g.Inheritable, c.Inheritable}, {&g.Ambient, c.Ambient},
		} {
			*set.to = capabilities(set.from)
		}
		// As the kernel has it: nothing is ambient that is not permitted and inheritable.
		g.Effective &= g.Permitted
		g.Ambient &= g.Permitted & g.Inheritable
	}
	for _, l := range p.Rlimits {
		n, ok := rlimits[l.Type]
		if !ok {
			return nil, fmt.Errorf("there is no resource limit %q", l.Type)
		}
		if g.Limits == nil {
			g.Limits = map[int]procmgr.Limit{}
		}
		if _, twice := g.Limits[n]; twice {
			return nil, fmt.Errorf("the resource limit %s is set twice", l.Type)
		}
		g.Limits[n] = procmgr.Limit{Cur: l.Soft, Max: l.Hard}
	}
	return g, nil
}

// capabilities returns the set of what is named in list. Names that are not known here
// are those of newer kernels, and stand for nothing.
func capabilities(list []string) (s procmgr.CapSet) {
	for _, name := range list {
		if i := slices.Index(capNames[:], name); i >= 0 {
			s |= 1 << i
		}
	}
	return s
}

// capNames are the capabilities by their numbers (linux/capability.h).
var capNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// rlimits are the resource limits by their names.
var rlimits = map[string]int{
	"RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
	"RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10,
	"RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}
