package task

import (
	"slices"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/platform"
)

// Where a platform can make system calls cheaper by a change of the code that
// makes them (platform.CallPatcher), sites that are used often get it. The code
// must be a private mapping that is not writable, so that nobody else sees the
// change, and code that a program makes and changes itself is left alone. A fork
// inherits the patches with the memory that they are in; an exec begins anew.

const (
	// patchAfter is how often a call must have trapped at one site.
	patchAfter = 16
	// siteWindow is how much text around a site is looked at, each way.
	siteWindow = 16 << 10
	// trampolineReach is how far a trampoline may be away from its site.
	trampolineReach = 1 << 30
	trampolinePage  = hostarch.PageSize
	// maxTrampolinePages bounds what the sites of one program can make us map.
	maxTrampolinePages = 64
)

// trappedSites counts the calls of the sites of an address space. Sites that share
// an entry throw each other out: a hot one comes back. Threads count at once and
// without a lock: a call that goes uncounted is counted the next time.
type trappedSites [64]struct {
	rip   atomic.Uint64
	count atomic.Uint32
}

// hit counts a call, and reports whether it is time to patch its site: after
// patchAfter calls, and should that not be possible, again whenever twice as many
// were made.
func (s *trappedSites) hit(rip uint64) bool {
	e := &s[(rip^rip>>6)%uint64(len(s))]
	if e.rip.Load() != rip {
		e.rip.Store(rip)
		e.count.Store(0)
	}
	n := e.count.Add(1)
	return n >= patchAfter && n&(n-1) == 0
}

// patches is what was patched in an address space.
type patches struct {
	sites trappedSites
	world worldState

	mu     sync.Mutex
	off    bool
	pages  []trampolines
	undone []patched // in the order in which they were made
	moved  []patched // put back, but calls in progress return elsewhere
}

// trampolines is a page of them.
type trampolines struct {
	at   hostarch.Addr
	used uint64 // bytes
}

// patched is a changed site, and what was there before.
type patched struct {
	at  hostarch.Addr
	old [5]byte
	// back is where calls of the site return to, after where they did before.
	back, after hostarch.Addr
}

// inherit takes over what a fork copies with the memory.
func (p *patches) inherit(from *patches) {
	from.mu.Lock()
	defer from.mu.Unlock()
	p.off = from.off
	p.pages = append([]trampolines(nil), from.pages...)
	p.undone = append([]patched(nil), from.undone...)
	p.moved = append([]patched(nil), from.moved...)
}

// made reports whether the code at an address is a trampoline: calls that are restarted
// trap there, but those of the channel return there without our help.
func (p *patches) made(at hostarch.Addr) bool {
	return slices.ContainsFunc(p.pages, func(t trampolines) bool { return at-t.at < trampolinePage })
}

// trapped is told of a call that trapped at the task's RIP.
func (t *Task) trapped() {
	regs := t.ctx.Registers()
	if t.k.patcher == nil {
		return
	}
	if regs.Gs_base != 0 { // set by WRGSBASE
		t.mem.Unpatch()
		return
	}
	if !t.mem.calls.sites.hit(regs.Rip) {
		return
	}
	if back, ok := t.patch(hostarch.Addr(regs.Rip), regs.Orig_rax); ok {
		regs.Rip = uint64(back)
	}
}

