package procmgr

// What /proc shows of the table and its processes, and nobody else asks for.

// MaxID returns the highest id that processes get (kernel.pid_max, less one).
func (tb *Table) MaxID() int { return tb.root.MaxID() }

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

// walk calls fn for all processes, those that are not started yet as well. Table.mu is
// held.
func (tb *Table) walk(fn func(*Process)) {
	tb.root.ids.each(func(n *id) {
		if t := n.thread.Load(); t != nil && t.p.id == n {
			fn(t.p)
		}
	})
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

// Children returns the children of the process that t forked, and those of threads
// that have ended, if t took them over (/proc/PID/task/TID/children).
func (t *Thread) Children() []*Process {
	t.p.table.mu.Lock()
	defer t.p.table.mu.Unlock()
	var out []*Process
	for c := t.children.first; c != nil; c = c.sibling.next {
		if c.started {
			out = append(out, c)
		}
	}
	return out
}
