package ptrace

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Where things lie in every stub process: at the top of what user space can
// have. Guests map below stubBase.
const (
	stubBase    = 0x7ffffff00000
	stubCodeLen = 512 // of stub_amd64.s
	stubData    = stubBase + stubCodeLen
	commandPage = stubBase + hostarch.PageSize
	commandSize = 56 // bytes of a command: number and six arguments
	maxCommands = hostarch.PageSize/commandSize - 1

	entrySyscall = stubBase
	entryBatch   = stubBase + 16
	entryClone   = stubBase + 128
	entryWait    = stubBase + 256

	// memoryFD and commandFD are the numbers of the memory file and the
	// command file in stub processes.
	memoryFD  = 3
	commandFD = 4
)

// Offsets in the data that follow the code.
const (
	dataSigaction = 0  // struct kernel_sigaction: SIG_IGN
	dataProg      = 32 // struct sock_fprog
	dataFilter    = 48
)

// image makes a static ELF executable of one page, loaded at stubBase: the
// code, and what the zygote's first system calls point to.
func image(code []byte) []byte {
	const headers = 64 + 56
	le := binary.LittleEndian
	page := make([]byte, hostarch.PageSize)
	copy(page, code)
	data := page[stubCodeLen:]
	le.PutUint64(data[dataSigaction:], 1) // SIG_IGN
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

// stubFilter allows what the stub's own code calls. Guest calls never get as
// far: PTRACE_SYSEMU takes them before. This is for the day when one does.
func stubFilter() []unix.SockFilter {
	allowed := []uint32{
		unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, // mapping changes
		unix.SYS_CLONE,      // processes (zygote) and threads
		unix.SYS_PRCTL,      // to die with the parent
		unix.SYS_GETPPID,    // to see that it is there
		unix.SYS_PAUSE,      // to wait
		unix.SYS_EXIT_GROUP, // to end
		unix.SYS_RESTART_SYSCALL,
	}
	const (
		ldAbs   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq     = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret     = unix.BPF_RET | unix.BPF_K
		amd64   = unix.AUDIT_ARCH_X86_64
		retTrap = unix.SECCOMP_RET_TRAP
		retOK   = unix.SECCOMP_RET_ALLOW
	)
	n := uint8(len(allowed))
	f := []unix.SockFilter{
		{Code: ldAbs, K: 4},                     // arch
		{Code: jeq, K: amd64, Jt: 0, Jf: n + 1}, // else trap
		{Code: ldAbs, K: 0},                     // nr
	}
	for i, nr := range allowed {
		f = append(f, unix.SockFilter{Code: jeq, K: nr, Jt: n - uint8(i)})
	}
	return append(f, unix.SockFilter{Code: ret, K: retTrap}, unix.SockFilter{Code: ret, K: retOK})
}
