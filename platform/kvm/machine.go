package kvm

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Guest-physical memory, in bytes:
//
//	sysBase   page tables and the vCPUs' areas, in chunks that double in size
//	fileBase  the memory file, in chunks of one memory slot each, on demand
//
// Below 4 GiB there is nothing else: no interrupt controller, no devices.
const (
	pageSize = 4096

	sysBase  = 16 << 20
	sysFirst = 4 << 20 // bytes of the first chunk
	sysLimit = 3 << 30 // what lies above, some hosts use themselves
	fileBase = 4 << 30

	// smallChunk is how much of the memory file a slot has. The host takes time
	// for each page of a slot that it makes, used or not. On hosts with few
	// slots they are largeChunk.
	smallChunk = 64 << 20
	largeChunk = 1 << 30
	manySlots  = 4096

	tssAddress      = 0xfffbd000 // for processors that cannot run real mode
	identityAddress = 0xfffbc000

	dummyAddress = sysLimit + 1<<20

	maxSysChunks = 10
	// maxTainted is how many freed page tables wait for the host to forget them.
	maxTainted = 4096
)

// machine is a virtual machine and its memory.
type machine struct {
	kvmFD, vmFD int
	runSize     int // of a vCPU's shared page, bytes
	cpuid       *cpuidTable
	xsaveSize   int // of the host's XSAVE structure

	view     uintptr // where the memory file is mapped
	fileSize uint64
	chunk    uint64

	mu       sync.Mutex
	present  []bool // which chunks of the memory file have a slot
	nextSlot uint32
	sysNext  uint64 // first page of the last chunk that was never used
	free     []uint64
	roots    []uint64 // free roots, with the kernel's half
	tainted  freed    // freed, but the host may have shadows of them
	areas    *table   // the table above the vCPUs' areas, shared by all roots
	areasAt  uint64

	sys [maxSysChunks]atomic.Pointer[sysChunk] // set once

	cr4          uint64
	xcr0         uint64
	xstate       int    // size of an XSAVE area of guests, bytes
	fresh        []byte // such an area, of xsaveSize, as after FNINIT
	quirks       quirks
	roundTrip    time.Duration
	bootCR3      uint64
	ticker       ticker
	pid          int
	threadsCheap bool // another thread can run a vCPU at once
	nextVCPU     atomic.Int32

	// shadows says that the host runs guests on copies of our page tables, and
	// learns only of what the guest itself writes to them. See probe.go.
	shadows bool

	counts *counters
}

// freed are page tables that are in use no more.
type freed struct{ tables, roots []uint64 }

// sysChunk is memory of our own that the guest's processor sees.
type sysChunk struct {
	at    uint64 // guest-physical
	bytes []byte
}

const device = "/dev/kvm"

// openKVM opens KVM's device, and says what to do if that fails.
func openKVM(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("opening %s: %w: this host has no KVM (the modules kvm_intel or kvm_amd are not loaded, or virtualization is off in its firmware); choose another platform", path, err)
	case errors.Is(err, fs.ErrPermission):
		return 0, fmt.Errorf("opening %s: %w: be in the group that owns it (often kvm), or run as root", path, err)
	case errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO):
		return 0, fmt.Errorf("opening %s: %w: the device is there, but no driver behind it", path, err)
	case err != nil:
		return 0, fmt.Errorf("opening %s: %w", path, err)
	}
	return fd, nil
}

