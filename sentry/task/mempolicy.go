package task

// MemoryPolicy is a thread's (set_mempolicy(2)): a mode with flags, and a set of
// nodes.
type MemoryPolicy struct {
	Mode  int32
	Nodes uint64
}

// MemoryPolicy returns t's. Children begin with it.
func (t *Task) MemoryPolicy() MemoryPolicy { return t.memPolicy }

// SetMemoryPolicy replaces it.
func (t *Task) SetMemoryPolicy(p MemoryPolicy) { t.memPolicy = p }

// SharesSemUndo reports whether two threads share what is undone to semaphores, be it
// nothing.
func (t *Task) SharesSemUndo(o *Task) bool { return t.semUndo.Load() == o.semUndo.Load() }
