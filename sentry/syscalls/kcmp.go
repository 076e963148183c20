package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// kcmp(2) types.
const (
	kcmpFile = iota
	kcmpVM
	kcmpFiles
	kcmpFS
	kcmpSighand
	kcmpIO
	kcmpSysVSem
)

// kcmpUnequal says that two objects differ, and nothing of their order.
const kcmpUnequal = 3

// sysKcmp is kcmp(2): 0 for the same object.
func sysKcmp(t *task.Task, a *task.Args) (uint64, error) {
	var th [2]*procmgr.Thread
	var of [2]*task.Task
	for i := range th {
		th[i] = t.Thread().Namespace().GetThread(int(a.Int(i)))
		if th[i] == nil {
			return 0, unix.ESRCH
		}
	}
	for i := range th {
		if err := t.Thread().MayTrace(th[i], procmgr.TraceRealCreds); err != nil {
			return 0, err
		}
		if of[i] = task.Of(th[i]); of[i] == nil {
			return 0, unix.ESRCH
		}
	}
	same := false
	switch a.Int(2) {
	case kcmpFile:
		f, err := fileOf(of[0], a[3])
		if err != nil {
			return 0, err
		}
		defer f.DecRef()
		g, err := fileOf(of[1], a[4])
		if err != nil {
			return 0, err
		}
		defer g.DecRef()
		same = f == g
	case kcmpVM:
		same = of[0].Space() == of[1].Space()
	case kcmpFiles:
		same = of[0].Descriptors() == of[1].Descriptors()
	case kcmpFS:
		same = of[0].Place() == of[1].Place()
	case kcmpSighand:
		same = th[0].Process() == th[1].Process()
	case kcmpIO:
		same = true // nobody has an I/O context
	case kcmpSysVSem:
		same = of[0].SharesSemUndo(of[1])
	default:
		return 0, unix.EINVAL
	}
	if same {
		return 0, nil
	}
	return kcmpUnequal, nil
}

// fileOf returns the open file of another thread's descriptor: EBADF.
func fileOf(t *task.Task, fd uint64) (*vfs.File, error) {
	table := t.Descriptors()
	if table == nil || fd > 1<<31-1 {
		return nil, unix.EBADF
	}
	if f := table.Get(int(fd)); f != nil {
		return f, nil
	}
	return nil, unix.EBADF
}
