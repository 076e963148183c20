package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	headerSize = 16 // sizeof(struct nlmsghdr)
	attrSize   = 4  // sizeof(struct rtattr)

	dump = unix.NLM_F_ROOT | unix.NLM_F_MATCH // NLM_F_DUMP
)

// header is struct nlmsghdr.
type header struct {
	length uint32
	typ    uint16
	flags  uint16
	seq    uint32
	pid    uint32
}

// parseHeader takes the first message from b: ok is false if there is none, or it
// does not lie within b.
func parseHeader(b []byte) (h header, body, rest []byte, ok bool) {
	if len(b) < headerSize {
		return h, nil, nil, false
	}
	le := binary.LittleEndian
	h = header{le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), le.Uint32(b[8:]), le.Uint32(b[12:])}
	if h.length < headerSize || uint64(h.length) > uint64(len(b)) {
		return h, nil, nil, false
	}
	next := min(align4(int(h.length)), len(b))
	return h, b[headerSize:h.length], b[next:], true
}

func align4(n int) int { return (n + 3) &^ 3 }

// attributes calls fn for each attribute in b, as far as they are well formed
// (nlmsg_parse_deprecated). It returns false if something is not.
func attributes(b []byte, fn func(typ uint16, data []byte)) bool {
	for len(b) >= attrSize {
		n := int(binary.LittleEndian.Uint16(b))
		if n < attrSize || n > len(b) {
			return false
		}
		fn(binary.LittleEndian.Uint16(b[2:])&0x3fff, b[attrSize:n])
		b = b[min(align4(n), len(b)):]
	}
	return true
}

// builder lays messages out.
type builder struct {
	b     []byte
	start int
}

// begin starts a message.
func (w *builder) begin(typ, flags uint16, seq, port uint32) {
	w.start = len(w.b)
	w.u32(0)
	w.u16(typ)
	w.u16(flags)
	w.u32(seq)
	w.u32(port)
}

// end completes a message.
func (w *builder) end() {
	binary.LittleEndian.PutUint32(w.b[w.start:], uint32(len(w.b)-w.start))
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *builder) u8(v ...byte) { w.b = append(w.b, v...) }
func (w *builder) u16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *builder) u32(v ...uint32) {
	for _, x := range v {
		w.b = binary.LittleEndian.AppendUint32(w.b, x)
	}
}

// attr adds an attribute.
func (w *builder) attr(typ uint16, data []byte) {
	w.u16(uint16(attrSize + len(data)))
	w.u16(typ)
	w.b = append(w.b, data...)
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *builder) attr8(typ uint16, v byte) { w.attr(typ, []byte{v}) }
func (w *builder) attr32(typ uint16, v uint32) {
	w.attr(typ, binary.LittleEndian.AppendUint32(nil, v))
}
func (w *builder) attrString(typ uint16, s string) { w.attr(typ, append([]byte(s), 0)) }
