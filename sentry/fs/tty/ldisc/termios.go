package ldisc

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Sizes of struct termios and struct termios2, as the kernel has them, in bytes.
const (
	TermiosSize  = 36
	Termios2Size = 44
)

// nccs is the number of special characters (NCCS of the kernel).
const nccs = 19

// disabled is a special character that is none (_POSIX_VDISABLE), and what stands in
// the buffer for an end of file.
const disabled = 0

// Flags that golang.org/x/sys/unix does not name.
const (
	xtabs  = 0x1800 // TABDLY, set to expand tabs
	ibBits = 16     // IBSHIFT
)

// Termios are a terminal's settings (termios(3)).
type Termios struct {
	Iflag, Oflag, Cflag, Lflag uint32
	Line                       uint8
	CC                         [nccs]uint8
	Ispeed, Ospeed             uint32 // bits per second
}

// DefaultTermios are the settings of a new pseudo-terminal (tty_std_termios and
// INIT_C_CC).
func DefaultTermios() Termios {
	t := Termios{
		Iflag:  unix.ICRNL | unix.IXON,
		Oflag:  unix.OPOST | unix.ONLCR,
		Cflag:  unix.B38400 | unix.CS8 | unix.CREAD,
		Lflag:  unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN,
		Ispeed: 38400, Ospeed: 38400,
	}
	for c, v := range map[int]byte{
		unix.VINTR: 'C' & 0x1f, unix.VQUIT: '\\' & 0x1f, unix.VERASE: 0x7f, unix.VKILL: 'U' & 0x1f,
		unix.VEOF: 'D' & 0x1f, unix.VMIN: 1, unix.VSTART: 'Q' & 0x1f, unix.VSTOP: 'S' & 0x1f,
		unix.VSUSP: 'Z' & 0x1f, unix.VREPRINT: 'R' & 0x1f, unix.VDISCARD: 'O' & 0x1f,
		unix.VWERASE: 'W' & 0x1f, unix.VLNEXT: 'V' & 0x1f,
	} {
		t.CC[c] = v
	}
	return t
}

// Append appends t as TCGETS and TCGETS2 return it.
func (t *Termios) Append(b []byte, speeds bool) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint32{t.Iflag, t.Oflag, t.Cflag, t.Lflag} {
		b = le.AppendUint32(b, v)
	}
	b = append(b, t.Line)
	b = append(b, t.CC[:]...)
	if speeds {
		b = le.AppendUint32(b, t.Ispeed)
		b = le.AppendUint32(b, t.Ospeed)
	}
	return b
}

// WithTermios returns the settings that b has, as Append made it (TCSETS, TCSETS2).
// The speeds are those that the old codes in the control modes say, unless those are
// BOTHER: then b has them, or they stay as in t (user_termios_to_kernel_termios and
// tty_termios_baud_rate).
func (t Termios) WithTermios(b []byte) Termios {
	le := binary.LittleEndian
	t.Iflag, t.Oflag, t.Cflag, t.Lflag = le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])
	t.Line = b[16]
	copy(t.CC[:], b[17:])
	if len(b) >= Termios2Size {
		t.Ispeed, t.Ospeed = le.Uint32(b[36:]), le.Uint32(b[40:])
	}
	t.settleSpeeds()
	return t
}

// speeds are what the old codes mean: B0 to B38400, and from CBAUDEX on.
var speeds = [2][16]uint32{
	{0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400},
	{0, 57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000,
		2000000, 2500000, 3000000, 3500000, 4000000},
}

func speed(code uint32) uint32 { return speeds[code>>12&1][code&15] }

func (t *Termios) settleSpeeds() {
	if code := t.Cflag & unix.CBAUD; code != unix.BOTHER {
		t.Ospeed = speed(code)
	}
	switch code := t.Cflag >> ibBits & unix.CBAUD; code {
	case unix.B0:
		t.Ispeed = t.Ospeed
	case unix.BOTHER:
	default:
		t.Ispeed = speed(code)
	}
}

// TermioSize is the size of the old struct termio, in bytes, padded as C does.
const TermioSize = 18

// AppendTermio appends t as TCGETA returns it.
func (t *Termios) AppendTermio(b []byte) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint32{t.Iflag, t.Oflag, t.Cflag, t.Lflag} {
		b = le.AppendUint16(b, uint16(v))
	}
	b = append(b, t.Line)
	b = append(b, t.CC[:8]...)
	return append(b, 0)
}

// WithTermio returns t with what the old struct has replaced (TCSETA).
func (t Termios) WithTermio(b []byte) Termios {
	le := binary.LittleEndian
	low := func(old uint32, b []byte) uint32 { return old&^0xffff | uint32(le.Uint16(b)) }
	t.Iflag, t.Oflag, t.Cflag, t.Lflag = low(t.Iflag, b), low(t.Oflag, b[2:]), low(t.Cflag, b[4:]), low(t.Lflag, b[6:])
	t.Line = b[8]
	copy(t.CC[:8], b[9:17])
	t.settleSpeeds()
	return t
}

func (t *Termios) iflag(f uint32) bool { return t.Iflag&f != 0 }
func (t *Termios) oflag(f uint32) bool { return t.Oflag&f != 0 }
func (t *Termios) lflag(f uint32) bool { return t.Lflag&f != 0 }

// Canonical reports whether input is made of lines.
func (t *Termios) Canonical() bool { return t.lflag(unix.ICANON) && !t.lflag(unix.EXTPROC) }

// FlowByXON reports whether the terminal stops and starts at ^S and ^Q, which is
// what a master in packet mode is told of.
func (t *Termios) FlowByXON() bool {
	return t.iflag(unix.IXON) && t.CC[unix.VSTOP] == 'S'&0x1f && t.CC[unix.VSTART] == 'Q'&0x1f
}
