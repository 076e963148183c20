package trace

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Requests that package unix does not have.
const (
	fioNBIO   = 0x5421
	fioNoClex = 0x5450
	fioClex   = 0x5451
	fioAsync  = 0x5452
)

var ioctls = set{"", []flag{
	{unix.TCGETS, "TCGETS"},
	{unix.TCSETS, "TCSETS"},
	{unix.TCSETSW, "TCSETSW"},
	{unix.TCSETSF, "TCSETSF"},
	{unix.TCSBRK, "TCSBRK"},
	{unix.TCXONC, "TCXONC"},
	{unix.TCFLSH, "TCFLSH"},
	{unix.TIOCSCTTY, "TIOCSCTTY"},
	{unix.TIOCGPGRP, "TIOCGPGRP"},
	{unix.TIOCSPGRP, "TIOCSPGRP"},
	{unix.TIOCGSID, "TIOCGSID"},
	{unix.TIOCNOTTY, "TIOCNOTTY"},
	{unix.TIOCGWINSZ, "TIOCGWINSZ"},
	{unix.TIOCSWINSZ, "TIOCSWINSZ"},
	{unix.TIOCGPTN, "TIOCGPTN"},
	{unix.TIOCSPTLCK, "TIOCSPTLCK"},
	{unix.TIOCGPTPEER, "TIOCGPTPEER"},
	{unix.TIOCOUTQ, "TIOCOUTQ"},
	{unix.TIOCSTI, "TIOCSTI"},
	{unix.TIOCGEXCL, "TIOCGEXCL"},
	{unix.TIOCINQ, "FIONREAD"},
	{fioNBIO, "FIONBIO"},
	{fioNoClex, "FIONCLEX"},
	{fioClex, "FIOCLEX"},
	{fioAsync, "FIOASYNC"},
	{unix.SIOCGIFCONF, "SIOCGIFCONF"},
	{unix.SIOCGIFNAME, "SIOCGIFNAME"},
	{unix.SIOCGIFINDEX, "SIOCGIFINDEX"},
	{unix.SIOCGIFFLAGS, "SIOCGIFFLAGS"},
	{unix.SIOCGIFADDR, "SIOCGIFADDR"},
	{unix.FICLONE, "BTRFS_IOC_CLONE or FICLONE"},
	{unix.FS_IOC_GETFLAGS, "FS_IOC_GETFLAGS"},
	{unix.FS_IOC_SETFLAGS, "FS_IOC_SETFLAGS"},
}}

// Layout of an ioctl number, asm-generic/ioctl.h.
var ioctlDirs = [...]string{"_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE"}

// ioctlRequest is the number of a request.
func ioctlRequest(l *line, v uint64) {
	v = uint64(uint32(v))
	l.glue = true
	if name := ioctls.find(v); name != "" {
		l.s(name)
		return
	}
	fmt.Fprintf(l, "_IOC(%s, %s, %s, %s)", ioctlDirs[v>>30], cHex(v>>8&0xff), cHex(v&0xff), cHex(v>>16&0x3fff))
}

func cHex(v uint64) string {
	if v == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", v)
}

// ioctlArg is what the request takes or fills.
func ioctlArg(l *line, v uint64) {
	request := uint32(l.arg(1))
	switch request {
	case fioNoClex, fioClex, unix.TIOCNOTTY:
		return // no argument
	}
	l.s(", ")
	switch request {
	case unix.TCGETS:
		termios(l, v)
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF:
		l.given(v, termios)
	case unix.TIOCGWINSZ:
		winsize(l, v)
	case unix.TIOCSWINSZ:
		l.given(v, winsize)
	case unix.TIOCGPGRP, unix.TIOCGSID, unix.TIOCINQ, unix.TIOCOUTQ, unix.TIOCGPTN, unix.TIOCGEXCL:
		intPtr(l, v)
	case unix.TIOCSPGRP, fioNBIO, fioAsync, unix.TIOCSPTLCK:
		l.given(v, intPtr)
	case unix.TCXONC:
		l.one(uint64(uint32(v)), &flowActions)
	case unix.TCFLSH:
		l.one(uint64(uint32(v)), &flushQueues)
	case unix.TCSBRK, unix.TIOCSCTTY, unix.FICLONE:
		num(l, v)
	default:
		l.hex(v)
	}
}

func winsize(l *line, v uint64) {
	if b := l.fetch(v, 8); b != nil {
		fmt.Fprintf(l, "{ws_row=%d, ws_col=%d, ws_xpixel=%d, ws_ypixel=%d}",
			le.Uint16(b), le.Uint16(b[2:]), le.Uint16(b[4:]), le.Uint16(b[6:]))
	}
}
