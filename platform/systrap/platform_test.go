package systrap

import (
	"testing"

	"runsc-lite/platform"
	"runsc-lite/platform/platformtest"
)

func newPlatform(c Config) func(testing.TB, int) platform.Platform {
	return func(tb testing.TB, memoryFD int) platform.Platform {
		c.MemoryFD = memoryFD
		p, err := New(c)
		if err != nil {
			tb.Fatal(err)
		}
		return p
	}
}

func TestPlatform(t *testing.T) { platformtest.Run(t, newPlatform(Config{})) }

func TestPlatformNoPatch(t *testing.T) { platformtest.Run(t, newPlatform(Config{NoPatch: true})) }
