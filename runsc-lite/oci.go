package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/subcommands"
	"golang.org/x/sys/unix"

	"runsc-lite/runsc-lite/container"
)

// globals are the flags before the verb, which are those of runc.
type globals struct {
	root          string
	log           string
	logFormat     string
	debug         bool
	systemdCgroup bool
	rootless      string
	platform      string
	network       string

	logFile *os.File // nil: standard error
}

func (g *globals) set(f *flag.FlagSet) {
	f.StringVar(&g.root, "root", defaultRoot(), "directory of the containers' state")
	f.StringVar(&g.log, "log", "", "file for the log (default: standard error)")
	f.StringVar(&g.logFormat, "log-format", "text", "format of the log: text or json")
	f.BoolVar(&g.debug, "debug", false, "log more")
	f.BoolVar(&g.systemdCgroup, "systemd-cgroup", false, "have systemd make the cgroups; cgroupsPath is slice:prefix:name then")
	f.StringVar(&g.rootless, "rootless", "auto", "ignore what only root may do: true, false or auto")
	f.StringVar(&g.platform, "platform", "systrap", "how containers' code is run: "+platformNames)
	f.StringVar(&g.network, "network", "sandbox", "sandbox (a network of its own), none (loopback only) or host (the namespace's own)")
}

// defaultRoot is where containers are kept.
func defaultRoot() string {
	if os.Geteuid() == 0 {
		return "/run/runsc-lite/containers"
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "runsc-lite", "containers")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("runsc-lite-%d", os.Geteuid()), "containers")
}

// isRootless says whether what only root may do is done without.
func (g *globals) isRootless() bool {
	return g.rootless == "true" || g.rootless != "false" && os.Geteuid() != 0
}

// start opens the log, which engines read.
func (g *globals) start() (*slog.Logger, error) {
	var w io.Writer = os.Stderr
	if g.log != "" {
		f, err := os.OpenFile(g.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC, 0o644)
		if err != nil {
			return nil, fmt.Errorf("opening the log: %w", err)
		}
		g.logFile, w = f, f
	}
	o := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: logNames}
	if g.debug {
		o.Level = slog.LevelDebug
	}
	switch g.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	case "text", "":
		return slog.New(slog.NewTextHandler(w, o)), nil
	}
	return nil, fmt.Errorf("unknown log-format %q: text or json", g.logFormat)
}

// logNames makes the log look as runc's does: the level in small letters.
func logNames(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.LevelKey {
		if l, ok := a.Value.Any().(slog.Level); ok {
			return slog.String(a.Key, map[slog.Level]string{
				slog.LevelDebug: "debug", slog.LevelInfo: "info", slog.LevelWarn: "warning", slog.LevelError: "error",
			}[l])
		}
	}
	if a.Key == slog.TimeKey {
		return slog.String(a.Key, a.Value.Time().Format(time.RFC3339))
	}
	return a
}

// runtimeVerb is a verb of the OCI runtime.
type runtimeVerb interface {
	Name() string
	Synopsis() string
	Usage() string
	SetFlags(*flag.FlagSet)
	// do returns the exit status if there is no error.
	do(g *globals, log *slog.Logger, args []string) (int, error)
}

// runtimeCommand runs one.
type runtimeCommand struct {
	runtimeVerb
	g      *globals
	failed int // the status for an error
	// status is the exit status; set by Execute.
	status *int
}

func (r runtimeCommand) Execute(_ context.Context, f *flag.FlagSet, _ ...any) subcommands.ExitStatus {
	*r.status = 0
	keepDescriptors()
	log, err := r.g.start()
	if err == nil {
		var status int
		if status, err = r.do(r.g, log, f.Args()); err == nil {
			*r.status = status
			return subcommands.ExitSuccess
		}
		if errors.Is(err, errUsage) {
			fmt.Fprint(os.Stderr, r.Usage())
		}
	}
	*r.status = r.failed
	if log != nil {
		log.Error(err.Error())
	}
	if log == nil || r.g.logFile != nil {
		// The engine shows the log, and people the terminal.
		fmt.Fprintln(os.Stderr, err)
	}
	return subcommands.ExitFailure
}

// keepDescriptors has no program that is executed from here on inherit a descriptor that
// it is not given: who called this one may have left some of the host's open.
func keepDescriptors() {
	const first = 3
	if unix.CloseRange(first, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	// Before Linux 5.11.
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
}

// errUsage says that the arguments are not as the verb wants them.
var errUsage = errors.New("wrong arguments")

// oneID returns the only argument.
func oneID(args []string) (string, error) {
	if len(args) != 1 || args[0] == "" {
		return "", fmt.Errorf("%w: exactly one container id is wanted, and there are %d arguments", errUsage, len(args))
	}
	return args[0], nil
}

func (g *globals) store() *container.Store { return container.Open(g.root) }

// printJSON writes v for people and programs.
func printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(b, '\n'))
	return err
}
