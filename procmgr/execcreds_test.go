package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestForExec(t *testing.T) {
	const (
		net   = CapSet(1 << unix.CAP_NET_RAW)
		kill  = CapSet(1 << unix.CAP_KILL)
		chown = CapSet(1 << unix.CAP_CHOWN)
	)
	user := Credentials{RUID: 1000, EUID: 1000, SUID: 1000, FSUID: 1000, RGID: 100, EGID: 100, SGID: 100, FSGID: 100, CapBounding: AllCaps}
	with := func(c Credentials, change func(*Credentials)) Credentials {
		change(&c)
		return c
	}
	none := ExecFile{SetUID: NoID, SetGID: NoID}
	setuid := func(uid uint32) ExecFile { return ExecFile{SetUID: uid, SetGID: NoID} }
	setgid := func(gid uint32) ExecFile { return ExecFile{SetUID: NoID, SetGID: gid} }
	caps := func(c FileCaps) ExecFile { return ExecFile{SetUID: NoID, SetGID: NoID, Caps: &c} }
	for _, tt := range []struct {
		name   string
		from   Credentials
		file   ExecFile
		want   Credentials
		secure bool
		err    error
	}{
		{"a user's plain program", user, none, user, false, nil},
		{"root's plain program", *RootCredentials(), none, *RootCredentials(), false, nil},
		{"permitted capabilities do not last", with(user, func(c *Credentials) {
			c.CapPermitted, c.CapEffective, c.CapInheritable = net, net, kill
		}), none, with(user, func(c *Credentials) { c.CapInheritable = kill }), false, nil},
		{"ambient ones do", with(user, func(c *Credentials) {
			c.CapPermitted, c.CapEffective, c.CapInheritable, c.CapAmbient = net|kill, net, net, net
		}), none, with(user, func(c *Credentials) {
			c.CapPermitted, c.CapEffective, c.CapInheritable, c.CapAmbient = net, net, net, net
		}), false, nil},
		{"set-user-ID root", user, setuid(0), with(user, func(c *Credentials) {
			c.EUID, c.SUID, c.FSUID = 0, 0, 0
			c.CapPermitted, c.CapEffective = AllCaps, AllCaps
		}), true, nil},
		{"set-user-ID of the caller", user, setuid(1000), user, false, nil},
		{"set-user-ID of another user", user, setuid(5), with(user, func(c *Credentials) {
			c.EUID, c.SUID, c.FSUID = 5, 5, 5
		}), true, nil},
		{"set-group-ID", user, setgid(7), with(user, func(c *Credentials) {
			c.EGID, c.SGID, c.FSGID = 7, 7, 7
		}), true, nil},
		{"set-group-ID of a supplementary group", with(user, func(c *Credentials) { c.Groups = []uint32{7} }), setgid(7),
			with(user, func(c *Credentials) {
				c.Groups = []uint32{7}
				c.EGID, c.SGID, c.FSGID = 7, 7, 7
			}), true, nil},
		{"set-user-ID cancels ambient capabilities", with(user, func(c *Credentials) {
			c.CapPermitted, c.CapInheritable, c.CapAmbient = net, net, net
		}), setuid(5), with(user, func(c *Credentials) {
			c.CapInheritable = net
			c.EUID, c.SUID, c.FSUID = 5, 5, 5
		}), true, nil},
		{"set-user-ID root with no_new_privs", with(user, func(c *Credentials) { c.NoNewPrivs = true }), setuid(0),
			with(user, func(c *Credentials) { c.NoNewPrivs = true }), false, nil},
		{"set-user-ID root, sharing its directory", user, ExecFile{SetUID: 0, SetGID: NoID, Shared: true}, user, true, nil},
		{"root that dropped capabilities gets them back", with(*RootCredentials(), func(c *Credentials) {
			c.CapPermitted, c.CapEffective = net, net
		}), none, *RootCredentials(), false, nil},
		{"but not with no_new_privs", with(*RootCredentials(), func(c *Credentials) {
			c.CapPermitted, c.CapEffective, c.NoNewPrivs = net, net, true
		}), none, with(*RootCredentials(), func(c *Credentials) {
			c.CapPermitted, c.CapEffective, c.NoNewPrivs = net, net, true
		}), false, nil},
		{"nor beyond the bounding set", with(*RootCredentials(), func(c *Credentials) { c.CapBounding = net | kill }), none,
			with(*RootCredentials(), func(c *Credentials) {
				c.CapBounding, c.CapPermitted, c.CapEffective = net|kill, net|kill, net|kill
			}), false, nil},
		{"root without its powers", with(*RootCredentials(), func(c *Credentials) { c.SecureBits = secNoRoot }), none,
			with(*RootCredentials(), func(c *Credentials) {
				c.SecureBits, c.CapPermitted, c.CapEffective = secNoRoot, 0, 0
			}), false, nil},
		{"the real user is root", with(*RootCredentials(), func(c *Credentials) {
			c.EUID, c.SUID, c.FSUID, c.CapEffective = 5, 5, 5, 0
		}), none, with(*RootCredentials(), func(c *Credentials) {
			c.EUID, c.SUID, c.FSUID, c.CapEffective = 5, 5, 5, 0
		}), true, nil},
		{"keepcaps does not last", with(user, func(c *Credentials) { c.SecureBits = secKeepCaps | secKeepCapsLocked }), none,
			with(user, func(c *Credentials) { c.SecureBits = secKeepCapsLocked }), false, nil},
		{"file capabilities", user, caps(FileCaps{Permitted: net | kill, Effective: true}), with(user, func(c *Credentials) {
			c.CapPermitted, c.CapEffective = net|kill, net|kill
		}), true, nil},
		{"not effective", user, caps(FileCaps{Permitted: net}), with(user, func(c *Credentials) { c.CapPermitted = net }), true, nil},
		{"inheritable", with(user, func(c *Credentials) { c.CapInheritable = net | chown }),
			caps(FileCaps{Inheritable: net | kill, Effective: true}), with(user, func(c *Credentials) {
				c.CapInheritable, c.CapPermitted, c.CapEffective = net|chown, net, net
			}), true, nil},
		{"beyond the bounding set", with(user, func(c *Credentials) { c.CapBounding = net }),
			caps(FileCaps{Permitted: net | kill, Effective: true}), Credentials{}, false, unix.EPERM},
		{"beyond the bounding set, for who asks", with(user, func(c *Credentials) { c.CapBounding = net }),
			caps(FileCaps{Permitted: net | kill}), with(user, func(c *Credentials) { c.CapBounding, c.CapPermitted = net, net }), true, nil},
		{"file capabilities with no_new_privs", with(user, func(c *Credentials) { c.NoNewPrivs = true }),
			caps(FileCaps{Permitted: net, Effective: true}), with(user, func(c *Credentials) { c.NoNewPrivs = true }), false, nil},
		{"another namespace's", user, caps(FileCaps{Permitted: net, RootID: 5}), user, false, nil},
		{"set-user-ID root with capabilities of its own", user,
			ExecFile{SetUID: 0, SetGID: NoID, Caps: &FileCaps{Permitted: net, Effective: true}}, with(user, func(c *Credentials) {
				c.EUID, c.SUID, c.FSUID = 0, 0, 0
				c.CapPermitted, c.CapEffective = net, net
			}), true, nil},
	} {
		got, secure, err := tt.from.ForExec(tt.file)
		if err != tt.err {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
		if err != nil {
			continue
		}
		if !sameCredentials(got, &tt.want) || secure != tt.secure {
			t.Errorf("%s: secure %v, want %v\nhave %+v\nwant %+v", tt.name, secure, tt.secure, *got, tt.want)
		}
	}
}

func sameCredentials(a, b *Credentials) bool {
	x, y := *a, *b
	if len(x.Groups) != len(y.Groups) {
		return false
	}
	for i := range x.Groups {
		if x.Groups[i] != y.Groups[i] {
			return false
		}
	}
	return x.RUID == y.RUID && x.EUID == y.EUID && x.SUID == y.SUID && x.FSUID == y.FSUID &&
		x.RGID == y.RGID && x.EGID == y.EGID && x.SGID == y.SGID && x.FSGID == y.FSGID &&
		x.CapPermitted == y.CapPermitted && x.CapEffective == y.CapEffective && x.CapInheritable == y.CapInheritable &&
		x.CapBounding == y.CapBounding && x.CapAmbient == y.CapAmbient &&
		x.SecureBits == y.SecureBits && x.NoNewPrivs == y.NoNewPrivs
}

func FuzzFileCaps(f *testing.F) {
	f.Add([]byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 3, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 1, 0, 0x20, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeFileCaps(b)
		if err != nil {
			if err != unix.EINVAL || c != nil {
				t.Fatal(c, err)
			}
			return
		}
		if size := map[byte]int{1: 12, 2: 20, 3: 24}[b[3]]; len(b) != size {
			t.Errorf("%d bytes of version %d", len(b), b[3])
		}
		if (c.Permitted|c.Inheritable)&^AllCaps != 0 {
			t.Errorf("%+v", c)
		}
		user := &Credentials{RUID: 1, EUID: 1, SUID: 1, CapBounding: AllCaps}
		n, _, err := user.ForExec(ExecFile{SetUID: NoID, SetGID: NoID, Caps: c})
		if err == nil && n.CapPermitted&^c.Permitted != 0 {
			t.Errorf("%+v gives %+v", c, n)
		}
	})
}
