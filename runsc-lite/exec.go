package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/bundle"
	"runsc-lite/runsc-lite/container"
	"runsc-lite/runsc-lite/sandbox"
)

// listFlag collects a flag that may be repeated.
type listFlag []string

func (l *listFlag) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *listFlag) Set(s string) error {
	*l = append(*l, s)
	return nil
}

type execCommand struct {
	consoleSocket, cwd, user, process, pidFile string
	env, groups, caps                          listFlag
	tty, detach, noNewPrivs, ignorePaused      bool
	preserveFDs                                int
	label, apparmor                            string
}

func (*execCommand) Name() string     { return "exec" }
func (*execCommand) Synopsis() string { return "run one more program in a container" }
func (*execCommand) Usage() string {
	return `exec [flags] CONTAINER-ID PROGRAM [ARGS…]
exec [flags] --process FILE CONTAINER-ID

Runs a program in a container that runs. The exit status is the program's.

`
}

func (e *execCommand) SetFlags(f *flag.FlagSet) {
	f.StringVar(&e.consoleSocket, "console-socket", "", "unix socket that gets the terminal's master")
	f.StringVar(&e.cwd, "cwd", "", "working directory, in the container")
	f.StringVar(&e.pidFile, "pid-file", "", "file for the pid of the process that stands for the program on the host")
	f.BoolVar(&e.noNewPrivs, "no-new-privs", false, "the program gains no privileges")
	f.BoolVar(&e.ignorePaused, "ignore-paused", false, "also if the container is paused")
	f.IntVar(&e.preserveFDs, "preserve-fds", 0, "pass on this many descriptors besides standard input, output and error")
	f.StringVar(&e.label, "process-label", "", "SELinux label: accepted, and of no effect")
	f.StringVar(&e.apparmor, "apparmor", "", "AppArmor profile: accepted, and of no effect")
	f.Var(new(listFlag), "cgroup", "accepted, and of no effect: the program is in the container's cgroup")
	for name, v := range map[string]*string{"user": &e.user, "u": &e.user, "process": &e.process, "p": &e.process} {
		f.StringVar(v, name, "", map[string]string{
			"user": "UID[:GID] of the program", "u": "as --user",
			"process": "file with the process as JSON", "p": "as --process",
		}[name])
	}
	for name, v := range map[string]*listFlag{
		"env": &e.env, "e": &e.env, "additional-gids": &e.groups, "g": &e.groups, "cap": &e.caps, "c": &e.caps,
	} {
		f.Var(v, name, map[string]string{
			"env": "NAME=VALUE for the environment; may be repeated", "e": "as --env",
			"additional-gids": "one more group; may be repeated", "g": "as --additional-gids",
			"cap": "one more capability; may be repeated", "c": "as --cap",
		}[name])
	}
	for name, v := range map[string]*bool{"tty": &e.tty, "t": &e.tty, "detach": &e.detach, "d": &e.detach} {
		f.BoolVar(v, name, false, map[string]string{
			"tty": "give the program a terminal", "t": "as --tty",
			"detach": "do not wait for the program", "d": "as --detach",
		}[name])
	}
}

func (e *execCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	status, err := e.exec(g, log, args)
	if err != nil {
		return 0, fmt.Errorf("exec failed: %w", err)
	}
	return status, nil
}

// options reads the flags.
func (e *execCommand) options(args []string) (o container.ExecOptions, err error) {
	o = container.ExecOptions{
		Args: args, Env: e.env, Cwd: e.cwd, NoNewPrivs: e.noNewPrivs, Terminal: e.tty, IgnorePaused: e.ignorePaused,
	}
	for _, c := range e.caps {
		c = strings.ToUpper(c)
		if !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		if _, ok := bundle.Capability(c); !ok {
			return o, fmt.Errorf("there is no capability %q", c)
		}
		o.Capabilities = append(o.Capabilities, c)
	}
	for _, s := range e.groups {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return o, fmt.Errorf("parsing %s as int for gid failed: %w", s, err)
		}
		o.Groups = append(o.Groups, uint32(n))
	}
	if e.user != "" {
		uid, gid, both := strings.Cut(e.user, ":")
		u, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return o, fmt.Errorf("parsing %s as int for uid failed: %w", uid, err)
		}
		o.User = &specs.User{UID: uint32(u)}
		if both {
			n, err := strconv.ParseUint(gid, 10, 32)
			if err != nil {
				return o, fmt.Errorf("parsing %s as int for gid failed: %w", gid, err)
			}
			o.User.GID = uint32(n)
		}
	}
	if e.process != "" {
		if o.Process, err = bundle.LoadProcess(e.process); err != nil {
			return o, err
		}
		return o, nil
	}
	if len(args) == 0 {
		return o, fmt.Errorf("%w: a container id and a program are wanted, or --process", errUsage)
	}
	return o, nil
}

