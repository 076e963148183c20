package procmgr

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestCredentialsAsHost makes random calls both on Credentials and on a thread of the
// host, whose kernel is right.
func TestCredentialsAsHost(t *testing.T) {
	host, err := hostCredentials()
	if err != nil || host.RUID != 0 || host.CapPermitted != host.CapBounding || !host.HasCap(unix.CAP_SETPCAP) {
		t.Skip("needs root with capabilities")
	}
	rapid.Check(t, func(t *rapid.T) {
		calls := make(chan func())
		done := make(chan struct{})
		go func() {
			// The thread ends with the goroutine: its credentials are nobody else's.
			runtime.LockOSThread()
			for fn := range calls {
				fn()
				done <- struct{}{}
			}
		}()
		defer close(calls)
		onHost := func(fn func()) {
			calls <- fn
			<-done
		}
		var c *Credentials
		onHost(func() { c, _ = hostCredentials() })
		t.Repeat(credentialCalls(&c, onHost))
	})
}

func credentialCalls(c **Credentials, onHost func(func())) map[string]func(*rapid.T) {
	id := rapid.SampledFrom([]uint32{0, 0, 1, 2, 1000, NoID})
	// call does the same on both sides.
	call := func(t *rapid.T, mine func() (*Credentials, error), nr uintptr, args ...uintptr) {
		args = append(args, 0, 0, 0, 0, 0)
		var errno unix.Errno
		onHost(func() { _, _, errno = unix.RawSyscall6(nr, args[0], args[1], args[2], args[3], args[4], 0) })
		n, err := mine()
		if err == nil {
			*c = n
			err = unix.Errno(0)
		}
		if err != errno {
			t.Fatalf("call %d%v: %v, want %v, with %+v", nr, args, err, errno, **c)
		}
	}
	set := func(t *rapid.T, name string) CapSet {
		s := (*c).CapPermitted
		switch rapid.IntRange(0, 3).Draw(t, name) {
		case 0:
			s &= CapSet(rapid.Uint64().Draw(t, "bits"))
		case 1:
			s |= CapSet(rapid.Uint64().Draw(t, "bits")) & AllCaps
		case 2:
			s = 0
		}
		return s
	}
	prctl := func(t *rapid.T, mine func() (*Credentials, error), args ...uintptr) {
		call(t, mine, unix.SYS_PRCTL, args...)
	}
	never := func(c *Credentials) func() (*Credentials, error) {
		return func() (*Credentials, error) { return c, nil }
	}
	return map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			var host *Credentials
			var err error
			onHost(func() { host, err = hostCredentials() })
			if err != nil {
				t.Fatal(err)
			}
			if got, want := fmt.Sprintf("%+v", **c), fmt.Sprintf("%+v", *host); got != want {
				t.Fatalf("have %s\nhost %s", got, want)
			}
		},
		"setuid": func(t *rapid.T) {
			u := id.Draw(t, "id")
			call(t, func() (*Credentials, error) { return (*c).Setuid(u) }, unix.SYS_SETUID, uintptr(u))
		},
		"setreuid": func(t *rapid.T) {
			r, e := id.Draw(t, "real"), id.Draw(t, "effective")
			call(t, func() (*Credentials, error) { return (*c).Setreuid(r, e) }, unix.SYS_SETREUID, uintptr(r), uintptr(e))
		},
		"setresuid": func(t *rapid.T) {
			r, e, s := id.Draw(t, "real"), id.Draw(t, "effective"), id.Draw(t, "saved")
			call(t, func() (*Credentials, error) { return (*c).Setresuid(r, e, s) },
				unix.SYS_SETRESUID, uintptr(r), uintptr(e), uintptr(s))
		},
		"setfsuid": func(t *rapid.T) {
			u := id.Draw(t, "id")
			onHost(func() { unix.RawSyscall(unix.SYS_SETFSUID, uintptr(u), 0, 0) })
			*c = (*c).Setfsuid(u)
		},
		"setgid": func(t *rapid.T) {
			g := id.Draw(t, "id")
			call(t, func() (*Credentials, error) { return (*c).Setgid(g) }, unix.SYS_SETGID, uintptr(g))
		},
		"setregid": func(t *rapid.T) {
			r, e := id.Draw(t, "real"), id.Draw(t, "effective")
			call(t, func() (*Credentials, error) { return (*c).Setregid(r, e) }, unix.SYS_SETREGID, uintptr(r), uintptr(e))
		},
		"setresgid": func(t *rapid.T) {
			r, e, s := id.Draw(t, "real"), id.Draw(t, "effective"), id.Draw(t, "saved")
			call(t, func() (*Credentials, error) { return (*c).Setresgid(r, e, s) },
				unix.SYS_SETRESGID, uintptr(r), uintptr(e), uintptr(s))
		},
		"setfsgid": func(t *rapid.T) {
			g := id.Draw(t, "id")
			onHost(func() { unix.RawSyscall(unix.SYS_SETFSGID, uintptr(g), 0, 0) })
			*c = (*c).Setfsgid(g)
		},
		"capset": func(t *rapid.T) {
			e, p, i := set(t, "effective"), set(t, "permitted"), set(t, "inheritable")
			if rapid.Bool().Draw(t, "sensible") {
				e &= p
			}
			var data [2]unix.CapUserData
			for k := range data {
				data[k] = unix.CapUserData{Effective: uint32(e >> (32 * k)), Permitted: uint32(p >> (32 * k)), Inheritable: uint32(i >> (32 * k))}
			}
			var want error
			onHost(func() { want = unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]) })
			n, err := (*c).Capset(uint64(e), uint64(p), uint64(i))
			if err != want {
				t.Fatalf("capset(%#x, %#x, %#x): %v, want %v, with %+v", e, p, i, err, want, **c)
			}
			if err == nil {
				*c = n
			}
		},
		"drop bounding": func(t *rapid.T) {
			n := rapid.SampledFrom([]int{0, 1, 5, 8, 40, 41, 63, 100}).Draw(t, "capability")
			prctl(t, func() (*Credentials, error) { return (*c).DropBounding(n) }, unix.PR_CAPBSET_DROP, uintptr(n))
		},
		"raise ambient": func(t *rapid.T) {
			n := rapid.IntRange(0, unix.CAP_LAST_CAP).Draw(t, "capability")
			prctl(t, func() (*Credentials, error) { return (*c).RaiseAmbient(n) },
				unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n))
		},
		"lower ambient": func(t *rapid.T) {
			n := rapid.IntRange(0, unix.CAP_LAST_CAP).Draw(t, "capability")
			prctl(t, never((*c).LowerAmbient(n)), unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_LOWER, uintptr(n))
		},
		"clear ambient": func(t *rapid.T) {
			prctl(t, never((*c).ClearAmbient()), unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
		},
		"keep capabilities": func(t *rapid.T) {
			on := rapid.Bool().Draw(t, "on")
			arg := uintptr(0)
			if on {
				arg = 1
			}
			prctl(t, func() (*Credentials, error) { return (*c).SetKeepCaps(on) }, unix.PR_SET_KEEPCAPS, arg)
		},
		"secure bits": func(t *rapid.T) {
			// Bits above 7 came with later kernels.
			v := rapid.Uint32Range(0, 0xff).Draw(t, "bits")
			if rapid.Bool().Draw(t, "no locks") {
				v &= secAllBits
			}
			prctl(t, func() (*Credentials, error) { return (*c).SetSecureBits(uint64(v)) }, unix.PR_SET_SECUREBITS, uintptr(v))
		},
		"no new privileges": func(t *rapid.T) {
			if rapid.IntRange(0, 3).Draw(t, "do") == 0 {
				prctl(t, never((*c).SetNoNewPrivs()), unix.PR_SET_NO_NEW_PRIVS, 1)
			}
		},
	}
}

