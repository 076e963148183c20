package socket

import (
	"encoding/binary"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Options that x/sys/unix lacks or that are spelled differently.
const (
	SOPeekOff  = 42
	SOZeroCopy = 60
)

// Generic are the options of level SOL_SOCKET that mean the same for all families,
// and that for some mean nothing: the kernel stores them all the same.
type Generic struct {
	Timeouts

	SndBuf, RcvBuf atomic.Int32
	// LowWater is SO_RCVLOWAT.
	LowWater atomic.Int32
	// PassCred is SO_PASSCRED.
	PassCred atomic.Bool

	bits     atomic.Uint64 // a bit for each name in flagOptions
	priority atomic.Int32
	mark     atomic.Int32
	linger   atomic.Int64 // seconds; negative: off
	err      atomic.Int32 // SO_ERROR
}

// Init sets the defaults.
func (g *Generic) Init() {
	g.SndBuf.Store(DefaultBuffer)
	g.RcvBuf.Store(DefaultBuffer)
	g.LowWater.Store(1)
	g.linger.Store(-1)
}

// Inherit copies what an accepted socket gets from the one that listens.
func (g *Generic) Inherit(from *Generic) {
	g.PassCred.Store(from.PassCred.Load())
	g.LowWater.Store(1)
}

// Least is how many bytes a blocking read of a stream waits for.
func (g *Generic) Least() int { return int(g.LowWater.Load()) }

// Fail sets what SO_ERROR, or the next call, is to answer.
func (g *Generic) Fail(err unix.Errno) { g.err.Store(int32(err)) }

// Failed reports whether there is an error to be told.
func (g *Generic) Failed() bool { return g.err.Load() != 0 }

// TakeError returns the error that is to be told, once (sock_error).
func (g *Generic) TakeError() error {
	if g.err.Load() == 0 {
		return nil
	}
	if e := g.err.Swap(0); e != 0 {
		return unix.Errno(e)
	}
	return nil
}

// flagBit returns the bit of an option that is on or off, -1 for others.
func flagBit(name int) int {
	switch name {
	case unix.SO_DEBUG, unix.SO_REUSEADDR, unix.SO_DONTROUTE, unix.SO_BROADCAST, unix.SO_KEEPALIVE, unix.SO_OOBINLINE,
		unix.SO_NO_CHECK, unix.SO_RXQ_OVFL, unix.SO_WIFI_STATUS, unix.SO_SELECT_ERR_QUEUE:
		return name
	}
	return -1
}

// Flag returns an option that is on or off.
func (g *Generic) Flag(name int) bool { return g.bits.Load()>>uint(name)&1 != 0 }

// Set sets an option: ENOPROTOOPT if it is none of these.
func (g *Generic) Set(c Caller, name int, value []byte) error {
	if ok, err := g.Timeouts.Set(name, value); ok {
		return err
	}
	n, err := Int(value)
	if err != nil {
		return err
	}
	if bit := flagBit(name); bit >= 0 {
		if name == unix.SO_DEBUG && n != 0 && !c.Capable(unix.CAP_NET_ADMIN) {
			return unix.EACCES
		}
		if n != 0 {
			g.bits.Or(1 << bit)
		} else {
			g.bits.And(^uint64(1 << bit))
		}
		return nil
	}
	switch name {
	case unix.SO_SNDBUFFORCE, unix.SO_RCVBUFFORCE:
		// The memory is the sandbox's, whatever the caller may: the limit stays.
		if !c.Capable(unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		if name == unix.SO_SNDBUFFORCE {
			g.SndBuf.Store(SendBuffer(n))
		} else {
			g.RcvBuf.Store(RecvBuffer(n))
		}
	case unix.SO_SNDBUF:
		g.SndBuf.Store(SendBuffer(n))
	case unix.SO_RCVBUF:
		g.RcvBuf.Store(RecvBuffer(n))
	case unix.SO_RCVLOWAT:
		switch {
		case n < 0:
			n = 1<<31 - 1
		case n == 0:
			n = 1
		}
		g.LowWater.Store(n)
	case unix.SO_PRIORITY:
		if (n < 0 || n > 6) && !c.Capable(unix.CAP_NET_ADMIN) && !c.Capable(unix.CAP_NET_RAW) {
			return unix.EPERM
		}
		g.priority.Store(n)
	case unix.SO_MARK:
		if !c.Capable(unix.CAP_NET_ADMIN) && !c.Capable(unix.CAP_NET_RAW) {
			return unix.EPERM
		}
		g.mark.Store(n)
	case unix.SO_PASSCRED:
		g.PassCred.Store(n != 0)
	case unix.SO_LINGER:
		if len(value) < 8 {
			return unix.EINVAL
		}
		if n == 0 {
			g.linger.Store(-1)
		} else {
			g.linger.Store(int64(binary.LittleEndian.Uint32(value[4:])))
		}
	default:
		return unix.ENOPROTOOPT
	}
	return nil
}

// Get returns an option of s: ENOPROTOOPT if it is none of these.
func (g *Generic) Get(s Socket, name, max int) ([]byte, error) {
	if b := g.Timeouts.Get(name, max); b != nil {
		return b, nil
	}
	if bit := flagBit(name); bit >= 0 {
		return Bool(g.Flag(bit), max), nil
	}
	family, typ, protocol := s.Kind()
	switch name {
	case unix.SO_DOMAIN:
		return IntValue(family, max), nil
	case unix.SO_TYPE:
		return IntValue(typ, max), nil
	case unix.SO_PROTOCOL:
		return IntValue(protocol, max), nil
	case unix.SO_ERROR:
		e, _ := g.TakeError().(unix.Errno)
		return IntValue(int(e), max), nil
	case unix.SO_SNDBUF:
		return IntValue(int(g.SndBuf.Load()), max), nil
	case unix.SO_RCVBUF:
		return IntValue(int(g.RcvBuf.Load()), max), nil
	case unix.SO_RCVLOWAT:
		return IntValue(int(g.LowWater.Load()), max), nil
	case unix.SO_SNDLOWAT:
		return IntValue(1, max), nil
	case unix.SO_PRIORITY:
		return IntValue(int(g.priority.Load()), max), nil
	case unix.SO_MARK:
		return IntValue(int(g.mark.Load()), max), nil
	case unix.SO_PASSCRED:
		return Bool(g.PassCred.Load(), max), nil
	case unix.SO_REUSEPORT, unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS, unix.SO_ACCEPTCONN, unix.SO_PASSSEC, unix.SO_LOCK_FILTER, unix.SO_BUSY_POLL, SOZeroCopy:
		return IntValue(0, max), nil
	case unix.SO_LINGER:
		n := g.linger.Load()
		if n < 0 {
			return Cut(LingerValue(false, 0), max), nil
		}
		return Cut(LingerValue(true, int(n)), max), nil
	}
	return nil, unix.ENOPROTOOPT
}
