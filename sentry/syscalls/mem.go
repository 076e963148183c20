package syscalls

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// pageOffset is the part of an address inside its page.
const pageOffset = hostarch.PageSize - 1

func access(prot uint64) hostarch.AccessType {
	return hostarch.AccessType{
		Read:    prot&unix.PROT_READ != 0,
		Write:   prot&unix.PROT_WRITE != 0,
		Execute: prot&unix.PROT_EXEC != 0,
	}
}

// sysMmap is mmap(2), ksys_mmap_pgoff and do_mmap.
func sysMmap(t *task.Task, a *task.Args) (uint64, error) {
	flags, offset := a[3], a[5]
	if offset&pageOffset != 0 {
		return 0, unix.EINVAL
	}
	opts := mm.MmapOptions{
		Addr:           a.Addr(0),
		Length:         a[1],
		Prot:           access(a[2]),
		MaxProt:        hostarch.AnyAccess,
		Fixed:          flags&(unix.MAP_FIXED|unix.MAP_FIXED_NOREPLACE) != 0,
		FixedNoReplace: flags&unix.MAP_FIXED_NOREPLACE != 0,
		Low:            flags&unix.MAP_32BIT != 0,
		GrowsDown:      flags&unix.MAP_GROWSDOWN != 0,
		Populate:       flags&(unix.MAP_POPULATE|unix.MAP_NONBLOCK) == unix.MAP_POPULATE,
		Locked:         flags&unix.MAP_LOCKED != 0,
		NoReserve:      flags&unix.MAP_NORESERVE != 0,
	}
	if flags&unix.MAP_ANONYMOUS == 0 {
		return mmapFile(t, a, &opts)
	}
	opts.Prot = withExec(t, opts.Prot)
	switch {
	case flags&unix.MAP_HUGETLB != 0:
		return 0, unix.ENOMEM // no huge pages are set aside
	case flags&unix.MAP_TYPE == unix.MAP_SHARED:
		opts.Shared = true
	case flags&unix.MAP_TYPE != unix.MAP_PRIVATE:
		return 0, unix.EINVAL
	}
	addr, err := t.Memory().Space.Mmap(opts)
	return uint64(addr), err
}

// withExec is what READ_IMPLIES_EXEC makes of an access (personality(2)).
func withExec(t *task.Task, at hostarch.AccessType) hostarch.AccessType {
	if at.Read && t.HasPersona(task.PersonaReadExecutes) {
		at.Execute = true
	}
	return at
}

// legacyMapFlags are those that MAP_SHARED_VALIDATE knows (LEGACY_MAP_MASK).
const legacyMapFlags = unix.MAP_TYPE | unix.MAP_FIXED | unix.MAP_ANONYMOUS | unix.MAP_DENYWRITE | unix.MAP_EXECUTABLE |
	unix.MAP_GROWSDOWN | unix.MAP_LOCKED | unix.MAP_NORESERVE | unix.MAP_POPULATE | unix.MAP_NONBLOCK | unix.MAP_STACK |
	unix.MAP_HUGETLB | unix.MAP_32BIT | mapUninitialized | mapAbove4G

const (
	mapUninitialized = 0x4000000
	mapAbove4G       = 0x80
)

// mmapFile maps a file.
func mmapFile(t *task.Task, a *task.Args, opts *mm.MmapOptions) (uint64, error) {
	flags, offset := a[3], a[5]
	f, err := t.File(a.Int(4))
	if err != nil {
		return 0, err
	}
	defer f.DecRef()
	switch {
	case flags&unix.MAP_HUGETLB != 0 || opts.Length == 0:
		return 0, unix.EINVAL
	case opts.Length > 1<<47:
		return 0, unix.ENOMEM
	case offset>>63 != 0 || (offset+opts.Length)>>63 != 0:
		return 0, unix.EOVERFLOW
	}
	switch flags & unix.MAP_TYPE {
	case unix.MAP_SHARED_VALIDATE:
		if flags&^legacyMapFlags != 0 {
			return 0, unix.EOPNOTSUPP
		}
		opts.Shared = true
	case unix.MAP_SHARED:
		opts.Shared = true
	case unix.MAP_PRIVATE:
	default:
		return 0, unix.EINVAL
	}
	if !f.NoExec() {
		opts.Prot = withExec(t, opts.Prot)
	}
	if opts.Pager, opts.MaxProt, err = mappable(f, opts.Shared, opts.Prot); err != nil {
		return 0, err
	}
	opts.Offset, opts.File = offset, f
	addr, err := t.Memory().Space.Mmap(*opts)
	return uint64(addr), err
}

