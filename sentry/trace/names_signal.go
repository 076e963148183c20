package trace

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
)

// signalNames are those of the first 31 signals, without SIG.
var signalNames = [...]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE",
	9: "KILL", 10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT",
	17: "CHLD", 18: "CONT", 19: "STOP", 20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU",
	25: "XFSZ", 26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO", 30: "PWR", 31: "SYS",
}

var saBits = set{"SA_???", []flag{
	{linux.SA_RESTORER, "SA_RESTORER"},
	{linux.SA_ONSTACK, "SA_ONSTACK"},
	{linux.SA_RESTART, "SA_RESTART"},
	{0x2, "SA_NOCLDWAIT"},
	{0x800, "SA_EXPOSE_TAGBITS"},
	{linux.SA_NODEFER, "SA_NODEFER"},
	{linux.SA_RESETHAND, "SA_RESETHAND"},
	{linux.SA_SIGINFO, "SA_SIGINFO"},
	{0x1, "SA_NOCLDSTOP"},
}}

var sigHows = set{"SIG_???", []flag{
	{0, "SIG_BLOCK"},
	{1, "SIG_UNBLOCK"},
	{2, "SIG_SETMASK"},
}}

var stackBits = set{"SS_???", []flag{
	{1, "SS_ONSTACK"},
	{2, "SS_DISABLE"},
	{0x80000000, "SS_AUTODISARM"},
}}

// siCodes are si_code's names that hold for any signal.
var siCodes = set{"SI_???", []flag{
	{0, "SI_USER"},
	{0x80, "SI_KERNEL"},
	{^uint64(0), "SI_QUEUE"},
	{^uint64(1), "SI_TIMER"},
	{^uint64(2), "SI_MESGQ"},
	{^uint64(3), "SI_ASYNCIO"},
	{^uint64(4), "SI_SIGIO"},
	{^uint64(5), "SI_TKILL"},
	{^uint64(6), "SI_DETHREAD"},
	{^uint64(59), "SI_ASYNCNL"},
}}

var (
	segvCodes = set{"SEGV_???", []flag{
		{1, "SEGV_MAPERR"}, {2, "SEGV_ACCERR"}, {3, "SEGV_BNDERR"}, {4, "SEGV_PKUERR"},
	}}
	busCodes = set{"BUS_???", []flag{
		{1, "BUS_ADRALN"}, {2, "BUS_ADRERR"}, {3, "BUS_OBJERR"}, {4, "BUS_MCEERR_AR"}, {5, "BUS_MCEERR_AO"},
	}}
	illCodes = set{"ILL_???", []flag{
		{1, "ILL_ILLOPC"}, {2, "ILL_ILLOPN"}, {3, "ILL_ILLADR"}, {4, "ILL_ILLTRP"},
		{5, "ILL_PRVOPC"}, {6, "ILL_PRVREG"}, {7, "ILL_COPROC"}, {8, "ILL_BADSTK"},
	}}
	fpeCodes = set{"FPE_???", []flag{
		{1, "FPE_INTDIV"}, {2, "FPE_INTOVF"}, {3, "FPE_FLTDIV"}, {4, "FPE_FLTOVF"},
		{5, "FPE_FLTUND"}, {6, "FPE_FLTRES"}, {7, "FPE_FLTINV"}, {8, "FPE_FLTSUB"}, {14, "FPE_FLTUNK"},
	}}
	trapCodes = set{"TRAP_???", []flag{
		{1, "TRAP_BRKPT"}, {2, "TRAP_TRACE"}, {3, "TRAP_BRANCH"}, {4, "TRAP_HWBKPT"}, {5, "TRAP_UNK"}, {6, "TRAP_PERF"},
	}}
	chldCodes = set{"CLD_???", []flag{
		{1, "CLD_EXITED"}, {2, "CLD_KILLED"}, {3, "CLD_DUMPED"}, {4, "CLD_TRAPPED"}, {5, "CLD_STOPPED"}, {6, "CLD_CONTINUED"},
	}}
	pollCodes = set{"POLL_???", []flag{
		{1, "POLL_IN"}, {2, "POLL_OUT"}, {3, "POLL_MSG"}, {4, "POLL_ERR"}, {5, "POLL_PRI"}, {6, "POLL_HUP"},
	}}
	sysCodes = set{"SYS_???", []flag{{1, "SYS_SECCOMP"}, {2, "SYS_USER_DISPATCH"}}}
)

// codesOf returns the codes that a signal gives a meaning of its own.
func codesOf(sig unix.Signal) *set {
	switch sig {
	case unix.SIGSEGV:
		return &segvCodes
	case unix.SIGBUS:
		return &busCodes
	case unix.SIGILL:
		return &illCodes
	case unix.SIGFPE:
		return &fpeCodes
	case unix.SIGTRAP:
		return &trapCodes
	case unix.SIGCHLD:
		return &chldCodes
	case unix.SIGIO:
		return &pollCodes
	case unix.SIGSYS:
		return &sysCodes
	}
	return nil
}
