package sentry

import (
	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// initProcess is pid 1 of a sandbox that runs a single program: it has no guest
// code, adopts the orphans and collects what ends.
type initProcess struct {
	process *procmgr.Process
	program int         // pid of the program, 0 before it started
	start   chan int    // its pid
	ended   chan uint32 // its wait status
	stopped chan unix.Signal
}

func startInit(procs *procmgr.Table) (*initProcess, error) {
	p, err := procs.CreateProcess(nil, "init", 0)
	if err != nil {
		return nil, err
	}
	i := &initProcess{process: p, start: make(chan int, 1), ended: make(chan uint32, 1), stopped: make(chan unix.Signal, 1)}
	go i.run()
	return i, nil
}

// run collects processes until init is killed, which ends the sandbox.
func (i *initProcess) run() {
	th := i.process.Leader()
	th.SetRunner(noGuest{})
	i.program = <-i.start
	for i.program != 0 {
		for w := th.NextWork(); w.Kind != procmgr.WorkNone; w = th.NextWork() {
			if w.Kind == procmgr.WorkExit {
				th.FinishExit()
				return
			}
		}
		r, err := th.Wait(procmgr.WaitOptions{Options: unix.WEXITED | unix.WSTOPPED | unix.WALL})
		if err == unix.ECHILD {
			// No children now; orphans may still come from nobody, so that
			// this is the end.
			break
		}
		if err != nil || r.PID != i.program {
			continue
		}
		if status := unix.WaitStatus(r.WaitStatus); !status.Stopped() {
			i.ended <- r.WaitStatus
		} else {
			select {
			case i.stopped <- status.StopSignal():
			default: // nobody looked at the one before
			}
		}
	}
	th.ExitGroup(procmgr.ExitStatus(0))
	th.NextWork()
	th.FinishExit()
}

// noGuest is the Runner of a thread that never runs guest code.
type noGuest struct{}

// Interrupt implements procmgr.Runner.
func (noGuest) Interrupt() {}