func (e *execCommand) exec(g *globals, log *slog.Logger, args []string) (int, error) {
	if len(args) == 0 {
		return 0, fmt.Errorf("%w: a container id is wanted", errUsage)
	}
	id := args[0]
	o, err := e.options(args[1:])
	if err != nil {
		return 0, err
	}
	client, p, err := g.store().Exec(id, o)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	_, warnings, err := bundle.NewProcess(p, "process")
	if err != nil {
		return 0, err
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	extra, err := preserved(e.preserveFDs)
	if err != nil {
		return 0, err
	}
	con, err := newConsole(p.Terminal, e.consoleSocket, !e.detach)
	if err != nil {
		return 0, err
	}
	defer con.close()
	var slave *os.File
	files := append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, extra...)
	if con != nil {
		slave, files = con.slave, extra
		defer slave.Close()
		if p.ConsoleSize != nil {
			con.resize(uint16(p.ConsoleSize.Height), uint16(p.ConsoleSize.Width))
		}
	}
	if _, err = client.Exec(p, slave, files); err != nil {
		return 0, fmt.Errorf("unable to start container process: %w", err)
	}
	if e.detach {
		return 0, e.leave(client, slave)
	}
	if e.pidFile != "" {
		if err := container.WritePidFile(e.pidFile, os.Getpid()); err != nil {
			return 0, err
		}
	}
	if con != nil {
		con.slave.Close()
	}
	return stay(client, con, nil)
}

// stay stands for the program until it has ended. ready, if it is not nil, is closed
// once signals are passed on.
func stay(client *sandbox.Client, con *console, ready *os.File) (int, error) {
	forward := forwardSignals(func(sig unix.Signal) {
		_ = client.ExecSignal(sig) // if it has ended, the answer says so
	}, func() {
		con.follow()
		_ = client.ExecResized()
	}, false)
	defer forward.stop()
	if ready != nil {
		ready.Close()
	}
	con.attach()
	status, err := client.ExecStatus()
	if errors.Is(err, sandbox.ErrGone) {
		// The whole container was killed.
		return 128 + int(unix.SIGKILL), nil
	}
	con.drain()
	return status, err
}

// stayVerb is the command line argument by which this program becomes the process that
// stands for a detached program.
const stayVerb = "exec-stay"

// leave starts a process that stands for the program on the host: who called this one
// waits for it, and sends it signals.
func (e *execCommand) leave(client *sandbox.Client, slave *os.File) error {
	conn, err := client.File()
	if err != nil {
		return err
	}
	defer conn.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	begun, ready, err := os.Pipe()
	if err != nil {
		return err
	}
	defer begun.Close()
	defer ready.Close()
	attr := &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{null, null, null, conn, ready},
		Sys: &syscall.SysProcAttr{Setsid: true},
	}
	if slave != nil {
		// As its controlling terminal, it tells of changes of size.
		attr.Files = append(attr.Files, slave)
		attr.Sys.Setctty, attr.Sys.Ctty = true, 5
	}
	p, err := os.StartProcess("/proc/self/exe", []string{"runsc-lite-exec", stayVerb}, attr)
	ready.Close()
	if err == nil {
		// A signal that came before it passes them on would be lost.
		_, _ = begun.Read(make([]byte, 1))
	}
	if err == nil && e.pidFile != "" {
		if err = container.WritePidFile(e.pidFile, p.Pid); err != nil {
			_ = p.Kill()
			_, _ = p.Wait()
		}
	}
	if err != nil {
		return fmt.Errorf("leaving a process that stands for the program: %w", err)
	}
	return nil
}

// stayMain is the main function of that process.
func stayMain() int {
	unix.CloseOnExec(4)
	unix.CloseOnExec(5)
	ready := os.NewFile(4, "ready")
	client, err := sandbox.Inherited(3)
	if err != nil {
		return 255
	}
	signal.Ignore(syscall.SIGHUP) // of the terminal; it is the program's
	status, err := stay(client, nil, ready)
	if err != nil {
		return 255
	}
	return status
}
