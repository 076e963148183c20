package pipe

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/waiter"
	"pgregory.net/rapid"

	"runsc-lite/sentry/vfs"
)

// both is a pipe of ours and one of the host's, to which the same is done.
type both struct {
	r, w       *vfs.File
	hr, hw     int
	next       byte // written next
	readClosed bool
	written    bool // closed
}

func errno(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

func (b *both) write(t *rapid.T, n int) {
	data := make([]byte, n)
	for i := range data {
		data[i] = b.next
		b.next++
	}
	// In pieces, for that makes no difference.
	cut := n / 3
	got, err := b.w.Write(nil, [][]byte{data[:cut], {}, data[cut:]}, -1)
	want, wantErr := unix.Write(b.hw, data)
	if wantErr != nil {
		want = 0
	}
	if int(got) != want || errno(err) != errno(wantErr) {
		t.Fatalf("write of %d = %d, %v; the host's = %d, %v", n, got, err, want, wantErr)
	}
}

func (b *both) read(t *rapid.T, n int) {
	mine, theirs := make([]byte, n), make([]byte, n)
	cut := n / 3
	got, err := b.r.Read([][]byte{mine[:cut], {}, mine[cut:]})
	want, wantErr := unix.Read(b.hr, theirs)
	if wantErr != nil {
		want = 0
	}
	if int(got) != want || errno(err) != errno(wantErr) {
		t.Fatalf("read of %d = %d, %v; the host's = %d, %v", n, got, err, want, wantErr)
	}
	if !bytes.Equal(mine, theirs) {
		t.Fatalf("read of %d: other bytes than the host's", n)
	}
}

func (b *both) check(t *rapid.T) {
	const all = unix.POLLIN | unix.POLLOUT | unix.POLLHUP | unix.POLLERR | unix.POLLRDHUP | unix.POLLPRI
	pf := []unix.PollFd{{Fd: -1, Events: all}, {Fd: -1, Events: all}}
	if !b.readClosed {
		pf[0].Fd = int32(b.hr)
	}
	if !b.written {
		pf[1].Fd = int32(b.hw)
	}
	for {
		// A signal of the runtime may interrupt it.
		if _, err := unix.Poll(pf, 0); err == nil {
			break
		} else if err != unix.EINTR {
			t.Fatal(err)
		}
	}
	for i, f := range []*vfs.File{b.r, b.w} {
		if pf[i].Fd < 0 {
			continue
		}
		if got := f.Readiness(waiter.EventMaskFromLinux(all)).ToLinux(); got != uint32(pf[i].Revents) {
			t.Fatalf("end %d is ready for %#x, the host's for %#x", i, got, pf[i].Revents)
		}
		n, err := unix.IoctlGetInt(int(pf[i].Fd), unix.TIOCINQ)
		if got := f.Ops().(*end).Buffered(); err != nil || got != n {
			t.Fatalf("%d bytes are in it, in the host's %d, %v", got, n, err)
		}
	}
}

// TestHost compares with the host's pipes: how much fits, what is read, and when
// an end is ready.
func TestHost(t *testing.T) { rapid.Check(t, differ) }

func FuzzHost(f *testing.F) { f.Fuzz(rapid.MakeFuzz(differ)) }

func differ(t *rapid.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	b := &both{hr: fds[0], hw: fds[1]}
	b.r, b.w = NewPool(nil).Create(unix.O_NONBLOCK, 0, 0)
	defer func() {
		if !b.readClosed {
			unix.Close(b.hr)
			b.r.DecRef()
		}
		if !b.written {
			unix.Close(b.hw)
			b.w.DecRef()
		}
	}()
	if n, err := unix.FcntlInt(uintptr(b.hr), unix.F_GETPIPE_SZ, 0); err != nil || n != DefaultSlots*PageSize {
		t.Skip("the host's pipes have another size")
	}
	size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(PageSize-2, PageSize+2),
		rapid.SampledFrom([]int{2 * PageSize, 5000, 10000, 65535, 65536, 70000}))
	t.Repeat(map[string]func(*rapid.T){
		"write": func(t *rapid.T) {
			if b.written {
				t.Skip("closed")
			}
			b.write(t, size.Draw(t, "n"))
		},
		"read": func(t *rapid.T) {
			if b.readClosed {
				t.Skip("closed")
			}
			b.read(t, size.Draw(t, "n"))
		},
		"resize": func(t *rapid.T) {
			if b.written {
				t.Skip("closed")
			}
			n := rapid.SampledFrom([]int{0, 1, 4096, 4097, 16384, 65536, 131072}).Draw(t, "n")
			got, err := b.w.Ops().(*end).SetCapacity(int64(n), false)
			want, wantErr := unix.FcntlInt(uintptr(b.hw), unix.F_SETPIPE_SZ, n)
			if wantErr == unix.EPERM {
				t.Skip("the user's pipes have too much")
			}
			if wantErr != nil {
				want = 0
			}
			if int(got) != want || errno(err) != errno(wantErr) {
				t.Fatalf("resize to %d = %d, %v; the host's = %d, %v", n, got, err, want, wantErr)
			}
		},
		"packets": func(t *rapid.T) {
			if b.written {
				t.Skip("closed")
			}
			flags := unix.O_NONBLOCK
			if rapid.Bool().Draw(t, "on") {
				flags |= unix.O_DIRECT
			}
			if _, err := unix.FcntlInt(uintptr(b.hw), unix.F_SETFL, flags); err != nil {
				t.Fatal(err)
			}
			if err := b.w.SetFlags(uint32(flags)); err != nil {
				t.Fatal(err)
			}
		},
		"close": func(t *rapid.T) {
			switch rapid.IntRange(0, 20).Draw(t, "which") {
			case 0:
				if !b.readClosed {
					b.readClosed = true
					unix.Close(b.hr)
					b.r.DecRef()
				}
			case 1:
				if !b.written {
					b.written = true
					unix.Close(b.hw)
					b.w.DecRef()
				}
			default:
				t.Skip("not now")
			}
		},
		"": b.check,
	})
}
