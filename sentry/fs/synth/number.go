package synth

import (
	"bytes"
	"math"
	"strconv"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

// maxNumber is how much a write of numbers may be, in bytes.
const maxNumber = 4096

// Numbers makes a file that holds numbers, separated by tabs, which root may change
// (proc_doulongvec_minmax): as many as are written, from the first on. EINVAL: what
// was written is no number, or set refuses it. A nil set makes the file read-only.
func Numbers(path string, get func() []int64, set func([]int64) error) Leaf {
	read := Text(func(b *bytes.Buffer) error {
		for i, n := range get() {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(strconv.FormatInt(n, 10))
		}
		b.WriteByte('\n')
		return nil
	})
	if set == nil {
		return Leaf{Path: path, Open: read.Open}
	}
	return Leaf{Path: path, Mode: 0o644, Open: Writable(read.Open, maxNumber, func(c *vfs.Caller) WriteFunc {
		return func(p []byte) error {
			if c != nil && c.Creds.UID != 0 {
				return unix.EPERM
			}
			now, fields := get(), bytes.Fields(p)
			if len(fields) == 0 || len(fields) > len(now) {
				return unix.EINVAL
			}
			for i, f := range fields {
				n, err := strconv.ParseInt(string(f), 0, 64)
				if err != nil {
					return unix.EINVAL
				}
				now[i] = n
			}
			return set(now)
		}
	})}
}

// Limit is a set for Numbers that stores one number of 0 to math.MaxInt32.
func Limit(store func(int64)) func([]int64) error {
	return func(n []int64) error {
		if n[0] < 0 || n[0] > math.MaxInt32 {
			return unix.EINVAL
		}
		store(n[0])
		return nil
	}
}
