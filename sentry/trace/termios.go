package trace

import (
	"golang.org/x/sys/unix"
)

// termios is the kernel's struct termios, without its characters.
func termios(l *line, v uint64) {
	b := l.fetch(v, 36)
	if b == nil {
		return
	}
	word := func(i int) uint64 { return uint64(le.Uint32(b[4*i:])) }
	l.s("{c_iflag=")
	l.bits(word(0), &inputBits)
	l.s(", c_oflag=")
	l.fields(word(1), &outputFields, &outputBits)
	l.s(", c_cflag=")
	l.fields(word(2), &controlFields, &controlBits)
	l.s(", c_lflag=")
	l.bits(word(3), &localBits)
	l.s(", ...}")
}

// field is a value of several bits among flags.
type field struct {
	mask   uint64
	values set
}

// fields shows values of several bits, each even if it is 0, and single bits.
func (l *line) fields(v uint64, fs *[]field, s *set) {
	for i, f := range *fs {
		if i > 0 {
			l.c('|')
		}
		l.one(v&f.mask, &f.values)
		v &^= f.mask
	}
	if v != 0 {
		l.c('|')
		l.someBits(v, s)
	}
}

var inputBits = set{"I???", []flag{
	{unix.IGNBRK, "IGNBRK"},
	{unix.BRKINT, "BRKINT"},
	{unix.IGNPAR, "IGNPAR"},
	{unix.PARMRK, "PARMRK"},
	{unix.INPCK, "INPCK"},
	{unix.ISTRIP, "ISTRIP"},
	{unix.INLCR, "INLCR"},
	{unix.IGNCR, "IGNCR"},
	{unix.ICRNL, "ICRNL"},
	{unix.IUCLC, "IUCLC"},
	{unix.IXON, "IXON"},
	{unix.IXANY, "IXANY"},
	{unix.IXOFF, "IXOFF"},
	{unix.IMAXBEL, "IMAXBEL"},
	{unix.IUTF8, "IUTF8"},
}}

var outputFields = []field{
	{unix.NLDLY, set{"NL?", []flag{{unix.NL0, "NL0"}, {unix.NL1, "NL1"}}}},
	{unix.CRDLY, set{"CR?", []flag{{unix.CR0, "CR0"}, {unix.CR1, "CR1"}, {unix.CR2, "CR2"}, {unix.CR3, "CR3"}}}},
	{unix.TABDLY, set{"TAB?", []flag{{unix.TAB0, "TAB0"}, {unix.TAB1, "TAB1"}, {unix.TAB2, "TAB2"}, {unix.TAB3, "TAB3"}}}},
	{unix.BSDLY, set{"BS?", []flag{{unix.BS0, "BS0"}, {unix.BS1, "BS1"}}}},
	{unix.VTDLY, set{"VT?", []flag{{unix.VT0, "VT0"}, {unix.VT1, "VT1"}}}},
	{unix.FFDLY, set{"FF?", []flag{{unix.FF0, "FF0"}, {unix.FF1, "FF1"}}}},
}

var outputBits = set{"O???", []flag{
	{unix.OPOST, "OPOST"},
	{unix.OLCUC, "OLCUC"},
	{unix.ONLCR, "ONLCR"},
	{unix.OCRNL, "OCRNL"},
	{unix.ONOCR, "ONOCR"},
	{unix.ONLRET, "ONLRET"},
	{unix.OFILL, "OFILL"},
	{unix.OFDEL, "OFDEL"},
}}

var controlFields = []field{
	{unix.CBAUD, set{"B???", []flag{
		{unix.B0, "B0"}, {unix.B50, "B50"}, {unix.B75, "B75"}, {unix.B110, "B110"}, {unix.B134, "B134"},
		{unix.B150, "B150"}, {unix.B200, "B200"}, {unix.B300, "B300"}, {unix.B600, "B600"}, {unix.B1200, "B1200"},
		{unix.B1800, "B1800"}, {unix.B2400, "B2400"}, {unix.B4800, "B4800"}, {unix.B9600, "B9600"},
		{unix.B19200, "B19200"}, {unix.B38400, "B38400"}, {unix.B57600, "B57600"}, {unix.B115200, "B115200"},
		{unix.B230400, "B230400"}, {unix.B460800, "B460800"}, {unix.B921600, "B921600"},
	}}},
	{unix.CSIZE, set{"CS?", []flag{{unix.CS5, "CS5"}, {unix.CS6, "CS6"}, {unix.CS7, "CS7"}, {unix.CS8, "CS8"}}}},
}

var controlBits = set{"C???", []flag{
	{unix.CSTOPB, "CSTOPB"},
	{unix.CREAD, "CREAD"},
	{unix.PARENB, "PARENB"},
	{unix.PARODD, "PARODD"},
	{unix.HUPCL, "HUPCL"},
	{unix.CLOCAL, "CLOCAL"},
	{unix.CMSPAR, "CMSPAR"},
	{unix.CRTSCTS, "CRTSCTS"},
}}

var localBits = set{"L???", []flag{
	{unix.ISIG, "ISIG"},
	{unix.ICANON, "ICANON"},
	{unix.XCASE, "XCASE"},
	{unix.ECHO, "ECHO"},
	{unix.ECHOE, "ECHOE"},
	{unix.ECHOK, "ECHOK"},
	{unix.ECHONL, "ECHONL"},
	{unix.NOFLSH, "NOFLSH"},
	{unix.TOSTOP, "TOSTOP"},
	{unix.IEXTEN, "IEXTEN"},
	{unix.ECHOCTL, "ECHOCTL"},
	{unix.ECHOPRT, "ECHOPRT"},
	{unix.ECHOKE, "ECHOKE"},
	{unix.FLUSHO, "FLUSHO"},
	{unix.PENDIN, "PENDIN"},
	{unix.EXTPROC, "EXTPROC"},
}}

var flowActions = set{"TC???", []flag{{0, "TCOOFF"}, {1, "TCOON"}, {2, "TCIOFF"}, {3, "TCION"}}}
var flushQueues = set{"TC???FLUSH", []flag{{0, "TCIFLUSH"}, {1, "TCOFLUSH"}, {2, "TCIOFLUSH"}}}
