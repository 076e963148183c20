package bundle

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/seccomp"
	"runsc-lite/sentry/syscalls"
)

// Seccomp is a profile, translated.
type Seccomp struct {
	// Program is an array of struct sock_filter, as seccomp.Compile takes it.
	Program []byte
	// Unknown are the names in the profile that no call of x86-64 has: calls of other
	// processors, or of a newer Linux.
	Unknown []string
}

// SeccompActions, SeccompOperators, SeccompArches and SeccompFlags are what profiles
// may say. Rules for other processors have no effect.
var (
	SeccompActions = []specs.LinuxSeccompAction{
		specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActLog,
		specs.ActTrace, specs.ActTrap,
	}
	SeccompOperators = []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpLessEqual, specs.OpLessThan,
		specs.OpMaskedEqual, specs.OpNotEqual,
	}
	SeccompArches = []specs.Arch{specs.ArchX86_64}
	SeccompFlags  = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, "SECCOMP_FILTER_FLAG_TSYNC"}

	knownArches = []specs.Arch{
		specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64, specs.ArchMIPS,
		specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
		specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC,
		specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
	}
)

// newSeccomp translates a profile. Names that no call has are left out, as runc does:
// profiles name the calls of all processors.
func newSeccomp(c *checker, s *specs.LinuxSeccomp) *Seccomp {
	const field = "linux.seccomp"
	p := profile{rules: make(map[uint32]*callRules)}
	before := len(c.problems)
	p.byDefault = action(c, field+".defaultAction", s.DefaultAction, field+".defaultErrnoRet", s.DefaultErrnoRet)
	for i, a := range s.Architectures {
		if !slices.Contains(knownArches, a) {
			c.fail(at(field+".architectures", i), "there is no processor %s", quote(string(a)))
		}
		p.x32 = p.x32 || a == specs.ArchX32
	}
	for i, f := range s.Flags {
		if !slices.Contains(SeccompFlags, f) {
			c.fail(at(field+".flags", i), "%s is not supported; these are: %v", quote(string(f)), SeccompFlags)
		}
	}
	if s.ListenerPath != "" {
		c.fail(field+".listenerPath", "calls cannot be handed to another process for an answer: use another action than %s", specs.ActNotify)
	}
	out := &Seccomp{}
	numbers := callNumbers()
	for i := range s.Syscalls {
		p.add(c, at(field+".syscalls", i), &s.Syscalls[i], numbers, out)
	}
	if len(c.problems) > before {
		return nil
	}
	slices.Sort(out.Unknown)
	out.Unknown = slices.Compact(out.Unknown)
	out.Program = p.compile()
	if n := len(out.Program) / seccomp.InstructionSize; n > seccomp.MaxInstructions {
		c.fail(field+".syscalls", "the profile becomes %d instructions, and Linux takes at most %d: it needs fewer rules with arguments", n, seccomp.MaxInstructions)
		return nil
	}
	if _, err := seccomp.Compile(out.Program); err != nil {
		c.fail(field, "the profile becomes a program that is not accepted: %v", err)
		return nil
	}
	return out
}

// callNumbers are the calls of x86-64 by name.
func callNumbers() map[string]uint32 {
	table := syscalls.Table()
	numbers := make(map[string]uint32, len(table))
	for nr := range table {
		if name := table[nr].Name; name != "" {
			numbers[name] = uint32(nr)
		}
	}
	return numbers
}

// action translates an action to what a program returns for it.
func action(c *checker, field string, a specs.LinuxSeccompAction, errnoField string, errno *uint) uint32 {
	data := uint32(unix.EPERM)
	if errno != nil {
		const most = 4095 // MAX_ERRNO
		if *errno > most {
			c.fail(errnoField, "%d is no error number: they go up to %d", *errno, most)
		}
		if a != specs.ActErrno && a != specs.ActTrace {
			c.fail(errnoField, "only %s and %s have a number, and the action is %s", specs.ActErrno, specs.ActTrace, a)
		}
		data = uint32(*errno) & 0xffff
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return seccomp.KillThread
	case specs.ActKillProcess:
		return seccomp.KillProcess
	case specs.ActTrap:
		return seccomp.Trap
	case specs.ActErrno:
		return seccomp.Errno | data
	case specs.ActTrace:
		return seccomp.Trace | data
	case specs.ActAllow:
		return seccomp.Allow
	case specs.ActLog:
		return seccomp.Log
	case specs.ActNotify:
		c.fail(field, "%s is not supported: there is nobody to notify; use %s, say", a, specs.ActErrno)
	default:
		c.fail(field, "there is no action %s; there are: %v", quote(string(a)), SeccompActions)
	}
	return seccomp.KillProcess
}

// add takes over the rules of one entry of a profile.
func (p *profile) add(c *checker, field string, s *specs.LinuxSyscall, numbers map[string]uint32, out *Seccomp) {
	result := action(c, field+".action", s.Action, field+".errnoRet", s.ErrnoRet)
	if len(s.Names) == 0 {
		c.fail(field+".names", "it is empty: it is the names of calls")
	}
	conditions := make([]condition, 0, len(s.Args))
	for i, a := range s.Args {
		f := at(field+".args", i)
		if a.Index > 5 {
			c.fail(f+".index", "%d is no argument: they go from 0 to 5", a.Index)
			continue
		}
		if !slices.Contains(SeccompOperators, a.Op) {
			c.fail(f+".op", "there is no operator %s; there are: %v", quote(string(a.Op)), SeccompOperators)
			continue
		}
		conditions = append(conditions, condition{uint32(a.Index), a.Op, a.Value, a.ValueTwo})
	}
	if len(c.problems) > 0 || result == p.byDefault {
		return // what the default does anyway needs no rule
	}
	for i, name := range s.Names {
		nr, ok := numbers[name]
		switch {
		case name == "":
			c.fail(at(field+".names", i), "it is empty")
		case ok:
			p.rule(nr, result, conditions)
		default:
			out.Unknown = append(out.Unknown, name)
		}
	}
}
