package socket

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Family returns the family of an address; 0 (AF_UNSPEC) of one too short to
// have one.
func Family(addr []byte) int {
	if len(addr) < 2 {
		return unix.AF_UNSPEC
	}
	return int(binary.LittleEndian.Uint16(addr))
}

// unixPath is sizeof(sun_path).
const unixPath = 108

// UnixName is a struct sockaddr_un: a path, or an abstract name that begins with
// a NUL byte. "" is no name.
type UnixName string

// Abstract reports whether n is an abstract name.
func (n UnixName) Abstract() bool { return n != "" && n[0] == 0 }

// Append adds the address to b as getsockname(2) shows it: a path with its NUL.
func (n UnixName) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, unix.AF_UNIX)
	b = append(b, n...)
	if n != "" && !n.Abstract() {
		b = append(b, 0)
	}
	return b
}

// ParseUnix reads a struct sockaddr_un (unix_validate_addr, unix_mkname): EINVAL
// if its length or family is wrong. "" is an address without a name, for which
// bind(2) finds one.
func ParseUnix(addr []byte) (UnixName, error) {
	if len(addr) < 2 || len(addr) > 2+unixPath || Family(addr) != unix.AF_UNIX {
		return "", unix.EINVAL
	}
	path := addr[2:]
	if len(path) == 0 || path[0] == 0 {
		return UnixName(path), nil
	}
	if i := bytes.IndexByte(path, 0); i >= 0 {
		path = path[:i]
	}
	return UnixName(path), nil
}

// Inet is a struct sockaddr_in or sockaddr_in6.
type Inet struct {
	Family   int
	Addr     [16]byte // the first four for AF_INET
	Port     uint16
	Flow     uint32
	Scope    uint32
	ShortSin bool // shorter than today's struct sockaddr_in6
}

// IP returns the address: 4 or 16 bytes.
func (a *Inet) IP() []byte {
	if a.Family == unix.AF_INET {
		return a.Addr[:4]
	}
	return a.Addr[:]
}

const (
	sizeofSockaddrIn = 16
	// sizeofSockaddrIn6Old is SIN6_LEN_RFC2133: without the scope.
	sizeofSockaddrIn6Old = 24
	sizeofSockaddrIn6    = 28
)

// ParseInet reads a struct sockaddr_in or sockaddr_in6, as its own family field
// says: EINVAL if it is too short for it, EAFNOSUPPORT for another family.
func ParseInet(addr []byte) (a Inet, err error) {
	a.Family = Family(addr)
	switch {
	case len(addr) < 2:
		return a, unix.EINVAL
	case a.Family == unix.AF_INET && len(addr) >= sizeofSockaddrIn:
		a.Port = binary.BigEndian.Uint16(addr[2:])
		copy(a.Addr[:4], addr[4:8])
	case a.Family == unix.AF_INET6 && len(addr) >= sizeofSockaddrIn6Old:
		a.Port = binary.BigEndian.Uint16(addr[2:])
		a.Flow = binary.BigEndian.Uint32(addr[4:])
		copy(a.Addr[:], addr[8:24])
		if a.ShortSin = len(addr) < sizeofSockaddrIn6; !a.ShortSin {
			a.Scope = binary.LittleEndian.Uint32(addr[24:])
		}
	case a.Family == unix.AF_INET || a.Family == unix.AF_INET6:
		return a, unix.EINVAL
	default:
		return a, unix.EAFNOSUPPORT
	}
	return a, nil
}

// Append adds the address to b as the kernel shows it.
func (a *Inet) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(a.Family))
	b = binary.BigEndian.AppendUint16(b, a.Port)
	if a.Family == unix.AF_INET {
		b = append(b, a.Addr[:4]...)
		return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	b = binary.BigEndian.AppendUint32(b, a.Flow)
	b = append(b, a.Addr[:]...)
	return binary.LittleEndian.AppendUint32(b, a.Scope)
}
