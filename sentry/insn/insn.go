// Package insn tells what an x86-64 instruction that failed was about, as far as
// a signal frame has to say it and the host does not: whether it was writing to
// memory, and which unit raised a floating-point exception.
//
// It knows opcodes, not instructions: their lengths, and what an operand is
// besides memory, are of no interest here. See the opcode maps in appendix A of
// Intel's manual (volume 2).
package insn

// Max is the length of the longest instruction, in bytes.
const Max = 15

// Regs are the registers that instructions use for memory without naming them.
type Regs struct{ RSP, RDI uint64 }

// Opcode maps, numbered as in VEX prefixes.
const (
	mapOne = iota
	map0F
	map0F38
	map0F3A
)

// Mandatory prefixes, numbered likewise.
const (
	none = iota
	p66
	pF3
	pF2
)

// Encodings.
const (
	legacy = iota
	vex
	evex
)

// instruction is one as far as it is decoded.
type instruction struct {
	opmap  uint8
	prefix uint8
	form   uint8
	op     byte
	memory bool // the operand of ModRM is memory
	reg    byte // ModRM.reg
}

// decode reads an instruction up to ModRM. code may be cut off at the end: ok is
// false if it ends too early.
func decode(code []byte) (in instruction, ok bool) {
	next := func() (b byte) {
		if len(code) == 0 {
			ok = false
			return 0
		}
		b, code = code[0], code[1:]
		return b
	}
	code, ok = code[:min(len(code), Max)], true
	b := next()
prefixes:
	for ok {
		switch b {
		case 0x66:
			if in.prefix == none {
				in.prefix = p66
			}
		case 0xf3:
			in.prefix = pF3
		case 0xf2:
			in.prefix = pF2
		case 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x67:
		default:
			break prefixes
		}
		b = next()
	}
	if b&0xf0 == 0x40 { // REX
		b = next()
	}
	switch b {
	case 0xc5:
		in.form, in.opmap, in.prefix = vex, map0F, next()&3
		in.op = next()
	case 0xc4:
		in.form, in.opmap, in.prefix = vex, next()&31, next()&3
		in.op = next()
	case 0x62:
		in.form, in.opmap, in.prefix = evex, next()&7, next()&3
		next()
		in.op = next()
	case 0x0f:
		switch in.opmap, in.op = map0F, next(); in.op {
		case 0x38:
			in.opmap, in.op = map0F38, next()
		case 0x3a:
			in.opmap, in.op = map0F3A, next()
		}
	default:
		in.op = b
	}
	if ok && len(code) > 0 {
		in.memory, in.reg = code[0] < 0xc0, code[0]>>3&7
	}
	return in, ok
}

// Writes reports whether the instruction at the beginning of code was writing to
// memory when it failed at addr. What reads and writes the same place writes.
func Writes(code []byte, r Regs, addr uint64) bool {
	in, ok := decode(code)
	switch {
	case !ok:
		return false
	case in.form == vex:
		return in.memory && vexWrites(in)
	case in.form == evex:
		return in.memory && evexWrites(in)
	}
	switch in.opmap {
	case mapOne:
		return oneWrites(in, r, addr)
	case map0F:
		return twoWrites(in)
	case map0F38:
		// MOVBE; CRC32 has the same opcode; MOVDIRI.
		return in.memory && (in.op == 0xf1 && in.prefix != pF2 || in.op == 0xf9)
	}
	return in.memory && in.op >= 0x14 && in.op <= 0x17 // PEXTR, EXTRACTPS
}

// oneWrites is Writes for opcodes of one byte.
func oneWrites(in instruction, r Regs, addr uint64) bool {
	pushed := addr-(r.RSP-8) < 8
	op, reg := in.op, in.reg
	switch op {
	case 0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x68, 0x6a, 0x9c, 0xe8, 0xc8: // PUSH, CALL, ENTER
		return true
	case 0xa2, 0xa3, 0xaa, 0xab, 0x6c, 0x6d: // MOV to an absolute address, STOS, INS
		return true
	case 0xa4, 0xa5: // MOVS: from RSI to RDI
		return addr-r.RDI < 8
	case 0xff:
		switch reg {
		case 2, 3, 6: // CALL, PUSH
			return pushed
		}
		return in.memory && reg <= 1
	}
	if !in.memory {
		return false
	}
	switch {
	case op < 0x38: // ADD, OR, ADC, SBB, AND, SUB, XOR
		return op&7 <= 1
	case op >= 0x80 && op <= 0x83: // the same, not CMP
		return reg != 7
	}
	switch op {
	case 0x86, 0x87, 0x88, 0x89, 0x8c, 0xc6, 0xc7, 0xc0, 0xc1, 0xd0, 0xd1, 0xd2, 0xd3: // XCHG, MOV, shifts
		return true
	case 0x8f: // POP
		return addr-r.RSP >= 8
	case 0xf6, 0xf7: // NOT, NEG; not TEST, MUL, DIV
		return reg == 2 || reg == 3
	case 0xfe:
		return reg <= 1
	case 0xd9: // FST, FSTP, FNSTENV, FNSTCW
		return reg == 2 || reg == 3 || reg >= 6
	case 0xdb: // FISTTP, FIST, FISTP, FSTP
		return reg >= 1 && reg <= 3 || reg == 7
	case 0xdd, 0xdf: // FISTTP, FST, FSTP, FNSAVE, FNSTSW, FBSTP
		return reg >= 1 && reg <= 3 || reg >= 6
	}
	return false
}

