// Package seccomp checks and runs the filters that guests put over their own
// system calls (seccomp(2), Linux's kernel/seccomp.c and net/core/filter.c).
//
// A program is classic BPF over struct seccomp_data. Compile takes what Linux's
// bpf_check_classic and seccomp_check_filter take, and nothing else, so that Run
// needs no check of its own: jumps go forward and stay inside, loads are of whole
// words in the data, and memory is written before it is read. A Filter is a program
// with those that were there before, and does not change.
//
// The interpreter is not gVisor's (pkg/bpf): that one exchanges TAX and TXA, shifts
// by 32 and more differently, and takes programs that Linux refuses.
package seccomp

import "encoding/binary"

// Modes (PR_GET_SECCOMP).
const (
	ModeNone   = 0
	ModeStrict = 1
	ModeFilter = 2
)

// Actions: the upper half of what a filter returns. Of several filters the lowest
// counts, as a signed number.
const (
	KillProcess = 0x80000000
	KillThread  = 0x00000000
	Trap        = 0x00030000
	Errno       = 0x00050000
	Notify      = 0x7fc00000
	Trace       = 0x7ff00000
	Log         = 0x7ffc0000
	Allow       = 0x7fff0000

	actionMask = 0xffff0000
)

// ArchX86_64 is AUDIT_ARCH_X86_64.
const ArchX86_64 = 0xc000003e

// Available says whether there is such an action (SECCOMP_GET_ACTION_AVAIL).
func Available(action uint32) bool {
	switch action {
	case KillProcess, KillThread, Trap, Errno, Notify, Trace, Log, Allow:
		return true
	}
	return false
}

// Data is struct seccomp_data: what a filter sees, in words of 32 bits.
type Data [dataSize / 4]uint32

const dataSize = 64

// MakeData describes a system call; ip is the guest's instruction pointer behind it.
func MakeData(nr uint32, ip uint64, args *[6]uint64) (d Data) {
	d[0], d[1] = nr, ArchX86_64
	d[2], d[3] = uint32(ip), uint32(ip>>32)
	for i, a := range args {
		d[4+2*i], d[5+2*i] = uint32(a), uint32(a>>32)
	}
	return d
}

// Encode writes struct seccomp_data.
func (d *Data) Encode(b []byte) {
	for i, w := range d {
		binary.LittleEndian.PutUint32(b[4*i:], w)
	}
}

// SizeofData is sizeof(struct seccomp_data).
const SizeofData = dataSize
