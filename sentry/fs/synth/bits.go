package synth

import (
	"fmt"
	"strings"
)

// Sets of processors and memory nodes: 64 bits a word.

// FirstBits is a set of the first n bits.
func FirstBits(n int) []uint64 {
	set := make([]uint64, (n+63)/64)
	for i := range n {
		set[i/64] |= 1 << (i % 64)
	}
	return set
}

// InSet reports whether bit i is in set.
func InSet(set []uint64, i int) bool { return i/64 < len(set) && set[i/64]>>(i%64)&1 != 0 }

// Bitmap spells the first n bits of a set as the kernel's %*pb: groups of 32 bits
// with a comma between them.
func Bitmap(set []uint64, n int) string {
	var b strings.Builder
	for digit := (n - 1) / 4; digit >= 0; digit-- {
		v := 0
		for i := range 4 {
			if at := digit*4 + i; at < n && InSet(set, at) {
				v |= 1 << i
			}
		}
		b.WriteByte("0123456789abcdef"[v])
		if digit%8 == 0 && digit > 0 {
			b.WriteByte(',')
		}
	}
	return b.String()
}

// Ranges spells the first n bits of a set as the kernel's %*pbl: "0-3,8".
func Ranges(set []uint64, n int) string {
	var parts []string
	for i := 0; i < n; i++ {
		if !InSet(set, i) {
			continue
		}
		first := i
		for i+1 < n && InSet(set, i+1) {
			i++
		}
		if first == i {
			parts = append(parts, fmt.Sprint(first))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", first, i))
		}
	}
	return strings.Join(parts, ",")
}