// hostCredentials reads those of the calling thread.
func hostCredentials() (*Credentials, error) {
	f, err := os.Open("/proc/thread-self/status")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := new(Credentials)
	fields := map[string][]any{
		"Uid:":        {&c.RUID, &c.EUID, &c.SUID, &c.FSUID},
		"Gid:":        {&c.RGID, &c.EGID, &c.SGID, &c.FSGID},
		"CapInh:":     {&c.CapInheritable},
		"CapPrm:":     {&c.CapPermitted},
		"CapEff:":     {&c.CapEffective},
		"CapBnd:":     {&c.CapBounding},
		"CapAmb:":     {&c.CapAmbient},
		"NoNewPrivs:": {&c.NoNewPrivs},
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), "\t")
		for i, to := range fields[name] {
			word := strings.Fields(rest)[i]
			switch to := to.(type) {
			case *bool:
				*to = word == "1"
			case *CapSet:
				_, err = fmt.Sscanf(word, "%x", to)
			default:
				_, err = fmt.Sscan(word, to)
			}
			if err != nil {
				return nil, err
			}
		}
		if name == "Groups:" {
			for _, word := range strings.Fields(rest) {
				var g uint32
				if _, err := fmt.Sscan(word, &g); err != nil {
					return nil, err
				}
				c.Groups = append(c.Groups, g)
			}
		}
	}
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	c.SecureBits = uint32(bits)
	return c, err
}
