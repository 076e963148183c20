package ldisc

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// check is what must always hold.
func check(t *testing.T, l *Line) {
	t.Helper()
	switch {
	case l.head-l.tail > bufSize:
		t.Fatalf("%d characters in a buffer of %d", l.head-l.tail, bufSize)
	case l.t.Canonical() && l.canon-l.tail > l.head-l.tail:
		t.Fatalf("the last line ends beyond the input: tail %d canon %d head %d", l.tail, l.canon, l.head)
	case l.Out.Len() > OutLimit, l.echo.Len() > echoLimit:
		t.Fatalf("%d bytes of output, %d of echoes", l.Out.Len(), l.echo.Len())
	case l.Queued() < 0 || l.Queued() > bufSize:
		t.Fatalf("%d characters queued", l.Queued())
	}
}

// FuzzLine does to a Line what the bytes say: settings, input, output, reads.
func FuzzLine(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		var b []byte
		for _, s := range randomSteps(r, 20) {
			switch s.op {
			case "modes":
				b = s.t.Append(append(b, 0), true)
			case "type", "write":
				b = append(b, 1+byte(len(s.op)&1), byte(len(s.data)))
				b = append(b, s.data...)
			case "read":
				b = append(b, 3, byte(s.n))
			default:
				b = append(b, 4+byte(s.n))
			}
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := New()
		take := func(n int) []byte {
			n = min(n, len(b))
			p := b[:n]
			b = b[n:]
			return p
		}
		for len(b) > 0 {
			switch op := take(1)[0]; op % 10 {
			case 0:
				if p := take(Termios2Size); len(p) == Termios2Size {
					l.SetTermios(l.Termios().WithTermios(p))
				}
			case 1, 2:
				if n := take(1); len(n) == 1 {
					p := take(int(n[0]))
					if op&0x80 != 0 {
						p = bytes.Repeat(p, 40)
					}
					if op%10 == 1 {
						l.Receive(p)
					} else {
						l.Write(p)
					}
				}
			case 3:
				if n := take(1); len(n) == 1 {
					before := l.Queued()
					p := make([]byte, int(n[0])*8)
					k, ok := l.Read([][]byte{p}, op&0x80 != 0)
					if k > int64(len(p)) || k > int64(before) && !l.t.Canonical() || k > 0 && !ok {
						t.Fatalf("read %d of %d, %v", k, before, ok)
					}
				}
			case 4:
				l.Suspend()
			case 5:
				l.Resume()
			case 6:
				l.SendChar(unix.VSTOP)
			case 7:
				l.FlushInput()
			case 8:
				l.FlushOutput()
			case 9:
				l.Out.Skip(l.Out.Len() / 2)
			}
			check(t, l)
		}
	})
}

// TestBounds fills a Line that nobody reads from.
func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lflag uint32
		takes int // of 10,000 characters
	}{{"canonical", unix.ICANON, 10000}, {"raw", 0, bufSize - 1}} {
		t.Run(tt.name, func(t *testing.T) {
			l := New()
			m := l.Termios()
			m.Lflag, m.Iflag = tt.lflag, 0
			l.SetTermios(m)
			if n := l.Receive(bytes.Repeat([]byte{'x'}, 10000)); n != tt.takes {
				t.Errorf("it took %d characters, want %d", n, tt.takes)
			}
			check(t, l)
			if n := l.Write(bytes.Repeat([]byte{'y'}, 2*OutLimit)); n != OutLimit {
				t.Errorf("it put out %d, want %d", n, OutLimit)
			}
			if l.Write([]byte{'z'}) != 0 || l.Room() != 0 {
				t.Error("there is more room than there is")
			}
		})
	}
}

// TestMinTime is termios(3)'s table of VMIN and VTIME.
func TestMinTime(t *testing.T) {
	for _, tt := range []struct {
		min, time uint8
		have      int
		rest      bool
		n         int64
		ok        bool
	}{
		{0, 0, 0, false, 0, true},
		{0, 0, 3, false, 3, true},
		{2, 0, 1, false, 0, false},
		{2, 0, 1, true, 1, true},
		{2, 0, 0, true, 0, false},
		{2, 0, 2, false, 2, true},
		{200, 0, 50, false, 50, true}, // as many as were asked for
		{0, 1, 0, false, 0, false},
		{0, 1, 1, false, 1, true},
		{3, 1, 1, false, 0, false},
		{3, 1, 1, true, 1, true},
	} {
		l := New()
		m := l.Termios()
		m.Lflag, m.Iflag = 0, 0
		m.CC[unix.VMIN], m.CC[unix.VTIME] = tt.min, tt.time
		l.SetTermios(m)
		l.Receive(make([]byte, tt.have))
		n, ok := l.Read([][]byte{make([]byte, 20), make([]byte, 30)}, tt.rest)
		if n != tt.n || ok != tt.ok {
			t.Errorf("%+v: %d, %v", tt, n, ok)
		}
	}
}

