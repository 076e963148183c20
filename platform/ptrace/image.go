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
	doneEnd    = 0x0c // in the code: behind the SYSCALL that says that it is done
	batchEnd   = 0x63 // in the code: the commands are done
	entryClone = stubBase + 256
	entryWait  = stubBase + 320

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

// image makes a static ELF executable of one page, loaded at stubBase: the
// code, and that of the channel, whether it is used or not.
func image(code []byte) []byte {
	le := binary.LittleEndian
	page := make([]byte, hostarch.PageSize)
	copy(page, code)
	copy(page[ChannelEntry-stubBase:], channel.Code())

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
