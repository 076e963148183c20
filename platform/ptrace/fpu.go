package ptrace

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Offsets in an XSAVE area in standard format (Intel SDM 1, 13.4), and in its
// part for software, where Linux says which components there are.
const (
	xsaveMXCSR     = 24
	xsaveMXCSRMask = 28
	xsaveFeatures  = 464
	xsaveHeader    = 512
	xsaveHeaderEnd = 576

	xfeatureSSE   = 1 << 1
	xfeatureAVX   = 1 << 2
	xfeatureTiles = 1 << 18 // wants a permission that stubs do not have
)

// checkXSave says whether the host takes an area: fresh is one that it made.
// It is Linux's validate_user_xstate_header and what goes with it.
func checkXSave(area, fresh []byte) error {
	if len(area) != len(fresh) {
		return unix.EINVAL
	}
	if len(area) < xsaveHeaderEnd {
		return nil
	}
	le := binary.LittleEndian
	bv := le.Uint64(area[xsaveHeader:])
	if bv&^(le.Uint64(fresh[xsaveFeatures:])&^xfeatureTiles) != 0 {
		return unix.EINVAL
	}
	var zeros [xsaveHeaderEnd - xsaveHeader - 8]byte // compaction and reserved
	if !bytes.Equal(area[xsaveHeader+8:xsaveHeaderEnd], zeros[:]) {
		return unix.EINVAL
	}
	mask := le.Uint32(fresh[xsaveMXCSRMask:])
	if mask == 0 {
		mask = 0xffbf
	}
	if bv&(xfeatureSSE|xfeatureAVX) != 0 && le.Uint32(area[xsaveMXCSR:])&^mask != 0 {
		return unix.EINVAL
	}
	return nil
}

// FPState implements platform.Context.
func (c *context) FPState() ([]byte, error) {
	if c.fpOut == nil {
		c.fpOut = make([]byte, len(c.w.p.zygote.fpu))
	}
	buf := c.fpOut
	switch {
	case c.fp != nil:
		copy(buf, c.fp)
	case c.tid == 0:
		copy(buf, c.w.p.zygote.fpu)
	default:
		if fp, ok := c.saveFP(); ok {
			return fp, nil
		}
		if err := c.stopPolling(); err != nil {
			return nil, err
		}
		n, e := c.w.getXState(c.tid, buf)
		if e != 0 {
			return nil, lostError(e)
		}
		buf = buf[:n]
	}
	return buf, nil
}

// SetFPState implements platform.Context.
func (c *context) SetFPState(xsave []byte) error {
	if xsave == nil {
		c.fp = c.w.p.zygote.fpu
		return nil
	}
	if err := checkXSave(xsave, c.w.p.zygote.fpu); err != nil {
		return err
	}
	c.fpIn = append(c.fpIn[:0], xsave...)
	c.fp = c.fpIn
	return nil
}
