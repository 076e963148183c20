package loader

import (
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
)

const (
	// stackRandom is how many pages the stack's top may be moved down
	// (STACK_RND_MASK), and stackJitter how many bytes what lies on it
	// (arch_align_stack).
	stackRandom = 1 << 22
	stackJitter = 8192
	// stackSpare is mapped below what is used, before the stack has to grow
	// (setup_arg_pages).
	stackSpare = 128 << 10
	// vdsoRoom is kept free above the stack, up to the end of the address space, for
	// the vDSO, which goes to a random place there (vdso_addr).
	vdsoRoom = 2 << 20

	platformName = "x86_64"
)

// auxInfo is what the auxiliary vector says of the program.
type auxInfo struct {
	phdr, phnum, base, entry uint64
}

// makeStack maps the vDSO and the stack, and writes what a program finds on it,
// from the top: 8 zero bytes, the path, environment and argument strings, a
// random gap, the platform's name, 16 random bytes, the auxiliary vector, envp,
// argv and argc, where RSP points, aligned to 16.
func makeStack(r *Request, args *arguments, exec bool, info auxInfo) (*Image, error) {
	top := uint64(r.Space.MaxAddress()) - vdsoRoom - r.random(stackRandom)*pageSize
	vdso := hostarch.Addr(0)
	if r.VDSO != nil {
		room := (vdsoRoom - r.VDSO.length()) / pageSize
		at := hostarch.Addr(top + r.random(room+1)*pageSize)
		var err error
		if vdso, err = r.VDSO.mapInto(r.Space, at); err != nil {
			return nil, err
		}
	}

	strings := top - 8 - args.size
	gap := (strings - r.random(stackJitter)) &^ 15
	platform := gap - uint64(len(platformName)+1)
	random := platform - 16
	aux := auxv(r, info, uint64(vdso), random, top-8-uint64(len(args.path)+1), platform)
	words := 1 + len(args.argv) + 1 + len(args.env) + 1
	sp := (random - uint64(len(aux)) - uint64(words)*8) &^ 15

	used := pageUp(top - sp)
	length := used + stackSpare
	if limit := r.StackLimit &^ pageMask; length > limit {
		length = max(used, limit)
	}
	if _, err := r.Space.Mmap(mm.MmapOptions{
		Addr: hostarch.Addr(top - length), Fixed: true, FixedNoReplace: true, Length: length,
		Prot:    hostarch.AccessType{Read: true, Write: true, Execute: exec},
		MaxProt: hostarch.AnyAccess, GrowsDown: true, Name: "[stack]",
	}); err != nil {
		if err == unix.EEXIST || err == unix.EPERM {
			err = unix.ENOMEM
		}
		return nil, err
	}

	// Two writes, since the gap need not be touched.
	low := make([]byte, gap-sp)
	high := make([]byte, args.size)
	le := binary.LittleEndian
	at := 0
	word := func(v uint64) { le.PutUint64(low[at:], v); at += 8 }
	pos := 0
	put := func(s string) {
		pos += copy(high[pos:], s) + 1
	}
	word(uint64(len(args.argv)))
	for _, s := range args.argv {
		word(strings + uint64(pos))
		put(s)
	}
	word(0)
	envStart := strings + uint64(pos)
	for _, s := range args.env {
		word(strings + uint64(pos))
		put(s)
	}
	word(0)
	envEnd := strings + uint64(pos)
	put(args.path)
	copy(low[at:], aux)
	rand.Read(low[random-sp : platform-sp]) // it cannot fail
	copy(low[platform-sp:], platformName)
	if _, err := r.Space.CopyOut(hostarch.Addr(strings), high); err != nil {
		return nil, err
	}
	if _, err := r.Space.CopyOut(hostarch.Addr(sp), low); err != nil {
		return nil, err
	}
	return &Image{
		Stack: hostarch.Addr(sp),
		Layout: mm.Layout{
			StackStart: hostarch.Addr(sp),
			Args:       hostarch.AddrRange{Start: hostarch.Addr(strings), End: hostarch.Addr(envStart)},
			Env:        hostarch.AddrRange{Start: hostarch.Addr(envStart), End: hostarch.Addr(envEnd)},
			Auxv:       aux,
		},
		Argv: args.argv,
	}, nil
}

// auxv makes the auxiliary vector, in the order of Linux's create_elf_tables.
func auxv(r *Request, info auxInfo, vdso, random, execfn, platform uint64) []byte {
	b := make([]byte, 0, 24*16)
	le := binary.LittleEndian
	put := func(tag, v uint64) {
		b = le.AppendUint64(le.AppendUint64(b, tag), v)
	}
	cpu := hostFeatures()
	if vdso != 0 {
		put(atSysinfoEhdr, vdso)
	}
	if cpu.minSigStack != 0 {
		put(atMinSigStkSz, cpu.minSigStack)
	}
	put(atHWCap, cpu.hwcap)
	put(atPageSz, pageSize)
	put(atClkTck, 100)
	put(atPhdr, info.phdr)
	put(atPhent, phdrSize)
	put(atPhnum, info.phnum)
	put(atBase, info.base)
	put(atFlags, 0)
	put(atEntry, info.entry)
	put(atUID, uint64(r.UID))
	put(atEUID, uint64(r.EUID))
	put(atGID, uint64(r.GID))
	put(atEGID, uint64(r.EGID))
	secure := uint64(0)
	if r.Secure {
		secure = 1
	}
	put(atSecure, secure)
	put(atRandom, random)
	hwcap2 := cpu.hwcap2
	if r.NoFSGSBase {
		hwcap2 &^= hwcap2FSGSBase
	}
	if hwcap2 != 0 {
		put(atHWCap2, hwcap2)
	}
	put(atExecFn, execfn)
	put(atPlatform, platform)
	put(atNull, 0)
	return b
}

// Tags of the auxiliary vector (getauxval(3)).
const (
	atNull     = 0
	atPhdr     = 3
	atPhent    = 4
	atPhnum    = 5
	atPageSz   = 6
	atBase     = 7
	atFlags    = 8
	atEntry    = 9
	atUID      = 11
	atEUID     = 12
	atGID      = 13
	atEGID     = 14
	atPlatform = 15
	atHWCap    = 16
	atClkTck   = 17
	atSecure   = 23
	atRandom   = 25
	atHWCap2   = 26

	hwcap2FSGSBase = 1 << 1
	atExecFn       = 31
	atSysinfoEhdr  = 33
	atMinSigStkSz  = 51
)

// features are what the host's kernel says of the processor, which is the
// guest's too.
type features struct {
	hwcap, hwcap2, minSigStack uint64
}

func hostFeatures() (f features) {
	aux, err := unix.Auxv()
	if err != nil {
		return f
	}
	for _, a := range aux {
		switch a[0] {
		case atHWCap:
			f.hwcap = uint64(a[1])
		case atHWCap2:
			f.hwcap2 = uint64(a[1])
		case atMinSigStkSz:
			f.minSigStack = uint64(a[1])
		}
	}
	return f
}
