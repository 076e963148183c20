package sentry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/fs/hostfd"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/vfs"
)

// startProgram starts the first program, as a child of init.
func (s *Sandbox) startProgram(spec *Spec) error {
	procs := s.kernel.Procs
	th, err := procs.Fork(s.init.process.Leader(), procmgr.CloneOptions{ExitSignal: unix.SIGCHLD})
	if err != nil {
		return err
	}
	pid := 0
	defer func() { s.init.start <- pid }()
	th.SetCredentials(credentials(spec))
	where := vfs.NewFSContext(s.kernel.Mounts)
	where.SetUmask(spec.Umask)
	who := caller(where, th.Credentials())
	fail := func(err error) error {
		where.Release()
		th.Abort()
		return err
	}
	if err := enterCwd(who, spec); err != nil {
		return fail(err)
	}
	path, err := lookPath(who, spec.Argv[0], spec.Env)
	if err != nil {
		return fail(&ProgramError{spec.Argv[0], err})
	}
	fds, err := s.stdio(who, spec)
	if err != nil {
		return fail(err)
	}
	th.Start()
	if err := s.enterSession(th.Process()); err != nil {
		return fail(err)
	}
	for _, sig := range spec.Ignored {
		if _, err := th.Process().SetAction(sig, &procmgr.SigAction{Handler: procmgr.SigIgn}); err != nil {
			return fail(err)
		}
	}
	pid, s.program = th.ID(), th.Process()
	err = s.kernel.Start(task.InitArgs{Thread: th, FDs: fds, FS: where, Exec: task.ExecArgs{
		DirFD: unix.AT_FDCWD, Path: path, Argv: spec.Argv, Env: spec.Env,
	}})
	if err != nil {
		th.ExitGroup(procmgr.ExitStatus(127))
		th.NextWork()
		th.FinishExit()
		return &ProgramError{spec.Argv[0], err}
	}
	return nil
}

func credentials(spec *Spec) *procmgr.Credentials {
	c := procmgr.RootCredentials()
	c.RUID, c.EUID, c.SUID, c.FSUID = spec.UID, spec.UID, spec.UID, spec.UID
	c.RGID, c.EGID, c.SGID, c.FSGID = spec.GID, spec.GID, spec.GID, spec.GID
	c.Groups = slices.Sorted(slices.Values(spec.Groups))
	if spec.UID != 0 {
		c.CapPermitted, c.CapEffective = 0, 0
	}
	return c
}

func caller(where *vfs.FSContext, c *procmgr.Credentials) *vfs.Caller {
	return &vfs.Caller{FSContext: where, Creds: &vfs.Creds{
		UID: c.FSUID, GID: c.FSGID, Groups: c.Groups, Caps: uint64(c.CapEffective),
	}}
}

func enterCwd(who *vfs.Caller, spec *Spec) error {
	if spec.Cwd == "" {
		return nil
	}
	err := who.Chdir(nil, spec.Cwd, 0)
	if err != nil && !spec.CwdFallback {
		return fmt.Errorf("entering the working directory %s: %w", spec.Cwd, err)
	}
	return nil
}

// defaultPath is where programs are looked for if PATH is not set (execvp(3)).
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookPath finds a program as execvp(3) does.
func lookPath(who *vfs.Caller, name string, env []string) (string, error) {
	if name == "" {
		return "", unix.ENOENT
	}
	if strings.Contains(name, "/") {
		return name, nil
	}
	dirs := defaultPath
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			dirs = v
		}
	}
	failure := error(unix.ENOENT)
	for dir := range strings.SplitSeq(dirs, ":") {
		path := dir + "/" + name
		if dir == "" {
			path = "./" + name
		}
		f, err := who.OpenExec(nil, path, 0)
		if err == nil {
			f.DecRef()
			return path, nil
		}
		if errors.Is(err, unix.EACCES) {
			failure = err
		}
	}
	return "", failure
}

// stdio makes the first descriptor table.
func (s *Sandbox) stdio(who *vfs.Caller, spec *Spec) (*fdtable.Table, error) {
	fds := fdtable.New()
	opened := map[inherited]*vfs.File{}
	for to, fd := range spec.Stdio {
		from := s.inherited(fd)
		f := opened[from]
		if f == nil {
			var err error
			f, err = s.open(who, from)
			if err == unix.EBADF {
				continue
			}
			if err != nil {
				fds.DecRef()
				return nil, fmt.Errorf("taking over descriptor %d: %w", fd, err)
			}
			opened[from] = f
		} else {
			f.IncRef()
		}
		if err := fds.InstallAt(to, f, false); err != nil {
			fds.DecRef()
			return nil, err
		}
	}
	return fds, nil
}

// inherited is an open file of the host's. Descriptors of one terminal with one set of
// flags are taken for one.
type inherited struct {
	fd       int    // if it is no terminal
	terminal string // its name inside
	flags    uint32
}

func (s *Sandbox) inherited(fd int) inherited {
	if name, flags := s.terminals.of(fd); name != "" {
		return inherited{terminal: name, flags: flags}
	}
	return inherited{fd: fd}
}

func (s *Sandbox) open(who *vfs.Caller, from inherited) (*vfs.File, error) {
	if from.terminal == "" {
		return hostfd.New(from.fd, hostfd.Options{Notifier: s.notifier, Keep: true})
	}
	p, err := who.Walk(nil, from.terminal, 0)
	if err != nil {
		return nil, err
	}
	return who.OpenPath(p, from.flags|unix.O_NOCTTY)
}
