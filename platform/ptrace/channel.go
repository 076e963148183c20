package ptrace

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
	"runsc-lite/platform/channel"
)

// The channel's slots lie in the command file, behind the command pages, and in
// stub processes below the stub's page.
const (
	maxSlots         = 1 << 15 // in the sandbox
	slotsPerStub     = 2048
	slotRegion       = stubBase - slotsPerStub*channel.Size
	commandFilePages = maxStubs + maxSlots*channel.Size/hostarch.PageSize

	// stopEntry is a stop at the entry of a system call.
	stopEntry = unix.SIGTRAP | 0x80
)

// slotFile hands out the parts of the command file that slots are in.
type slotFile struct {
	view []byte

	mu   sync.Mutex
	free []int
	next int
}

// take returns a slot's number, -1 if there are no more.
func (f *slotFile) take() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.free); n > 0 {
		i := f.free[n-1]
		f.free = f.free[:n-1]
		return i
	}
	if f.next == maxSlots {
		return -1
	}
	f.next++
	return f.next - 1
}

func (f *slotFile) give(pages []int) {
	f.mu.Lock()
	f.free = append(f.free, pages...)
	f.mu.Unlock()
}

// Shares reports whether guest code can write at an address of the platform's own:
// whether there may be a slot.
func (p *Ptrace) Shares(addr hostarch.Addr) bool {
	return p.slots != nil && addr >= slotRegion && addr < stubBase
}

func (f *slotFile) slot(page int) channel.Slot {
	return channel.Slot(f.view[page*channel.Size:][:channel.Size])
}

// stubSlots are the slots that are mapped in a stub: the i-th at slotRegion plus
// i times their size. They stay mapped for the next guest. Under space.mu.
type stubSlots struct {
	pages []int // numbers in the slot file
	free  []int // indices
}

// channelState is what a context has to do with the channel.
type channelState struct {
	slot  channel.Slot // nil: none
	index int          // in the stub
	tried bool         // to get one

	call   bool // the last Exit was a call from the slot: the tracee waits for the answer
	halted bool // …and is known to be stopped
	split  splitter
}

// address is where the slot's base is in the guest side.
func (ch *channelState) address() uint64 {
	return slotRegion + uint64(ch.index)*channel.Size + channel.Base
}

// takeSlot gives the context a slot. The tracee is stopped. Without room there is
// none, and calls go the slow way.
func (c *context) takeSlot() {
	c.ch.tried = true
	s, st, files := c.cur, c.stub, c.w.p.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(st.slots.free); n > 0 {
		c.ch.index = st.slots.free[n-1]
		st.slots.free = st.slots.free[:n-1]
	} else {
		page := -1
		if len(st.slots.pages) < slotsPerStub {
			page = files.take()
		}
		if page < 0 {
			return
		}
		c.ch.index = len(st.slots.pages)
		st.slots.pages = append(st.slots.pages, page)
		// It is mapped with the next changes, before anything needs it.
		s.queue = append([]command{{
			nr: unix.SYS_MMAP, fd: commandFD, prot: unix.PROT_READ | unix.PROT_WRITE,
			addr: slotRegion + uint64(c.ch.index)*channel.Size, length: channel.Size,
			off: maxStubs*hostarch.PageSize + uint64(page)*channel.Size,
		}}, s.queue...)
		s.pending.Store(true)
	}
	c.ch.slot = files.slot(st.slots.pages[c.ch.index])
	c.ch.slot.Init(c.ch.address(), 1)
	for i := range c.answers {
		c.ch.slot.SetFact(c.answers[i].nr, i, c.answers[i].v, c.answers[i].nr >= 0)
	}
	c.lost = true // the GS base changes
}

// answer is the result of a call that is known beforehand.
type answer struct {
	nr int
	v  uint64
}

// SetAnswer implements platform.CallAnswerer.
func (c *context) SetAnswer(nr int, v uint64, ok bool) {
	i := slices.IndexFunc(c.answers, func(a answer) bool { return a.nr == nr })
	switch {
	case c.w.p.slots == nil:
		return
	case ok && i < 0:
		i = len(c.answers)
		c.answers = append(c.answers, answer{nr, v})
	case ok:
		c.answers[i].v = v
	case i >= 0:
		// The others keep their indices.
		c.answers[i].nr = -1
	}
	if c.ch.slot != nil && i >= 0 {
		c.ch.slot.SetFact(nr, i, v, ok)
	}
}

// leaveSlot gives the slot back to the stub, whose other threads may use it.
func (c *context) leaveSlot() {
	if c.ch.slot != nil {
		c.cur.mu.Lock()
		c.stub.slots.free = append(c.stub.slots.free, c.ch.index)
		c.cur.mu.Unlock()
	}
	c.ch = channelState{}
}

// showSlot and hideSlot put the slot's address where the guest has a GS base of
// zero, and take it away. A guest that sets a GS base of its own has no channel.
func (c *context) showSlot(r *platform.Registers) {
	if c.ch.slot != nil && r.Gs_base == 0 {
		r.Gs_base = c.ch.address()
	}
}

func (c *context) hideSlot(r *platform.Registers) {
	if c.ch.slot != nil && r.Gs_base == c.ch.address() {
		r.Gs_base = 0
	}
}

// posted reports whether the tracee has put a call into its slot.
func (c *context) posted() bool {
	if c.ch.slot == nil {
		return false
	}
	s := c.ch.slot.State()
	return s != channel.Guest && s != channel.Load
}

// takeCall takes the call out of the slot. halted says that the tracee is known
// to be stopped.
func (c *context) takeCall(halted bool) platform.Exit {
	c.ch.call, c.ch.halted = true, halted
	c.ch.slot.Load(&c.regs)
	c.shadow = c.regs
	return platform.Exit{Kind: platform.ExitSyscall}
}

