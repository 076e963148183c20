package ldisc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostPTY is a pseudo-terminal of the host's kernel.
type hostPTY struct {
	t             *testing.T
	master, slave int
	patience      time.Duration // see settle
}

func newHostPTY(t *testing.T, patience time.Duration) *hostPTY {
	t.Helper()
	m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("the host has no pseudo-terminals:", err)
	}
	t.Cleanup(func() { unix.Close(m) })
	if err := unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(m, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	s, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("the host's pseudo-terminal cannot be opened:", err)
	}
	t.Cleanup(func() { unix.Close(s) })
	return &hostPTY{t, m, s, patience}
}

func (h *hostPTY) ioctl(fd int, request uint, arg uintptr) {
	h.t.Helper()
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), arg); e != 0 {
		h.t.Fatalf("ioctl %#x: %v", request, e)
	}
}

func (h *hostPTY) setTermios(t Termios) {
	b := t.Append(nil, false)
	h.ioctl(h.slave, unix.TCSETS, uintptr(unsafe.Pointer(&b[0])))
}

func (h *hostPTY) termios() Termios {
	b := make([]byte, Termios2Size)
	h.ioctl(h.slave, 0x802c542a, uintptr(unsafe.Pointer(&b[0])))
	return Termios{}.WithTermios(b)
}

func read(fd int, n int) []byte {
	b := make([]byte, n)
	k, _ := unix.Read(fd, b)
	return b[:max(k, 0)]
}

// settle gives the kernel's work queue time to pass on what was written. Nothing tells
// when it has.
func (h *hostPTY) settle() {
	last, same := [2]int{-1, -1}, 0
	for same < 4 {
		var now [2]int
		for i, fd := range []int{h.slave, h.master} {
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			now[i], _ = unix.IoctlGetInt(fd, unix.TIOCINQ)
		}
		if now == last {
			same++
		} else {
			last, same = now, 0
		}
		time.Sleep(h.patience)
	}
}

// step is something that is done to a terminal.
type step struct {
	op   string // "type", "write", "read", "flush", "modes", "xon"
	data []byte
	n    int
	t    Termios
}

func (s step) String() string {
	switch s.op {
	case "type", "write":
		return fmt.Sprintf("%s %q", s.op, s.data)
	case "modes":
		return fmt.Sprintf("modes i%#o o%#o l%#o cc%v", s.t.Iflag, s.t.Oflag, s.t.Lflag, s.t.CC)
	}
	return fmt.Sprintf("%s %d", s.op, s.n)
}

// result is what can be seen after a step.
type result struct {
	read   []byte // by the program
	screen []byte
	queued int
}

func (h *hostPTY) do(s step) result {
	var r result
	switch s.op {
	case "type":
		for b := s.data; len(b) > 0; {
			n, err := unix.Write(h.master, b)
			if err != nil {
				break
			}
			b = b[n:]
		}
		h.settle()
	case "write":
		unix.Write(h.slave, s.data)
	case "read":
		r.read = read(h.slave, s.n)
	case "flush":
		h.ioctl(h.slave, unix.TCFLSH, uintptr(s.n))
	case "flow":
		h.ioctl(h.slave, unix.TCXONC, uintptr(s.n))
	case "modes":
		h.setTermios(s.t)
	}
	h.settle()
	r.screen = read(h.master, 1<<16)
	for {
		more := read(h.master, 1<<16)
		if len(more) == 0 {
			break
		}
		r.screen = append(r.screen, more...)
	}
	r.queued, _ = unix.IoctlGetInt(h.slave, unix.TIOCINQ)
	return r
}

// model is a Line behind a queue of input, as a pseudo-terminal has it.
type model struct {
	l     *Line
	typed []byte
}

func (m *model) do(s step) result {
	var r result
	switch s.op {
	case "type":
		m.typed = append(m.typed, s.data...)
	case "write":
		m.l.Write(s.data)
	case "read":
		r.read = make([]byte, s.n)
		n, _ := m.l.Read([][]byte{r.read[:s.n/2], r.read[s.n/2:]}, true)
		r.read = r.read[:n]
	case "flush":
		if s.n == unix.TCIFLUSH || s.n == unix.TCIOFLUSH {
			m.typed = nil
			m.l.FlushInput()
		}
		if s.n == unix.TCOFLUSH || s.n == unix.TCIOFLUSH {
			m.l.FlushOutput()
		}
	case "flow":
		switch s.n {
		case unix.TCOOFF:
			m.l.Suspend()
		case unix.TCOON:
			m.l.Resume()
		case unix.TCIOFF:
			m.l.SendChar(unix.VSTOP)
		case unix.TCION:
			m.l.SendChar(unix.VSTART)
		}
	case "modes":
		m.l.SetTermios(s.t)
	}
	m.typed = m.typed[m.l.Receive(m.typed):]
	r.screen = make([]byte, m.l.Out.Len())
	m.l.Out.Peek(r.screen)
	m.l.Out.Skip(len(r.screen))
	r.queued = m.l.Queued()
	return r
}