// newMachine makes a virtual machine over the memory file.
func newMachine(memoryFD int, counts *counters) (_ *machine, err error) {
	m := &machine{kvmFD: -1, vmFD: -1, counts: counts, ticker: newTicker()}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.kvmFD, err = openKVM(device); err != nil {
		m.kvmFD = -1
		return nil, err
	}
	if v, err := ioctl(m.kvmFD, ioGetAPIVersion, 0); err != nil || v != apiVersion {
		return nil, fmt.Errorf("/dev/kvm speaks version %d of its interface, not %d (%v)", v, apiVersion, err)
	}
	if s := m.capability(capSyncRegs); s&(syncRegs|syncSRegs) != syncRegs|syncSRegs {
		return nil, errors.New("/dev/kvm does not share registers (KVM_CAP_SYNC_REGS): Linux 4.17 has that")
	}
	if m.capability(capImmediateExit) == 0 {
		return nil, errors.New("/dev/kvm cannot be made to return at once (KVM_CAP_IMMEDIATE_EXIT): Linux 4.12 has that")
	}
	m.xsaveSize = max(m.capability(capXSave2), xsaveMin)
	m.chunk = largeChunk
	if m.capability(capNrMemslots) >= manySlots {
		m.chunk = smallChunk
	}
	n, err := ioctl(m.kvmFD, ioGetVCPUMmapSize, 0)
	if err != nil {
		return nil, fmt.Errorf("asking for the size of a vCPU's page: %w", err)
	}
	m.runSize = int(n)
	if m.cpuid, err = announced(m.kvmFD); err != nil {
		return nil, err
	}
	fd, err := ioctl(m.kvmFD, ioCreateVM, 0)
	if err != nil {
		return nil, fmt.Errorf("making a virtual machine: %w", err)
	}
	m.vmFD = int(fd)
	// Some Intel processors want room for real mode, which we never enter; other
	// hosts know nothing of it.
	ioctl(m.vmFD, ioSetTSSAddr, tssAddress)
	identity := uint64(identityAddress)
	ioctlPtr(m.vmFD, ioSetIdentityAddr, &identity)

	var st unix.Stat_t
	if err := unix.Fstat(memoryFD, &st); err != nil {
		return nil, fmt.Errorf("asking for the memory file's size: %w", err)
	}
	m.fileSize = uint64(st.Size) &^ (pageSize - 1)
	if m.view, err = mapFile(memoryFD, m.fileSize); err != nil {
		m.view = 0
		return nil, fmt.Errorf("mapping %d bytes of the memory file: %w", m.fileSize, err)
	}
	m.present = make([]bool, (m.fileSize+m.chunk-1)/m.chunk)
	if m.areasAt, err = m.newPage(); err != nil {
		return nil, err
	}
	m.areas = m.table(m.areasAt)
	boot := pages{m: m}
	if err := boot.start(); err != nil {
		return nil, err
	}
	m.bootCR3 = boot.root.Load()
	m.pid = os.Getpid()
	m.threadsCheap = kernelAtLeast(6, 13)
	m.xcr0 = m.cpuid.xcr0()
	m.xstate = xstateSize(m.xcr0)
	return m, nil
}

// capability asks what the host can do.
func (m *machine) capability(c uintptr) int {
	n, err := ioctl(m.kvmFD, ioCheckExtension, c)
	if err != nil {
		return 0
	}
	return int(n)
}

// slot gives the virtual machine memory. The caller holds m.mu, or is alone.
func (m *machine) slot(guest, size, host uint64) error {
	r := &memoryRegion{slot: m.nextSlot, guest: guest, size: size, userspace: host}
	if err := ioctlPtr(m.vmFD, ioSetMemory, r); err != nil {
		return fmt.Errorf("giving the virtual machine %d MiB of memory at %#x: %w", size>>20, guest, err)
	}
	m.counts.slots.Add(1)
	m.nextSlot++
	return nil
}

// ensure makes the memory file's range [off, off+length), which lies inside the
// file, memory of the virtual machine.
func (m *machine) ensure(off, length uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := off / m.chunk; i*m.chunk < off+length; i++ {
		if m.present[i] {
			continue
		}
		at := i * m.chunk
		if err := m.slot(fileBase+at, min(m.chunk, m.fileSize-at), uint64(m.view)+at); err != nil {
			return err
		}
		m.present[i] = true
	}
	return nil
}

// newPage returns a page of zeros of our own, by its guest-physical address.
func (m *machine) newPage() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.free); n > 0 {
		p := m.free[n-1]
		m.free = m.free[:n-1]
		clear(m.sysPage(p))
		return p, nil
	}
	return m.newPagesLocked(1)
}

// newRoot returns a root table with nothing but the kernel's half. A root stays
// one: a vCPU that used it last enters the stub with it.
func (m *machine) newRoot() (uint64, error) {
	m.mu.Lock()
	if n := len(m.roots); n > 0 {
		r := m.roots[n-1]
		m.roots = m.roots[:n-1]
		m.mu.Unlock()
		return r, nil
	}
	m.mu.Unlock()
	r, err := m.newPage()
	if err == nil {
		m.table(r).store(511, m.areasAt|pteP|pteW|pteA)
	}
	return r, err
}

