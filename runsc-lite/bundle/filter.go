package bundle

import (
	"encoding/binary"
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/seccomp"
)

// profile is a seccomp profile in the terms of the kernel. What it means is what
// libseccomp makes of it:
//
//   - a rule without conditions decides its call, wherever it stands; of several the
//     first does;
//   - otherwise the first rule whose conditions all hold decides, and the default if
//     none does;
//   - conditions on the same argument, within one rule, are rules of their own, as runc
//     reads them: one of them is enough.
type profile struct {
	byDefault uint32
	x32       bool
	rules     map[uint32]*callRules
}

// callRules are the rules of one call.
type callRules struct {
	decided bool // by a rule without conditions
	result  uint32
	rules   []conditional
}

// conditional is a rule with conditions, all of which have to hold.
type conditional struct {
	conditions []condition
	result     uint32
}

// condition is about one argument.
type condition struct {
	arg      uint32
	op       specs.LinuxSeccompOperator
	one, two uint64 // for OpMaskedEqual: mask and value
}

func (p *profile) rule(nr, result uint32, conditions []condition) {
	c := p.rules[nr]
	if c == nil {
		c = &callRules{}
		p.rules[nr] = c
	}
	if c.decided {
		return
	}
	if len(conditions) == 0 {
		*c = callRules{decided: true, result: result}
		return
	}
	var used [6]bool
	for _, d := range conditions {
		if used[d.arg] {
			for _, d := range conditions {
				c.rules = append(c.rules, conditional{[]condition{d}, result})
			}
			return
		}
		used[d.arg] = true
	}
	c.rules = append(c.rules, conditional{conditions, result})
}

// x32Bit marks the calls of x32, which this kernel does not have.
const x32Bit = 0x40000000

// span is neighbouring calls that are treated alike.
type span struct {
	from   uint32
	rules  []conditional // of a single call
	result uint32        // if no rule holds
}

// compile makes the program: the number of the call leads through a binary tree to what
// is done about it.
func (p *profile) compile() []byte {
	a := &assembler{}
	a.load(4) // the architecture
	a.jump(unix.BPF_JEQ, seccomp.ArchX86_64, 1, 0)
	a.ret(seccomp.KillProcess)
	a.load(0) // the call's number
	a.tree(p.spans())
	return a.code()
}

// like says whether two spans may be one.
func (s span) like(o span) bool { return s.rules == nil && o.rules == nil && s.result == o.result }

// spans divides all numbers. It has at least one element, the first from 0.
func (p *profile) spans() []span {
	list := []span{{from: 0, result: p.byDefault}}
	put := func(s span) {
		last := &list[len(list)-1]
		switch {
		case last.from == s.from:
			*last = s
			if n := len(list); n > 1 && s.like(list[n-2]) {
				list = list[:n-1]
			}
		case !s.like(*last):
			list = append(list, s)
		}
	}
	numbers := slices.Sorted(maps.Keys(p.rules))
	for _, nr := range numbers {
		r := p.rules[nr]
		if r.decided {
			put(span{from: nr, result: r.result})
		} else {
			put(span{from: nr, rules: r.rules, result: p.byDefault})
		}
		put(span{from: nr + 1, result: p.byDefault})
	}
	// Calls that are newer than what the profile knows do not exist for the container,
	// so that it falls back to older ones: EPERM would make it give up (runc's
	// patchbpf).
	if len(numbers) > 0 && !allows(p.byDefault) {
		put(span{from: numbers[len(numbers)-1] + 1, result: seccomp.Errno | uint32(unix.ENOSYS)})
	}
	foreign := uint32(seccomp.KillProcess)
	if p.x32 {
		foreign = seccomp.Errno | uint32(unix.ENOSYS)
	}
	put(span{from: x32Bit, result: foreign})
	// A tracer's way to skip a call is number -1.
	put(span{from: ^uint32(0), result: p.byDefault})
	return list
}

// allows says whether an action lets a call happen.
func allows(result uint32) bool {
	switch result & 0xffff0000 {
	case seccomp.Allow, seccomp.Log, seccomp.Trace:
		return true
	}
	return false
}

// assembler collects instructions of classic BPF.
type assembler struct{ list []unix.SockFilter }

