#include "textflag.h"

// The guest side of the channel: where trampolines jump to. It is copied into
// stub processes and never executed here. RAX holds the number, RCX the return
// address; R11 is free, as after SYSCALL. All other registers are kept, and so
// are the flags and the red zone: the stack pointer becomes the slot's base.
// slot.go has the offsets, of the slot and of this code.
//
// func channelCode()
TEXT ·channelCode(SB), NOSPLIT|NOFRAME, $0
	MOVQ SP, -16(GS)           // slotRSP
	MOVQ 80(GS), SP            // Self
	PUSHFQ                     // slotRFLAGS
	LEAQ 8(SP), SP

	// Something that the code knows?
	CMPQ AX, $256
	JCC  call
	MOVBLZX 256(SP)(AX*1), R11 // slotFacts
	TESTL R11, R11
	JEQ  call
	MOVQ 504(SP)(R11*8), AX    // slotValues, index from 1
	JMP  return

call:
	MOVQ AX, -24(SP)
	MOVQ DI, -32(SP)
	MOVQ SI, -40(SP)
	MOVQ DX, -48(SP)
	MOVQ R10, -56(SP)
	MOVQ R8, -64(SP)
	MOVQ R9, 0(SP)
	MOVQ CX, 8(SP)
	MOVQ BX, 16(SP)
	MOVQ BP, 24(SP)
	MOVQ R12, 32(SP)
	MOVQ R13, 40(SP)
	MOVQ R14, 48(SP)
	MOVQ R15, 56(SP)
	MOVL $1, 128(SP)           // State: Call
	MOVL 136(SP), AX           // Spin
spin:
	CMPL 132(SP), $0           // Sentry
	JEQ  stop
	MOVL 128(SP), R11
	CMPL R11, $1
	JNE  changed
	PAUSE
	DECL AX
	JNE  spin
stop:
	MOVL $1, AX
	MOVL $2, R11               // Stopped, unless the answer came
	LOCK
	CMPXCHGL R11, 128(SP)
	JEQ  wait
changed:
	MOVL 128(SP), R11
	TESTL R11, R11
	JEQ  answered
	CMPL R11, $4               // Load
	JEQ  load
	CMPL R11, $5               // Save
	JEQ  save
wait:
	MOVL $4095, AX             // no system call: the filter stops the thread
	SYSCALL
	JMP  changed
save:
	MOVL $-1, AX
	MOVL $-1, DX
	XSAVE64 2048(SP)
	MOVL $5, AX                // Save, unless the answer has come meanwhile
	MOVL $1, R11
	LOCK
	CMPXCHGL R11, 128(SP)
	JNE  changed
	MOVL 136(SP), AX
	JMP  spin
load:
	MOVL $0, 128(SP)
	CMPL 140(SP), $0           // slotFP
	JEQ  registers
	MOVL $-1, AX
	MOVL $-1, DX
	XRSTOR64 2048(SP)
registers:
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
answered:
	MOVQ 144(SP), AX           // Result
	MOVQ 8(SP), CX
return:
	LEAQ -8(SP), SP
	MOVQ (SP), R11             // as SYSCALL leaves it
	POPFQ
	MOVQ -16(GS), SP
	JMP  CX

// func channelAddress() unsafe.Pointer
TEXT ·channelAddress(SB), NOSPLIT, $0-8
	LEAQ ·channelCode(SB), AX
	MOVQ AX, ret+0(FP)
	RET
