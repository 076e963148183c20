package kvm

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"
)

// Requests of KVM's API, Linux's Documentation/virt/kvm/api.rst.
const (
	ioGetAPIVersion    = 0xae00
	ioCreateVM         = 0xae01
	ioCheckExtension   = 0xae03
	ioGetVCPUMmapSize  = 0xae04
	ioGetSupportedID   = 0xc008ae05
	ioCreateVCPU       = 0xae41
	ioSetMemory        = 0x4020ae46
	ioSetTSSAddr       = 0xae47
	ioSetIdentityAddr  = 0x4008ae48
	ioRun              = 0xae80
	ioGetSRegs         = 0x8138ae83
	ioSetSRegs         = 0x4138ae84
	ioSetMSRs          = 0x4008ae89
	ioSetCPUID         = 0x4008ae90
	ioGetXSave         = 0x9000aea4
	ioSetXSave         = 0x5000aea5
	ioSetXCRs          = 0x4188aea7
	ioGetEvents        = 0x8040ae9f
	ioSetEvents        = 0x4040aea0
	ioGetXSave2        = 0x9000aecf
	ioSetDeviceAttr    = 0x4018aee1
	apiVersion         = 12
	capNrMemslots      = 10
	capSyncRegs        = 74
	capImmediateExit   = 136
	capXSave2          = 208
	syncRegs           = 1 // KVM_SYNC_X86_REGS
	syncSRegs          = 2 // KVM_SYNC_X86_SREGS
	vcpuTSCCtrl        = 0 // KVM_VCPU_TSC_CTRL
	vcpuTSCOffset      = 0 // KVM_VCPU_TSC_OFFSET
	xsaveMin           = 4096
	maxCPUIDEntries    = 256
	exitIO             = 2
	exitShutdown       = 8
	exitFailEntry      = 9
	exitIntr           = 10
	exitInternalError  = 17
	exitMemoryFault    = 39
	immediateExit      = 1 << 8 // of head
	eventsShadow       = 4      // KVM_VCPUEVENT_VALID_SHADOW
	maxDescriptorLimit = 0xffffffff
)

// segment is struct kvm_segment.
type segment struct {
	base                           uint64
	limit                          uint32
	selector                       uint16
	typ, present, dpl, db, s, l, g uint8
	avl, unusable, _               uint8
}

// descriptorTable is struct kvm_dtable.
type descriptorTable struct {
	base  uint64
	limit uint16
	_     [3]uint16
}

// generalRegs is struct kvm_regs.
type generalRegs struct {
	rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp uint64
	r8, r9, r10, r11, r12, r13, r14, r15   uint64
	rip, rflags                            uint64
}

// systemRegs is struct kvm_sregs.
type systemRegs struct {
	cs, ds, es, fs, gs, ss, tr, ldt         segment
	gdt, idt                                descriptorTable
	cr0, cr2, cr3, cr4, cr8, efer, apicBase uint64
	interruptBitmap                         [4]uint64
}

// runPage is the head of struct kvm_run, which the host shares with us.
type runPage struct {
	head       uint32 // request_interrupt_window, immediate_exit, padding
	_          uint32
	exitReason uint32
	_          uint8
	ifFlag     uint8
	_          uint16
	cr8        uint64
	apicBase   uint64
	union      [256]byte
	validRegs  uint64
	dirtyRegs  uint64
	regs       generalRegs
	sregs      systemRegs
}

// io reads what KVM_EXIT_IO says.
func (r *runPage) io() (out bool, size uint8, port uint16) {
	return r.union[0] == 1, r.union[1], *(*uint16)(unsafe.Pointer(&r.union[2]))
}

// word reads the union as numbers, for messages.
func (r *runPage) word(i int) uint64 { return *(*uint64)(unsafe.Pointer(&r.union[8*i])) }

// setImmediate makes KVM_RUN return at once, or not. Only it is in that word.
func (r *runPage) setImmediate(on bool) {
	v := uint32(0)
	if on {
		v = immediateExit
	}
	atomic.StoreUint32(&r.head, v)
}

// memoryRegion is struct kvm_userspace_memory_region.
type memoryRegion struct {
	slot, _                uint32
	guest, size, userspace uint64
}

// cpuidEntry is struct kvm_cpuid_entry2.
type cpuidEntry struct {
	function, index, _ uint32
	eax, _, ecx, edx   uint32
	_                  [3]uint32
}

type cpuidTable struct {
	n, _    uint32
	entries [maxCPUIDEntries]cpuidEntry
}

