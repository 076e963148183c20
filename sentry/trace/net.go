package trace

import (
	"bytes"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Kinds of the socket calls.

func addrFamily(l *line, v uint64)  { l.one(uint64(uint32(v)), &addrFamilies) }
func shutdownHow(l *line, v uint64) { l.one(uint64(uint32(v)), &shutdownHows) }
func msgFlags(l *line, v uint64)    { l.bits(uint64(uint32(v)), &msgBits) }
func sockFlags(l *line, v uint64)   { l.bits(uint64(uint32(v)), &sockBits) }

// sockType is a type, and flags.
func sockType(l *line, v uint64) {
	const typeMask = 0xf
	v = uint64(uint32(v))
	l.one(v&typeMask, &sockTypes)
	if v &^= typeMask; v != 0 {
		l.c('|')
		l.someBits(v, &sockBits)
	}
}

// sockProtocol means what the family makes of it.
func sockProtocol(l *line, v uint64) {
	v = uint64(uint32(v))
	switch uint32(l.arg(0)) {
	case unix.AF_INET, unix.AF_INET6:
		l.one(v, &protocols)
	case unix.AF_NETLINK:
		l.one(v, &netlinkProtocols)
	case unix.AF_PACKET:
		fmt.Fprintf(l, "htons(%#x)", uint16(v)<<8|uint16(v)>>8)
	default:
		l.uint(v)
	}
}

// maxSockaddr is the size of struct sockaddr_storage.
const maxSockaddr = 128

// sockaddr is an address that the call was given, whose length is the next
// argument.
func sockaddr(l *line, v uint64) {
	l.sockaddr(v, uint64(uint32(l.arg(l.i+1))))
}

// The calls that return an address read and write its length: saveLength and
// its kin, which show nothing, keep it from the entry.

func saveLength(l *line, v uint64)       { l.saveLength(l.arg(2)) }
func saveRecvLength(l *line, v uint64)   { l.saveLength(l.arg(5)) }
func saveOptionLength(l *line, v uint64) { l.saveLength(l.arg(4)) }

func (l *line) saveLength(addr uint64) {
	l.i--
	l.keep = 0
	if b := l.peek(addr, 4); addr != 0 && b != nil {
		l.keep = uint64(le.Uint32(b))
	}
}

// saveNameLength is saveLength for recvmsg(2).
func saveNameLength(l *line, v uint64) { l.saveLength(l.arg(1) + 8) }

// lengthNow reads the length that the call left, at addr.
func (l *line) lengthNow(addr uint64) uint64 {
	if b := l.peek(addr, 4); addr != 0 && b != nil {
		return uint64(le.Uint32(b))
	}
	return 0
}

// sockaddrOut is an address that the call filled.
func sockaddrOut(l *line, v uint64) {
	if v == 0 || l.failed() {
		l.addr(v)
		return
	}
	l.sockaddr(v, min(l.keep, l.lengthNow(l.arg(l.i+1))))
}

// lengthAfter is where the length stands, as it was and is.
func lengthAfter(l *line, v uint64) {
	b := l.peek(v, 4)
	if v == 0 || b == nil {
		l.addr(v)
		return
	}
	l.c('[')
	l.int(int64(int32(l.keep)))
	if now := uint64(le.Uint32(b)); now != l.keep && !l.failed() {
		l.s(" => ")
		l.int(int64(int32(now)))
	}
	l.c(']')
}

// sockaddr shows n bytes of an address.
func (l *line) sockaddr(addr, n uint64) {
	if addr == 0 || n < 2 {
		l.addr(addr)
		return
	}
	b := l.peek(addr, int(min(n, maxSockaddr)))
	if b == nil {
		l.hex(addr)
		return
	}
	family := uint64(le.Uint16(b))
	l.s("{sa_family=")
	l.one(family, &addrFamilies)
	if len(b) == 2 {
		l.c('}')
		return
	}
	port := func(off int) uint16 { return uint16(b[off])<<8 | uint16(b[off+1]) }
	switch {
	case family == unix.AF_UNIX:
		l.s(", sun_path=")
		p := b[2:]
		if p[0] == 0 { // abstract
			l.c('@')
			p = p[1:]
		} else if i := bytes.IndexByte(p, 0); i >= 0 {
			p = p[:i]
		}
		l.quote(p)
	case family == unix.AF_INET && len(b) >= 16:
		fmt.Fprintf(l, ", sin_port=htons(%d), sin_addr=inet_addr(\"%v\")", port(2), netip.AddrFrom4([4]byte(b[4:])))
	case family == unix.AF_INET6 && len(b) >= 28:
		fmt.Fprintf(l, ", sin6_port=htons(%d), sin6_flowinfo=htonl(%d), inet_pton(AF_INET6, \"%v\", &sin6_addr), sin6_scope_id=%d",
			port(2), uint32(port(4))<<16|uint32(port(6)), netip.AddrFrom16([16]byte(b[8:])), le.Uint32(b[24:]))
	case family == unix.AF_NETLINK && len(b) >= 12:
		fmt.Fprintf(l, ", nl_pid=%d, nl_groups=", int32(le.Uint32(b[4:])))
		if groups := le.Uint32(b[8:]); groups == 0 {
			l.s("00000000") // C's %#08x
		} else {
			fmt.Fprintf(l, "0x%06x", groups)
		}
	default:
		l.s(", sa_data=")
		l.quote(b[2:])
	}
	l.c('}')
}

// sockOption is a level and an option of it.
func sockOption(l *line, v uint64) {
	v = uint64(uint32(v))
	l.one(v, &sockLevels)
	l.s(", ")
	l.i++
	name := uint64(uint32(l.arg(l.i)))
	if s := optionsOf(v); s != nil {
		l.one(name, s)
	} else {
		l.uint(name)
	}
}

// sockOptionIn is the value of an option, whose length is the next argument.
func sockOptionIn(l *line, v uint64) { l.option(v, uint64(uint32(l.arg(4)))) }

// sockOptionOut is a value that the call filled.
func sockOptionOut(l *line, v uint64) {
	if l.failed() {
		l.addr(v)
		return
	}
	l.option(v, min(l.keep, l.lengthNow(l.arg(4))))
}

func (l *line) option(addr, n uint64) {
	level, name := uint32(l.arg(1)), uint32(l.arg(2))
	socket := level == unix.SOL_SOCKET
	switch {
	case addr == 0:
		l.addr(addr)
	case socket && name == unix.SO_LINGER && n >= 8:
		if b := l.fetch(addr, 8); b != nil {
			fmt.Fprintf(l, "{l_onoff=%d, l_linger=%d}", int32(le.Uint32(b)), int32(le.Uint32(b[4:])))
		}
	case socket && (name == unix.SO_RCVTIMEO || name == unix.SO_SNDTIMEO) && n >= 16:
		timeval(l, addr)
	case socket && name == unix.SO_PEERCRED && n >= 12:
		if b := l.fetch(addr, 12); b != nil {
			l.credentials(b)
		}
	case socket && name == unix.SO_ERROR && n == 4 && l.done:
		if b := l.fetch(addr, 4); b != nil {
			l.c('[')
			if e := le.Uint32(b); e == 0 {
				l.c('0')
			} else {
				l.s(errnoName(unix.Errno(e)))
			}
			l.c(']')
		}
	case n == 4:
		l.word(addr, 4, num)
	default:
		l.buffer(addr, n)
	}
}

// credentials shows struct ucred.
func (l *line) credentials(b []byte) {
	l.s("{pid=")
	l.int(int64(int32(le.Uint32(b))))
	l.s(", uid=")
	id(l, uint64(le.Uint32(b[4:])))
	l.s(", gid=")
	id(l, uint64(le.Uint32(b[8:])))
	l.c('}')
}

// msghdrIn is a message to send.
func msghdrIn(l *line, v uint64) {
	if b := l.fetch(v, msghdrSize); b != nil {
		l.msghdr(b, ^uint64(0))
	}
}

// msghdrOut is a message that was received.
func msghdrOut(l *line, v uint64) {
	if b := l.peek(v, msghdrSize); b != nil && l.failed() {
		l.s("{msg_namelen=")
		l.int(int64(int32(le.Uint32(b[8:]))))
		l.c('}')
		return
	}
	if b := l.fetch(v, msghdrSize); b != nil {
		l.msghdr(b, l.ret)
	}
}

const msghdrSize = 56

// msghdr shows struct msghdr, with n bytes of data at most.
func (l *line) msghdr(b []byte, n uint64) {
	name, nameLen := le.Uint64(b), uint64(le.Uint32(b[8:]))
	l.s("{msg_name=")
	l.sockaddr(name, nameLen)
	l.s(", msg_namelen=")
	if l.done && l.name == "recvmsg" && l.keep != nameLen {
		l.int(int64(int32(l.keep)))
		l.s(" => ")
	}
	l.int(int64(int32(nameLen)))
	l.s(", msg_iov=")
	l.iovecs(le.Uint64(b[16:]), le.Uint64(b[24:]), n, true)
	l.s(", msg_iovlen=")
	l.uint(le.Uint64(b[24:]))
	control, controlLen := le.Uint64(b[32:]), le.Uint64(b[40:])
	if control != 0 && controlLen != 0 {
		l.s(", msg_control=")
		l.control(control, controlLen)
	}
	l.s(", msg_controllen=")
	l.uint(controlLen)
	l.s(", msg_flags=")
	msgFlags(l, uint64(le.Uint32(b[48:])))
	l.c('}')
}

// maxControl bounds the control messages that are looked at, in bytes.
const maxControl = 4096

// control shows control messages.
func (l *line) control(addr, n uint64) {
	const header = 16
	b := l.peek(addr, int(min(n, maxControl)))
	if b == nil {
		l.hex(addr)
		return
	}
	for i := 0; len(b) >= header; i++ {
		size := le.Uint64(b)
		l.s([...]string{"[", ", "}[bit(i > 0)])
		if i == maxElements {
			l.s("...")
			break
		}
		level, kind := uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:]))
		l.s("{cmsg_len=")
		l.uint(size)
		l.s(", cmsg_level=")
		l.one(level, &sockLevels)
		l.s(", cmsg_type=")
		if level == unix.SOL_SOCKET {
			l.one(kind, &scmTypes)
		} else {
			l.hex(kind)
		}
		data := b[header:max(header, int(min(size, uint64(len(b)))))]
		switch {
		case level == unix.SOL_SOCKET && kind == unix.SCM_RIGHTS && len(data) >= 4:
			l.s(", cmsg_data=[")
			for j := 0; len(data) >= 4 && j < maxElements; j++ {
				if j > 0 {
					l.s(", ")
				}
				l.int(int64(int32(le.Uint32(data))))
				data = data[4:]
			}
			l.c(']')
		case level == unix.SOL_SOCKET && kind == unix.SCM_CREDENTIALS && len(data) >= 12:
			l.s(", cmsg_data=")
			l.credentials(data)
		case len(data) > 0:
			l.s(", cmsg_data=")
			l.quote(data[:min(len(data), maxString)])
		}
		l.c('}')
		if size < header || size > uint64(len(b)) {
			b = nil
			break
		}
		b = b[min(uint64(len(b)), (size+7)&^7):]
	}
	l.c(']')
}

// mmsghdrs are the messages of sendmmsg(2), their number the next argument, or
// those that recvmmsg(2) got.
func mmsghdrs(l *line, v uint64) {
	n := min(uint64(uint32(l.arg(l.i+1))), maxIov)
	if l.name == "recvmmsg" {
		n = min(n, l.ret)
	}
	l.elements(v, n, msghdrSize+8, func(b []byte) {
		size := uint64(le.Uint32(b[msghdrSize:]))
		data := ^uint64(0)
		if l.name == "recvmmsg" {
			data = size
		}
		l.s("{msg_hdr=")
		l.msghdr(b, data)
		l.s(", msg_len=")
		l.uint(size)
		l.c('}')
	})
}
