package bundle

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"runsc-lite/sentry/seccomp"
)

// filter translates a profile that is right.
func filter(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *specs.LinuxSeccomp) (*seccomp.Filter, *Seccomp) {
	t.Helper()
	c := &checker{file: "profile"}
	p := newSeccomp(c, s)
	if err := c.err(); err != nil {
		t.Fatalf("%v", err)
	}
	f, err := seccomp.Compile(p.Program)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return f, p
}

func run(f *seccomp.Filter, nr uint32, args ...uint64) uint32 {
	var a [6]uint64
	copy(a[:], args)
	d := seccomp.MakeData(nr, 0x1000, &a)
	action, data, _ := f.Run(&d)
	return action | uint32(data)
}

func number(n uint) *uint { return &n }

func TestSeccompProfile(t *testing.T) {
	f, p := filter(t, &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: number(uint(unix.EACCES)),
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write", "mmap2", "_llseek", "exit_group"}, Action: specs.ActAllow},
			{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
				{Index: 0, Value: 0x7e020000, ValueTwo: 0, Op: specs.OpMaskedEqual}}},
			{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: number(uint(unix.ENOSYS))},
			{Names: []string{"personality"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
				{Index: 0, Value: 0xffffffff, Op: specs.OpEqualTo}, {Index: 0, Value: 8, Op: specs.OpEqualTo}}},
			{Names: []string{"kill"}, Action: specs.ActKillProcess},
			{Names: []string{"tkill"}, Action: specs.ActKill},
			{Names: []string{"mkdir"}, Action: specs.ActTrap},
			{Names: []string{"rmdir"}, Action: specs.ActTrace, ErrnoRet: number(7)},
			{Names: []string{"chdir"}, Action: specs.ActLog},
			// First a condition, then none: the latter decides.
			{Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: number(1), Args: []specs.LinuxSeccompArg{{Index: 0, Value: 16, Op: specs.OpEqualTo}}},
			{Names: []string{"socket"}, Action: specs.ActAllow},
			{Names: []string{"socket"}, Action: specs.ActKillProcess},
			{Names: []string{"bind"}, Action: specs.ActErrno, ErrnoRet: number(3), Args: []specs.LinuxSeccompArg{
				{Index: 0, Value: 1 << 40, Op: specs.OpGreaterThan}, {Index: 5, Value: 9, Op: specs.OpNotEqual}}},
			{Names: []string{"bind"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 3, Op: specs.OpLessEqual}}},
			{Names: []string{"statx"}, Action: specs.ActAllow},
		},
	})
	if len(p.Unknown) != 2 || p.Unknown[0] != "_llseek" {
		t.Errorf("unknown: %v", p.Unknown)
	}
	const allow, eacces, enosys = seccomp.Allow, seccomp.Errno | uint32(unix.EACCES), seccomp.Errno | uint32(unix.ENOSYS)
	for _, c := range []struct {
		nr   uint32
		args []uint64
		want uint32
	}{
		{unix.SYS_READ, nil, allow},
		{unix.SYS_OPEN, nil, eacces},
		{unix.SYS_EXIT_GROUP, nil, allow},
		{unix.SYS_CLONE, []uint64{0x11}, allow},
		{unix.SYS_CLONE, []uint64{0x11 | unix.CLONE_NEWNS}, eacces},
		{unix.SYS_CLONE, []uint64{1 << 32}, allow},
		{unix.SYS_PERSONALITY, []uint64{8}, allow},
		{unix.SYS_PERSONALITY, []uint64{0xffffffff}, allow},
		{unix.SYS_PERSONALITY, []uint64{0xffffffffffffffff}, eacces},
		{unix.SYS_PERSONALITY, []uint64{0}, eacces},
		{unix.SYS_KILL, nil, seccomp.KillProcess},
		{unix.SYS_TKILL, nil, seccomp.KillThread},
		{unix.SYS_MKDIR, nil, seccomp.Trap},
		{unix.SYS_RMDIR, nil, seccomp.Trace | 7},
		{unix.SYS_CHDIR, nil, seccomp.Log},
		{unix.SYS_SOCKET, []uint64{16}, allow},
		{unix.SYS_SOCKET, []uint64{2}, allow},
		{unix.SYS_BIND, []uint64{1<<40 + 1, 0, 0, 0, 0, 8}, seccomp.Errno | 3},
		{unix.SYS_BIND, []uint64{1<<40 + 1, 0, 0, 0, 0, 9}, allow},
		{unix.SYS_BIND, []uint64{1 << 40, 3, 0, 0, 0, 8}, allow},
		{unix.SYS_BIND, []uint64{1 << 40, 4, 0, 0, 0, 8}, eacces},
		{unix.SYS_STATX, nil, allow},
		// clone3 is the last call that the profile knows.
		{unix.SYS_CLONE3, nil, enosys},
		{unix.SYS_CLONE3 + 1, nil, enosys},
		{unix.SYS_FACCESSAT2, nil, enosys},
		{5000, nil, enosys},
		{x32Bit, nil, enosys},
		{x32Bit | 1, nil, enosys},
		{0xfffffffe, nil, enosys},
		{0xffffffff, nil, eacces},
	} {
		if got := run(f, c.nr, c.args...); got != c.want {
			t.Errorf("call %d%v: want %#x, got %#x", c.nr, c.args, c.want, got)
		}
	}
}

