package ptrace

import (
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
)

// key is what a host call of a stub must carry to pass the filter. Guest code can
// jump to any SYSCALL instruction with any registers; it cannot know these values,
// which exist in the sentry, in the host's copy of the filter, and in the registers
// of threads that run stub code. The kernel looks at none of them: they are in
// arguments that a call does not have, or in the upper halves of arguments that are
// integers.
type key struct {
	word uint64    // the sixth argument, for calls with fewer than that
	mmap [3]uint64 // for mmap: the upper halves of prot, flags and fd
}

func newKey() (k key) {
	var b [20]byte
	rand.Read(b[:]) // never fails
	k.word = binary.LittleEndian.Uint64(b[:])
	for i := range k.mmap {
		k.mmap[i] = uint64(binary.LittleEndian.Uint32(b[8+4*i:])) << 32
	}
	return k
}

// forBatch puts the key where the stub's batch code has it.
func (k *key) forBatch(r *platform.Registers) {
	r.Rbx, r.R12, r.R13, r.R14 = k.word, k.mmap[0], k.mmap[1], k.mmap[2]
}

// forCall adds the key to the arguments of a single call.
func (k *key) forCall(r *platform.Registers) {
	if r.Rax != unix.SYS_MMAP {
		r.R9 = k.word
		return
	}
	r.Rdx |= k.mmap[0]
	r.R10 |= k.mmap[1]
	r.R8 |= k.mmap[2]
}

// check is a 32-bit word of struct seccomp_data that has to have one of some
// values.
type check struct {
	off    uint32
	values []uint32
}

func argLow(i int, values ...uint32) check { return check{uint32(16 + 8*i), values} }
func argHigh(i int, v uint64) check        { return check{uint32(20 + 8*i), []uint32{uint32(v >> 32)}} }
func argWhole(i int, v uint64) [2]check    { return [2]check{argLow(i, uint32(v)), argHigh(i, v)} }

// rule allows a system call that passes all checks.
type rule struct {
	nr     uint32
	checks []check
}

// stubFilter allows what the stub's own code calls, with the key, and nothing else.
// Other calls are a SIGSYS: the host does not make them, whatever their thread's
// tracer does next. That is not so of SECCOMP_RET_TRACE, after which a thread that is
// let go makes its call: it is for the one number that is no call.
func stubFilter(k *key) []unix.SockFilter {
	const (
		ldAbs = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
	)
	word := argWhole(5, k.word)
	keyed := func(nr uint32, checks ...check) rule { return rule{nr, append(checks, word[:]...)} }
	rules := []rule{
		{unix.SYS_MMAP, []check{
			argLow(3, mapFlags), argLow(4, memoryFD, commandFD),
			argHigh(2, k.mmap[0]), argHigh(3, k.mmap[1]), argHigh(4, k.mmap[2]),
		}},
		keyed(unix.SYS_MUNMAP),
		keyed(unix.SYS_MPROTECT),
		keyed(unix.SYS_CLONE, argLow(0, uint32(forkFlags), threadFlags)),
		keyed(unix.SYS_PRCTL, argLow(0, unix.PR_SET_PDEATHSIG)),
		keyed(unix.SYS_GETPPID),         // to see that the zygote is there
		keyed(unix.SYS_PAUSE),           // to wait for a tracer
		keyed(unix.SYS_RESTART_SYSCALL), // …though stopped meanwhile
		keyed(unix.SYS_EXIT_GROUP),      // to end
		keyed(unix.SYS_WAIT4),           // the zygote's: to bury stubs
	}
	other := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_TRAP}
	f := []unix.SockFilter{
		{Code: ldAbs, K: 12}, // upper half of the instruction pointer
		{Code: jeq, K: 0xffffffff, Jf: 1},
		other,
		{Code: ldAbs, K: 4}, // arch
		{Code: jeq, K: unix.AUDIT_ARCH_X86_64, Jt: 1},
		other,
		{Code: ldAbs, K: 0}, // nr
		{Code: jeq, K: callDone, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_TRACE},
	}
	for _, r := range rules {
		var body []unix.SockFilter
		for _, c := range r.checks {
			body = append(body, unix.SockFilter{Code: ldAbs, K: c.off})
			for i, v := range c.values {
				body = append(body, unix.SockFilter{Code: jeq, K: v, Jt: uint8(len(c.values) - i)})
			}
			body = append(body, other)
		}
		body = append(body, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
		f = append(f, unix.SockFilter{Code: jeq, K: r.nr, Jf: uint8(len(body))})
		f = append(f, body...)
	}
	return append(f, other)
}

// program is a filter as prctl(2) takes it (struct sock_fprog, then the filter), for
// the address at.
func program(filter []unix.SockFilter, at uint64) []byte {
	le := binary.LittleEndian
	b := make([]byte, 16+8*len(filter))
	le.PutUint16(b[0:], uint16(len(filter)))
	le.PutUint64(b[8:], at+16)
	for i, f := range filter {
		e := b[16+8*i:]
		le.PutUint16(e[0:], f.Code)
		e[2], e[3] = f.Jt, f.Jf
		le.PutUint32(e[4:], f.K)
	}
	return b
}
