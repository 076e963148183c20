package loader

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callable makes a Go function of a C function with up to two arguments in
// executable memory at code. The C function must not use the stack, nor more
// registers than a Go function may change.
func callable(tb testing.TB, code uintptr) func(a, b unsafe.Pointer) int64 {
	tb.Helper()
	page, err := unix.Mmap(-1, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		tb.Skipf("no executable memory: %v", err)
	}
	tb.Cleanup(func() { unix.Munmap(page) })
	// MOVQ AX, DI; MOVQ BX, SI; MOVQ $code, AX; JMP AX
	b := append([]byte{0x48, 0x89, 0xC7, 0x48, 0x89, 0xDE, 0x48, 0xB8}, le(uint64(code))...)
	copy(page, append(b, 0xFF, 0xE0))
	entry := &struct{ pc unsafe.Pointer }{unsafe.Pointer(&page[0])}
	var fn func(a, b unsafe.Pointer) int64
	*(*unsafe.Pointer)(unsafe.Pointer(&fn)) = unsafe.Pointer(entry)
	return fn
}

// vdsoCalls are the functions of a vDSO in this process.
type vdsoCalls struct {
	fns map[string]func(a, b unsafe.Pointer) int64
}

// enter maps v into this process, as the host's kernel sees it.
func enter(tb testing.TB, v *VDSO, at map[string]uint64) vdsoCalls {
	tb.Helper()
	b, err := unix.Mmap(v.file.FD(), int64(v.r.Start), int(v.r.Length()), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Munmap(b) })
	base := uintptr(unsafe.Pointer(&b[pageSize]))
	c := vdsoCalls{map[string]func(a, b unsafe.Pointer) int64{}}
	for name, addr := range at {
		c.fns[name] = callable(tb, base+uintptr(addr))
	}
	return c
}

func small(n uint64) unsafe.Pointer {
	var p unsafe.Pointer
	*(*uint64)(unsafe.Pointer(&p)) = n
	return p
}

func (c vdsoCalls) gettime(id int32, ts *[2]int64) int64 {
	return c.fns["__vdso_clock_gettime"](small(uint64(uint32(id))), unsafe.Pointer(ts))
}

func (c vdsoCalls) getres(id int32, ts *[2]int64) int64 {
	return c.fns["__vdso_clock_getres"](small(uint64(uint32(id))), unsafe.Pointer(ts))
}

func (c vdsoCalls) gettimeofday(tv, tz *[2]int64) int64 {
	return c.fns["__vdso_gettimeofday"](unsafe.Pointer(tv), unsafe.Pointer(tz))
}

func (c vdsoCalls) time(t *int64) int64 { return c.fns["__vdso_time"](unsafe.Pointer(t), nil) }

func (c vdsoCalls) getcpu(cpu, node *uint32) int64 {
	return c.fns["__vdso_getcpu"](unsafe.Pointer(cpu), unsafe.Pointer(node))
}
