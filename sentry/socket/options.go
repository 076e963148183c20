package socket

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Int reads an option's value as a C int: EINVAL if it is shorter.
func Int(value []byte) (int32, error) {
	if len(value) < 4 {
		return 0, unix.EINVAL
	}
	return int32(binary.LittleEndian.Uint32(value)), nil
}

// IntValue is the opposite of Int, cut to max bytes as getsockopt(2) does.
func IntValue(n int, max int) []byte {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(int32(n)))
	return b[:min(4, max)]
}

// Bool is IntValue of 0 or 1.
func Bool(on bool, max int) []byte {
	if on {
		return IntValue(1, max)
	}
	return IntValue(0, max)
}

// Cut returns at most max bytes of b.
func Cut(b []byte, max int) []byte { return b[:min(len(b), max)] }

// ParseTimeval reads a struct timeval as SO_RCVTIMEO has it (sock_set_timeout):
// EINVAL if it is short, EDOM if the microseconds are no such. Negative seconds
// are no time at all, zero is for ever.
func ParseTimeval(value []byte) (time.Duration, error) {
	if len(value) < 16 {
		return 0, unix.EINVAL
	}
	sec := int64(binary.LittleEndian.Uint64(value))
	usec := int64(binary.LittleEndian.Uint64(value[8:]))
	if usec < 0 || usec >= 1e6 {
		return 0, unix.EDOM
	}
	switch {
	case sec < 0:
		return time.Nanosecond, nil
	case sec >= math.MaxInt64/int64(time.Second)-1:
		return 0, nil
	}
	return time.Duration(sec)*time.Second + time.Duration(usec)*time.Microsecond, nil
}

// TimevalValue is the opposite of ParseTimeval.
func TimevalValue(d time.Duration) []byte {
	b := make([]byte, 0, 16)
	b = binary.LittleEndian.AppendUint64(b, uint64(d/time.Second))
	return binary.LittleEndian.AppendUint64(b, uint64(d%time.Second/time.Microsecond))
}

// LingerValue is struct linger.
func LingerValue(on bool, seconds int) []byte {
	return append(IntValueOf(on), IntValue(seconds, 4)...)
}

// IntValueOf is Bool in full.
func IntValueOf(on bool) []byte { return Bool(on, 4) }

// Timeouts are SO_RCVTIMEO and SO_SNDTIMEO.
type Timeouts struct {
	rcv, snd atomic.Int64 // nanoseconds; 0: for ever
}

// Limit implements Socket.
func (t *Timeouts) Limit(write bool) time.Duration {
	if write {
		return time.Duration(t.snd.Load())
	}
	return time.Duration(t.rcv.Load())
}

// Option names that x/sys/unix gives other numbers on other machines.
const (
	soRcvTimeoNew = 66
	soSndTimeoNew = 67
)

// Set sets one of the two options; false: name is another.
func (t *Timeouts) Set(name int, value []byte) (bool, error) {
	var to *atomic.Int64
	switch name {
	case unix.SO_RCVTIMEO, soRcvTimeoNew:
		to = &t.rcv
	case unix.SO_SNDTIMEO, soSndTimeoNew:
		to = &t.snd
	default:
		return false, nil
	}
	d, err := ParseTimeval(value)
	if err == nil {
		to.Store(int64(d))
	}
	return true, err
}

// Get returns one of the two options; nil: name is another.
func (t *Timeouts) Get(name, max int) []byte {
	switch name {
	case unix.SO_RCVTIMEO, soRcvTimeoNew:
		return Cut(TimevalValue(t.Limit(false)), max)
	case unix.SO_SNDTIMEO, soSndTimeoNew:
		return Cut(TimevalValue(t.Limit(true)), max)
	}
	return nil
}

// Buffer sizes in bytes, as net.core.{w,r}mem_{default,max} and the SOCK_MIN_*
// of net/sock.h have them. The kernel doubles what a guest sets, for its own
// needs, and so do we.
const (
	DefaultBuffer = 212992
	MaxBuffer     = 212992
	minSendBuffer = 4608
	minRecvBuffer = 2304
)

// SendBuffer returns what SO_SNDBUF becomes for value n.
func SendBuffer(n int32) int32 { return max(int32(min(uint32(n), MaxBuffer))*2, minSendBuffer) }

// RecvBuffer is SendBuffer for SO_RCVBUF.
func RecvBuffer(n int32) int32 { return max(int32(min(uint32(n), MaxBuffer))*2, minRecvBuffer) }
