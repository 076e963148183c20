package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/subcommands"

	"runsc-lite/hostcall"
	"runsc-lite/procmgr"
	"runsc-lite/runsc-lite/control"
	"runsc-lite/sentry"
)

// doCommand runs a program in a sandbox over the host's file tree.
type doCommand struct {
	platform string
	root     string
	cwd      string
	env      envFlag
	trace    traceFlags
	debug    bool

	ran         bool
	status      int
	interrupted atomic.Bool // the user typed ^C
}

// envFlag collects --env K=V.
type envFlag []string

func (e *envFlag) String() string { return strings.Join(*e, " ") }

// Set implements flag.Value.
func (e *envFlag) Set(s string) error {
	if k, _, ok := strings.Cut(s, "="); !ok || k == "" {
		return fmt.Errorf("%q is not of the form NAME=VALUE", s)
	}
	*e = append(*e, s)
	return nil
}

func (*doCommand) Name() string     { return "do" }
func (*doCommand) Synopsis() string { return "run a program in a sandbox" }
func (*doCommand) Usage() string {
	return `do [flags] PROGRAM [ARGS…]

Runs PROGRAM on a kernel of its own. It sees the host's files, and what it
writes stays in memory and goes away with it. Its standard input, output and
error are the caller's, and so is its exit status (128+n if signal n ended it).

`
}

func (d *doCommand) SetFlags(f *flag.FlagSet) {
	f.StringVar(&d.platform, "platform", "systrap", "how guest code is run: "+platformNames)
	f.StringVar(&d.root, "root", "/", "directory of the host that is the program's root")
	f.StringVar(&d.cwd, "cwd", "", "working directory, in the sandbox (default: the caller's, if it is there)")
	f.Var(&d.env, "env", "set NAME=VALUE in the program's environment; may be repeated")
	d.trace.set(f)
	f.BoolVar(&d.debug, "debug", false, "print the sentry's own log to standard error")
}

func (d *doCommand) Execute(_ context.Context, f *flag.FlagSet, _ ...any) subcommands.ExitStatus {
	if f.NArg() == 0 {
		fmt.Fprint(os.Stderr, d.Usage())
		return subcommands.ExitUsageError
	}
	d.ran = true
	var err error
	if d.status, err = d.do(f.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "runsc-lite: %v\n", err)
	}
	return subcommands.ExitSuccess
}

// do runs the program and returns its exit status.
func (d *doCommand) do(argv []string) (int, error) {
	level := slog.LevelWarn
	if d.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))

	newPlatform, err := newPlatform(d.platform, log)
	if err != nil {
		return exitFailure, err
	}
	spec := sentry.Spec{
		NewPlatform: newPlatform,
		Root:        d.root,
		Cwd:         d.cwd,
		Argv:        argv,
		Env:         mergeEnv(os.Environ(), d.env),
		Stdio:       [3]int{0, 1, 2},
		Controlling: true,
		UID:         uint32(os.Getuid()),
		GID:         uint32(os.Getgid()),
		Umask:       hostcall.Umask(),
		Limits:      callersLimits(),
		Hostname:    hostname(),
		Log:         log,
	}
	groups, err := os.Getgroups()
	if err != nil {
		return exitFailure, fmt.Errorf("asking for the caller's groups: %w", err)
	}
	for _, g := range groups {
		spec.Groups = append(spec.Groups, uint32(g))
	}
	if d.cwd == "" {
		spec.CwdFallback = true
		spec.Cwd, _ = os.Getwd()
	}
	tracer, finish, err := d.trace.start()
	if err != nil {
		return exitFailure, err
	}
	defer func() {
		if err := finish(); err != nil {
			fmt.Fprintf(os.Stderr, "runsc-lite: tracing: %v\n", err)
		}
	}()
	spec.Tracer = tracer
	// Before the program can make the terminal send any.
	signals, ignored := catchSignals()
	spec.Ignored = ignored
	s, err := sentry.Start(spec)
	if err != nil {
		return sentry.StartStatus(err), err
	}
	defer s.Close()
	go d.passSignals(s, signals)
	if server, err := d.serve(s, argv); err != nil {
		log.Debug("no ps and top for this sandbox", "err", err)
	} else {
		defer server.Close()
	}
	return s.Wait(), nil
}

// serve makes the sandbox visible to ps and top.
func (d *doCommand) serve(s *sentry.Sandbox, argv []string) (*control.Server, error) {
	return control.Serve(control.Sandbox{
		ID: strconv.Itoa(os.Getpid()), Platform: d.platform, Started: time.Now(), Command: argv,
	}, s.Kernel().Census)
}

// hostname is the sandbox's: the host's own name, which tells nothing that the
// host's files do not.
func hostname() string {
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// callersLimits are the caller's resource limits, so that ulimit(1) before the
// runner acts on the program. The number of open files is Linux's default: Go
// raises its own process's.
func callersLimits() *[procmgr.NumLimits]procmgr.Limit {
	l := procmgr.DefaultLimits()
	for i := range l {
		soft, hard, err := hostcall.Rlimit(i)
		if err != nil {
			continue
		}
		if i == syscall.RLIMIT_NOFILE {
			soft = min(l[i].Cur, hard)
			hard = min(l[i].Max, hard)
		}
		l[i] = procmgr.Limit{Cur: soft, Max: hard}
	}
	return &l
}

// mergeEnv puts extra variables over a base.
func mergeEnv(base, extra []string) []string {
	over := map[string]bool{}
	for _, kv := range extra {
		k, _, _ := strings.Cut(kv, "=")
		over[k] = true
	}
	env := make([]string, 0, len(base)+len(extra))
	for _, kv := range base {
		if k, _, _ := strings.Cut(kv, "="); !over[k] {
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}
