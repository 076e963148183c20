package procmgr

import (
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestBitset compares a bitset with a map.
func TestBitset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{1, 2, 63, 64, 65, 1000, 4096, 4097, 300_000}).Draw(t, "size")
		b := newBitset(size)
		in := map[int]bool{}
		number := rapid.IntRange(0, size-1)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				n := number.Draw(t, "n")
				b.add(n)
				in[n] = true
			},
			"add many": func(t *rapid.T) {
				from := number.Draw(t, "from")
				for n := from; n < min(size, from+5000); n++ {
					b.add(n)
					in[n] = true
				}
			},
			"remove": func(t *rapid.T) {
				n := number.Draw(t, "n")
				b.remove(n)
				delete(in, n)
			},
			"": func(t *rapid.T) {
				from := rapid.IntRange(0, size).Draw(t, "from")
				want := from
				for want < size && in[want] {
					want++
				}
				if want == size {
					want = -1
				}
				if got := b.next(from); got != want {
					t.Fatalf("next(%d) = %d, want %d", from, got, want)
				}
				if n := number.Draw(t, "n"); b.has(n) != in[n] {
					t.Fatalf("has(%d) = %v", n, b.has(n))
				}
			},
		})
	})
}

func TestIDTable(t *testing.T) {
	var ids idTable
	ids.init(1000)
	put := func(nr int) {
		ids.put(nr, &id{nr: nr})
	}
	for want := 1; want < 1000; want++ {
		nr, err := ids.take(0)
		if err != nil || nr != want {
			t.Fatalf("%d, %v, want %d", nr, err, want)
		}
		put(nr)
	}
	_, err := ids.take(0)
	wantErr(t, "a full table", err, unix.EAGAIN)
	for _, nr := range []int{5, 600, 999} {
		ids.remove(nr)
		if ids.get(nr) != nil {
			t.Errorf("%d is still there", nr)
		}
	}
	// Low numbers are not used again, unless they are wanted.
	for _, want := range []int{600, 999} {
		nr, err := ids.take(0)
		if err != nil || nr != want {
			t.Fatalf("%d, %v, want %d", nr, err, want)
		}
		put(nr)
	}
	_, err = ids.take(0)
	wantErr(t, "only a low number is left", err, unix.EAGAIN)
	for nr, want := range map[int]error{5: nil, 6: unix.EEXIST, 0x7fffffff: unix.EINVAL, -1: unix.EINVAL, 1000: unix.EINVAL} {
		_, err := ids.take(nr)
		wantErr(t, "a wanted number", err, want)
	}
	for _, nr := range []int{0, -1, 1000, 1 << 40} {
		if ids.get(nr) != nil {
			t.Errorf("there is a %d", nr)
		}
	}
}

// Ids go on upwards, and begin again behind the reserved ones.
func TestReuse(t *testing.T) {
	tb := NewTable(Config{MaxPID: 400})
	p, err := tb.CreateProcess(nil, "init", 0)
	if err != nil {
		t.Fatal(err)
	}
	init := p.Leader()
	keeper := fork(t, init) // holds 2
	last := 0
	for range 1000 {
		th := fork(t, init)
		want := last + 1
		switch {
		case last == 0:
			want = 3
		case last == 399:
			want = 200 // half of the table: it is too small for 300
		}
		if th.ID() != want {
			t.Fatalf("id %d after %d, want %d", th.ID(), last, want)
		}
		last = th.ID()
		exits(t, th, 0)
		reap(t, init, -1)
	}
	if tb.LastPID() != last || keeper.ID() != 2 {
		t.Error("the last id")
	}
}
