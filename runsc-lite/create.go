package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/bundle"
	"runsc-lite/runsc-lite/container"
)

// making are the flags of create and run.
type making struct {
	bundle        string
	consoleSocket string
	pidFile       string
	preserveFDs   int
	noPivot       bool
	noNewKeyring  bool
}

func (m *making) set(f *flag.FlagSet) {
	for _, name := range []string{"bundle", "b"} {
		f.StringVar(&m.bundle, name, "", "directory of the bundle (default: the current one)")
	}
	f.StringVar(&m.consoleSocket, "console-socket", "", "unix socket that gets the terminal's master")
	f.StringVar(&m.pidFile, "pid-file", "", "file for the pid of the sandbox")
	f.IntVar(&m.preserveFDs, "preserve-fds", 0, "pass on this many descriptors besides standard input, output and error")
	f.BoolVar(&m.noPivot, "no-pivot", false, "accepted, and of no effect: the container's root is not the host's")
	f.BoolVar(&m.noNewKeyring, "no-new-keyring", false, "accepted, and of no effect: the container has no keys of the host's")
}

// make makes a container. foreground says that this process stays with it.
func (m *making) make(g *globals, log *slog.Logger, id string, foreground bool) (*container.Made, *console, error) {
	dir, err := filepath.Abs(m.bundle)
	if err != nil {
		return nil, nil, err
	}
	spec, err := bundle.Load(dir)
	if err != nil {
		return nil, nil, err
	}
	b, err := bundle.New(spec, dir)
	if err != nil {
		return nil, nil, err
	}
	o := container.Options{
		ID: id, Platform: g.platform, Bundle: b, PidFile: m.pidFile,
		Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, Log: g.logFile, Debug: g.debug, Warn: log,
		SystemdCgroup: g.systemdCgroup, Rootless: g.isRootless(),
	}
	if o.Log == nil && g.debug {
		o.Log = os.Stderr
	}
	if o.Extra, err = preserved(m.preserveFDs); err != nil {
		return nil, nil, err
	}
	con, err := newConsole(b.Process.Terminal, m.consoleSocket, foreground)
	if err != nil {
		return nil, nil, err
	}
	if con != nil {
		defer con.slave.Close()
		o.Terminal = con.slave
		o.Stdio = [3]*os.File{con.slave, con.slave, con.slave}
		if b.Process.Rows != 0 && b.Process.Columns != 0 {
			con.resize(b.Process.Rows, b.Process.Columns)
		}
	}
	made, err := g.store().Make(o)
	if err != nil {
		con.close()
		return nil, nil, err
	}
	return made, con, nil
}

// preserved returns the descriptors from 3 on that are passed on, which LISTEN_FDS
// adds to (sd_listen_fds(3)).
func preserved(n int) ([]*os.File, error) {
	if s := os.Getenv("LISTEN_FDS"); s != "" {
		k, err := strconv.Atoi(s)
		if err != nil || k < 0 {
			return nil, fmt.Errorf("LISTEN_FDS is %q, and not a number of descriptors", s)
		}
		n += k
	}
	var list []*os.File
	for fd := 3; fd < 3+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return nil, fmt.Errorf("descriptor %d is to be passed on, and is not open", fd)
		}
		list = append(list, os.NewFile(uintptr(fd), strconv.Itoa(fd)))
	}
	return list, nil
}

type createCommand struct{ making }

func (*createCommand) Name() string     { return "create" }
func (*createCommand) Synopsis() string { return "create a container" }
func (*createCommand) Usage() string {
	return `create [flags] CONTAINER-ID

Creates a container from a bundle, up to the point where its program would run.
The sandbox is a process that waits for "start".

`
}

func (c *createCommand) SetFlags(f *flag.FlagSet) { c.set(f) }

func (c *createCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	_, con, err := c.make(g, log, id, false)
	if err != nil {
		return 0, fmt.Errorf("runsc-lite create failed: %w", err)
	}
	con.close()
	return 0, nil
}

type runCommand struct {
	making
	detach bool
	keep   bool
}

func (*runCommand) Name() string     { return "run" }
func (*runCommand) Synopsis() string { return "create and start a container" }
func (*runCommand) Usage() string {
	return `run [flags] CONTAINER-ID

Creates a container from a bundle, starts it, waits for its end and removes it.
The exit status is its program's.

`
}

func (c *runCommand) SetFlags(f *flag.FlagSet) {
	c.set(f)
	for _, name := range []string{"detach", "d"} {
		f.BoolVar(&c.detach, name, false, "do not wait for the container")
	}
	f.BoolVar(&c.keep, "keep", false, "do not remove the container when it has ended")
	f.BoolVar(new(bool), "no-subreaper", false, "accepted, and of no effect")
}

func (c *runCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	status, err := c.run(g, log, id)
	if err != nil {
		return 0, fmt.Errorf("runsc-lite run failed: %w", err)
	}
	return status, nil
}

func (c *runCommand) run(g *globals, log *slog.Logger, id string) (int, error) {
	made, con, err := c.make(g, log, id, !c.detach)
	if err != nil {
		return 0, err
	}
	defer con.close()
	store := g.store()
	remove := func() {
		if !c.keep {
			if err := store.Delete(id, true, log); err != nil {
				log.Warn("removing the container", "err", err)
			}
		}
	}
	forward := forwardSignals(func(sig unix.Signal) {
		if err := store.Kill(id, sig, false, log); err != nil && !errors.Is(err, container.ErrNotRunning) {
			log.Warn("passing on a signal", "signal", unix.SignalName(sig), "err", err)
		}
	}, con.follow, c.detach)
	defer forward.stop()
	if err := store.Start(id, log); err != nil {
		_ = store.Delete(id, true, log)
		return 0, fmt.Errorf("unable to start container process: %w", err)
	}
	if c.detach {
		return 0, nil
	}
	con.attach()
	status, err := made.Wait()
	con.drain()
	remove()
	return status, err
}