// differ makes the same steps on the host's kernel and on a Line. A difference counts
// if it is still there when the kernel gets more time.
func differ(t *testing.T, steps []step) {
	t.Helper()
	difference := ""
	for _, patience := range []time.Duration{100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond} {
		if difference = differOnce(t, steps, patience); difference == "" {
			return
		}
	}
	t.Fatal(difference)
}

func differOnce(t *testing.T, steps []step, patience time.Duration) string {
	t.Helper()
	h, m := newHostPTY(t, patience), &model{l: New()}
	for i, s := range steps {
		want, got := h.do(s), m.do(s)
		if string(want.read) == string(got.read) && string(want.screen) == string(got.screen) && want.queued == got.queued {
			continue
		}
		var b strings.Builder
		for _, s := range steps[:i+1] {
			fmt.Fprintf(&b, "  %v\n", s)
		}
		return fmt.Sprintf("%sread   %q\nwant   %q\nscreen %q\nwant   %q\nqueued %d, want %d", b.String(),
			got.read, want.read, got.screen, want.screen, got.queued, want.queued)
	}
	return ""
}

func modes(change func(t *Termios)) step {
	t := DefaultTermios()
	change(&t)
	return step{op: "modes", t: t}
}

func typed(s string) step   { return step{op: "type", data: []byte(s)} }
func written(s string) step { return step{op: "write", data: []byte(s)} }
func reads(n int) step      { return step{op: "read", n: n} }

