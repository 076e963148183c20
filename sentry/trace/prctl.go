package trace

import (
	"golang.org/x/sys/unix"
)

// prctlArgs are the option and what it takes, unless the call fills that.
func prctlArgs(l *line, v uint64) {
	op := int(int32(v))
	arg := l.arg(1)
	l.one(uint64(uint32(v)), &prctls)
	l.glue = true
	switch op {
	case unix.PR_GET_DUMPABLE, unix.PR_GET_KEEPCAPS, unix.PR_GET_SECCOMP, unix.PR_GET_SECUREBITS,
		unix.PR_GET_TIMERSLACK, unix.PR_GET_TIMING,
		unix.PR_GET_PDEATHSIG, unix.PR_GET_NAME, unix.PR_GET_CHILD_SUBREAPER, unix.PR_GET_TSC,
		unix.PR_GET_UNALIGN, unix.PR_GET_TID_ADDRESS:
		return
	}
	l.s(", ")
	switch op {
	case unix.PR_SET_PDEATHSIG:
		l.signal(arg)
	case unix.PR_SET_NAME:
		l.str(arg, 15)
	case unix.PR_SET_DUMPABLE:
		l.one(arg, &dumpables)
	case unix.PR_CAPBSET_READ, unix.PR_CAPBSET_DROP:
		l.capability(arg)
	case unix.PR_SET_SECUREBITS:
		l.bits(arg, &secureBits)
	case unix.PR_SET_SECCOMP:
		l.one(arg, &seccompModes)
		l.rest(2)
	case unix.PR_SET_TSC:
		l.one(arg, &tscModes)
	case unix.PR_SET_VMA:
		if arg != 0 {
			l.hex(arg)
			l.rest(2)
			break
		}
		l.s("PR_SET_VMA_ANON_NAME, ")
		l.hex(l.arg(2))
		l.s(", ")
		l.uint(l.arg(3))
		l.s(", ")
		l.str(l.arg(4), 80)
	case unix.PR_SET_KEEPCAPS, unix.PR_SET_TIMERSLACK, unix.PR_SET_CHILD_SUBREAPER, unix.PR_SET_TIMING:
		l.uint(arg)
	case unix.PR_SET_NO_NEW_PRIVS, unix.PR_SET_THP_DISABLE:
		l.uint(arg)
		l.rest(2)
	case unix.PR_GET_NO_NEW_PRIVS, unix.PR_GET_THP_DISABLE:
		l.hex(arg)
		l.rest(2)
	case unix.PR_CAP_AMBIENT:
		l.one(arg, &capAmbients)
		l.s(", ")
		if arg == 4 { // PR_CAP_AMBIENT_CLEAR_ALL
			l.hex(l.arg(2))
		} else {
			l.capability(l.arg(2))
		}
		l.s(", ")
		l.hex(l.arg(3))
		l.s(", ")
		l.hex(l.arg(4))
	default:
		l.hex(arg)
		l.rest(2)
	}
}

// rest shows the arguments from i on, as far as prctl(2) takes them.
func (l *line) rest(i int) {
	for ; i < 5; i++ {
		l.s(", ")
		l.hex(l.arg(i))
	}
}

// prctlAfter is what the call filled.
func prctlAfter(l *line, v uint64) {
	arg := l.arg(1)
	switch int(int32(l.arg(0))) {
	case unix.PR_GET_PDEATHSIG:
		l.s(", ")
		l.word(arg, 4, func(l *line, v uint64) { l.signal(v) })
	case unix.PR_GET_NAME:
		l.s(", ")
		if l.failed() {
			l.addr(arg)
		} else {
			l.str(arg, 15)
		}
	case unix.PR_GET_TSC:
		l.s(", ")
		l.word(arg, 4, func(l *line, v uint64) { l.one(v, &tscModes) })
	case unix.PR_GET_CHILD_SUBREAPER, unix.PR_GET_UNALIGN:
		l.s(", ")
		l.word(arg, 4, num)
	case unix.PR_GET_TID_ADDRESS:
		l.s(", ")
		l.word(arg, 8, ptr)
	}
}

func retPrctl(l *line) {
	switch int(int32(l.arg(0))) {
	case unix.PR_GET_DUMPABLE:
		l.named(&dumpables)
	case unix.PR_GET_SECUREBITS:
		l.hex(l.ret)
		if l.ret != 0 {
			l.s(" (")
			l.bits(l.ret, &secureBits)
			l.c(')')
		}
	default:
		l.int(int64(l.ret))
	}
}

// named shows the value of the call and what it means.
func (l *line) named(s *set) {
	l.int(int64(l.ret))
	if name := s.find(l.ret); name != "" {
		l.s(" (" + name + ")")
	}
}

func (l *line) capability(v uint64) {
	if v < uint64(len(capNames)) {
		l.s("CAP_")
		l.s(capNames[v])
		return
	}
	l.hex(v)
	l.s(" /* CAP_??? */")
}

// capSet shows a set of capabilities.
func (l *line) capSet(v uint64) {
	if v == 0 {
		l.c('0')
		return
	}
	some := false
	for i, name := range capNames {
		if v>>i&1 == 0 {
			continue
		}
		if some {
			l.c('|')
		}
		some = true
		l.s("1<<CAP_")
		l.s(name)
		v &^= 1 << i
	}
	if v != 0 {
		if some {
			l.c('|')
		}
		l.hex(v)
	}
}

// capHeader is struct __user_cap_header_struct.
func capHeader(l *line, v uint64) {
	if b := l.fetch(v, 8); b != nil {
		l.s("{version=")
		l.one(uint64(le.Uint32(b)), &capVersions)
		l.s(", pid=")
		l.int(int64(int32(le.Uint32(b[4:]))))
		l.c('}')
	}
}

// capData is one or, from version 2 on, two struct __user_cap_data_struct.
func capData(l *line, v uint64) {
	words := 2
	if h := l.peek(l.arg(0), 4); h == nil || le.Uint32(h) == unix.LINUX_CAPABILITY_VERSION_1 {
		words = 1
	}
	b := l.fetch(v, 12*words)
	if b == nil {
		return
	}
	for i, name := range [...]string{"{effective=", ", permitted=", ", inheritable="} {
		set := uint64(le.Uint32(b[4*i:]))
		if words == 2 {
			set |= uint64(le.Uint32(b[12+4*i:])) << 32
		}
		l.s(name)
		l.capSet(set)
	}
	l.c('}')
}
