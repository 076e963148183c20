package procmgr

import "math/bits"

// bitset is a set of small numbers that finds the next one outside of it in a few
// steps, however full it is: above the words of bits lie words that say which words
// below are full, and so on.
type bitset struct {
	levels [][]uint64
	size   int
}

// newBitset makes an empty set of numbers below size.
func newBitset(size int) bitset {
	b := bitset{size: size}
	for n := size; ; {
		n = (n + 63) / 64
		b.levels = append(b.levels, make([]uint64, n))
		if n == 1 {
			return b
		}
	}
}

func (b *bitset) has(i int) bool { return b.levels[0][i/64]>>(i%64)&1 != 0 }

func (b *bitset) add(i int) {
	for _, l := range b.levels {
		l[i/64] |= 1 << (i % 64)
		if l[i/64] != ^uint64(0) {
			return
		}
		i /= 64
	}
}

func (b *bitset) remove(i int) {
	for _, l := range b.levels {
		full := l[i/64] == ^uint64(0)
		l[i/64] &^= 1 << (i % 64)
		if !full {
			return
		}
		i /= 64
	}
}

// next returns the lowest number from i on that is not in the set, -1 if there is
// none below size.
func (b *bitset) next(i int) int {
	level := 0
	for {
		if level == len(b.levels) || i/64 >= len(b.levels[level]) {
			return -1
		}
		l := b.levels[level]
		if free := ^l[i/64] >> (i % 64) << (i % 64); free != 0 {
			i = i&^63 + bits.TrailingZeros64(free)
			break
		}
		i = i/64 + 1
		level++
	}
	for ; level > 0; level-- {
		if i >= len(b.levels[level-1]) {
			return -1
		}
		i = i*64 + bits.TrailingZeros64(^b.levels[level-1][i])
	}
	if i >= b.size {
		return -1
	}
	return i
}