// mappable checks the mode of f as do_mmap does, and says what the mapping
// may ever be protected to.
func mappable(f *vfs.File, shared bool, prot hostarch.AccessType) (memfile.Pager, hostarch.AccessType, error) {
	limit := hostarch.AnyAccess
	if !f.Readable() {
		return nil, limit, unix.EACCES
	}
	if shared && !f.Writable() {
		if prot.Write {
			return nil, limit, unix.EACCES
		}
		limit.Write = false
	}
	if f.NoExec() {
		if prot.Execute {
			return nil, limit, unix.EPERM
		}
		limit.Execute = false
	}
	if s, ok := f.Ops().(sealer); ok && shared && !prot.Write {
		// A seal on writing lets shared mappings be that stay read-only
		// (memfd_check_seals_mmap). Writable ones the pager refuses.
		if seals, err := s.Seals(); err == nil && seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) != 0 {
			limit.Write = false
		}
	}
	p, err := f.Pager()
	return p, limit, err
}

func sysMunmap(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Memory().Space.Munmap(a.Addr(0), a[1])
}

// sysMprotect is mprotect(2).
func sysMprotect(t *task.Task, a *task.Args) (uint64, error) {
	prot := a[2] &^ (protGrowsDown | protGrowsUp)
	grows := a[2] & (protGrowsDown | protGrowsUp)
	if grows == protGrowsDown|protGrowsUp || a[0]&pageOffset != 0 {
		return 0, unix.EINVAL
	}
	if a[1] == 0 {
		return 0, nil
	}
	// No mapping of x86 grows up.
	if prot&^(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC|protSem) != 0 || grows == protGrowsUp {
		return 0, unix.EINVAL
	}
	return 0, t.Memory().Space.Mprotect(a.Addr(0), a[1], withExec(t, access(prot)), grows == protGrowsDown)
}

const (
	protSem       = 8 // PROT_SEM, which Linux accepts and ignores on x86
	protGrowsDown = 1 << 24
	protGrowsUp   = 1 << 25
)

func sysMremap(t *task.Task, a *task.Args) (uint64, error) {
	addr, err := t.Memory().Space.Mremap(a.Addr(0), a[1], a[2], int(a.Int(3)), a.Addr(4))
	return uint64(addr), err
}

func sysMadvise(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Memory().Space.Madvise(a.Addr(0), a[1], int(a.Int(2)))
}

func sysMsync(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Memory().Space.Msync(a.Addr(0), a[1], int(a.Int(2)))
}

// sysBrk is brk(2): it returns the new break, or the old one on failure.
func sysBrk(t *task.Task, a *task.Args) (uint64, error) {
	return uint64(t.Memory().Space.Brk(a.Addr(0))), nil
}

// sysRemapFilePages is remap_file_pages(2), as Linux emulates it.
func sysRemapFilePages(t *task.Task, a *task.Args) (uint64, error) {
	if a[2] != 0 { // prot
		return 0, unix.EINVAL
	}
	return 0, t.Memory().Space.RemapFilePages(a.Addr(0), a[1], a[3])
}

// sysMincore is mincore(2).
func sysMincore(t *task.Task, a *task.Args) (uint64, error) {
	addr, length, to := a.Addr(0), a[1], a.Addr(2)
	if addr&pageOffset != 0 {
		return 0, unix.EINVAL
	}
	if length > 1<<47 || uint64(addr) > 1<<47-length {
		return 0, unix.ENOMEM
	}
	var buf [hostarch.PageSize]byte // pages at a time, as many as Linux takes
	for pages := (length + pageOffset) / hostarch.PageSize; pages > 0; {
		vec := buf[:min(pages, uint64(len(buf)))]
		if err := t.Memory().Space.Mincore(addr, vec); err != nil {
			return 0, err
		}
		if _, err := t.Memory().Space.CopyOut(to, vec); err != nil {
			return 0, err
		}
		addr += hostarch.Addr(len(vec) * hostarch.PageSize)
		to += hostarch.Addr(len(vec))
		pages -= uint64(len(vec))
	}
	return 0, nil
}

func sysMlock(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Memory().Space.Mlock(a.Addr(0), a[1], false)
}

func sysMlock2(t *task.Task, a *task.Args) (uint64, error) {
	if a[2]&^mlockOnFault != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.Memory().Space.Mlock(a.Addr(0), a[1], a[2] != 0)
}

const mlockOnFault = 1

func sysMunlock(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Memory().Space.Munlock(a.Addr(0), a[1])
}

func sysMlockall(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Memory().Space.Mlockall(int(a.Int(0)))
}

func sysMunlockall(t *task.Task, a *task.Args) (uint64, error) {
	return 0, t.Memory().Space.Munlockall()
}
