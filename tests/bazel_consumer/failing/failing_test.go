// Package failing fails.
package failing

import (
	"syscall"
	"testing"
)

func TestSum(t *testing.T) {
	if _, _, errno := syscall.Syscall(510, 0, 0, 0); errno != syscall.ENOSYS {
		t.Error(errno)
	}
	if got := 1 + 1; got != 3 {
		t.Errorf("the sum is %d, want 3", got)
	}
}
