package procmgr

import "fmt"

// State is where a thread is in its life:
//
//	                     SIGSTOP … SIGCONT
//	                    ┌─────── Stopped ←──┐
//	                    ↓                   │
//	New ── Start ──→ Ready ──────────────→ Running ── FinishExit ──→ Zombie ── Wait ──→ Dead
//	 │                  ↑                   │
//	 └─ Abort ─→ Dead   └─────── Blocked ←──┘
//	                             Block
//
// Ready becomes Running when the thread gets a run slot, at once if there is a free
// one or if slots are not limited; Running becomes Ready when it has to give the slot
// up. Zombie is skipped by threads that nobody waits for.
type State uint32

const (
	// New: made, but not started; nobody can signal or wait for it.
	New State = iota
	// Ready: it could run, and waits for a processor.
	Ready
	// Running: it runs guest code or a system call.
	Running
	// Blocked: it waits in Block.
	Blocked
	// Stopped: job control stopped it.
	Stopped
	// Tracing: it stopped for its tracer, and comes back as from Stopped.
	Tracing
	// Zombie: it ended, and its status waits to be collected.
	Zombie
	// Dead: nothing of it is left.
	Dead
)

func (s State) String() string {
	return [...]string{"new", "ready", "running", "blocked", "stopped", "tracing stop", "zombie", "dead"}[s]
}

// Letter is the state as /proc/PID/stat shows it.
func (s State) Letter() byte { return "RRRSTtZX"[s] }

// next holds the legal transitions.
var next = [...]uint{
	New:     1<<Ready | 1<<Dead,
	Ready:   1<<Running | 1<<Zombie | 1<<Blocked,
	Running: 1<<Ready | 1<<Blocked | 1<<Stopped | 1<<Tracing | 1<<Zombie,
	Blocked: 1 << Ready,
	Stopped: 1 << Ready,
	Tracing: 1 << Ready,
	Zombie:  1 << Dead,
	Dead:    0,
}

// setState moves the thread on. A transition that is not legal is a bug of the
// caller, and panics.
func (t *Thread) setState(to State) {
	from := State(t.state.Load())
	if next[from]&(1<<to) == 0 {
		panic(fmt.Sprintf("procmgr: thread %d goes from %v to %v", t.ID(), from, to))
	}
	t.state.Store(uint32(to))
}

// State returns where the thread is at this moment.
func (t *Thread) State() State { return State(t.state.Load()) }

// resume makes a thread that waited run again, once it is its turn.
func (t *Thread) resume() {
	t.setState(Ready)
	t.acquireSlot()
	t.setState(Running)
}