// onlyResult reports whether nothing but the result is to be brought to the
// tracee, which waits for that.
func (c *context) onlyResult() bool {
	c.shadow.Rax = c.regs.Rax
	return c.regs == c.shadow
}

// answer brings the result of a call to the tracee, or with channel.Load all
// registers, and waits for what comes next: a stop, or the next call.
func (c *context) answer(how uint32) (ws unix.WaitStatus, stopped bool, e unix.Errno) {
	ch := &c.ch
	ch.call = false
	// Next to the change of state, without an atomic operation in between: the
	// tracee polls the cache line, which would go back and forth twice.
	if how == channel.Guest {
		ch.slot.Answer(c.regs.Rax)
	} else {
		c.fp, c.shadow = nil, c.regs
		ch.slot.Store(&c.regs)
	}
	if !ch.halted && ch.slot.ChangeState(channel.Call, how) {
		ch.split.calls++
		return c.await()
	}
	if !ch.halted {
		// It has polled long enough, and stops.
		if ws, e = c.w.waitSoon(c.tid); e != 0 || !ws.Stopped() {
			return ws, true, e
		}
		if ws != eventSeccomp {
			// An interruption came first, or it was no true call and the thread is
			// somewhere else. It may not go on and wait for the next one.
			ch.slot.SetState(how)
			return ws, true, 0
		}
	}
	if ch.split.on {
		c.unite()
	} else if c.pace() {
		c.divide()
	}
	ch.slot.SetState(how)
	if e = c.proceed(); e != 0 {
		return 0, true, e
	}
	if ch.split.on {
		return c.await()
	}
	ws, e = c.w.wait(c.tid)
	return ws, true, e
}

// reply decides how the tracee, which waits for an answer, is to get it; ok is false
// if that cannot be done by the channel. Nothing is brought before answer is called:
// an interruption may come first.
func (c *context) reply() (how uint32, ok bool) {
	if c.step {
		return 0, false
	}
	if c.fp == nil && c.onlyResult() {
		return channel.Guest, true
	}
	if c.regs.Cs == compatCS || c.regs.Fs_base != c.shadow.Fs_base || c.regs.Gs_base != 0 || !c.ch.slot.StoreFP(c.fp) {
		return 0, false
	}
	c.sanitise()
	return channel.Load, true
}

// saveFP has a tracee that polls save its floating-point state. It reports false
// if it does not poll any more.
func (c *context) saveFP() ([]byte, bool) {
	if !c.ch.call || c.ch.halted || len(c.w.p.zygote.fpu) > len(c.ch.slot.XSave()) ||
		!c.ch.slot.ChangeState(channel.Call, channel.Save) {
		return nil, false
	}
	for range stubPolls {
		if c.ch.slot.State() == channel.Call {
			return c.fromSlot(), true
		}
		pause(1)
	}
	return nil, false
}

// fromSlot returns the XSAVE area in the slot in the form in which the host gives
// and takes it: XSAVE leaves out what follows the components' bits in the header,
// and what Linux adds.
func (c *context) fromSlot() []byte {
	fresh := c.w.p.zygote.fpu
	if c.fpOut == nil {
		c.fpOut = make([]byte, len(fresh))
	}
	fp := c.fpOut
	copy(fp, c.ch.slot.XSave())
	if len(fp) >= xsaveHeaderEnd {
		copy(fp[xsaveFeatures:xsaveHeader], fresh[xsaveFeatures:])
		clear(fp[xsaveHeader+8 : xsaveHeaderEnd])
	}
	if checkXSave(fp, fresh) != nil {
		copy(fp, fresh) // the guest played with it
	}
	return fp
}

// halt ends the wait for an answer: the tracee is stopped, in the channel code,
// and its registers are not the guest's.
func (c *context) halt() error {
	if !c.ch.call {
		return nil
	}
	if err := c.stopPolling(); err != nil {
		return err
	}
	c.ch.slot.SetState(channel.Guest)
	c.ch.call, c.ch.halted = false, false
	c.lost = true
	return nil
}

// inChannel reports whether the guest's thread was stopped in the channel code.
func (c *context) inChannel() bool {
	return c.w.p.slots != nil && c.regs.Rip-ChannelEntry < channel.CodeLen
}

// unwind makes an Exit of a stop in the channel code.
func (c *context) unwind(ws unix.WaitStatus) (platform.Exit, error) {
	off := c.regs.Rip - ChannelEntry
	sig := unix.Signal(ws >> 8 & 0xff)
	switch {
	case off == 0 && sig == unix.SIGSEGV && (c.ch.slot == nil || c.regs.Gs_base != 0):
		// A patched site in a thread without a slot, or with a GS base of its own:
		// the call itself.
		c.regs.Orig_rax = c.regs.Rax
		c.regs.Rip = c.regs.Rcx
		c.regs.R11 = c.regs.Eflags
		c.regs.Rax = ^uint64(unix.ENOSYS - 1)
		c.lost = true
		return platform.Exit{Kind: platform.ExitSyscall, Trapped: true}, nil
	case (sig == kick || sig == unix.SIGTRAP) && c.ch.slot != nil:
		fp, ok := c.ch.slot.Unwind(&c.regs, off)
		if !ok {
			break
		}
		if fp {
			c.fpIn = append(c.fpIn[:0], c.fromSlot()...)
			c.fp = c.fpIn
		}
		c.ch.slot.SetState(channel.Guest)
		c.lost = true
		return platform.Exit{}, nil
	}
	return c.decode(ws)
}