type msrEntry struct {
	index, _ uint32
	data     uint64
}

type msrTable struct {
	n, _    uint32
	entries [8]msrEntry
}

type xcrTable struct {
	n, _ uint32
	xcrs [16]struct {
		xcr, _ uint32
		value  uint64
	}
	_ [16]uint64
}

type deviceAttr struct {
	_, group   uint32
	attr, addr uint64
}

// vcpuEvents is struct kvm_vcpu_events.
type vcpuEvents struct {
	exception struct {
		injected, nr, hasErrorCode, pending uint8
		errorCode                           uint32
	}
	interrupt struct {
		injected, nr, soft, shadow uint8
	}
	_, _  uint32 // NMI, SIPI
	flags uint32
	_     [40]byte
}

// noEvents is the state without any.
func noEvents() *vcpuEvents { return &vcpuEvents{flags: eventsShadow} }

// ioctl makes a request with a number as its argument.
func ioctl(fd int, req, arg uintptr) (uintptr, error) {
	for {
		r, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), req, arg)
		switch e {
		case 0:
			return r, nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// ioctlPtr makes a request with a pointer as its argument.
func ioctlPtr[T any](fd int, req uintptr, arg *T) error {
	for {
		_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(arg)))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return e
		}
	}
}

// ioctlCount is ioctlPtr, and returns the result.
func ioctlCount[T any](fd int, req uintptr, arg *T) (int, error) {
	n, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(arg)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// enterGuest is KVM_RUN. The Go scheduler knows of it: a guest may compute for
// long.
func enterGuest(fd int) unix.Errno {
	_, _, e := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), ioRun, 0)
	return e
}

// tscOffsetZero makes the guest's time stamp counter the host's.
func tscOffsetZero(fd int) error {
	offset := new(uint64)
	a := &deviceAttr{group: vcpuTSCCtrl, attr: vcpuTSCOffset, addr: uint64(uintptr(unsafe.Pointer(offset)))}
	return ioctlPtr(fd, ioSetDeviceAttr, a)
}

// mapRun maps the page that is shared with the host.
func mapRun(fd, size int) (*runPage, []byte, error) {
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return (*runPage)(unsafe.Pointer(&b[0])), b, nil
}

// addressOf is where the host has mapped memory.
func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// mapFile maps size bytes of the memory file.
func mapFile(fd int, size uint64) (uintptr, error) {
	a, _, e := unix.Syscall6(unix.SYS_MMAP, 0, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE, uintptr(fd), 0)
	if e != 0 {
		return 0, e
	}
	return a, nil
}

func unmapFile(at uintptr, size uint64) {
	unix.Syscall(unix.SYS_MUNMAP, at, uintptr(size), 0)
}

// dropFile removes the host's page table entries of a range of a file's mapping,
// and with them all that was made of these. The file keeps its contents.
func dropFile(at uintptr, length uint64) error {
	_, _, e := unix.Syscall(unix.SYS_MADVISE, at, uintptr(length), unix.MADV_DONTNEED)
	if e != 0 {
		return fmt.Errorf("dropping %#x bytes at %#x: %w", length, at, e)
	}
	return nil
}

// fileBytes is memory of the memory file's mapping.
func fileBytes(at uintptr, n int) []byte { return unsafe.Slice((*byte)(pointer(at)), n) }

// pointer keeps vet from taking an address of the host's for one of Go's.
func pointer(at uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&at)) }

// asTable looks at a page as a page table.
func asTable(b []byte) *table { return (*table)(unsafe.Pointer(&b[0])) }

// asData looks at a page as a vCPU's data page.
func asData(b []byte) *vcpuData { return (*vcpuData)(unsafe.Pointer(&b[0])) }

// asFrame looks at the end of a page as what the processor pushed there.
func asFrame(page []byte) *frame {
	return (*frame)(unsafe.Pointer(&page[hostarch.PageSize-unsafe.Sizeof(frame{})]))
}

func tgkill(pid, tid int, sig unix.Signal) {
	unix.RawSyscall(unix.SYS_TGKILL, uintptr(pid), uintptr(tid), uintptr(sig))
}

// signalThreads sends the kick to all threads of ours.
func signalThreads(pid int) {
	dir, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, d := range dir {
		if tid, err := strconv.Atoi(d.Name()); err == nil {
			tgkill(pid, tid, kickSignal)
		}
	}
}

func gettid() int32 {
	t, _, _ := unix.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
	return int32(t)
}