func (a *assembler) load(offset uint32) {
	a.list = append(a.list, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

func (a *assembler) and(k uint32) {
	a.list = append(a.list, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: k})
}

func (a *assembler) ret(k uint32) {
	a.list = append(a.list, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k})
}

func (a *assembler) jump(op uint16, k uint32, yes, no uint8) {
	a.list = append(a.list, unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no})
}

func (a *assembler) code() []byte {
	b := make([]byte, 0, len(a.list)*seccomp.InstructionSize)
	for _, f := range a.list {
		b = binary.LittleEndian.AppendUint16(b, f.Code)
		b = append(b, f.Jt, f.Jf)
		b = binary.LittleEndian.AppendUint32(b, f.K)
	}
	return b
}

// tree finds the span of the number in A. A conditional jump reaches 255 instructions,
// so that the long way goes over an unconditional one.
func (a *assembler) tree(list []span) {
	if len(list) == 1 {
		for _, r := range list[0].rules {
			a.rule(r)
		}
		a.ret(list[0].result)
		return
	}
	half := len(list) / 2
	a.jump(unix.BPF_JGE, list[half].from, 0, 1)
	over := len(a.list)
	a.list = append(a.list, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA})
	a.tree(list[:half])
	a.list[over].K = uint32(len(a.list) - over - 1)
	a.tree(list[half:])
}

// rule returns the rule's result if all its conditions hold, and goes on behind it
// otherwise. A rule is short enough for conditional jumps.
func (a *assembler) rule(r conditional) {
	var fails []jumpSide
	for _, c := range r.conditions {
		fails = append(fails, a.condition(c)...)
	}
	a.ret(r.result)
	for _, f := range fails {
		over := uint8(len(a.list) - f.index - 1)
		if f.yes {
			a.list[f.index].Jt = over
		} else {
			a.list[f.index].Jf = over
		}
	}
}

// jumpSide is one side of a conditional jump whose target is not known yet.
type jumpSide struct {
	index int
	yes   bool
}

// condition goes on behind itself if c holds, and returns the jumps that are taken if
// it does not. Arguments have 64 bits, the machine 32.
func (a *assembler) condition(c condition) (fails []jumpSide) {
	low, high := 16+8*c.arg, 20+8*c.arg // in struct seccomp_data
	test := func(op uint16, k uint32, yes, no int) {
		const fail = -1
		j := jumpSide{index: len(a.list)}
		a.jump(op, k, uint8(max(yes, 0)), uint8(max(no, 0)))
		if yes == fail {
			fails = append(fails, jumpSide{j.index, true})
		}
		if no == fail {
			fails = append(fails, j)
		}
	}
	v, vHigh := uint32(c.one), uint32(c.one>>32)
	switch c.op {
	case specs.OpMaskedEqual:
		a.load(high)
		a.and(vHigh)
		test(unix.BPF_JEQ, uint32(c.two>>32), 0, -1)
		a.load(low)
		a.and(v)
		test(unix.BPF_JEQ, uint32(c.two), 0, -1)
	case specs.OpEqualTo:
		a.load(high)
		test(unix.BPF_JEQ, vHigh, 0, -1)
		a.load(low)
		test(unix.BPF_JEQ, v, 0, -1)
	case specs.OpNotEqual:
		a.load(high)
		test(unix.BPF_JEQ, vHigh, 0, 2) // other: it holds
		a.load(low)
		test(unix.BPF_JEQ, v, -1, 0)
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		op := uint16(unix.BPF_JGT)
		if c.op == specs.OpGreaterEqual {
			op = unix.BPF_JGE
		}
		a.load(high)
		test(unix.BPF_JGT, vHigh, 3, 0)
		test(unix.BPF_JEQ, vHigh, 0, -1)
		a.load(low)
		test(op, v, 0, -1)
	case specs.OpLessThan, specs.OpLessEqual:
		op := uint16(unix.BPF_JGE)
		if c.op == specs.OpLessEqual {
			op = unix.BPF_JGT
		}
		a.load(high)
		test(unix.BPF_JGT, vHigh, -1, 0)
		test(unix.BPF_JEQ, vHigh, 0, 2) // below: it holds
		a.load(low)
		test(op, v, -1, 0)
	}
	return fails
}
