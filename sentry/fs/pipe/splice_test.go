package pipe

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"runsc-lite/sentry/vfs"
)

// TestHostSplice compares splice(2), tee(2) and vmsplice(2) between two pipes with
// the host's.
func TestHostSplice(t *testing.T) { rapid.Check(t, differSplice) }

func FuzzHostSplice(f *testing.F) { f.Fuzz(rapid.MakeFuzz(differSplice)) }

func differSplice(t *rapid.T) {
	var b [2]*both
	pool := NewPool(nil)
	for i := range b {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		b[i] = &both{hr: fds[0], hw: fds[1]}
		b[i].r, b[i].w = pool.Create(unix.O_NONBLOCK, 0, 0)
		defer func() {
			unix.Close(b[i].hr)
			unix.Close(b[i].hw)
			b[i].r.DecRef()
			b[i].w.DecRef()
		}()
		slots := rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "slots")
		if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, slots*PageSize); err != nil {
			t.Skip(err)
		}
		if _, err := Of(b[i].w).SetCapacity(int64(slots*PageSize), false); err != nil {
			t.Fatal(err)
		}
	}
	size := rapid.OneOf(rapid.IntRange(1, 300), rapid.IntRange(PageSize-2, PageSize+2), rapid.IntRange(1, 5*PageSize))
	which := rapid.IntRange(0, 1)
	move := func(t *rapid.T, ours func(*Pipe, *Room, int64) (int64, error), theirs func(r, w int, n int) (int64, error)) {
		i, n := which.Draw(t, "from"), size.Draw(t, "n")
		from, to := b[i], b[1-i]
		got, err := int64(0), Of(from.r).Readable()
		if err == nil {
			var room *Room
			if room, err = Of(to.w).Reserve(MaxSize); err == nil {
				got, err = ours(Of(from.r), room, int64(n))
			}
		}
		want, wantErr := theirs(from.hr, to.hw, n)
		if got != max(want, 0) || errno(err) != errno(wantErr) {
			t.Fatalf("%d bytes: %d, %v; the host: %d, %v", n, got, err, want, wantErr)
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"write": func(t *rapid.T) { b[which.Draw(t, "to")].write(t, size.Draw(t, "n")) },
		"read":  func(t *rapid.T) { b[which.Draw(t, "from")].read(t, size.Draw(t, "n")) },
		"splice": func(t *rapid.T) {
			move(t, (*Pipe).Move, func(r, w, n int) (int64, error) { return unix.Splice(r, nil, w, nil, n, 0) })
		},
		"tee": func(t *rapid.T) {
			move(t, (*Pipe).Copy, func(r, w, n int) (int64, error) { return unix.Tee(r, w, n, 0) })
		},
		"": func(t *rapid.T) {
			for i := range b {
				b[i].check(t)
				if p := Of(b[i].r); p.reserved != 0 || p.lent {
					t.Fatalf("%d slots are promised, lent: %v", p.reserved, p.lent)
				}
			}
		},
	})
}

// TestLoan takes bytes out, and gives some back.
func TestLoan(t *testing.T) {
	r, w := ends(t, 0)
	defer r.DecRef()
	p := Of(r)
	if Of(w) != p {
		t.Fatal("the ends are of two pipes")
	}
	if _, err := p.Take(10); err != unix.EAGAIN {
		t.Fatalf("nothing to take: %v", err)
	}
	text := bytes.Repeat([]byte("0123456789"), 1000)
	mustWrite(t, w, text)
	l, err := p.Take(9000)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Join(l.Buffers(), nil); !bytes.Equal(got, text[:9000]) {
		t.Errorf("took %d bytes", len(got))
	}
	if _, err := p.Take(1); err != unix.EAGAIN {
		t.Errorf("taken twice: %v", err)
	}
	if _, err := r.Read(bufs(make([]byte, 1))); err != unix.EAGAIN {
		t.Errorf("read past a loan: %v", err)
	}
	wantReady(t, r, 0)
	mustWrite(t, w, []byte("end"))
	l.Return(5000)
	if got := mustRead(t, r, 20000); string(got) != string(text[5000:])+"end" {
		t.Errorf("%d bytes are left", len(got))
	}
	w.DecRef()
	if l, err := p.Take(1); l != nil || err != nil {
		t.Errorf("at the end: %v, %v", l, err)
	}
}

// TestRoom fills a pipe by its pages, as far as was promised.
func TestRoom(t *testing.T) {
	r, w := ends(t, 0)
	p := Of(w)
	if _, err := p.SetCapacity(2*PageSize, false); err != nil {
		t.Fatal(err)
	}
	room, err := p.Reserve(100)
	if err != nil || len(room.Buffers()) != 2 {
		t.Fatalf("%v, %v", room, err)
	}
	if _, err := w.Write(nil, bufs([]byte("x")), -1); err != unix.EAGAIN {
		t.Errorf("write into what is promised: %v", err)
	}
	if _, err := p.Reserve(1); err != unix.EAGAIN {
		t.Errorf("promised twice: %v", err)
	}
	copy(room.Buffers()[0], "abc")
	room.Fill(3)
	mustWrite(t, w, []byte("def"))
	if got := mustRead(t, r, 10); string(got) != "abcdef" {
		t.Errorf("read %q", got)
	}
	if room, err = p.Reserve(1); err != nil {
		t.Fatal(err)
	}
	r.DecRef()
	if _, err := p.Reserve(1); err != unix.EPIPE {
		t.Errorf("nobody reads: %v", err)
	}
	w.DecRef()
	room.Buffers()
	room.Fill(1)
	if p.used != 0 || p.reserved != 0 {
		t.Errorf("%d, %d: the pipe is gone", p.used, p.reserved)
	}
}

func TestOfOthers(t *testing.T) {
	f := vfs.NewFile(nil, &vfs.AnonInode{}, 0, "x")
	if Of(f) != nil {
		t.Error("a pipe")
	}
}
