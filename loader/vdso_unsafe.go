package loader

import "unsafe"

// vdsoTextStart returns where the text in vdso_amd64.s begins.
func vdsoTextStart() unsafe.Pointer

// hasRDPID reports whether the processor has the RDPID instruction.
func hasRDPID() bool

// vdsoText returns n bytes of the text in vdso_amd64.s. What follows the end of
// it there is the program's own code.
func vdsoText(n int) []byte { return unsafe.Slice((*byte)(vdsoTextStart()), n) }

// word returns the 32-bit word at the beginning of b, which guests may have
// mapped. b is aligned and long enough.
func word(b []byte) *uint32 { return (*uint32)(unsafe.Pointer(&b[0])) }
