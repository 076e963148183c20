package bundle

import (
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// capabilityNames are by number (linux/capability.h).
var capabilityNames = [...]string{
	unix.CAP_CHOWN:              "CAP_CHOWN",
	unix.CAP_DAC_OVERRIDE:       "CAP_DAC_OVERRIDE",
	unix.CAP_DAC_READ_SEARCH:    "CAP_DAC_READ_SEARCH",
	unix.CAP_FOWNER:             "CAP_FOWNER",
	unix.CAP_FSETID:             "CAP_FSETID",
	unix.CAP_KILL:               "CAP_KILL",
	unix.CAP_SETGID:             "CAP_SETGID",
	unix.CAP_SETUID:             "CAP_SETUID",
	unix.CAP_SETPCAP:            "CAP_SETPCAP",
	unix.CAP_LINUX_IMMUTABLE:    "CAP_LINUX_IMMUTABLE",
	unix.CAP_NET_BIND_SERVICE:   "CAP_NET_BIND_SERVICE",
	unix.CAP_NET_BROADCAST:      "CAP_NET_BROADCAST",
	unix.CAP_NET_ADMIN:          "CAP_NET_ADMIN",
	unix.CAP_NET_RAW:            "CAP_NET_RAW",
	unix.CAP_IPC_LOCK:           "CAP_IPC_LOCK",
	unix.CAP_IPC_OWNER:          "CAP_IPC_OWNER",
	unix.CAP_SYS_MODULE:         "CAP_SYS_MODULE",
	unix.CAP_SYS_RAWIO:          "CAP_SYS_RAWIO",
	unix.CAP_SYS_CHROOT:         "CAP_SYS_CHROOT",
	unix.CAP_SYS_PTRACE:         "CAP_SYS_PTRACE",
	unix.CAP_SYS_PACCT:          "CAP_SYS_PACCT",
	unix.CAP_SYS_ADMIN:          "CAP_SYS_ADMIN",
	unix.CAP_SYS_BOOT:           "CAP_SYS_BOOT",
	unix.CAP_SYS_NICE:           "CAP_SYS_NICE",
	unix.CAP_SYS_RESOURCE:       "CAP_SYS_RESOURCE",
	unix.CAP_SYS_TIME:           "CAP_SYS_TIME",
	unix.CAP_SYS_TTY_CONFIG:     "CAP_SYS_TTY_CONFIG",
	unix.CAP_MKNOD:              "CAP_MKNOD",
	unix.CAP_LEASE:              "CAP_LEASE",
	unix.CAP_AUDIT_WRITE:        "CAP_AUDIT_WRITE",
	unix.CAP_AUDIT_CONTROL:      "CAP_AUDIT_CONTROL",
	unix.CAP_SETFCAP:            "CAP_SETFCAP",
	unix.CAP_MAC_OVERRIDE:       "CAP_MAC_OVERRIDE",
	unix.CAP_MAC_ADMIN:          "CAP_MAC_ADMIN",
	unix.CAP_SYSLOG:             "CAP_SYSLOG",
	unix.CAP_WAKE_ALARM:         "CAP_WAKE_ALARM",
	unix.CAP_BLOCK_SUSPEND:      "CAP_BLOCK_SUSPEND",
	unix.CAP_AUDIT_READ:         "CAP_AUDIT_READ",
	unix.CAP_PERFMON:            "CAP_PERFMON",
	unix.CAP_BPF:                "CAP_BPF",
	unix.CAP_CHECKPOINT_RESTORE: "CAP_CHECKPOINT_RESTORE",
}

// CapabilityNames are the names of all capabilities, by number.
func CapabilityNames() []string { return capabilityNames[:] }

// Capability returns the number of a capability by its name, with or without CAP_, in
// either case.
func Capability(name string) (int, bool) {
	name = strings.ToUpper(name)
	if !strings.HasPrefix(name, "CAP_") {
		name = "CAP_" + name
	}
	for i, n := range capabilityNames {
		if n == name {
			return i, true
		}
	}
	return 0, false
}

// capabilities translates the five sets. Names that nobody knows may be of a newer
// Linux: they are left out with a warning, as runc does.
func capabilities(c *checker, field string, l *specs.LinuxCapabilities) Capabilities {
	set := func(name string, list []string) (s procmgr.CapSet) {
		for i, n := range list {
			number, ok := Capability(n)
			if !ok || !strings.HasPrefix(n, "CAP_") {
				c.warn(at(field+"."+name, i), "there is no capability %s: it is left out", quote(n))
				continue
			}
			s |= 1 << number
		}
		return s
	}
	s := Capabilities{
		Bounding:    set("bounding", l.Bounding),
		Permitted:   set("permitted", l.Permitted),
		Effective:   set("effective", l.Effective),
		Inheritable: set("inheritable", l.Inheritable),
		Ambient:     set("ambient", l.Ambient),
	}
	// What capset(2) would refuse.
	if extra := s.Effective &^ s.Permitted; extra != 0 {
		c.fail(field+".effective", "%s cannot be effective without being permitted", capabilityList(extra))
	}
	// An ambient capability has to be permitted and inheritable; runc leaves those
	// out that are not, with a warning.
	if extra := s.Ambient &^ (s.Permitted & s.Inheritable); extra != 0 {
		c.warn(field+".ambient", "%s cannot be ambient without being permitted and inheritable: left out", capabilityList(extra))
		s.Ambient &^= extra
	}
	return s
}

func capabilityList(s procmgr.CapSet) string {
	var names []string
	for i, n := range capabilityNames {
		if s.Has(i) {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// limitNames are by number (getrlimit(2)).
var limitNames = [procmgr.NumLimits]string{
	"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC",
	"RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE",
	"RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
}

func limits(c *checker, field string, list []specs.POSIXRlimit) []Limit {
	var said [procmgr.NumLimits]bool
	var out []Limit
	for i, l := range list {
		resource := -1
		for n, name := range limitNames {
			if name == l.Type {
				resource = n
			}
		}
		switch {
		case resource < 0:
			c.fail(at(field, i)+".type", "there is no limit %s; they are: %s", quote(l.Type), strings.Join(limitNames[:], ", "))
			continue
		case said[resource]:
			c.fail(at(field, i)+".type", "%s is there twice", l.Type)
		case l.Soft > l.Hard:
			c.fail(at(field, i)+".soft", "%d of %s is above its hard limit, %d", l.Soft, l.Type, l.Hard)
		}
		said[resource] = true
		out = append(out, Limit{resource, procmgr.Limit{Cur: l.Soft, Max: l.Hard}})
	}
	return out
}
