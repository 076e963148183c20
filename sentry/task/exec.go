package task

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/loader"
	"runsc-lite/mm"
	"runsc-lite/platform"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/seccomp"
	"runsc-lite/sentry/vfs"
)

// ExecArgs are execveat(2)'s.
type ExecArgs struct {
	DirFD int32
	Path  string
	Flags int32 // AT_*
	Argv  []string
	Env   []string
	// Strings, if it is not nil, gets Argv and Env, once the file is open: a file
	// that is not there is an error before a bad pointer is.
	Strings func() (argv, env []string, err error)
}

// Program is what was executed in an address space, for /proc. It does not
// change.
type Program struct {
	mm.Layout
	Exe *vfs.File // with a reference
}

// Exec replaces t's program (execve(2)). The new image is built beside the old
// one; from BeginExec on nothing can fail any more. On success the registers are
// the new program's.
func (t *Task) Exec(a ExecArgs) error {
	dir, name, err := t.execDir(&a)
	if err != nil {
		return err
	}
	if dir != nil {
		defer dir.DecRef()
	}
	if err := t.th.MayExec(); err != nil {
		return err
	}
	flags := uint32(a.Flags)
	exe, err := t.Caller().OpenExec(dir, a.Path, flags)
	if err != nil {
		return err
	}
	if a.Strings != nil {
		if a.Argv, a.Env, err = a.Strings(); err != nil {
			exe.DecRef()
			return err
		}
	}
	if len(a.Argv) == 0 {
		a.Argv = []string{""} // as Linux since 5.18
	}
	mem, img, next, err := t.load(exe, name, &a)
	if err != nil {
		return err
	}
	tid := t.th.ID()
	if err := t.th.BeginExec(); err != nil {
		mem.DecRef()
		return unix.EAGAIN
	}
	if t.th.ID() != tid {
		t.k.Futexes.ReleasePI(uint32(tid)) // the leader's id is t's now
	}
	next.Name = commOf(a.Path, exe)
	t.enter(mem, img, next)
	if t.th.TraceMode() != 0 {
		t.ctx.Registers().Orig_rax = t.sysno
		t.th.TraceExec(tid)
	}
	return nil
}

// commOf is the thread's name after exec: the last part of the path.
func commOf(path string, exe *vfs.File) string {
	if path == "" {
		path = exe.MappedName()
	}
	return path[strings.LastIndexByte(path, '/')+1:]
}

// execDir returns the directory that a path is relative to, nil for the working
// directory, and the name that the program sees as AT_EXECFN.
func (t *Task) execDir(a *ExecArgs) (*vfs.File, string, error) {
	if a.DirFD == unix.AT_FDCWD || strings.HasPrefix(a.Path, "/") {
		return nil, a.Path, nil
	}
	dir, err := t.AnyFile(a.DirFD)
	if err != nil {
		return nil, "", err
	}
	if a.Path == "" {
		return dir, fmt.Sprintf("/dev/fd/%d", a.DirFD), nil
	}
	return dir, fmt.Sprintf("/dev/fd/%d/%s", a.DirFD, a.Path), nil
}

// load builds the new image in a new address space. It takes over the reference
// on exe.
func (t *Task) load(exe *vfs.File, name string, a *ExecArgs) (*Memory, *loader.Image, procmgr.NewProgram, error) {
	var next procmgr.NewProgram
	limits := t.Process().Limits()
	mem, err := t.k.newMemory(memoryLimits{t.th})
	if err != nil {
		exe.DecRef()
		return nil, nil, next, err
	}
	if t.seccomp.Load() != nil || t.th.TraceMode() != 0 {
		mem.Unpatch()
	}
	img, err := loader.Load(loader.Request{
		Space:       mem.Space,
		File:        executable{exe},
		Path:        name,
		Argv:        a.Argv,
		Env:         a.Env,
		Open:        t.openInterpreter,
		VDSO:        t.k.VDSO,
		NoFSGSBase:  t.k.patcher != nil,
		Predictable: t.HasPersona(PersonaNoRandomize),
		StackLimit:  limits.Soft(unix.RLIMIT_STACK),
		Prepare: func(r *loader.Request, exe loader.File) error {
			var err error
			if next, err = t.execCreds(exe.(executable).File); err != nil {
				return err
			}
			c := next.Credentials
			r.UID, r.EUID, r.GID, r.EGID, r.Secure = c.RUID, c.EUID, c.RGID, c.EGID, next.Secure
			r.Predictable = t.execPersona(next.Secure)&PersonaNoRandomize != 0
			return nil
		},
	})
	exe.DecRef()
	if err != nil {
		mem.DecRef()
		return nil, nil, next, err
	}
	// From here on nobody may write to the program; nobody could while it was opened.
	if err := img.Exe.(executable).DenyWrite(); err != nil {
		img.Exe.DecRef()
		mem.DecRef()
		return nil, nil, next, err
	}
	mem.Program = &Program{
		Layout: img.Layout,
		Exe:    img.Exe.(executable).File,
	}
	return mem, img, next, nil
}

