package kvm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Floating-point and vector state stays in the vCPU in which a context ran last.
// It is fetched when another context gets that vCPU, or this one another vCPU, or
// the kernel asks. What the host hands out is an XSAVE area in standard format.
const (
	xsaveFCW       = 0
	xsaveFSW       = 2
	xsaveMXCSR     = 24
	xsaveX87       = 32
	xsaveSSE       = 160
	xsaveMXCSRMask = 28
	xsaveHeader    = 512
	xsaveHeaderEnd = 576

	fcwReset   = 0x37f
	mxcsrReset = 0x1f80

	xfeatureX87 = 1 << 0
	xfeatureSSE = 1 << 1
	xfeatureAVX = 1 << 2
)

// getXSave copies the vCPU's state to b, which has the host's size.
func (v *vcpu) getXSave(b []byte) error {
	req := uintptr(ioGetXSave)
	if v.m.xsaveSize > xsaveMin {
		req = ioGetXSave2
	}
	v.m.counts.ioctls.Add(1)
	if err := ioctlPtr(v.fd, req, &b[0]); err != nil {
		return fmt.Errorf("reading floating-point state: %w", err)
	}
	return nil
}

func (v *vcpu) setXSave(b []byte) error {
	v.m.counts.ioctls.Add(1)
	if err := ioctlPtr(v.fd, ioSetXSave, &b[0]); err != nil {
		return fmt.Errorf("setting floating-point state: %w", err)
	}
	return nil
}

// evict puts the state of the vCPU's owner into its context. The pool's lock is
// held.
func (v *vcpu) evict() error {
	o := v.owner
	if o == nil {
		return nil
	}
	if o.fp == nil {
		o.fp = make([]byte, v.m.xsaveSize)
	}
	if err := v.getXSave(o.fp); err != nil {
		return err
	}
	present(o.fp)
	v.owner, o.home = nil, nil
	return nil
}

// adopt makes c the vCPU's owner. The pool's lock is held.
func (v *vcpu) adopt(c *context) error {
	if v.owner == c {
		return nil
	}
	if err := v.evict(); err != nil {
		return err
	}
	if c.home != nil {
		if err := c.home.evict(); err != nil {
			return err
		}
	}
	fp := c.fp
	if fp == nil {
		fp = v.m.fresh
	}
	if err := v.setXSave(fp); err != nil {
		return err
	}
	v.owner, c.home = c, v
	v.foreign = true
	return nil
}

// FPState implements platform.Context.
func (c *context) FPState() ([]byte, error) {
	c.p.pool.mu.Lock()
	defer c.p.pool.mu.Unlock()
	from := c.fp
	switch {
	case c.p.pool.closed:
		return nil, errClosed
	case c.home != nil:
		if c.fp == nil {
			c.fp = make([]byte, c.p.m.xsaveSize)
		}
		if err := c.home.getXSave(c.fp); err != nil {
			return nil, err
		}
		present(c.fp)
		from = c.fp
	case c.fp == nil:
		from = c.p.m.fresh
	}
	return bytes.Clone(from[:c.p.m.xstate]), nil
}

// SetFPState implements platform.Context.
func (c *context) SetFPState(xsave []byte) error {
	m := c.p.m
	if xsave == nil {
		xsave = m.fresh[:m.xstate]
	} else if err := checkXSave(xsave, m.fresh[:m.xstate], m.xcr0); err != nil {
		return err
	}
	c.p.pool.mu.Lock()
	defer c.p.pool.mu.Unlock()
	if c.fp == nil {
		c.fp = make([]byte, m.xsaveSize)
	}
	copy(c.fp, xsave)
	explicit(c.fp)
	if c.home != nil {
		c.home.owner, c.home = nil, nil
	}
	return nil
}

// present says of an area from the host, which has all of x87 and SSE in it, that
// it does: KVM takes MXCSR only from areas that say so.
func present(area []byte) {
	le := binary.LittleEndian
	le.PutUint64(area[xsaveHeader:], le.Uint64(area[xsaveHeader:])|xfeatureX87|xfeatureSSE)
}

// explicit makes x87 and SSE state that an area leaves out what that means: as
// after FNINIT. MXCSR goes with SSE and AVX.
func explicit(area []byte) {
	le := binary.LittleEndian
	has := le.Uint64(area[xsaveHeader:])
	if has&xfeatureX87 == 0 {
		clear(area[:xsaveMXCSR])
		le.PutUint16(area[xsaveFCW:], fcwReset)
		clear(area[xsaveX87:xsaveSSE])
	}
	if has&xfeatureSSE == 0 {
		clear(area[xsaveSSE : xsaveSSE+16*16])
		if has&xfeatureAVX == 0 {
			le.PutUint32(area[xsaveMXCSR:], mxcsrReset)
		}
	}
	present(area)
}

// checkXSave says whether an area is one that the processor loads: XRSTOR's
// conditions for the standard format (Intel SDM 1, 13.8.1), with what Linux asks
// for besides (validate_user_xstate_header).
func checkXSave(area, fresh []byte, xcr0 uint64) error {
	if len(area) != len(fresh) {
		return unix.EINVAL
	}
	le := binary.LittleEndian
	has := le.Uint64(area[xsaveHeader:])
	if has&^xcr0 != 0 {
		return unix.EINVAL
	}
	for _, b := range area[xsaveHeader+8 : xsaveHeaderEnd] {
		if b != 0 {
			return unix.EINVAL // compacted, or reserved
		}
	}
	mask := le.Uint32(fresh[xsaveMXCSRMask:])
	if mask == 0 {
		mask = 0xffbf
	}
	if has&(xfeatureSSE|xfeatureAVX) != 0 && le.Uint32(area[xsaveMXCSR:])&^mask != 0 {
		return unix.EINVAL
	}
	return nil
}

// floatError is the si_code of a floating-point exception: which of those that
// are unmasked comes first, as Linux's fpu__exception_code has it.
func floatError(fp []byte, vector int) int32 {
	le := binary.LittleEndian
	var raised uint32
	if vector == vectorX87 {
		raised = uint32(le.Uint16(fp[xsaveFSW:]) &^ le.Uint16(fp[xsaveFCW:]))
	} else {
		mxcsr := le.Uint32(fp[xsaveMXCSR:])
		raised = mxcsr &^ (mxcsr >> 7)
	}
	switch {
	case raised&1 != 0:
		return fpeInvalid
	case raised&4 != 0:
		return fpeDivide
	case raised&8 != 0:
		return fpeOverflow
	case raised&(16|2) != 0:
		return fpeUnderflow
	case raised&32 != 0:
		return fpeResult
	}
	return fpeUnknown
}

const (
	fpeInteger   = 1  // FPE_INTDIV
	fpeDivide    = 3  // FPE_FLTDIV
	fpeOverflow  = 4  // FPE_FLTOVF
	fpeUnderflow = 5  // FPE_FLTUND
	fpeResult    = 6  // FPE_FLTRES
	fpeInvalid   = 7  // FPE_FLTINV
	fpeUnknown   = 14 // FPE_FLTUNK
)
