package sentry

import (
	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/dev"
	"runsc-lite/sentry/fs/tty"
)

// ptsPath is where the terminals are.
const ptsPath = "/dev/pts/"

// terminals are the terminals of the host that the program gets.
type terminals struct {
	control *tty.Host         // the runner's controlling terminal; nil: none
	names   map[uint32]string // where each is inside, by the host's device number
}

// addTerminals gives the runner's controlling terminal, if the program is to have it,
// and the terminals among the program's descriptors a name inside.
func (s *Sandbox) addTerminals(spec *Spec, procs *procmgr.Table, devices *dev.Devices) error {
	s.terminals.names = map[uint32]string{}
	if spec.Controlling {
		if fd, err := hostcall.OpenControlling(); err == nil {
			if s.terminals.control, err = s.addTerminal(fd, spec, procs, devices); err != nil {
				return err
			}
		}
	}
	for _, fd := range spec.Stdio {
		number, err := hostcall.TerminalDevice(fd)
		if err != nil || s.terminals.names[number] != "" {
			continue
		}
		// A terminal that may not be opened anew is served through the inherited
		// descriptor, without a name.
		if again, err := hostcall.ReopenTerminal(fd, unix.O_RDWR); err == nil {
			if _, err := s.addTerminal(again, spec, procs, devices); err != nil {
				return err
			}
		}
	}
	return nil
}

// addTerminal makes the terminal of an open file, which it takes over.
func (s *Sandbox) addTerminal(fd int, spec *Spec, procs *procmgr.Table, devices *dev.Devices) (h *tty.Host, err error) {
	number, err := hostcall.TerminalDevice(fd)
	if err != nil {
		hostcall.Close(fd)
		return nil, nil
	}
	name, err := devices.AddTerminal(spec.UID, func(inside uint64) (tty.Terminal, error) {
		h, err = tty.NewHost(fd, tty.HostOptions{Procs: procs, Notifier: s.notifier, Number: inside})
		return h, err
	})
	if err != nil {
		return nil, err
	}
	s.onClose(h.Close)
	s.terminals.names[number] = ptsPath + name
	return h, nil
}

// of returns the name inside of the terminal behind a descriptor of the host's, and the
// flags that it was opened with: "" if it is none that has a name.
func (t *terminals) of(fd int) (name string, flags uint32) {
	number, err := hostcall.TerminalDevice(fd)
	if err != nil {
		return "", 0
	}
	flags, err = hostcall.FileFlags(fd)
	if err != nil {
		return "", 0
	}
	return t.names[number], flags & (unix.O_ACCMODE | unix.O_APPEND | unix.O_NONBLOCK)
}

// attachTerminal makes the terminal that of init's session, before there are others in
// it. init stands for the shell that the runner was called from.
func (s *Sandbox) attachTerminal() error {
	s.kernel.Procs.ActAsShell(s.init.process, !hostcall.Orphaned())
	if s.terminals.control == nil {
		return nil
	}
	return s.terminals.control.Attach(s.init.process)
}

// enterSession makes the program a job of that shell: a process group of its own, in
// the foreground.
func (s *Sandbox) enterSession(program *procmgr.Process) error {
	if err := s.kernel.Procs.Setpgid(program, 0, 0); err != nil {
		return err
	}
	if s.terminals.control == nil {
		return nil
	}
	return s.terminals.control.Front(s.init.process, program)
}

// Signal passes on a signal that the runner got. What a terminal sends goes to the
// foreground group of the program's, what a shell sends to continue a job to the
// program's group, anything else to the program.
func (s *Sandbox) Signal(sig unix.Signal) {
	control, procs := s.terminals.control, s.kernel.Procs
	switch sig {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH:
		if control == nil {
			break
		}
		if sig == unix.SIGTSTP {
			// Whether there is anybody to continue the runner may have changed.
			procs.ActAsShell(s.init.process, !hostcall.Orphaned())
		}
		control.Signal(sig)
		return
	case unix.SIGHUP:
		if control != nil && control.HungUp() {
			return
		}
	case unix.SIGCONT:
		if control != nil && s.IsStopped() {
			_ = control.Front(s.init.process, s.program)
		}
		_ = procs.SignalGroup(s.program.GroupID(), procmgr.SigInfo{Signo: int32(sig), Code: procmgr.SIKernel})
		return
	}
	_ = s.program.SendSignal(procmgr.SigInfo{Signo: int32(sig), Code: procmgr.SIUser})
}

// Stopped delivers the signal that stopped the program, each time. The runner, which
// stands for it outside, is to stop as well, unless the program goes on already.
func (s *Sandbox) Stopped() <-chan unix.Signal { return s.init.stopped }

// IsStopped reports whether the program is stopped.
func (s *Sandbox) IsStopped() bool { return s.program.State() == procmgr.Stopped }
