#include "textflag.h"

// The functions of the vDSO. This text is never run where it is: it is copied
// into the shared object that vdso_image.go builds, which guests run with the C
// calling convention. So there are no stack frames, no symbols, and only the
// registers that a C function may change.
//
// A MARK precedes each function; the copier finds the functions by them. DATA
// puts the address of the vvar page into R8: its displacement is a placeholder
// that the copier fills in. vvar.go describes the page.
#define MARK(n) LONG $0x4B52414D; LONG $(0x7E5A3C00+n)
#define DATA BYTE $0x4C; BYTE $0x8D; BYTE $0x05; LONG $0x56415256

#define V_SEQ 0(R8)
#define V_GETCPU 4(R8)
#define V_TSC 8(R8)
#define V_LINES 64
#define L_MULT 0(R9)
#define L_NS 8(R9)
#define L_SEC 16(R9)
#define L_VALID 24(R9)
#define L_TICK 28(R9)

#define SECOND $1000000000

TEXT ·vdsoCode(SB), NOSPLIT|NOFRAME, $0-0
	// int clock_gettime(clockid_t clock DI, struct timespec *ts SI)
	MARK(1)
	CMPL DI, $11
	JHI  gettimeCall
	DATA
	MOVL DI, AX
	SHLL $5, AX
	LEAQ V_LINES(R8)(AX*1), R9
	XORL R10, R10
	JMP  read

	// int gettimeofday(struct timeval *tv DI, struct timezone *tz SI)
	MARK(2)
	DATA
	LEAQ V_LINES(R8), R9
	MOVL $1, R10
	TESTQ DI, DI
	JNE  read

	// There is no time zone in the kernel.
zone:
	XORL  AX, AX
	TESTQ SI, SI
	JEQ   done
	MOVQ  AX, (SI)

done:
	RET

	// time_t time(time_t *t DI)
	MARK(3)
	DATA
	LEAQ V_LINES(R8), R9
	MOVL $2, R10

	// The clock's time, for all three: R9 is its line, R10 says which function
	// it is. The writer makes the sequence odd while it writes.
read:
	MOVL  V_SEQ, R11
	TESTL $1, R11
	JNE   busy
	CMPL  L_VALID, $0
	JEQ   call
	LFENCE
	RDTSC
	SHLQ  $32, DX
	ORQ   DX, AX
	SUBQ  V_TSC, AX
	JCC   forward
	XORL  AX, AX

forward:
	MULQ L_MULT
	SHRQ $48, DX, AX
	ADDQ L_NS, AX
	MOVQ L_SEC, CX
	MOVL L_TICK, DX
	CMPL V_SEQ, R11
	JNE  read
	MOVL DX, R11

	// CX seconds, AX nanoseconds, which may be a few seconds too. R11 is the
	// tick.
	CMPQ AX, SECOND
	JCS  split
	MOVQ AX, DX
	SHRQ $33, DX
	JNE  divide

carry:
	SUBQ SECOND, AX
	INCQ CX
	CMPQ AX, SECOND
	JCC  carry

split:
	TESTL R11, R11
	JNE   coarse

give:
	CMPL R10, $1
	JEQ  giveTimeval
	JHI  giveSeconds
	MOVQ CX, 0(SI)
	MOVQ AX, 8(SI)
	XORL AX, AX
	RET

giveTimeval:
	XORL DX, DX
	MOVL $1000, R11
	DIVL R11
	MOVQ CX, 0(DI)
	MOVQ AX, 8(DI)
	JMP  zone

giveSeconds:
	MOVQ  CX, AX
	TESTQ DI, DI
	JEQ   done
	MOVQ  AX, (DI)
	RET

divide:
	XORL DX, DX
	MOVL SECOND, R9
	DIVQ R9
	ADDQ AX, CX
	MOVQ DX, AX
	JMP  split

coarse:
	MOVL AX, R9
	XORL DX, DX
	DIVL R11
	SUBL DX, R9
	MOVL R9, AX
	JMP  give

	// The writer is not done. It may have lost its processor.
busy:
	MOVL $200, CX

spin:
	PAUSE
	MOVL  V_SEQ, R11
	TESTL $1, R11
	JEQ   read
	DECL  CX
	JNE   spin

call:
	CMPL R10, $1
	JEQ  timeofdayCall
	JHI  timeCall

gettimeCall:
	MOVL $228, AX
	SYSCALL
	RET

timeofdayCall:
	MOVL $96, AX
	SYSCALL
	RET

timeCall:
	MOVL $201, AX
	SYSCALL
	RET

	// int clock_getres(clockid_t clock DI, struct timespec *res SI)
	MARK(4)
	CMPL DI, $11
	JHI  getresCall
	DATA
	MOVL DI, AX
	SHLL $5, AX
	LEAQ V_LINES(R8)(AX*1), R9
	CMPL L_VALID, $0
	JEQ  getresCall
	MOVL L_TICK, CX
	XORL AX, AX
	TESTQ SI, SI
	JEQ  noRes
	TESTL CX, CX
	JNE  tick
	INCL CX

tick:
	MOVQ AX, 0(SI)
	MOVQ CX, 8(SI)

noRes:
	RET

getresCall:
	MOVL $229, AX
	SYSCALL
	RET

	// int getcpu(unsigned *cpu DI, unsigned *node SI, void *unused)
	//
	// Linux keeps the processor's number where these two instructions find it.
	// The sandbox has one node.
	MARK(5)
	DATA
	MOVL V_GETCPU, CX
	CMPL CX, $1
	JCS  getcpuCall
	JEQ  segment
	BYTE $0xF3; BYTE $0x0F; BYTE $0xC7; BYTE $0xF8 // RDPID AX
	JMP  haveCPU

segment:
	MOVL $0x7B, AX
	BYTE $0x0F; BYTE $0x03; BYTE $0xC0 // LSL AX, AX

haveCPU:
	ANDL  $0xFFF, AX
	TESTQ DI, DI
	JEQ   noCPU
	MOVL  AX, (DI)

noCPU:
	XORL  AX, AX
	TESTQ SI, SI
	JEQ   noNode
	MOVL  AX, (SI)

noNode:
	RET

getcpuCall:
	MOVL $309, AX
	SYSCALL
	RET

	// The end.
	MARK(0)
	RET

// func vdsoTextStart() unsafe.Pointer
TEXT ·vdsoTextStart(SB), NOSPLIT, $0-8
	LEAQ ·vdsoCode(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func hasRDPID() bool
TEXT ·hasRDPID(SB), NOSPLIT, $0-1
	XORL AX, AX
	CPUID
	CMPL AX, $7
	JCS  no
	MOVL $7, AX
	XORL CX, CX
	CPUID
	SHRL $22, CX
	ANDL $1, CX
	MOVB CX, ret+0(FP)
	RET

no:
	MOVB $0, ret+0(FP)
	RET
