package main

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"runsc-lite/hostcall"
	"runsc-lite/procmgr"
	"runsc-lite/runsc-lite/control"
	"runsc-lite/sentry"
)

// boot starts a sandbox in the foreground: its program has the runner's standard
// input, output and error, terminal, signals, limits and umask.
type boot struct {
	platform string
	network  networkFlags
	trace    traceFlags
	export   exportFlag
	debug    bool

	interrupted atomic.Bool // the user typed ^C
}

// run boots a sandbox of which spec says what is to be run as whom, and returns
// the program's exit status.
func (b *boot) run(spec sentry.Spec) (int, error) {
	level := slog.LevelWarn
	if b.debug {
		level = slog.LevelDebug
	}
	spec.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	var err error
	if spec.NewPlatform, err = newPlatform(b.platform, spec.Log); err != nil {
		return exitFailure, err
	}
	spec.Stdio = [3]int{0, 1, 2}
	spec.Controlling = true
	spec.Umask = hostcall.Umask()
	spec.Limits = callersLimits()
	spec.Hostname = hostname()
	if spec.NetSpec, err = b.network.open(spec.Log); err != nil {
		return exitFailure, err
	}
	tracer, finish, err := b.trace.start()
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
	go b.passSignals(s, signals)
	if server, err := b.serve(s, spec.Argv); err != nil {
		spec.Log.Debug("no ps and top for this sandbox", "err", err)
	} else {
		defer server.Close()
	}
	status := s.Wait()
	if err := b.export.copyOut(s); err != nil {
		return exitFailure, err
	}
	return status, b.trace.report(s.Kernel())
}

// serve makes the sandbox visible to ps and top.
func (b *boot) serve(s *sentry.Sandbox, argv []string) (*control.Server, error) {
	return control.Serve(control.Sandbox{
		ID: strconv.Itoa(os.Getpid()), Platform: b.platform, Started: time.Now(), Command: argv,
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
