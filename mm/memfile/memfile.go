// Package memfile is the sandbox's one memory file.
//
// All guest memory (anonymous memory, page cache, tmpfs contents) lives in one
// memfd, which the sentry maps once, whole, and which platforms map piecewise
// into guests. A Range of it is an extent; every page of it has a reference
// count, and goes back to the host when the count falls to zero.
package memfile

// Range is [Start, End) in the memory file, in bytes, page-aligned.
type Range struct{ Start, End uint64 }

// Length returns the number of bytes in r.
func (r Range) Length() uint64 { return r.End - r.Start }