// TestSeccompAllowing: what is newer than the profile is as allowed as the default
// says, and calls of x32 end the program.
func TestSeccompAllowing(t *testing.T) {
	f, _ := filter(t, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"mkdir", "rmdir"}, Action: specs.ActErrno}}})
	for nr, want := range map[uint32]uint32{
		unix.SYS_MKDIR: seccomp.Errno | uint32(unix.EPERM), unix.SYS_RMDIR: seccomp.Errno | uint32(unix.EPERM),
		unix.SYS_CREAT: seccomp.Allow, 500: seccomp.Allow, x32Bit: seccomp.KillProcess,
	} {
		if got := run(f, nr); got != want {
			t.Errorf("call %d: want %#x, got %#x", nr, want, got)
		}
	}
	f, _ = filter(t, &specs.LinuxSeccomp{DefaultAction: specs.ActKillProcess})
	if got := run(f, 1); got != seccomp.KillProcess {
		t.Errorf("%#x", got)
	}
}

// holds is what an operator means.
func holds(op specs.LinuxSeccompOperator, arg, one, two uint64) bool {
	switch op {
	case specs.OpNotEqual:
		return arg != one
	case specs.OpLessThan:
		return arg < one
	case specs.OpLessEqual:
		return arg <= one
	case specs.OpEqualTo:
		return arg == one
	case specs.OpGreaterEqual:
		return arg >= one
	case specs.OpGreaterThan:
		return arg > one
	}
	return arg&one == two
}

// TestSeccompModel compares programs with what their profiles say, read plainly.
func TestSeccompModel(t *testing.T) {
	names := []string{"read", "write", "open", "close", "clone", "ioctl", "socket", "statx", "openat2", "futex_waitv"}
	numbers := callNumbers()
	edge := rapid.SampledFrom([]uint64{0, 1, 2, 0xffffffff, 1 << 32, 1<<32 + 1, 1<<63 - 1, 1 << 63, ^uint64(0), 0xffffffff00000000})
	rapid.Check(t, func(t *rapid.T) {
		errnos := rapid.UintRange(1, 5)
		n := rapid.IntRange(0, 12).Draw(t, "rules")
		profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
		for range n {
			r := specs.LinuxSyscall{
				Names:  rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 4, func(s string) string { return s }).Draw(t, "names"),
				Action: specs.ActErrno, ErrnoRet: number(errnos.Draw(t, "errno")),
			}
			for _, i := range rapid.SliceOfNDistinct(rapid.UintRange(0, 5), 0, 3, func(i uint) uint { return i }).Draw(t, "indexes") {
				r.Args = append(r.Args, specs.LinuxSeccompArg{
					Index: i, Op: rapid.SampledFrom(SeccompOperators).Draw(t, "op"),
					Value: edge.Draw(t, "value"), ValueTwo: edge.Draw(t, "two"),
				})
			}
			profile.Syscalls = append(profile.Syscalls, r)
		}
		f, _ := filter(t, profile)
		for range 20 {
			name := rapid.SampledFrom(append(names, "getpid", "kill")).Draw(t, "call")
			var args [6]uint64
			for i := range args {
				args[i] = edge.Draw(t, "arg")
			}
			want, first := uint32(seccomp.Allow), true
			for _, unconditional := range []bool{true, false} {
				for _, r := range profile.Syscalls {
					match := len(r.Args) == 0 == unconditional && first
					for _, n := range r.Args {
						match = match && holds(n.Op, args[n.Index], n.Value, n.ValueTwo)
					}
					named := false
					for _, n := range r.Names {
						named = named || n == name
					}
					if match && named {
						want, first = seccomp.Errno|uint32(*r.ErrnoRet), false
					}
				}
			}
			if got := run(f, numbers[name], args[:]...); got != want {
				t.Fatalf("%s%x: want %#x, got %#x", name, args, want, got)
			}
		}
	})
}