// TestDefaults compares a new terminal's settings with the host's.
func TestDefaults(t *testing.T) {
	h := newHostPTY(t, time.Millisecond)
	if got, want := New().Termios(), h.termios(); got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// TestCases are the situations of termios(3), one by one.
func TestCases(t *testing.T) {
	long := strings.Repeat("0123456789", 500)
	for name, steps := range map[string][]step{
		"line":            {typed("hello"), reads(10), typed("\n"), reads(3), reads(10), reads(10)},
		"two lines":       {typed("one\ntwo\n"), reads(100), reads(100), reads(100)},
		"return":          {typed("one\rtwo\r"), reads(100), reads(100)},
		"igncr":           {modes(func(t *Termios) { t.Iflag |= unix.IGNCR }), typed("a\rb\n"), reads(100)},
		"inlcr":           {modes(func(t *Termios) { t.Iflag = unix.INLCR }), typed("a\nb\r"), reads(100)},
		"end of file":     {typed("ab\x04"), reads(10), typed("\x04"), reads(10), typed("x\n"), reads(10)},
		"eof fits":        {typed("abc\x04rest\n"), reads(3), reads(10)},
		"eof in parts":    {typed("abc\x04rest\n"), reads(2), reads(1), reads(10)},
		"erase":           {typed("abc\x7f\x7fx\n"), reads(10)},
		"erase too much":  {typed("a\x7f\x7f\x7fb\n"), reads(10)},
		"erase control":   {typed("a\x01\x7fb\n"), reads(10)},
		"erase utf8":      {modes(func(t *Termios) { t.Iflag |= unix.IUTF8 }), typed("aäö\x7f\x7fb\n"), reads(10)},
		"erase bytes":     {typed("aäö\x7f\x7fb\n"), reads(20)},
		"erase tab":       {typed("ab\tc\x7f\x7f\x7fd\n"), reads(10)},
		"erase tab 2":     {written("prompt> "), typed("a\t\tb\x7f\x7f\x7f\n"), reads(10)},
		"erase tab ctl":   {written("> "), typed("\x01\t\x02é\t\x7f\x7f\n"), reads(10)},
		"word":            {typed("one two,three  \x17\x17x\n"), reads(40)},
		"word utf8":       {modes(func(t *Termios) { t.Iflag |= unix.IUTF8 }), typed("één zwöi\x17\x17x\n"), reads(40)},
		"kill":            {typed("one two\x15three\n"), reads(40)},
		"kill echok":      {modes(func(t *Termios) { t.Lflag &^= unix.ECHOKE }), typed("one\x15two\n"), reads(40)},
		"kill no echok":   {modes(func(t *Termios) { t.Lflag &^= unix.ECHOKE | unix.ECHOK }), typed("one\x15two\n"), reads(40)},
		"kill no echoe":   {modes(func(t *Termios) { t.Lflag &^= unix.ECHOE }), typed("one\x15two\x7f\n"), reads(40)},
		"kill no echo":    {modes(func(t *Termios) { t.Lflag &^= unix.ECHO }), typed("one\x15two\x7f\n"), reads(40)},
		"echonl":          {modes(func(t *Termios) { t.Lflag = unix.ICANON | unix.ECHONL }), typed("one\n"), reads(40)},
		"echoprt":         {modes(func(t *Termios) { t.Lflag |= unix.ECHOPRT }), typed("one\x7f\x7fx\x17\n"), reads(40)},
		"echoprt utf8":    {modes(func(t *Termios) { t.Lflag |= unix.ECHOPRT; t.Iflag |= unix.IUTF8 }), typed("aö\x7f\tb\x7f\x7f\n"), reads(40)},
		"no echoctl":      {modes(func(t *Termios) { t.Lflag &^= unix.ECHOCTL }), typed("a\x01b\x7f\x7f\x7f\n"), reads(40)},
		"literal":         {typed("a\x16\x03b\x16\x04c\x16\x16\n"), reads(40)},
		"literal newline": {typed("a\x16\nb\n"), reads(40)},
		"literal alone":   {typed("a\x16"), typed("\x7fb\n"), reads(40)},
		"reprint":         {typed("ab\x01c\x12d\n"), reads(40)},
		"no iexten":       {modes(func(t *Termios) { t.Lflag &^= unix.IEXTEN }), typed("a b\x17\x16\x12\n"), reads(40)},
		"eol":             {modes(func(t *Termios) { t.CC[unix.VEOL] = ';'; t.CC[unix.VEOL2] = ':' }), typed("a;b:c\n"), reads(40), reads(40), reads(40)},
		"interrupt":       {typed("one\ntwo\x03three\n"), reads(40), reads(40)},
		"noflsh":          {modes(func(t *Termios) { t.Lflag |= unix.NOFLSH }), typed("one\ntwo\x03three\n"), reads(40), reads(40)},
		"no isig":         {modes(func(t *Termios) { t.Lflag &^= unix.ISIG }), typed("a\x03\x1a\x1c\n"), reads(40)},
		"istrip":          {modes(func(t *Termios) { t.Iflag |= unix.ISTRIP }), typed("a\xe1\xff\x8d"), reads(40)},
		"iuclc":           {modes(func(t *Termios) { t.Iflag |= unix.IUCLC; t.Oflag |= unix.OLCUC }), typed("AbC\xc4\n"), reads(40), written("abc\xe4\xdf\xff\xf7\n")},
		"parmrk":          {modes(func(t *Termios) { t.Iflag |= unix.PARMRK }), typed("a\xffb\n"), reads(40)},
		"stop":            {typed("\x13abc\n"), written("hidden"), typed("x\x11"), reads(40)},
		"ixany":           {modes(func(t *Termios) { t.Iflag |= unix.IXANY }), typed("\x13"), typed("abc"), typed("\x13\n"), reads(40)},
		"ixon off":        {typed("\x13abc"), modes(func(t *Termios) { t.Iflag &^= unix.IXON }), typed("\x13\n"), reads(40)},
		"tcooff":          {{op: "flow", n: unix.TCOOFF}, typed("abc\x11\n"), {op: "flow", n: unix.TCOON}, reads(40)},
		"tcioff":          {{op: "flow", n: unix.TCIOFF}, {op: "flow", n: unix.TCION}},
		"flush":           {typed("abc\ndef"), {op: "flush", n: unix.TCIFLUSH}, typed("x\n"), reads(40)},
		"output":          {written("a\tb\nc\rd\b\be\n\x01é\n")},
		"no opost":        {modes(func(t *Termios) { t.Oflag = 0 }), written("a\tb\nc\r"), typed("x\n\x01")},
		"xtabs":           {modes(func(t *Termios) { t.Oflag |= xtabs }), written("a\tbcdefgh\ti\n\tx\b\b\ty\n")},
		"onlret":          {modes(func(t *Termios) { t.Oflag = unix.OPOST | unix.ONLRET | xtabs }), written("abc\n\tx\n")},
		"onocr":           {modes(func(t *Termios) { t.Oflag |= unix.ONOCR }), written("\rab\r\rc\n\r")},
		"ocrnl":           {modes(func(t *Termios) { t.Oflag = unix.OPOST | unix.OCRNL | xtabs }), written("ab\r\tc\n\td")},
		"raw":             {modes(func(t *Termios) { t.Lflag = 0; t.Iflag = 0 }), typed("a\rb\nc\x03\x04\x13\xff"), reads(3), reads(40)},
		"to raw":          {typed("one\ntwo"), modes(func(t *Termios) { t.Lflag &^= unix.ICANON }), reads(5), reads(40)},
		"to canonical":    {modes(func(t *Termios) { t.Lflag &^= unix.ICANON }), typed("one\ntwo"), modes(func(t *Termios) {}), reads(40), typed("x\n"), reads(40)},
		"extproc":         {modes(func(t *Termios) { t.Lflag |= unix.EXTPROC }), typed("a\x7f\x03\n"), reads(40)},
		"long line":       {typed(long), typed("tail\n"), reads(5000), reads(5000)},
		"long raw":        {modes(func(t *Termios) { t.Lflag = 0 }), typed(long), reads(1000), reads(5000), reads(5000)},
		"long lines":      {typed(strings.Repeat("0123456789\n", 600)), reads(5000), reads(5000), reads(5000)},
		"long echo off":   {modes(func(t *Termios) { t.Lflag &^= unix.ECHO }), typed(long), typed("\x15x\n"), reads(5000)},
		"zero byte":       {typed("a\x00b\n"), reads(40)},
		"disabled erase":  {modes(func(t *Termios) { t.CC[unix.VERASE] = 0 }), typed("a\x00\x7fb\n"), reads(40)},
	} {
		t.Run(name, func(t *testing.T) { differ(t, steps) })
	}
}

// TestRandom makes random steps.
func TestRandom(t *testing.T) {
	seeds := uint64(20)
	if os.Getenv("RUNSC_LITE_SLOW") != "" {
		seeds = 400
	}
	for seed := range seeds {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			differ(t, randomSteps(rand.New(rand.NewPCG(seed, 1)), 40))
		})
	}
}

