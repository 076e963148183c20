#include "textflag.h"

// The code that stub processes run when they do not run guest code. It is
// copied into the stub image (image.go) and never executed here. It uses no
// stack and writes no memory: other threads of the process run guest code at
// the same time. Offsets of the entry points are in image.go.
//
// It says that it is done with the call number of callDone, for which the
// filter stops the tracee; that cannot be mistaken for anybody's signal. UD2
// is for the calls that come before the filter, and for failures.
//
// func stubCode()
TEXT ·stubCode(SB), NOSPLIT|NOFRAME, $0
	// 0: one system call, with all registers set by the tracer. Its result
	// goes to R14.
	SYSCALL
result:
	MOVQ AX, R14
done:
	MOVL $4095, AX
	SYSCALL
failed:
	UD2
	PCALIGN $32
	// 32: the commands at R15, 56 bytes each: number and six arguments. A
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
	JCC  failed
	ADDQ $56, R15
	JMP  batch
	PCALIGN $128
	// 128: clone with the arguments set by the tracer.
	SYSCALL
	TESTQ AX, AX
	JNE  result
	PCALIGN $64
	// 192: ask to die with the parent, whose pid is R12; see that it is there
	// still; and wait for a tracer.
wait:
	MOVL $157, AX  // prctl
	MOVL $1, DI    // PR_SET_PDEATHSIG
	MOVL $9, SI    // SIGKILL
	SYSCALL
	MOVL $110, AX  // getppid
	SYSCALL
	CMPQ AX, R12
	JEQ  asleep
	MOVL $231, AX  // exit_group
	XORL DI, DI
	SYSCALL
asleep:
	MOVL $34, AX   // pause
	SYSCALL
	JMP  asleep

// func stubAddress() unsafe.Pointer
TEXT ·stubAddress(SB), NOSPLIT, $0-8
	LEAQ ·stubCode(SB), AX
	MOVQ AX, ret+0(FP)
	RET
