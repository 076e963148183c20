package proc_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

func BenchmarkNew(b *testing.B) {
	w := newWorld(b)
	b.ReportAllocs()
	for b.Loop() {
		w.newProc(nil)
	}
}

// BenchmarkStat opens, reads and closes /proc/PID/stat, as ps does for each process.
func BenchmarkStat(b *testing.B) {
	w := newWorld(b)
	a := w.start("a", []string{"a"}, nil)
	c := a.caller()
	buf := [][]byte{make([]byte, 1024)}
	b.ReportAllocs()
	for b.Loop() {
		f, err := c.Open(nil, "/proc/2/stat", vfs.OpenHow{Flags: unix.O_RDONLY})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Read(buf); err != nil {
			b.Fatal(err)
		}
		f.DecRef()
	}
}
