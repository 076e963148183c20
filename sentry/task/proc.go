package task

import (
	"runsc-lite/mm"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/vfs"
)

// What /proc shows of a task. These methods are for any goroutine; what they return
// is nil once the task has given it back, and may be given back at any moment: it
// is safe to use all the same, and then empty.

// Space returns the address space.
func (t *Task) Space() *mm.Space {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		return nil
	}
	return t.mem.Space
}

// program returns what runs in the address space.
func (t *Task) program() *Program {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		return nil
	}
	return t.mem.Program
}

// Layout returns where the program lies.
func (t *Task) Layout() mm.Layout {
	if p := t.program(); p != nil {
		return p.Layout
	}
	return mm.Layout{}
}

// Executable returns the program's file, with a reference for the caller.
func (t *Task) Executable() *vfs.File {
	if p := t.program(); p != nil && p.Exe.TryIncRef() {
		return p.Exe
	}
	return nil
}

// Descriptors returns the descriptor table.
func (t *Task) Descriptors() *fdtable.Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fds
}

// Place returns root and working directory.
func (t *Task) Place() *vfs.FSContext {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fs
}
