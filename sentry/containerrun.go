package sentry

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/fs/hostfd"
	"runsc-lite/sentry/seccomp"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// Program is what is run in a container.
type Program struct {
	Argv, Env []string
	// Cwd is made if it is not there.
	Cwd      string
	UID, GID uint32
	Groups   []uint32
	Umask    uint32
	// Capabilities before execve(2).
	Effective, Permitted, Inheritable, Bounding, Ambient procmgr.CapSet
	NoNewPrivs                                           bool
	Limits                                               map[int]procmgr.Limit // nil: the container's
	OOMScoreAdj                                          int
	// Files are descriptors of the host that the program gets by their places; what is
	// negative stays closed. They belong to the container from Run on.
	Files []int
	// Terminal gives the program a terminal as standard input, output and error.
	Terminal bool
	// Seccomp filters its calls, nil for none.
	Seccomp *seccomp.Filter
}

// credentials are the program's before execve(2).
func (p *Program) credentials() *procmgr.Credentials {
	c := procmgr.RootCredentials()
	c.RUID, c.EUID, c.SUID, c.FSUID = p.UID, p.UID, p.UID, p.UID
	c.RGID, c.EGID, c.SGID, c.FSGID = p.GID, p.GID, p.GID, p.GID
	c.Groups = slices.Sorted(slices.Values(p.Groups))
	c.CapEffective, c.CapPermitted, c.CapInheritable = p.Effective, p.Permitted, p.Inheritable
	c.CapBounding, c.CapAmbient = p.Bounding, p.Ambient
	c.NoNewPrivs = p.NoNewPrivs
	return c
}

// LookError says that there is no such program, or that it cannot be executed.
type LookError struct {
	Program string
	Err     error
}

func (e *LookError) Error() string { return fmt.Sprintf("exec: %q: %v", e.Program, e.Err) }

func (e *LookError) Unwrap() error { return e.Err }

// ErrNotFound is what a search in PATH ends with.
var ErrNotFound = errors.New("executable file not found in $PATH")

// place is where a program begins.
type place struct {
	where *vfs.FSContext
	who   *vfs.Caller
	path  string
}

// enter takes a program to its working directory, and finds it.
func (c *Container) enter(p *Program, creds *procmgr.Credentials) (_ *place, err error) {
	if len(p.Argv) == 0 {
		return nil, errors.New("there is no program to run: args is empty")
	}
	where := vfs.NewFSContext(c.kernel.Mounts)
	where.SetUmask(p.Umask)
	defer func() {
		if err != nil {
			where.Release()
		}
	}()
	if p.Cwd != "" {
		root := caller(where, procmgr.RootCredentials())
		if _, err := root.Stat(nil, p.Cwd, 0); err == unix.ENOENT {
			if err := mkdirAll(root, p.Cwd); err != nil {
				return nil, fmt.Errorf("making the working directory %s: %w", p.Cwd, err)
			}
		}
		if err := root.Chdir(nil, p.Cwd, 0); err != nil {
			return nil, fmt.Errorf("entering the working directory (cwd) %s: %w", p.Cwd, err)
		}
	}
	who := caller(where, creds)
	path, err := findProgram(who, p.Argv[0], p.Env)
	if err != nil {
		return nil, &LookError{p.Argv[0], err}
	}
	return &place{where, who, path}, nil
}

// findProgram is os/exec.LookPath inside the container, errors included: engines know
// them by their words.
func findProgram(who *vfs.Caller, name string, env []string) (string, error) {
	path, err := lookPath(who, name, env)
	if err != nil {
		if name == "" || err == unix.ENOENT {
			return "", ErrNotFound
		}
		return "", err
	}
	if path != name {
		return path, nil
	}
	st, err := who.Stat(nil, name, 0)
	switch {
	case err != nil:
		return "", fmt.Errorf("stat %s: %w", name, err)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return "", errors.New("is a directory: permission denied")
	case st.Mode&0o111 == 0:
		return "", errors.New("permission denied")
	}
	return path, nil
}

// Prepare reports why a program cannot be started, as far as that can be known.
func (c *Container) Prepare(p *Program) error {
	at, err := c.enter(p, p.credentials())
	if err == nil {
		at.where.Release()
	}
	return err
}

// Started is a program that runs.
type Started struct {
	*Job
	// Terminal is the master of the program's terminal; nil: it has none.
	Terminal *Master
}

