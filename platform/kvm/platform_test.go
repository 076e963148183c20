package kvm

import (
	"testing"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

func newPlatform(tb testing.TB, memoryFD int) platform.Platform {
	p, err := New(Config{MemoryFD: memoryFD})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestPlatform(t *testing.T) { platformtest.Run(t, newPlatform) }
