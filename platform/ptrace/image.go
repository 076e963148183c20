package ptrace

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform/channel"
)

// Where things lie in every stub process: at the top of what user space can
// have. Guests map below stubBase.
const (
	stubBase    = 0x7ffffff00000
	stubCodeLen = 512 // of stub_amd64.s
	stubData    = stubBase + stubCodeLen
	// ChannelEntry is where package channel's code begins.
	ChannelEntry = stubBase + 2048
	commandPage  = stubBase + hostarch.PageSize
	commandSize  = 56 // bytes of a command: number and six arguments
	maxCommands  = hostarch.PageSize/commandSize - 1

	entryCall  = stubBase
	entryBatch = stubBase + 32
	entryClone = stubBase + 128
	entryWait  = stubBase + 192

	// callDone is the number of no system call: the stub is done.
	callDone = 4095

	// memoryFD and commandFD are the numbers of the memory file and the
	// command file in stub processes.
	memoryFD  = 3
	commandFD = 4

	// forkFlags and threadFlags are those of the two kinds of clone.
	forkFlags   = uint64(unix.SIGCHLD)
	threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	// mapFlags are those of every mapping.
	mapFlags = unix.MAP_SHARED | unix.MAP_FIXED
)

// Offsets in the data that follow the code.
const (
	dataProg   = 0 // struct sock_fprog
	dataFilter = 16
)

// image makes a static ELF executable of one page, loaded at stubBase: the
// code, the filter that the zygote's system calls point to, and the code of the
// channel, whether it is used or not.
func image(code []byte) []byte {
	le := binary.LittleEndian
	page := make([]byte, hostarch.PageSize)
	copy(page, code)
	copy(page[ChannelEntry-stubBase:], channel.Code())
	data := page[stubCodeLen : ChannelEntry-stubBase]
	filter := stubFilter()
	le.PutUint16(data[dataProg:], uint16(len(filter)))
	le.PutUint64(data[dataProg+8:], stubData+dataFilter)
	for i, f := range filter {
		b := data[dataFilter+8*i:]
		le.PutUint16(b[0:], f.Code)
		b[2], b[3] = f.Jt, f.Jf
		le.PutUint32(b[4:], f.K)
	}

	h := make([]byte, hostarch.PageSize)
	copy(h, "\x7fELF\x02\x01\x01")
	le.PutUint16(h[16:], 2)  // ET_EXEC
	le.PutUint16(h[18:], 62) // EM_X86_64
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], entryWait)
	le.PutUint64(h[32:], 64) // program headers
	le.PutUint16(h[52:], 64)
	le.PutUint16(h[54:], 56)
	le.PutUint16(h[56:], 1)
	p := h[64:]
	le.PutUint32(p[0:], 1) // PT_LOAD
	le.PutUint32(p[4:], 5) // R+X
	le.PutUint64(p[8:], hostarch.PageSize)
	le.PutUint64(p[16:], stubBase)
	le.PutUint64(p[24:], stubBase)
	le.PutUint64(p[32:], hostarch.PageSize)
	le.PutUint64(p[40:], hostarch.PageSize)
	le.PutUint64(p[48:], hostarch.PageSize)
	return append(h, page...)
}

// rule allows a system call, whose arguments (by number, the low 32 bits) have
// one of these values.
type rule struct {
	nr   uint32
	args map[int][]uint32
}

// stubFilter allows what the stub's own code calls. Guest calls never get as
// far: PTRACE_SYSEMU takes them before. This is for the day when one does, and
// for the vsyscall page, whose calls the host would answer by itself.
func stubFilter() []unix.SockFilter {
	const (
		ldAbs = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
	)
	rules := []rule{
		{nr: unix.SYS_MMAP, args: map[int][]uint32{3: {mapFlags}, 4: {memoryFD, commandFD}}},
		{nr: unix.SYS_MUNMAP},
		{nr: unix.SYS_MPROTECT},
		{nr: unix.SYS_CLONE, args: map[int][]uint32{0: {uint32(forkFlags), threadFlags}}},
		{nr: unix.SYS_PRCTL, args: map[int][]uint32{0: {unix.PR_SET_PDEATHSIG}}},
		{nr: unix.SYS_GETPPID},         // to see that the zygote is there
		{nr: unix.SYS_PAUSE},           // to wait for a tracer
		{nr: unix.SYS_RESTART_SYSCALL}, // …though stopped meanwhile
		{nr: unix.SYS_EXIT_GROUP},      // to end
		{nr: unix.SYS_WAIT4},           // the zygote's: to bury stubs
	}
	trap := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_TRAP}
	f := []unix.SockFilter{
		{Code: ldAbs, K: 4}, // arch
		{Code: jeq, K: unix.AUDIT_ARCH_X86_64, Jt: 1},
		trap,
		{Code: ldAbs, K: 0}, // nr
		{Code: jeq, K: callDone, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_TRACE},
	}
	for _, r := range rules {
		var body []unix.SockFilter
		for arg := range 6 {
			values := r.args[arg]
			if values == nil {
				continue
			}
			body = append(body, unix.SockFilter{Code: ldAbs, K: uint32(16 + 8*arg)})
			for i, v := range values {
				body = append(body, unix.SockFilter{Code: jeq, K: v, Jt: uint8(len(values) - i)})
			}
			body = append(body, trap)
		}
		body = append(body, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
		f = append(f, unix.SockFilter{Code: jeq, K: r.nr, Jf: uint8(len(body))})
		f = append(f, body...)
	}
	return append(f, trap)
}
