package procmgr

// What /proc shows of the table and its processes, and nobody else asks for.

// MaxID returns the highest id that processes get (kernel.pid_max, less one).
func (tb *Table) MaxID() int { return tb.ids.max - 1 }

// Usage returns what all threads used so far, ended ones included. MaxRSS is the
// largest of ended processes.
func (tb *Table) Usage() Rusage {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	r := tb.ended
	// A thread leaves its process's list and gets into tb.ended under Table.mu: none
	// is counted twice or not at all.
	tb.walk(func(p *Process) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, t := range p.threads {
			u := t.Usage()
			r.Add(&u)
		}
	})
	return r
}

// walk calls fn for init and all its descendants, parents first. Table.mu is held.
func (tb *Table) walk(fn func(*Process)) {
	if tb.init == nil {
		return
	}
	all := []*Process{tb.init}
	for i := 0; i < len(all); i++ {
		fn(all[i])
		for c := all[i].children.first; c != nil; c = c.sibling.next {
			all = append(all, c)
		}
	}
}

// Loads counts the threads that want a processor, and those that are there at all
// (/proc/loadavg).
func (tb *Table) Loads() (running, total int) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.walk(func(p *Process) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, t := range p.threads {
			total++
			if s := t.State(); s == Ready || s == Running {
				running++
			}
		}
	})
	return running, total
}

// PendingSignals returns how many signals are queued for processes of a user
// (SigQ in /proc/PID/status).
func (tb *Table) PendingSignals(uid uint32) int {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	if u := tb.users[uid]; u != nil {
		return u.pending
	}
	return 0
}

// Children returns the children of the process that t forked; those of threads
// that have ended are the leader's (/proc/PID/task/TID/children).
func (t *Thread) Children() []*Process {
	p := t.p
	leader := p.Leader() == t
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	var out []*Process
	for c := p.children.first; c != nil; c = c.sibling.next {
		if c.started && (c.parentThread == t || c.parentThread == nil && leader) {
			out = append(out, c)
		}
	}
	return out
}

// ExitStatus returns the wait status of a process that has ended.
func (p *Process) ExitStatus() (status uint32, ended bool) {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	return p.exitStatus, p.zombie
}
