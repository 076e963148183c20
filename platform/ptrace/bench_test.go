package ptrace

import (
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

func setup(t testing.TB) (*Ptrace, int) {
	fd, err := unix.MemfdCreate("m", 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Ftruncate(fd, 1<<30)
	// mov eax,39; syscall; jmp -9
	unix.Pwrite(fd, []byte{0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7}, 0)
	p, err := New(Config{MemoryFD: fd})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); unix.Close(fd) })
	return p, fd
}

func BenchmarkNull(b *testing.B) {
	p, _ := setup(b)
	as, _ := p.NewAddressSpace()
	as.Map(0x10000, 4096, 0, hostarch.ReadExecute)
	done := make(chan struct{})
	err := p.Spawn(nil, as, func(c platform.Context) {
		defer close(done)
		c.Registers().Rip = 0x10000
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			ex, err := c.Run(as)
			if err != nil || ex.Kind != platform.ExitSyscall {
				b.Error(ex, err)
				return
			}
			c.Registers().Rax = uint64(i)
		}
		b.StopTimer()
		as.Release()
	})
	if err != nil {
		b.Fatal(err)
	}
	<-done
}

func BenchmarkProcess(b *testing.B) {
	p, _ := setup(b)
	as, _ := p.NewAddressSpace()
	as.Map(0x10000, 4096, 0, hostarch.ReadExecute)
	done := make(chan struct{})
	p.Spawn(nil, as, func(c platform.Context) {
		defer close(done)
		c.Registers().Rip = 0x10000
		c.Run(as)
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			ch := make(chan struct{})
			n, _ := p.NewAddressSpace()
			n.Map(0x10000, 4096, 0, hostarch.ReadExecute)
			if err := p.Spawn(c, n, func(c platform.Context) {
				c.Registers().Rip = 0x10000
				ex, err := c.Run(n)
				if err != nil || ex.Kind != platform.ExitSyscall {
					b.Error(ex, err)
				}
				n.Release()
				close(ch)
			}); err != nil {
				b.Fatal(err)
			}
			<-ch
		}
		b.StopTimer()
		as.Release()
	})
	<-done
}
