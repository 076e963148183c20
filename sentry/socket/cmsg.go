package socket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

const (
	// cmsgHeader is sizeof(struct cmsghdr).
	cmsgHeader = 16
	// MaxRights is SCM_MAX_FD: more descriptors in one message are EINVAL.
	MaxRights = 253
)

// Control is what goes with a message: cmsg(3).
type Control struct {
	// Rights are the files of SCM_RIGHTS, each with a reference that Control
	// holds.
	Rights []*vfs.File
	// Cred is SCM_CREDENTIALS.
	Cred    Cred
	HasCred bool
	// Items are all others, as the guest wrote them or is to see them.
	Items []Item
}

// Item is one control message: its data are as Linux has them.
type Item struct {
	Level, Type int32
	Data        []byte
}

// Release gives the references of Rights back.
func (c *Control) Release() {
	for _, f := range c.Rights {
		f.DecRef()
	}
	c.Rights = nil
}

// Descriptors finds the open file of a descriptor, with a reference (EBADF).
type Descriptors func(fd int32) (*vfs.File, error)

func align8(n int) int { return (n + 7) &^ 7 }

// ParseControl reads the control messages of a sendmsg(2) (scm_send, and the
// loops of the protocols): EINVAL if one does not lie within b. local says that
// SOL_SOCKET messages have AF_UNIX's meaning. The result holds references even
// if there is an error: Release it.
func ParseControl(b []byte, local bool, files Descriptors) (c Control, err error) {
	for len(b) >= cmsgHeader {
		n := binary.LittleEndian.Uint64(b)
		level := int32(binary.LittleEndian.Uint32(b[8:]))
		typ := int32(binary.LittleEndian.Uint32(b[12:]))
		if n < cmsgHeader || n > uint64(len(b)) {
			return c, unix.EINVAL
		}
		data := b[cmsgHeader:n]
		switch {
		case level != unix.SOL_SOCKET:
			if len(c.Items) >= 64 {
				return c, unix.EINVAL
			}
			c.Items = append(c.Items, Item{level, typ, data})
		case typ == unix.SCM_RIGHTS:
			if !local {
				return c, unix.EINVAL
			}
			if err := c.addRights(data, files); err != nil {
				return c, err
			}
		case typ == unix.SCM_CREDENTIALS:
			if len(data) != 12 || !local {
				return c, unix.EINVAL
			}
			c.HasCred = true
			c.Cred = ParseCred(data)
		default:
			if local {
				return c, unix.EINVAL
			}
			if len(c.Items) >= 64 {
				return c, unix.EINVAL
			}
			c.Items = append(c.Items, Item{level, typ, data})
		}
		b = b[min(align8(int(n)), len(b)):]
	}
	return c, nil
}

func (c *Control) addRights(data []byte, files Descriptors) error {
	n := len(data) / 4
	if n == 0 {
		return nil
	}
	if len(c.Rights)+n > MaxRights {
		return unix.EINVAL
	}
	for i := range n {
		f, err := files(int32(binary.LittleEndian.Uint32(data[4*i:])))
		if err != nil {
			return err
		}
		c.Rights = append(c.Rights, f)
	}
	return nil
}

// ParseCred reads struct ucred, which is 12 bytes.
func ParseCred(b []byte) Cred {
	return Cred{
		PID: int32(binary.LittleEndian.Uint32(b)),
		UID: binary.LittleEndian.Uint32(b[4:]), GID: binary.LittleEndian.Uint32(b[8:]),
	}
}

// AppendCred is the opposite of ParseCred.
func AppendCred(b []byte, c Cred) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(c.PID))
	b = binary.LittleEndian.AppendUint32(b, c.UID)
	return binary.LittleEndian.AppendUint32(b, c.GID)
}

// ControlWriter lays control messages out for recvmsg(2) (put_cmsg).
type ControlWriter struct {
	// Max is how much room the guest has.
	Max int
	Buf []byte
	// Truncated says that something did not fit: MSG_CTRUNC.
	Truncated bool
}

// Room returns how many bytes of data another message may have; negative if there
// is not even room for its header.
func (w *ControlWriter) Room() int { return w.Max - len(w.Buf) - cmsgHeader }

// Put adds a message, cut where the room ends.
func (w *ControlWriter) Put(level, typ int32, data []byte) {
	room := w.Room()
	if room < 0 {
		w.Truncated = true
		return
	}
	if len(data) > room {
		data, w.Truncated = data[:room], true
	}
	w.Buf = binary.LittleEndian.AppendUint64(w.Buf, uint64(cmsgHeader+len(data)))
	w.Buf = binary.LittleEndian.AppendUint32(w.Buf, uint32(level))
	w.Buf = binary.LittleEndian.AppendUint32(w.Buf, uint32(typ))
	w.Buf = append(w.Buf, data...)
	for len(w.Buf)%8 != 0 && len(w.Buf) < w.Max {
		w.Buf = append(w.Buf, 0)
	}
}
