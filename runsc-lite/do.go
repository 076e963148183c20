package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/google/subcommands"

	"runsc-lite/sentry"
)

// doCommand runs a program in a sandbox over the host's file tree.
type doCommand struct {
	root   string
	cwd    string
	env    envFlag
	memory sizeFlag
	boot   boot

	ran    bool
	status int
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
	f.StringVar(&d.boot.platform, "platform", "systrap", "how guest code is run: "+platformNames)
	f.StringVar(&d.root, "root", "/", "directory of the host that is the program's root")
	f.StringVar(&d.cwd, "cwd", "", "working directory, in the sandbox (default: the caller's, if it is there)")
	f.Var(&d.env, "env", "set NAME=VALUE in the program's environment; may be repeated")
	f.Var(&d.memory, "memory", "how much memory the sandbox may hold, such as 512M or 2G (default: what the host has)")
	d.boot.network.set(f)
	d.boot.trace.set(f)
	f.Var(&d.boot.export, "export", "copy `PATH`, a file or directory of the sandbox, to the same path of the host\nwhen the program has ended, if it is there; may be repeated")
	f.BoolVar(&d.boot.debug, "debug", false, "print the sentry's own log to standard error")
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
	spec := sentry.Spec{
		Root:   d.root,
		Cwd:    d.cwd,
		Argv:   argv,
		Env:    mergeEnv(os.Environ(), d.env),
		UID:    uint32(os.Getuid()),
		GID:    uint32(os.Getgid()),
		Memory: uint64(d.memory),
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
	return d.boot.run(spec)
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
