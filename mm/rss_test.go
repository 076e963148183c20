package mm

import (
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/hostarch"
)

// TestResidentWithin: counted where there is time for it, and an upper bound otherwise.
func TestResidentWithin(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	mapAt(t, s, testAddr, 3*anonChunk/pageSize, MmapOptions{Prot: hostarch.ReadWrite})
	for i := range hostarch.Addr(5) {
		at := testAddr + i*anonChunk/2
		if err := s.Fault(at, hostarch.Write, &g.faults); err != nil && s.extentAt(at) == nil {
			t.Fatal(err)
		}
		if _, err := s.CopyOut(at, []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if n, exact := s.ResidentWithin(time.Second); n != 5*pageSize || !exact {
		t.Errorf("%d bytes, exact %v, want %d", n, exact, 5*pageSize)
	}
	if n, exact := s.ResidentWithin(10 * time.Microsecond); n != 3*anonChunk || exact {
		t.Errorf("in a hurry: %d bytes, exact %v, want %d", n, exact, 3*anonChunk)
	}
	s.DecUsers()
	if n, _ := s.ResidentWithin(0); n != 0 {
		t.Errorf("%d bytes when it is gone", n)
	}
}
