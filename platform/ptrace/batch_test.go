package ptrace

import (
	"bytes"
	"testing"
)

// TestBatchEnd holds batchEnd to the code: TESTQ BP, BP.
func TestBatchEnd(t *testing.T) {
	if got := stubText()[batchEnd:][:3]; !bytes.Equal(got, []byte{0x48, 0x85, 0xed}) {
		t.Errorf("% x at the end of the batch", got)
	}
}
