//go:build !race

package unix_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/socket"
	local "runsc-lite/sentry/socket/unix"
)

func TestWritingAllocatesNothing(t *testing.T) {
	n := local.NewNamespace(new(socket.Numbers))
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
		for _, size := range []int{1, 4000, 16000} {
			a, b := pair(t, n, typ)
			out, in := [][]byte{make([]byte, size)}, [][]byte{make([]byte, size)}
			got := testing.AllocsPerRun(200, func() {
				if _, err := a.Write(out); err != nil {
					t.Fatal(err)
				}
				if _, err := b.Read(in); err != nil {
					t.Fatal(err)
				}
			})
			if got > 0.5 { // a collection may empty the pools
				t.Errorf("type %d, %d bytes: %v allocations", typ, size, got)
			}
		}
	}
}