// Run starts a program. The first one is pid 1.
func (c *Container) Run(p *Program) (_ *Started, err error) {
	defer closeFiles(p.Files)
	creds := p.credentials()
	at, err := c.enter(p, creds)
	if err != nil {
		return nil, err
	}
	th := c.first
	if th == nil {
		if th, err = c.kernel.Procs.Fork(c.keeper.process.Leader(), procmgr.CloneOptions{ExitSignal: unix.SIGCHLD}); err != nil {
			at.where.Release()
			if err == unix.ENOMEM {
				err = ErrEnded
			}
			return nil, err
		}
	}
	c.first = nil
	fail := func(err error) (*Started, error) {
		at.where.Release()
		th.Abort()
		return nil, err
	}
	process := th.Process()
	if p.Limits != nil {
		for resource, l := range p.Limits {
			if err := process.Limits().Set(resource, l); err != nil {
				return fail(fmt.Errorf("setting resource limit %d: %w", resource, err))
			}
		}
	}
	if err := process.SetOOMScoreAdj(p.OOMScoreAdj, true); err != nil {
		return fail(fmt.Errorf("setting oomScoreAdj to %d: %w", p.OOMScoreAdj, err))
	}
	th.SetCredentials(creds)
	if _, err := c.kernel.Procs.Setsid(process); err != nil {
		return fail(fmt.Errorf("making a session: %w", err))
	}
	th.Start()
	end := func(err error) (*Started, error) {
		th.ExitGroup(procmgr.ExitStatus(127))
		th.NextWork()
		th.FinishExit()
		return nil, err
	}
	s := &Started{Job: &Job{process: process, pid: process.IDIn(c.pids), done: make(chan struct{})}}
	fds, err := c.files(p, at.who, th, s)
	if err != nil {
		at.where.Release()
		return end(err)
	}
	c.keeper.add(s.Job)
	c.keeper.started()
	err = c.kernel.Start(task.InitArgs{Thread: th, FDs: fds, FS: at.where, Seccomp: p.Seccomp, Exec: task.ExecArgs{
		DirFD: unix.AT_FDCWD, Path: at.path, Argv: p.Argv,
		Env: withHome(caller(at.where, procmgr.RootCredentials()), p.UID, p.Env),
	}})
	if err != nil {
		if s.Terminal != nil {
			s.Terminal.Close()
		}
		return end(&LookError{p.Argv[0], err})
	}
	return s, nil
}

// ErrEnded says that the container's pid 1 has ended.
var ErrEnded = errors.New("the container's first process has ended")

func closeFiles(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			hostcall.CloseFD(fd)
		}
	}
}

// files makes the program's descriptor table.
func (c *Container) files(p *Program, who *vfs.Caller, th *procmgr.Thread, s *Started) (*fdtable.Table, error) {
	fds := fdtable.New()
	install := func(to int, f *vfs.File) error { return fds.InstallAt(to, f, false) }
	first := 0
	if p.Terminal {
		m, slave, err := c.newTerminal(who, th)
		if err != nil {
			fds.DecRef()
			return nil, fmt.Errorf("making a terminal: %w", err)
		}
		for to := range 3 {
			if to > 0 {
				slave.IncRef()
			}
			if err := install(to, slave); err != nil {
				m.Close()
				fds.DecRef()
				return nil, err
			}
		}
		s.Terminal, first = m, 3
	}
	for to := first; to < len(p.Files); to++ {
		fd := p.Files[to]
		if fd < 0 {
			continue
		}
		p.Files[to] = -1
		f, err := hostfd.New(fd, hostfd.Options{Notifier: c.notifier})
		if err == nil {
			err = install(to, f)
		}
		if err != nil {
			hostcall.CloseFD(fd)
			fds.DecRef()
			return nil, fmt.Errorf("handing descriptor %d to the program: %w", to, err)
		}
	}
	return fds, nil
}

// Census returns the container's processes, with their ids in it.
func (c *Container) Census() []task.ProcessInfo { return c.kernel.CensusIn(c.pids) }

// SignalAll sends a signal to all processes of the container.
func (c *Container) SignalAll(sig unix.Signal) {
	c.pids.ForEach(func(p *procmgr.Process) {
		_ = p.SendSignal(procmgr.SigInfo{Signo: int32(sig), Code: procmgr.SIUser})
	})
}
