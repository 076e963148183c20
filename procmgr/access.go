package procmgr

import "golang.org/x/sys/unix"

// TraceMode says for what a thread wants to look into another, and as whom
// (PTRACE_MODE_* in ptrace(2)).
type TraceMode uint8

const (
	// TraceAttach is for more than reading. Nothing here is stricter for it than
	// for reading; security modules of Linux are.
	TraceAttach TraceMode = 1 << iota
	// TraceRealCreds goes by the real ids and permitted capabilities, as system
	// calls do; without it, file system ids and effective ones count, as /proc has
	// it.
	TraceRealCreds
)

// MayTrace reports whether t may look into another thread
// (ptrace_may_access): EPERM.
func (t *Thread) MayTrace(o *Thread, mode TraceMode) error {
	if t.p == o.p {
		return nil
	}
	c, target := t.Credentials(), o.Credentials()
	uid, gid, caps := c.FSUID, c.FSGID, c.CapEffective
	if mode&TraceRealCreds != 0 {
		uid, gid, caps = c.RUID, c.RGID, c.CapPermitted
	}
	same := uid == target.EUID && uid == target.SUID && uid == target.RUID &&
		gid == target.EGID && gid == target.SGID && gid == target.RGID
	privileged := c.HasCapIn(target.UserNS, unix.CAP_SYS_PTRACE)
	if privileged {
		return nil
	}
	if !same || o.p.Dumpable() != 1 {
		return unix.EPERM
	}
	// cap_ptrace_access_check.
	if c.UserNS != target.UserNS || target.CapPermitted&^caps != 0 {
		return unix.EPERM
	}
	return nil
}
