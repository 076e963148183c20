package seccomp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// InstructionSize is sizeof(struct sock_filter).
const InstructionSize = 8

// MaxInstructions is BPF_MAXINSNS.
const MaxInstructions = 4096

// instruction is struct sock_filter.
type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// Opcodes of classic BPF (linux/bpf_common.h). Those of ALU and jumps are with the
// constant; srcX is added for register X.
const (
	srcX = 0x08

	ldImm  = 0x00
	ldAbs  = 0x20
	ldMem  = 0x60
	ldLen  = 0x80
	ldxImm = 0x01
	ldxMem = 0x61
	ldxLen = 0x81
	st     = 0x02
	stx    = 0x03

	aluAdd = 0x04
	aluSub = 0x14
	aluMul = 0x24
	aluDiv = 0x34
	aluOr  = 0x44
	aluAnd = 0x54
	aluLsh = 0x64
	aluRsh = 0x74
	aluNeg = 0x84
	aluXor = 0xa4

	ja   = 0x05
	jeq  = 0x15
	jgt  = 0x25
	jge  = 0x35
	jset = 0x45

	retK = 0x06
	retA = 0x16

	tax = 0x07 // X = A
	txa = 0x87 // A = X

	memWords = 16
)

// program is a checked program.
type program []instruction

// compile checks a program of struct sock_filter: EINVAL.
func compile(b []byte) (program, error) {
	n := len(b) / InstructionSize
	if n == 0 || n > MaxInstructions || len(b)%InstructionSize != 0 {
		return nil, unix.EINVAL
	}
	p := make(program, n)
	for i := range p {
		f := b[i*InstructionSize:]
		p[i] = instruction{
			code: binary.LittleEndian.Uint16(f), jt: f[2], jf: f[3], k: binary.LittleEndian.Uint32(f[4:]),
		}
	}
	for i := range p {
		if !p.checkOne(i) {
			return nil, unix.EINVAL
		}
	}
	if last := p[n-1].code; last != retK && last != retA || !p.checkMemory() {
		return nil, unix.EINVAL
	}
	return p, nil
}

// checkOne checks an instruction by itself (bpf_check_classic, then
// seccomp_check_filter, which rewrites loads of the length).
func (p program) checkOne(i int) bool {
	in := &p[i]
	left := uint32(len(p) - i - 1)
	switch in.code {
	case ldAbs:
		return in.k < dataSize && in.k%4 == 0
	case ldLen:
		in.code, in.k = ldImm, dataSize
		return true
	case ldxLen:
		in.code, in.k = ldxImm, dataSize
		return true
	case ldMem, ldxMem, st, stx:
		return in.k < memWords
	case aluDiv:
		return in.k != 0
	case aluLsh, aluRsh:
		return in.k < 32
	case ja:
		return in.k < left
	case jeq, jeq | srcX, jgt, jgt | srcX, jge, jge | srcX, jset, jset | srcX:
		return uint32(in.jt) < left && uint32(in.jf) < left
	case ldImm, ldxImm, retK, retA, tax, txa, aluNeg,
		aluAdd, aluAdd | srcX, aluSub, aluSub | srcX, aluMul, aluMul | srcX, aluDiv | srcX,
		aluOr, aluOr | srcX, aluAnd, aluAnd | srcX, aluXor, aluXor | srcX,
		aluLsh | srcX, aluRsh | srcX:
		return true
	}
	return false
}

// converted is how many instructions Linux makes of the program, which it runs as
// eBPF (bpf_convert_filter).
func (p program) converted() int {
	n := 3 // A = 0, X = 0, and the context
	for _, in := range p {
		n++
		switch in.code {
		case retK:
			n++
		case aluDiv | srcX:
			n += 3
		case jeq, jeq | srcX, jgt, jgt | srcX, jge, jge | srcX, jset, jset | srcX:
			if in.code&srcX == 0 && int32(in.k) < 0 {
				n++
			}
			if in.jf != 0 && (in.jt != 0 || in.code&^srcX == jset) {
				n++
			}
		}
	}
	return n
}

// checkMemory makes sure that on each way to a load of memory there is a store
// (check_load_and_stores). Jumps go forward, so that one pass is enough.
func (p program) checkMemory() bool {
	masks := make([]uint16, len(p))
	for i := range masks {
		masks[i] = ^uint16(0)
	}
	valid := uint16(0)
	for i, in := range p {
		valid &= masks[i]
		switch in.code {
		case st, stx:
			valid |= 1 << in.k
		case ldMem, ldxMem:
			if valid&(1<<in.k) == 0 {
				return false
			}
		case ja:
			masks[i+1+int(in.k)] &= valid
			valid = ^uint16(0)
		case jeq, jeq | srcX, jgt, jgt | srcX, jge, jge | srcX, jset, jset | srcX:
			masks[i+1+int(in.jt)] &= valid
			masks[i+1+int(in.jf)] &= valid
			valid = ^uint16(0)
		}
	}
	return true
}

// run executes the program. known says which words of the data may be looked at;
// ok is false if it looked at another.
func (p program) run(d *Data, known uint32) (ret uint32, ok bool) {
	var a, x uint32
	var mem [memWords]uint32
	for pc := 0; ; pc++ {
		in := &p[pc]
		operand := in.k
		if in.code&srcX != 0 {
			operand = x
		}
		jump := false
		switch in.code {
		case ldImm:
			a = in.k
		case ldAbs:
			if known>>(in.k/4)&1 == 0 {
				return 0, false
			}
			a = d[in.k/4]
		case ldMem:
			a = mem[in.k]
		case ldxImm:
			x = in.k
		case ldxMem:
			x = mem[in.k]
		case st:
			mem[in.k] = a
		case stx:
			mem[in.k] = x
		case aluAdd, aluAdd | srcX:
			a += operand
		case aluSub, aluSub | srcX:
			a -= operand
		case aluMul, aluMul | srcX:
			a *= operand
		case aluDiv, aluDiv | srcX:
			if operand == 0 {
				return 0, true
			}
			a /= operand
		case aluOr, aluOr | srcX:
			a |= operand
		case aluAnd, aluAnd | srcX:
			a &= operand
		case aluXor, aluXor | srcX:
			a ^= operand
		case aluLsh, aluLsh | srcX:
			a <<= operand & 31
		case aluRsh, aluRsh | srcX:
			a >>= operand & 31
		case aluNeg:
			a = -a
		case tax:
			x = a
		case txa:
			a = x
		case ja:
			pc += int(in.k)
		case retK:
			return in.k, true
		case retA:
			return a, true
		case jeq, jeq | srcX:
			jump = a == operand
			pc += in.distance(jump)
		case jgt, jgt | srcX:
			jump = a > operand
			pc += in.distance(jump)
		case jge, jge | srcX:
			jump = a >= operand
			pc += in.distance(jump)
		case jset, jset | srcX:
			jump = a&operand != 0
			pc += in.distance(jump)
		}
	}
}

func (in *instruction) distance(jump bool) int {
	if jump {
		return int(in.jt)
	}
	return int(in.jf)
}