// chars are those that mean something, and some that do not.
const chars = "abcXYZ019 _,\t\t\r\n\n\x00\x01\x03\x04\x04\x08\x0f\x11\x12\x13\x15\x16\x17\x1a\x1b\x1c\x7f\x7f\x7fäé\xff\xa0\x85~"

func randomText(r *rand.Rand, most int) []byte {
	b := make([]byte, r.IntN(most))
	for i := range b {
		b[i] = chars[r.IntN(len(chars))]
	}
	return b
}

func randomModes(r *rand.Rand) Termios {
	t := DefaultTermios()
	flip := func(f *uint32, bits ...uint32) {
		for _, b := range bits {
			if r.IntN(4) == 0 {
				*f ^= b
			}
		}
	}
	flip(&t.Iflag, unix.ISTRIP, unix.INLCR, unix.IGNCR, unix.ICRNL, unix.IUCLC, unix.IXON, unix.IXANY, unix.IUTF8, unix.IUTF8, unix.PARMRK)
	flip(&t.Oflag, unix.OPOST, unix.OLCUC, unix.ONLCR, unix.OCRNL, unix.ONOCR, unix.ONLRET, xtabs)
	flip(&t.Lflag, unix.ISIG, unix.ICANON, unix.ECHO, unix.ECHOE, unix.ECHOK, unix.ECHONL, unix.NOFLSH, unix.ECHOCTL,
		unix.ECHOPRT, unix.ECHOKE, unix.IEXTEN)
	if r.IntN(20) == 0 {
		t.Lflag ^= unix.EXTPROC
	}
	if t.Iflag&unix.IXON != 0 {
		// A signal that throws output away races with the kernel's work queue, which
		// takes it to the master, if ^Q put it out just before.
		t.Lflag |= unix.NOFLSH
	}
	for i := range 17 {
		if i != unix.VMIN && i != unix.VTIME && r.IntN(8) == 0 {
			t.CC[i] = chars[r.IntN(len(chars))]
		}
	}
	return t
}

func randomSteps(r *rand.Rand, n int) []step {
	steps := []step{{op: "modes", t: randomModes(r)}}
	for range n {
		switch r.IntN(10) {
		default:
			steps = append(steps, step{op: "type", data: randomText(r, 40)})
		case 0, 1:
			steps = append(steps, reads(r.IntN(60)))
		case 2:
			steps = append(steps, step{op: "write", data: randomText(r, 40)})
		case 3, 4:
			steps = append(steps, step{op: "modes", t: randomModes(r)})
		case 5:
			steps = append(steps, step{op: "flush", n: r.IntN(3)})
		case 6:
			steps = append(steps, step{op: "flow", n: []int{unix.TCOOFF, unix.TCOON, unix.TCOON, unix.TCIOFF}[r.IntN(4)]})
		}
	}
	return slices.Clip(steps)
}
