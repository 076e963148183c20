#include "textflag.h"

// The code that stub processes run when they do not run guest code. It is
// copied into the stub image (image.go) and never executed here. It uses no
// stack and no memory but the command page. Offsets of the entry points are in
// image.go; each begins after a run of eight NOPs' worth of alignment.
//
// func stubCode()
TEXT ·stubCode(SB), NOSPLIT|NOFRAME, $0
	// 0: one system call, with all registers set by the tracer.
	SYSCALL
	INT $3
	PCALIGN $16
	// 16: the commands at R15, 56 bytes each: number and six arguments. A
	// number of -1 ends them; so does a failure, with the error in RAX.
batch:
	MOVQ 0(R15), AX
	CMPQ AX, $-1
	JEQ  done
	MOVQ 8(R15), DI
	MOVQ 16(R15), SI
	MOVQ 24(R15), DX
	MOVQ 32(R15), R10
	MOVQ 40(R15), R8
	MOVQ 48(R15), R9
	SYSCALL
	CMPQ AX, $-4095
	JCC  done
	ADDQ $56, R15
	JMP  batch
done:
	INT $3
	PCALIGN $128
	// 128: clone with the arguments set by the tracer. The child asks to die
	// with its parent, whose pid is R12, checks that the parent is there
	// still, and waits to be seized.
	SYSCALL
	TESTQ AX, AX
	JEQ  child
	INT $3
child:
	MOVL $157, AX  // prctl
	MOVL $1, DI    // PR_SET_PDEATHSIG
	MOVL $9, SI    // SIGKILL
	SYSCALL
	MOVL $110, AX  // getppid
	SYSCALL
	CMPQ AX, R12
	JNE  orphan
	JMP  wait
orphan:
	MOVL $231, AX  // exit_group
	XORL DI, DI
	SYSCALL
	PCALIGN $256
	// 256: wait for a tracer.
wait:
	MOVL $34, AX   // pause
	SYSCALL
	JMP  wait

// func stubAddress() unsafe.Pointer
TEXT ·stubAddress(SB), NOSPLIT, $0-8
	LEAQ ·stubCode(SB), AX
	MOVQ AX, ret+0(FP)
	RET
