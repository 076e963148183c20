#include "textflag.h"

// The code that stub processes run when they do not run guest code. It is
// copied into the stub image (image.go) and never executed here. It uses no
// stack and writes no memory: other threads of the process run guest code at
// the same time. Every call carries the key that the filter asks for. Offsets of the entry points are in image.go.
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
	// number of -1 ends them; so does a failure, with the error in RAX. RBX,
	// R12, R13 and R14 hold the key (key.go).
batch:
	MOVQ 0(R15), AX
	CMPQ AX, $-1
	JEQ  finished
	MOVQ 8(R15), DI
	MOVQ 16(R15), SI
	MOVQ 24(R15), DX
	MOVQ BX, R9
	CMPQ AX, $9        // mmap
	JNE  change
	ORQ  R12, DX
	MOVQ 32(R15), R10
	ORQ  R13, R10
	MOVQ 40(R15), R8
	ORQ  R14, R8
	MOVQ 48(R15), R9
change:
	SYSCALL
	CMPQ AX, $-4095
	JCC  failed
	ADDQ $56, R15
	JMP  batch
finished:
	// Without a slot in RBP that is all. With one, on to the guest: its
	// registers are in the slot (package channel).
	TESTQ BP, BP
	JEQ  done
	MOVQ BP, SP
	MOVQ -24(SP), AX
	MOVQ 16(SP), BX
	MOVQ 8(SP), CX
	MOVQ -48(SP), DX
	MOVQ -40(SP), SI
	MOVQ -32(SP), DI
	MOVQ 24(SP), BP
	MOVQ -64(SP), R8
	MOVQ 0(SP), R9
	MOVQ -56(SP), R10
	MOVQ 192(SP), R11
	MOVQ 32(SP), R12
	MOVQ 40(SP), R13
	MOVQ 48(SP), R14
	MOVQ 56(SP), R15
	LEAQ 200(SP), SP
	IRETQ
	PCALIGN $256
	// 256: clone with the arguments set by the tracer.
	SYSCALL
	TESTQ AX, AX
	JNE  result
	PCALIGN $64
	// 320: ask to die with the parent, whose pid is R12; see that it is there
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