// patch changes the site whose call returns to after, and says where it returns
// to then. What cannot be done stays as it is.
func (t *Task) patch(after hostarch.Addr, nr uint64) (back hostarch.Addr, ok bool) {
	m := t.mem
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	text, ok := m.Space.Text(after - 1)
	if m.calls.off || !ok || m.calls.made(after) {
		return 0, false
	}
	lo := max(text.Start, after-min(after, siteWindow))
	hi := min(text.End, after+siteWindow)
	code := make([]byte, hi-lo)
	if _, err := m.Space.CopyIn(lo, code); err != nil {
		return 0, false
	}
	page := m.trampolinePage(after)
	if page == nil {
		return 0, false
	}
	slot := page.at + hostarch.Addr(page.used)
	change, ok := t.k.patcher.PatchCall(platform.CallSite{
		Addr: lo, Code: code, After: int(after - lo), Number: nr, Trampoline: slot, Alone: t.frames == 0,
	})
	if !ok || change.Addr < lo || change.Addr+hostarch.Addr(len(change.Code)) > hi {
		return 0, false
	}
	moves := change.Return != after
	if shared := m.Users() > 1; shared && (moves || change.Addr/8 != (change.Addr+hostarch.Addr(len(change.Code))-1)/8) {
		// Another thread may be executing the very bytes, and they do not change at
		// once; or it would return into the midst of them.
		end, ok := t.quieten()
		if !ok {
			return 0, false
		}
		defer end()
	}
	if _, err := m.Space.Poke(slot, change.Trampoline); err != nil {
		return 0, false
	}
	page.used += platform.TrampolineSize
	old := patched{at: change.Addr, back: change.Return, after: after}
	copy(old.old[:], code[change.Addr-lo:])
	if !m.write(change.Addr, change.Code) {
		return 0, false
	}
	m.calls.undone = append(m.calls.undone, old)
	if moves {
		m.calls.world.version.Add(1)
		if m.calls.world.quiet.Load() {
			// What the others execute from now on is the changed code: its page is
			// a new one, if it was the file's.
			if err := t.ctx.Flush(m.Guest); err != nil {
				t.lost(err)
			}
		}
	}
	return change.Return, true
}

// write stores code. If it lies in one word, that is one store of eight bytes.
func (m *Memory) write(at hostarch.Addr, code [5]byte) bool {
	word := at &^ 7
	shift := int(at - word)
	if shift+len(code) > 8 {
		_, err := m.Space.Poke(at, code[:])
		return err == nil
	}
	var b [8]byte
	if _, err := m.Space.CopyIn(word, b[:]); err != nil {
		return false
	}
	copy(b[shift:], code[:])
	_, err := m.Space.Poke(word, b[:])
	return err == nil
}

// trampolinePage returns a page with room for one trampoline near a site.
func (m *Memory) trampolinePage(site hostarch.Addr) *trampolines {
	for i := range m.calls.pages {
		p := &m.calls.pages[i]
		if p.used+platform.TrampolineSize <= trampolinePage && distance(p.at, site) < trampolineReach {
			return p
		}
	}
	if len(m.calls.pages) >= maxTrampolinePages {
		return nil
	}
	at, err := m.Space.MapText(site-1, trampolinePage, trampolineReach, "[trampolines]")
	if err != nil {
		return nil
	}
	m.calls.pages = append(m.calls.pages, trampolines{at: at})
	return &m.calls.pages[len(m.calls.pages)-1]
}

func distance(a, b hostarch.Addr) hostarch.Addr { return max(a, b) - min(a, b) }

// Unpatch puts back all code as it was and leaves it so: for programs that use
// what the trampolines need (the GS segment), and for debuggers.
func (m *Memory) Unpatch() {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	m.calls.off = true
	for _, p := range m.calls.undone {
		m.write(p.at, p.old)
		if p.back != p.after {
			m.calls.moved = append(m.calls.moved, p)
		}
	}
	m.calls.undone = nil
}

// patchedReturn returns where a call that was to return to rip returns to now.
func (m *Memory) patchedReturn(rip uint64) uint64 {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	for i := range m.calls.undone {
		if p := &m.calls.undone[i]; uint64(p.after) == rip {
			return uint64(p.back)
		}
	}
	return rip
}

// unpatched returns where a call that returns to rip would return to without patches,
// once they are undone.
func (m *Memory) unpatched(rip uint64) uint64 {
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	for _, p := range m.calls.moved {
		if uint64(p.back) == rip {
			return uint64(p.after)
		}
	}
	return rip
}
