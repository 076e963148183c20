package sentry

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// keeper is the process outside of a container's pid namespace whose children the
// programs in it are: it has no guest code, and collects them.
type keeper struct {
	process *procmgr.Process
	more    chan struct{} // a child came

	mu   sync.Mutex
	jobs map[int]*Job // by their ids in the root namespace
}

func startKeeper(procs *procmgr.Table) (*keeper, error) {
	p, err := procs.CreateProcess(nil, "init", 0)
	if err != nil {
		return nil, err
	}
	k := &keeper{process: p, more: make(chan struct{}, 1), jobs: map[int]*Job{}}
	p.Leader().SetRunner(noGuest{})
	go k.run()
	return k, nil
}

// run collects processes until the keeper is killed, which ends the container.
func (k *keeper) run() {
	th := k.process.Leader()
	for {
		for w := th.NextWork(); w.Kind != procmgr.WorkNone; w = th.NextWork() {
			if w.Kind == procmgr.WorkExit {
				th.FinishExit()
				return
			}
		}
		r, err := th.Wait(procmgr.WaitOptions{Options: unix.WEXITED | unix.WALL})
		switch {
		case err == unix.ECHILD:
			_ = th.Block(k.more, time.Time{})
		case err == nil:
			k.ended(r)
		}
	}
}

func (k *keeper) add(j *Job) {
	k.mu.Lock()
	k.jobs[j.process.ID()] = j
	k.mu.Unlock()
}

// started tells the keeper that it has a child more.
func (k *keeper) started() {
	select {
	case k.more <- struct{}{}:
	default:
	}
	k.process.Leader().Unpark()
}

func (k *keeper) ended(r procmgr.WaitResult) {
	k.mu.Lock()
	j := k.jobs[r.PID]
	delete(k.jobs, r.PID)
	k.mu.Unlock()
	if j != nil {
		j.status = unix.WaitStatus(r.WaitStatus)
		close(j.done)
	}
}

// Job is a program that was started in a container from outside.
type Job struct {
	process *procmgr.Process
	pid     int
	done    chan struct{}
	status  unix.WaitStatus // once done is closed
}

// PID returns the id in the container.
func (j *Job) PID() int { return j.pid }

// Done is closed when the program has ended.
func (j *Job) Done() <-chan struct{} { return j.done }

// Status returns how the program ended, after Done.
func (j *Job) Status() unix.WaitStatus { return j.status }

// Signal sends a signal as from outside of the container: pid 1 is not safe from
// SIGKILL and SIGSTOP. ESRCH: the program has ended.
func (j *Job) Signal(sig unix.Signal) error {
	return j.process.SendSignal(procmgr.SigInfo{Signo: int32(sig), Code: procmgr.SIUser})
}
