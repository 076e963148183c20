package kvm

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

func newPlatform(tb testing.TB, memoryFD int) platform.Platform {
	return newKVM(tb, Config{MemoryFD: memoryFD})
}

// oneVCPU is the platform with a single run slot.
func oneVCPU(tb testing.TB, memoryFD int) platform.Platform {
	return newKVM(tb, Config{MemoryFD: memoryFD, VCPUs: 1})
}

// newKVM makes the platform. Without the device nothing is tested, unless
// RUNSC_LITE_KVM is set: then that is a failure.
func newKVM(tb testing.TB, c Config) *KVM {
	tb.Helper()
	p, err := New(c)
	switch {
	case errors.Is(err, unix.ENOENT) && os.Getenv("RUNSC_LITE_KVM") == "":
		tb.Skipf("NOT TESTED: %v", err)
	case err != nil:
		tb.Fatal(err)
	}
	return p
}

func TestPlatform(t *testing.T) { platformtest.Run(t, newPlatform) }
