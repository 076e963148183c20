package task

// dropResources gives back what t holds.
func (t *Task) dropResources() {
	if t.mem != nil {
		t.leaveMemory(nil)
	}
	t.ReleaseSemUndo()
	t.group.filters.Lock()
	if l := t.listener(); l != nil {
		l.Leave()
	}
	if s := t.seccomp.Load(); s != nil {
		t.seccomp.Store(&seccompState{mode: s.mode})
	}
	t.group.filters.Unlock()
	t.mu.Lock()
	fds, fs := t.fds, t.fs
	t.fds, t.fs = nil, nil
	t.mu.Unlock()
	if fds != nil {
		fds.DecRef()
	}
	if fs != nil {
		fs.Release()
	}
	if s := t.namespaces.Swap(nil); s != nil {
		s.Release()
	}
	t.group.leave()
}

// exit is the end of a task (do_exit): what it held is given back, and the
// process table hears of it last, so that whoever waits for the process finds
// everything done.
func (t *Task) exit() {
	t.dropResources()
	if t.tracer != nil {
		t.tracer.End(t.th.ExitStatus()) // before the parent hears of it
	}
	t.th.FinishExit()
}
