package sandbox

import "unsafe"

// pointer is the address of v for a system call, during which v is kept alive.
func pointer[T any](v *T) uintptr { return uintptr(unsafe.Pointer(v)) }