// twoWrites is Writes for opcodes after 0x0f.
func twoWrites(in instruction) bool {
	switch in.op {
	case 0xa0, 0xa8, 0xf7: // PUSH FS, PUSH GS, MASKMOV
		return true
	}
	if !in.memory {
		return false
	}
	switch in.op {
	case 0x11, 0x13, 0x17, 0x29, 0x2b, 0x7f, 0xd6, 0xe7: // stores of vector registers
		return true
	case 0x7e: // MOVD; MOVQ of a load
		return in.prefix != pF3
	case 0xa4, 0xa5, 0xac, 0xad, 0xab, 0xb3, 0xbb, 0xb0, 0xb1, 0xc0, 0xc1, 0xc3: // SHLD, SHRD, BTS, BTR, BTC, CMPXCHG, XADD, MOVNTI
		return true
	case 0xba: // BTS, BTR, BTC
		return in.reg >= 5
	case 0xae: // FXSAVE, STMXCSR, XSAVE, XSAVEOPT; CLWB has XSAVEOPT's opcode
		return in.reg == 0 || in.reg == 3 || in.reg == 4 || in.reg == 6 && in.prefix != p66
	case 0xc7: // CMPXCHG8B, CMPXCHG16B, XSAVEC
		return in.reg == 1 || in.reg == 4
	}
	return in.op >= 0x90 && in.op <= 0x9f // SETcc
}

// vexWrites is Writes for what has a VEX prefix, and memory.
func vexWrites(in instruction) bool {
	switch in.opmap {
	case map0F:
		switch in.op {
		case 0x11, 0x13, 0x17, 0x29, 0x2b, 0x7f, 0xd6, 0xe7, 0x91: // stores; KMOV
			return true
		case 0x7e:
			return in.prefix != pF3
		case 0xae:
			return in.reg == 3
		}
	case map0F38:
		return in.op == 0x2e || in.op == 0x2f || in.op == 0x8e // VMASKMOV
	case map0F3A:
		switch in.op {
		case 0x14, 0x15, 0x16, 0x17, 0x19, 0x39, 0x1d: // VPEXTR, VEXTRACT, VCVTPS2PH
			return true
		}
	}
	return false
}

// evexWrites is Writes for what has an EVEX prefix, and memory.
func evexWrites(in instruction) bool {
	switch in.opmap {
	case map0F:
		switch in.op {
		case 0x11, 0x13, 0x17, 0x29, 0x2b, 0x7f, 0xd6, 0xe7:
			return true
		case 0x7e:
			return in.prefix != pF3
		}
	case map0F38:
		switch in.op {
		case 0xa0, 0xa1, 0xa2, 0xa3, 0x63, 0x8a, 0x8b: // VSCATTER, VCOMPRESS
			return true
		}
		// VPMOV to a narrower type.
		return in.prefix == pF3 && (in.op&0xf8 == 0x10 || in.op&0xf8 == 0x20 || in.op&0xf8 == 0x30) && in.op&7 <= 5
	case map0F3A:
		switch in.op {
		case 0x14, 0x15, 0x16, 0x17, 0x19, 0x1b, 0x39, 0x3b, 0x1d:
			return true
		}
	}
	return false
}

// IsX87 reports whether the instruction is one of the x87's: an exception that is
// pending there is raised by the next of them.
func IsX87(code []byte) bool {
	in, ok := decode(code)
	return ok && in.form == legacy && in.opmap == mapOne && (in.op&0xf8 == 0xd8 || in.op == 0x9b)
}