func TestEvents(t *testing.T) {
	l := New()
	take := func() Events {
		e := l.Events
		l.Events = Events{}
		return e
	}
	take()
	l.Receive([]byte("abc"))
	if e := take(); e.Readable || !e.Output {
		t.Errorf("a part of a line: %+v", e)
	}
	l.Receive([]byte("\n"))
	if e := take(); !e.Readable || !e.Output {
		t.Errorf("a line: %+v", e)
	}
	l.Receive([]byte("\x03"))
	if e := take(); e.Signals != [3]bool{true, false, false} || e.Packet != unix.TIOCPKT_FLUSHREAD|unix.TIOCPKT_FLUSHWRITE {
		t.Errorf("^C: %+v", e)
	}
	l.Receive([]byte("\x13"))
	if e := take(); e.Packet != unix.TIOCPKT_STOP || e.Writable {
		t.Errorf("^S: %+v", e)
	}
	l.Receive([]byte("\x11"))
	if e := take(); e.Packet != unix.TIOCPKT_START || !e.Writable {
		t.Errorf("^Q: %+v", e)
	}
}

// TestTermios reads settings as a program hands them over.
func TestTermios(t *testing.T) {
	d := DefaultTermios()
	if got := (Termios{}).WithTermios(d.Append(nil, true)); got != d {
		t.Errorf("%+v\nwant %+v", got, d)
	}
	if b := d.Append(nil, false); len(b) != TermiosSize || len(d.Append(nil, true)) != Termios2Size {
		t.Errorf("%d bytes", len(b))
	}
	b := d.Append(nil, true)
	binary.LittleEndian.PutUint32(b[8:], d.Cflag&^unix.CBAUD|unix.BOTHER)
	binary.LittleEndian.PutUint32(b[40:], 31250)
	if got := d.WithTermios(b); got.Ospeed != 31250 {
		t.Errorf("speed %d, want 31250", got.Ospeed)
	}
	if got := d.WithTermios(b[:TermiosSize]); got.Ospeed != 38400 {
		t.Errorf("an old struct: speed %d, want it to stay", got.Ospeed)
	}
	binary.LittleEndian.PutUint32(b[8:], d.Cflag&^unix.CBAUD|unix.B115200)
	if got := d.WithTermios(b); got.Ospeed != 115200 || got.Ispeed != 115200 {
		t.Errorf("speed %d/%d, want 115200", got.Ispeed, got.Ospeed)
	}
	old := d.AppendTermio(nil)
	if len(old) != TermioSize {
		t.Fatalf("termio of %d bytes", len(old))
	}
	old[8*2+1] = 0 // padding
	binary.LittleEndian.PutUint16(old[6:], 0)
	if got := d.WithTermio(old); got.Lflag != 0 || got.Iflag != d.Iflag || got.CC != d.CC {
		t.Errorf("termio: %+v", got)
	}
}

func TestFifo(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	q := Fifo{Limit: 3000}
	var want []byte
	for range 2000 {
		if r.IntN(2) == 0 {
			b := make([]byte, r.IntN(700))
			for i := range b {
				b[i] = byte(r.Int())
			}
			n := q.Put(b)
			if k := min(len(b), 3000-len(want)); n != k {
				t.Fatalf("put %d, want %d", n, k)
			}
			want = append(want, b[:n]...)
		} else {
			b := make([]byte, r.IntN(700))
			n := q.Peek(b)
			if !bytes.Equal(b[:n], want[:min(len(b), len(want))]) {
				t.Fatal("other bytes came out than went in")
			}
			if h := q.Head(); !bytes.HasPrefix(want, h) || len(want) > 0 && len(h) == 0 {
				t.Fatalf("the head: %d bytes", len(h))
			}
			q.Skip(n)
			want = want[n:]
		}
		if q.Len() != len(want) || q.Room() != 3000-len(want) {
			t.Fatalf("%d bytes, want %d", q.Len(), len(want))
		}
	}
}

// TestAllocations: what goes through a terminal takes no memory.
func TestAllocations(t *testing.T) {
	l := New()
	text, in, out := []byte("some text, with a line end\n"), make([]byte, 100), make([]byte, 200)
	dst := [][]byte{in}
	l.Receive(text)
	if n := testing.AllocsPerRun(100, func() {
		l.Receive(text)
		l.Read(dst, false)
		l.Write(text)
		l.Out.Skip(l.Out.Peek(out))
		l.Events = Events{}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
