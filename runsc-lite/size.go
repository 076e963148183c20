package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeFlag is a number of bytes: 1000, 64K, 512M, 2G or 1T, of 1,024 each.
type sizeFlag uint64

// Set implements flag.Value.
func (s *sizeFlag) Set(text string) error {
	digits := strings.TrimRight(text, "BbIi")
	shift := 0
	if n := len(digits); n > 0 {
		if i := strings.IndexByte("KMGT", digits[n-1]&^0x20); i >= 0 {
			shift, digits = 10*(i+1), digits[:n-1]
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || n > math.MaxUint64>>shift {
		return fmt.Errorf("%q is no size, such as 512M or 2G", text)
	}
	*s = sizeFlag(n << shift)
	return nil
}

func (s *sizeFlag) String() string {
	if *s == 0 {
		return ""
	}
	return size(uint64(*s))
}
