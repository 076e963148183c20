// Package sentry puts a sandbox together: a platform, the memory file, the
// process table, the file tree, and the first program. It holds no logic of its
// own beyond the order in which that is done.
//
//	Start   memory, platform, vDSO, file tree, kernel, init, the program
//	Wait    until the program has ended
//	Close   ends every process and gives everything back
package sentry

import (
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"

	"runsc-lite/archive"
	"runsc-lite/hostcall"
	"runsc-lite/loader"
	"runsc-lite/mm/memfile"
	"runsc-lite/platform"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/pipe"
	"runsc-lite/sentry/socket/netns"
	"runsc-lite/sentry/task"
)

// Spec says what a sandbox is to run, and how.
type Spec struct {
	// NewPlatform makes the platform, over the descriptor of the memory file.
	NewPlatform func(memFD int) (platform.Platform, error)
	// Root is the directory of the host that the program sees as "/", read-only
	// below a layer in memory. If Image is set, it is that archive's tree instead.
	Root  string
	Image *archive.Reader
	// Cwd is the working directory, in the sandbox. CwdFallback makes it "/" if
	// it is not there; otherwise that is an error.
	Cwd         string
	CwdFallback bool
	// Argv is the program, looked up in Env's PATH if it has no slash, and its
	// arguments.
	Argv []string
	Env  []string
	// Stdio are descriptors of the host that the program gets as 0, 1 and 2.
	// They stay open. A closed one (EBADF) is closed for the program, too.
	Stdio [3]int
	// Controlling gives the program the runner's controlling terminal, if there
	// is one.
	Controlling bool
	// Ignored are the signals that the program ignores from the beginning.
	Ignored []unix.Signal
	// UID, GID and Groups are who the program runs as. User 0 has all
	// capabilities.
	UID, GID uint32
	Groups   []uint32
	Umask    uint32
	// Limits are the first program's resource limits; nil for
	// procmgr.DefaultLimits.
	Limits   *[procmgr.NumLimits]procmgr.Limit
	Hostname string
	// Memory is how much the sandbox may hold, in bytes; 0: what the host has.
	Memory uint64
	NetSpec
	Tracer task.Tracer // nil for none
	Log    *slog.Logger
}

// Sandbox is a running sandbox.
type Sandbox struct {
	memory   *memfile.File
	platform platform.Platform
	vdso     *loader.VDSO
	kernel   *task.Kernel
	notifier *hostcall.Notifier
	net      *netns.Namespace
	init     *initProcess
	program  *procmgr.Process
	closers  []func() // in the order they were made

	terminals terminals
	kernelFS
}

// Start makes a sandbox and starts the program. An error that concerns the
// program is a *ProgramError.
func Start(spec Spec) (_ *Sandbox, err error) {
	total := hostcall.TotalMemory()
	if spec.Memory != 0 {
		total = min(total, spec.Memory)
	}
	o := settings{
		newPlatform: spec.NewPlatform, network: &spec.NetSpec, memory: total, told: total,
		limits: spec.Limits, hostname: spec.Hostname, tracer: spec.Tracer, log: spec.Log,
	}
	s, procs, err := boot(&o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	pipes := pipe.NewPool(nil)
	tree, err := s.newTree(&spec, total, procs, pipes, s.vdso)
	if err != nil {
		return nil, err
	}
	s.makeKernel(&o, procs, pipes, tree)
	if err := s.mountQueues(); err != nil {
		return nil, err
	}
	if s.init, err = startInit(procs); err != nil {
		return nil, err
	}
	if err := s.attachTerminal(); err != nil {
		return nil, err
	}
	return s, s.startProgram(&spec)
}

func (s *Sandbox) onClose(fn func()) { s.closers = append(s.closers, fn) }

// Wait returns once the program has ended: its exit status, or 128+n if signal n
// ended it.
func (s *Sandbox) Wait() int {
	status := unix.WaitStatus(<-s.init.ended)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// Kernel returns the kernel, for what looks into a sandbox from outside.
func (s *Sandbox) Kernel() *task.Kernel { return s.kernel }

// Close ends all processes of the sandbox and gives everything back to the host.
func (s *Sandbox) Close() {
	if s.kernel != nil {
		s.kernel.Procs.KillAll()
		s.kernel.Wait()
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

// ProgramError says that the program could not be started: the error is
// execve(2)'s.
type ProgramError struct {
	Program string
	Err     error
}

func (e *ProgramError) Unwrap() error { return e.Err }

func (e *ProgramError) Error() string {
	if reason := reasons[e.errno()]; reason != "" {
		return fmt.Sprintf("%s: %s", e.Program, reason)
	}
	return fmt.Sprintf("%s: %v", e.Program, e.Err)
}

func (e *ProgramError) errno() unix.Errno {
	var errno unix.Errno
	errors.As(e.Err, &errno)
	return errno
}

// StartStatus is the exit status for an error of Start, as chroot(1) and a shell
// have it: 127 for a program that is not there, 126 for one that cannot be run,
// 125 for what goes wrong in the sandbox itself.
func StartStatus(err error) int {
	var pe *ProgramError
	switch {
	case !errors.As(err, &pe):
		return 125
	case pe.errno() == unix.ENOENT:
		return 127
	}
	return 126
}

// reasons explain what execve(2) answers where errno's own words do not.
var reasons = map[unix.Errno]string{
	unix.ENOENT:  "no such file in the sandbox, or its interpreter is missing",
	unix.ENOEXEC: "not a program that runs here: neither an x86-64 ELF file nor a #! script",
	unix.EACCES:  "not executable: permission denied, or not a regular file",
	unix.ELIBBAD: "its interpreter is not an x86-64 ELF file",
	unix.E2BIG:   "the arguments and the environment are too long",
	unix.ENOMEM:  "not enough memory to load it",
}
