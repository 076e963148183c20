package platformtest

import (
	"encoding/binary"
	"slices"
)

// Register numbers as the processor has them.
const (
	rax = iota
	rcx
	rdx
	rbx
	rsp
	rbp
	rsi
	rdi
)

// Instructions that need no more than their bytes.
var (
	syscall_ = []byte{0x0f, 0x05}
	loop     = []byte{0xeb, 0xfe} // jmp to itself
	nop      = []byte{0x90}
	ud2      = []byte{0x0f, 0x0b}
	int3     = []byte{0xcc}
	cpuid    = []byte{0x0f, 0xa2}
	readRDI  = []byte{0x48, 0x8b, 0x07} // mov rax, [rdi]
	writeRDI = []byte{0x48, 0x89, 0x07} // mov [rdi], rax
	jumpRDI  = []byte{0xff, 0xe7}       // jmp rdi
	incRAX   = []byte{0x48, 0xff, 0xc0}
)

// code puts instructions one behind the other.
func code(text ...[]byte) []byte { return slices.Concat(text...) }

// mov sets a register to a number.
func mov(reg byte, v uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{0x48, 0xb8 + reg}, v)
}

// back jumps to the beginning of text, which it follows.
func back(text ...[]byte) []byte {
	b := code(text...)
	return append(b, 0xe9, byte(-len(b)-5), byte((-len(b)-5)>>8), 0xff, 0xff)
}
