package task

import (
	"sync/atomic"
	"time"

	"runsc-lite/platform"
)

// Changing code that other threads may be executing (patch.go) needs a moment in which
// none of them is in guest code:
//
//	who changes code              the others
//	  patches.mu, quiet = true      inGuest = true; quiet? then inGuest = false, and
//	  interrupts who is inGuest,    wait for patches.mu
//	  waits until nobody is         Run
//	  changes the code, version++   inGuest = false
//	  quiet = false                 version changed? then go on where calls in
//	                                progress return to now
//
// One of both sides sees what the other stored.

const (
	// quietTries and quietPause bound the wait for the others to come out of guest
	// code: it takes microseconds, unless the host is busy elsewhere.
	quietTries = 200
	quietPause = 50 * time.Microsecond
)

// worldState is an address space's part of it.
type worldState struct {
	quiet   atomic.Bool
	version atomic.Uint32 // counts changes after which calls return elsewhere
}

// runGuest runs guest code until it stops.
func (t *Task) runGuest() (platform.Exit, error) {
	m := t.mem
	if m.Users() == 1 {
		// Nobody else can ask for quiet, or begin to, while t is in guest code.
		t.followPatches()
		return t.ctx.Run(m.Guest)
	}
	t.inGuest.Store(true)
	for m.calls.world.quiet.Load() {
		t.inGuest.Store(false)
		m.calls.mu.Lock()
		//lint:ignore SA2001 it is the wait that counts
		m.calls.mu.Unlock()
		t.inGuest.Store(true)
	}
	t.followPatches()
	ex, err := t.ctx.Run(m.Guest)
	t.inGuest.Store(false)
	return ex, err
}

// followPatches takes a thread whose call was in progress while its site was patched
// to where it returns to now.
func (t *Task) followPatches() {
	if v := t.mem.calls.world.version.Load(); v != t.patchVersion {
		t.patchVersion = v
		regs := t.ctx.Registers()
		regs.Rip = t.mem.patchedReturn(regs.Rip)
	}
}

// quieten keeps t's fellow threads out of guest code until the result is called, with
// patches.mu held. It reports false if that cannot be had: somebody else uses the
// memory too, or a thread did not come out in time.
func (t *Task) quieten() (end func(), ok bool) {
	m := t.mem
	world := &m.calls.world
	end = func() { world.quiet.Store(false) }
	world.quiet.Store(true)
	users := 0
	for _, th := range t.Process().Threads() {
		o := Of(th)
		if o == nil {
			continue
		}
		if o != t && !o.comesOut() {
			end()
			return nil, false
		}
		o.mu.Lock()
		if o.mem == m {
			users++
		}
		o.mu.Unlock()
	}
	if users != m.Users() {
		end()
		return nil, false
	}
	return end, true
}

// comesOut makes t leave guest code, and waits until it has.
func (t *Task) comesOut() bool {
	if !t.inGuest.Load() {
		return true
	}
	t.th.Interrupt()
	for range quietTries {
		if !t.inGuest.Load() {
			return true
		}
		time.Sleep(quietPause)
	}
	return false
}