func (t *Task) openInterpreter(path string) (loader.File, error) {
	f, err := t.Caller().OpenExec(nil, path, 0)
	if err != nil {
		return nil, err
	}
	return executable{f}, nil
}

// executable is an open file as the loader reads it.
type executable struct{ *vfs.File }

// ReadAt implements loader.File.
func (e executable) ReadAt(p []byte, off int64) (int, error) {
	n, err := e.PRead([][]byte{p}, off)
	return int(n), err
}

// Size implements loader.File.
func (e executable) Size() uint64 {
	st, err := e.Stat()
	if err != nil {
		return 0
	}
	return uint64(st.Size)
}

// enter makes the loaded image t's: the point of no return is past.
func (t *Task) enter(mem *Memory, img *loader.Image, next procmgr.NewProgram) {
	t.leaveMemory(mem)
	t.UnshareFiles()
	t.fds.CloseOnExec()
	t.sigStack = SigStack{}
	t.frames = 0
	t.persona.Store(t.execPersona(next.Secure))
	t.debug = debugRegs{} // as the platform's, in a new space
	t.group.exec(t.th)
	t.th.CompleteExec(next)
	if t.ctx != nil {
		t.publish() // credentials, and the id of a thread that became the first
		*t.ctx.Registers() = startRegisters(img)
		if err := t.ctx.SetFPState(nil); err != nil {
			t.lost(err)
		}
	} else {
		t.init.regs = startRegisters(img)
	}
}

// startRegisters are a new program's.
func startRegisters(img *loader.Image) platform.Registers {
	return platform.Registers{
		Rip: uint64(img.Entry), Rsp: uint64(img.Stack),
		Cs: userCS, Ss: userSS, Eflags: eflagsFixed, Orig_rax: ^uint64(0),
	}
}

// InitArgs describe a sandbox's first program.
type InitArgs struct {
	Thread *procmgr.Thread
	FDs    *fdtable.Table // the task takes over the reference
	FS     *vfs.FSContext // likewise
	Exec   ExecArgs
	// Seccomp filters the program's calls from its first on; nil for none.
	Seccomp *seccomp.Filter
}

// Start loads the first program and runs it. Errors are execve(2)'s.
func (k *Kernel) Start(a InitArgs) error {
	t := &Task{k: k, th: a.Thread, fds: a.FDs, fs: a.FS, group: k.newGroup(a.Thread.Process())}
	t.namespaces.Store(k.First.Share())
	t.slack.Store(defaultSlack)
	t.slack0.Store(defaultSlack)
	t.affinity.Store(allCPUs(k.CPUs))
	err := t.Exec(a.Exec)
	if err == nil {
		if a.Seccomp != nil {
			t.setSeccomp(&seccompState{seccomp.ModeFilter, a.Seccomp})
		}
		a.Thread.SetData(t)
		t.followProgram(&a.Exec)
		k.tasks.Add(1)
		if err = k.Platform.Spawn(nil, t.mem.Guest, t.run); err != nil {
			k.tasks.Done()
		}
	}
	if err != nil {
		t.dropResources()
		return err
	}
	return nil
}
