package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestMayTrace(t *testing.T) {
	tb := NewTable(Config{})
	init, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	user := func(uid, gid uint32) *Credentials {
		return &Credentials{RUID: uid, EUID: uid, SUID: uid, FSUID: uid, RGID: gid, EGID: gid, SGID: gid, FSGID: gid}
	}
	with := func(c *Credentials, change func(*Credentials)) *Credentials {
		change(c)
		return c
	}
	const ptrace = CapSet(1 << unix.CAP_SYS_PTRACE)
	for _, tt := range []struct {
		name     string
		from, to *Credentials
		dumpable int
		mode     TraceMode
		want     error
	}{
		{"root", RootCredentials(), user(5, 5), 0, 0, nil},
		{"same user", user(5, 5), user(5, 5), 1, 0, nil},
		{"same user, not dumpable", user(5, 5), user(5, 5), 0, 0, unix.EPERM},
		{"same user, dumpable by root alone", user(5, 5), user(5, 5), 2, 0, unix.EPERM},
		{"another user", user(5, 5), user(6, 5), 1, 0, unix.EPERM},
		{"another group", user(5, 5), user(5, 6), 1, 0, unix.EPERM},
		{"set-user-ID program", user(5, 5), with(user(5, 5), func(c *Credentials) { c.EUID = 0 }), 1, 0, unix.EPERM},
		{"saved root", user(5, 5), with(user(5, 5), func(c *Credentials) { c.SUID = 0 }), 1, 0, unix.EPERM},
		{"file system id counts", with(user(0, 0), func(c *Credentials) { c.FSUID, c.FSGID = 5, 5 }), user(5, 5), 1, 0, nil},
		{"real id counts", with(user(0, 0), func(c *Credentials) { c.FSUID, c.FSGID = 5, 5 }), user(5, 5), 1, TraceRealCreds, unix.EPERM},
		{"capability", with(user(5, 5), func(c *Credentials) { c.CapEffective = ptrace }), user(6, 6), 0, TraceAttach, nil},
		{"capability that is not effective", with(user(5, 5), func(c *Credentials) { c.CapPermitted = ptrace }), user(6, 6), 1, TraceRealCreds, unix.EPERM},
		{"more capable target", user(5, 5), with(user(5, 5), func(c *Credentials) { c.CapPermitted = 1 }), 1, 0, unix.EPERM},
		{"as capable, effective", with(user(5, 5), func(c *Credentials) { c.CapEffective, c.CapPermitted = 1, 1 }), with(user(5, 5), func(c *Credentials) { c.CapPermitted = 1 }), 1, 0, nil},
		{"as capable, permitted", with(user(5, 5), func(c *Credentials) { c.CapPermitted = 1 }), with(user(5, 5), func(c *Credentials) { c.CapPermitted = 1 }), 1, 0, unix.EPERM},
		{"as capable, by permitted", with(user(5, 5), func(c *Credentials) { c.CapPermitted = 1 }), with(user(5, 5), func(c *Credentials) { c.CapPermitted = 1 }), 1, TraceRealCreds, nil},
	} {
		a, err := tb.CreateProcess(init, "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := tb.CreateProcess(init, "b", 0)
		if err != nil {
			t.Fatal(err)
		}
		a.Leader().SetCredentials(tt.from)
		b.Leader().SetCredentials(tt.to)
		b.SetDumpable(tt.dumpable)
		if got := a.Leader().MayTrace(b.Leader(), tt.mode); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		b.SetDumpable(0)
		if got := b.Leader().MayTrace(b.Leader(), tt.mode); got != nil {
			t.Errorf("%s: itself: %v", tt.name, got)
		}
	}
}