// newPagesLocked returns n pages in a row that were never used.
func (m *machine) newPagesLocked(n uint64) (uint64, error) {
	k := 0 // chunks
	for k < maxSysChunks && m.sys[k].Load() != nil {
		k++
	}
	if k == 0 || m.sysNext+n*pageSize > m.sys[k-1].Load().end() {
		at, size := uint64(sysBase), uint64(sysFirst)
		if k > 0 {
			last := m.sys[k-1].Load()
			at, size = last.end(), 2*uint64(len(last.bytes))
		}
		if size = min(size, sysLimit-at); k == maxSysChunks || size < n*pageSize {
			return 0, fmt.Errorf("page tables of more than %d MiB: %w", (sysLimit-sysBase)>>20, unix.ENOMEM)
		}
		b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
		if err != nil {
			return 0, fmt.Errorf("mapping memory for page tables: %w", err)
		}
		if err := m.slot(at, size, addressOf(b)); err != nil {
			unix.Munmap(b)
			return 0, err
		}
		m.sys[k].Store(&sysChunk{at, b})
		m.sysNext = at
	}
	p := m.sysNext
	m.sysNext += n * pageSize
	return p, nil
}

func (c *sysChunk) end() uint64 { return c.at + uint64(len(c.bytes)) }

// sysPage is a page of our own, by its guest-physical address. Each chunk is
// twice as large as the one before.
func (m *machine) sysPage(at uint64) []byte { return m.sysBytes(at, pageSize) }

// sysBytes are pages of our own in a row.
func (m *machine) sysBytes(at, n uint64) []byte {
	c := m.sys[bits.Len64((at-sysBase)/sysFirst+1)-1].Load()
	return c.bytes[at-c.at:][:n:n]
}

func (m *machine) table(at uint64) *table { return asTable(m.sysPage(at)) }

// giveBack takes page tables back, which no vCPU will use before it loads CR3. A
// host with shadows knows them by their addresses, with what was in them, so that
// they must not become other tables before it forgot them.
func (m *machine) giveBack(c *change) error {
	if len(c.tables) == 0 && c.root == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &m.tainted
	t.tables = append(t.tables, c.tables...)
	if c.root != 0 {
		t.roots = append(t.roots, c.root)
	}
	if m.shadows {
		if len(t.tables)+len(t.roots) < maxTainted {
			return nil
		}
		if err := m.forgetShadowsLocked(); err != nil {
			return err
		}
	}
	m.free, m.roots = append(m.free, t.tables...), append(m.roots, t.roots...)
	t.tables, t.roots = t.tables[:0], t.roots[:0]
	return nil
}

// forgetShadowsLocked makes a host that keeps copies of our page tables drop all of
// them: it does that when a slot goes.
func (m *machine) forgetShadowsLocked() error {
	r := &memoryRegion{slot: m.nextSlot, guest: dummyAddress, size: pageSize, userspace: addressOf(m.sys[0].Load().bytes)}
	if err := ioctlPtr(m.vmFD, ioSetMemory, r); err != nil {
		return fmt.Errorf("adding a memory slot: %w", err)
	}
	r.size = 0
	if err := ioctlPtr(m.vmFD, ioSetMemory, r); err != nil {
		return fmt.Errorf("removing a memory slot: %w", err)
	}
	m.counts.shadowDrops.Add(1)
	return nil
}

// close gives everything back. No vCPU is left.
func (m *machine) close() {
	if m.vmFD >= 0 {
		unix.Close(m.vmFD)
	}
	if m.kvmFD >= 0 {
		unix.Close(m.kvmFD)
	}
	for i := range m.sys {
		if c := m.sys[i].Swap(nil); c != nil {
			unix.Munmap(c.bytes)
		}
	}
	if m.view != 0 {
		unmapFile(m.view, m.fileSize)
		m.view = 0
	}
}

// kernelAtLeast says whether the host's kernel is of a version, or a later one.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}
