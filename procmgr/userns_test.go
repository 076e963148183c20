package procmgr

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// asUser returns the credentials of a user, in a group of the same number, without
// capabilities.
func asUser(id uint32) *Credentials {
	return &Credentials{
		RUID: id, EUID: id, SUID: id, FSUID: id, RGID: id, EGID: id, SGID: id, FSGID: id, CapBounding: AllCaps,
	}
}

// inNew returns credentials in a new namespace with maps.
func inNew(t *testing.T, tb *Table, c *Credentials, uids, gids string) *Credentials {
	t.Helper()
	n, err := tb.NewUserNamespace(c)
	if err != nil {
		t.Fatal(err)
	}
	by := c // only who is inside, or in the namespace above, sets a map
	if c.UserNS == nil {
		by = RootCredentials()
	}
	if uids != "" {
		if err := n.UserNS.SetUIDMap(by, by, []byte(uids)); err != nil {
			t.Fatal(err)
		}
	}
	if gids != "" {
		if err := n.UserNS.SetGIDMap(by, by, []byte(gids)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestUserNamespace(t *testing.T) {
	tb, _ := newTable(t)
	c := inNew(t, tb, asUser(1000), "", "")
	if r, e, s, f := c.UIDs(); r != OverflowID || e != OverflowID || s != OverflowID || f != OverflowID {
		t.Errorf("without a map: %d %d %d %d", r, e, s, f)
	}
	if c.CapEffective != AllCaps || c.CapPermitted != AllCaps || c.CapInheritable != 0 || c.CapBounding != AllCaps {
		t.Errorf("capabilities %+v", c)
	}
	if c.HasCap(unix.CAP_CHOWN) || c.RealCaps() != 0 || c.UserNS.HasUID(1000) || c.UserNS.HasGID(1000) {
		t.Error("they count outside")
	}
	if _, err := c.Setuid(0); err != unix.EINVAL {
		t.Errorf("an id without a meaning: %v", err)
	}

	c = inNew(t, tb, asUser(1000), "0 1000 1\n10 2000 5\n", "0 1000 1\n")
	if r, _, _, _ := c.UIDs(); r != 0 {
		t.Errorf("it is %d, want root", r)
	}
	n, err := c.Setresuid(10, 11, NoID)
	if err != nil {
		t.Fatal(err)
	}
	if n.RUID != 2000 || n.EUID != 2001 || n.SUID != 1000 {
		t.Errorf("outside it is %d %d %d", n.RUID, n.EUID, n.SUID)
	}
	if n.CapEffective != 0 || n.CapPermitted != AllCaps {
		t.Errorf("no longer root: %+v", n)
	}
	if _, err := c.Setresuid(15, NoID, NoID); err != unix.EINVAL {
		t.Errorf("an id that is not mapped: %v", err)
	}
	if _, err := c.Setgroups([]uint32{0}); err != nil {
		t.Error(err)
	}
	if _, err := c.Setgroups([]uint32{1}); err != unix.EINVAL {
		t.Errorf("a group that is not mapped: %v", err)
	}
	if got := c.UserNS.UIDMap(c.UserNS); !slices.Equal(got, []IDExtent{{0, 1000, 1}, {10, 2000, 5}}) {
		t.Errorf("the map from inside: %v", got)
	}

	// One more below: what is seen depends on where one stands.
	deep := inNew(t, tb, c, "5 10 2\n", "")
	if got := deep.UserNS.UIDMap(nil); !slices.Equal(got, []IDExtent{{5, 2000, 2}}) {
		t.Errorf("the map from the root: %v", got)
	}
	if got := deep.UserNS.UIDMap(deep.UserNS); !slices.Equal(got, []IDExtent{{5, 10, 2}}) {
		t.Errorf("the map from inside: %v", got)
	}
	if deep.UserNS.HostUID(6) != 2001 || deep.UserNS.UID(2001) != 6 || deep.UserNS.UID(1000) != OverflowID {
		t.Error("ids through two maps")
	}
	if deep.UserNS.Level() != 2 || deep.UserNS.Parent() != c.UserNS || !deep.UserNS.Within(nil) || c.UserNS.Within(deep.UserNS) {
		t.Error("hierarchy")
	}
}

func TestCapabilitiesAcross(t *testing.T) {
	tb, _ := newTable(t)
	owner, other, root := asUser(1000), asUser(1001), RootCredentials()
	inside := inNew(t, tb, owner, "0 1000 1\n", "0 1000 1\n")
	deep := inNew(t, tb, inside, "0 0 1\n", "")
	beside := inNew(t, tb, other, "", "")
	for _, tt := range []struct {
		name string
		c    *Credentials
		ns   *UserNamespace
		want bool
	}{
		{"root, in its own", root, nil, true},
		{"root, below", root, deep.UserNS, true},
		{"the owner", owner, inside.UserNS, true},
		{"the owner, further below", owner, deep.UserNS, true},
		{"another user", other, inside.UserNS, false},
		{"inside", inside, inside.UserNS, true},
		{"inside, below", inside, deep.UserNS, true},
		{"inside, above", inside, nil, false},
		{"inside, beside", inside, beside.UserNS, false},
		{"below, above", deep, inside.UserNS, false},
	} {
		if got := tt.c.HasCapIn(tt.ns, unix.CAP_KILL); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestSetIDMaps(t *testing.T) {
	tb, _ := newTable(t)
	owner, other, root := asUser(1000), asUser(1001), RootCredentials()
	setid := func(caps ...int) *Credentials {
		c := asUser(1000)
		for _, n := range caps {
			c.CapEffective |= 1 << n
		}
		return c
	}
	for _, tt := range []struct {
		name           string
		by             *Credentials // nil: who is inside
		text           string
		deny           bool
		wantUID, wantG error
	}{
		{"root", root, "0 0 4294967295\n", false, nil, nil},
		{"root, several", root, "0 100 10\n10 200 10\n", false, nil, nil},
		{"the owner, itself", owner, "0 1000 1\n", false, nil, unix.EPERM},
		{"the owner, itself, setgroups denied", owner, "7 1000 1", true, nil, nil},
		{"the owner, two", owner, "0 1000 2\n", true, unix.EPERM, unix.EPERM},
		{"the owner, somebody else", owner, "0 1001 1\n", true, unix.EPERM, unix.EPERM},
		{"who is inside, itself", nil, "0 1000 1\n", true, nil, nil},
		{"who is inside, more", nil, "0 1000 2\n", true, unix.EPERM, unix.EPERM},
		{"another user", other, "0 1001 1\n", true, unix.EPERM, unix.EPERM},
		{"with CAP_SETUID", setid(unix.CAP_SETUID), "0 5 100\n", false, nil, unix.EPERM},
		{"with CAP_SETGID", setid(unix.CAP_SETGID), "0 5 100\n", false, unix.EPERM, nil},
		{"root's number without CAP_SETFCAP", setid(unix.CAP_SETUID, unix.CAP_SETGID), "0 0 100\n", false, unix.EPERM, nil},
		{"nothing", root, "", false, unix.EINVAL, unix.EINVAL},
		{"an empty line", root, "0 1 1\n\n", false, unix.EINVAL, unix.EINVAL},
		{"two words", root, "0 1\n", false, unix.EINVAL, unix.EINVAL},
		{"four words", root, "0 1 1 1\n", false, unix.EINVAL, unix.EINVAL},
		{"no number", root, "a 1 1\n", false, unix.EINVAL, unix.EINVAL},
		{"negative", root, "0 -1 1\n", false, unix.EINVAL, unix.EINVAL},
		{"no id", root, "0 4294967295 1\n", false, unix.EINVAL, unix.EINVAL},
		{"too large", root, "0 4294967296 1\n", false, unix.EINVAL, unix.EINVAL},
		{"no ids", root, "0 0 0\n", false, unix.EINVAL, unix.EINVAL},
		{"beyond the end", root, "10 0 4294967290\n", false, unix.EINVAL, unix.EINVAL},
		{"overlapping inside", root, "0 0 10\n9 100 1\n", false, unix.EINVAL, unix.EINVAL},
		{"overlapping outside", root, "0 0 10\n20 9 1\n", false, unix.EINVAL, unix.EINVAL},
		{"too many lines", root, many(341), false, unix.EINVAL, unix.EINVAL},
		{"as many as there may be", root, many(340), false, nil, nil},
	} {
		n, err := tb.NewUserNamespace(owner)
		if err != nil {
			t.Fatal(err)
		}
		by := tt.by
		if by == nil {
			by = n
		}
		if tt.deny {
			if err := n.UserNS.SetSetgroups(n, false); err != nil {
				t.Fatal(err)
			}
		}
		wantErr(t, tt.name+": uids", n.UserNS.SetUIDMap(by, by, []byte(tt.text)), tt.wantUID)
		wantErr(t, tt.name+": gids", n.UserNS.SetGIDMap(by, by, []byte(tt.text)), tt.wantG)
		if tt.wantUID == nil {
			wantErr(t, tt.name+": again", n.UserNS.SetUIDMap(root, root, []byte("0 0 1")), unix.EPERM)
		}
	}
	var none *UserNamespace
	wantErr(t, "the root's map", none.SetUIDMap(root, root, []byte("0 0 1")), unix.EPERM)
	// What has no number above cannot have one below.
	c := inNew(t, tb, owner, "0 1000 1\n", "")
	n, err := tb.NewUserNamespace(&Credentials{UserNS: c.UserNS, RUID: 1000, EUID: 1000, CapEffective: AllCaps})
	if err != unix.EPERM {
		t.Errorf("a group without a number: %v, %v", n, err)
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Join([]string{itoa(2 * i), itoa(2 * i), "1\n"}, " "))
	}
	return b.String()
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func TestSetgroupsFile(t *testing.T) {
	tb, _ := newTable(t)
	root := RootCredentials()
	n := inNew(t, tb, asUser(1000), "0 1000 1\n", "")
	wantErr(t, "without a map", n.MaySetgroups(), unix.EPERM)
	wantErr(t, "allow what is allowed", n.UserNS.SetSetgroups(n, true), nil)
	wantErr(t, "somebody else", n.UserNS.SetSetgroups(asUser(5), false), unix.EPERM)
	if err := n.UserNS.SetGIDMap(root, root, []byte("0 1000 1")); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "with a map", n.MaySetgroups(), nil)
	wantErr(t, "too late", n.UserNS.SetSetgroups(n, false), unix.EPERM)
	n = inNew(t, tb, asUser(1000), "0 1000 1\n", "")
	wantErr(t, "deny", n.UserNS.SetSetgroups(n, false), nil)
	wantErr(t, "allow what is denied", n.UserNS.SetSetgroups(n, true), unix.EPERM)
	if err := n.UserNS.SetGIDMap(n, n, []byte("0 1000 1")); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "denied", n.MaySetgroups(), unix.EPERM)
	below, err := tb.NewUserNamespace(n)
	if err != nil || !below.UserNS.SetgroupsDenied() {
		t.Errorf("below it is allowed: %v", err)
	}
}

func TestForkUserNamespace(t *testing.T) {
	tb, init := newTable(t)
	p := fork(t, init)
	p.SetCredentials(asUser(1000))
	for _, flags := range []uint64{unix.CLONE_NEWUSER | unix.CLONE_FS, unix.CLONE_NEWUSER | threadFlags} {
		_, err := tb.Fork(p, CloneOptions{Flags: flags})
		wantErr(t, "flags that do not go together", err, unix.EINVAL)
	}
	// Who may make no pid namespace makes a user namespace first.
	c := cloneWith(t, p, CloneOptions{Flags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, ExitSignal: unix.SIGCHLD})
	if tb.Getpid(c) != 1 || c.Namespace().owner != c.Credentials().UserNS {
		t.Error("the pid namespace is not the user namespace's")
	}
	if err := c.Credentials().UserNS.SetUIDMap(p.Credentials(), p.Credentials(), []byte("0 1000 1")); err != nil {
		t.Fatal(err)
	}
	// Inside, root may choose ids there, but not above.
	th, err := tb.Fork(c, CloneOptions{SetTID: []int{50}})
	if err != nil {
		t.Fatal(err)
	}
	th.Abort()
	if err := tb.Kill(c, 1, 0); err != nil {
		t.Error(err)
	}
	// What others are told of its user is in their own numbers.
	catch(t, c, unix.SIGUSR1)
	kill(t, p, c.ID(), unix.SIGUSR1)
	if i := delivered(t, c); i.UID != 0 {
		t.Errorf("it hears of user %d, want 0", i.UID)
	}
	kill(t, init, c.ID(), unix.SIGUSR1)
	if i := delivered(t, c); i.UID != OverflowID {
		t.Errorf("it hears of user %d, who has no number", i.UID)
	}
	p.SetSignalMask(SetOf(unix.SIGCHLD))
	exits(t, c, 0)
	if i, _ := p.Dequeue(^SigSet(0)); i.UID != 1000 {
		t.Errorf("the parent hears of user %d", i.UID)
	}
	if r, err := p.Waitpid(-1, 0); err != nil || r.UID != 1000 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestUserNamespaceExec(t *testing.T) {
	tb, _ := newTable(t)
	c := inNew(t, tb, asUser(1000), "0 1000 1\n10 2000 5\n", "0 1000 1\n10 2000 5\n")
	n, secure, err := c.ForExec(ExecFile{SetUID: NoID, SetGID: NoID})
	if err != nil || n.CapPermitted != AllCaps || secure {
		t.Errorf("root inside: %+v, %v, %v", n, secure, err)
	}
	n, secure, err = c.ForExec(ExecFile{SetUID: 0, SetGID: NoID})
	if err != nil || n.EUID != 1000 || secure {
		t.Errorf("a program of a user without a number: %+v, %v, %v", n, secure, err)
	}
	u, err := c.Setresuid(10, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	n, secure, err = u.ForExec(ExecFile{SetUID: 1000, SetGID: NoID})
	if err != nil || n.EUID != 1000 || n.CapEffective != AllCaps || !secure {
		t.Errorf("a program of root inside: %+v, %v, %v", n, secure, err)
	}
	caps := &FileCaps{Permitted: 1 << unix.CAP_KILL, Effective: true, RootID: 1000}
	n, _, err = u.ForExec(ExecFile{SetUID: NoID, SetGID: NoID, Caps: caps})
	if err != nil || n.CapEffective != caps.Permitted {
		t.Errorf("capabilities of this namespace: %+v, %v", n, err)
	}
	caps.RootID = 2000
	n, _, err = u.ForExec(ExecFile{SetUID: NoID, SetGID: NoID, Caps: caps})
	if err != nil || n.CapEffective != 0 {
		t.Errorf("capabilities of another namespace: %+v, %v", n, err)
	}
}

func TestUserNamespaceDepth(t *testing.T) {
	tb, _ := newTable(t)
	c := RootCredentials()
	for range maxUserLevel {
		n, err := tb.NewUserNamespace(c)
		if err != nil {
			t.Fatal(err)
		}
		// It may map what it is itself.
		if err := n.UserNS.SetUIDMap(n, n, []byte("0 0 1")); err != nil {
			t.Fatal(err)
		}
		if err := n.UserNS.SetSetgroups(n, false); err != nil && !n.UserNS.SetgroupsDenied() {
			t.Fatal(err)
		}
		if err := n.UserNS.SetGIDMap(n, n, []byte("0 0 1")); err != nil {
			t.Fatal(err)
		}
		c = n
	}
	if _, err := tb.NewUserNamespace(c); err != unix.ENOSPC {
		t.Errorf("one too deep: %v", err)
	}
}

func FuzzIDMap(f *testing.F) {
	f.Add([]byte("0 1000 1\n1 100000 65536\n"))
	f.Add([]byte("0 0 4294967295"))
	f.Add([]byte("  3\t4   5 "))
	f.Fuzz(func(t *testing.T, text []byte) {
		extents, err := parseIDMap(text)
		if err != nil {
			if err != unix.EINVAL {
				t.Fatal(err)
			}
			return
		}
		m := &idMap{extents: extents}
		for _, e := range extents {
			m.host = append(m.host, e.Lower)
		}
		for i, e := range extents {
			for _, id := range []uint32{e.First, e.First + e.Count - 1, e.First + e.Count/2} {
				host := m.toHost(id)
				if host-e.Lower >= e.Count || m.fromHost(host) != id {
					t.Errorf("extent %d of %v: %d is %d, and back %d", i, extents, id, host, m.fromHost(host))
				}
			}
		}
	})
}
