package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"

	"github.com/google/subcommands"

	"runsc-lite/sentry/syscalls"
)

// version is the project's own.
const version = "0.1.0"

// versionCommand prints versions.
type versionCommand struct{}

func (versionCommand) Name() string             { return "version" }
func (versionCommand) Synopsis() string         { return "print the version" }
func (versionCommand) Usage() string            { return "version\n" }
func (versionCommand) SetFlags(f *flag.FlagSet) {}

func (versionCommand) Execute(context.Context, *flag.FlagSet, ...any) subcommands.ExitStatus {
	fmt.Printf("runsc-lite %s\nkernel: %s %s\ngo: %s\n", version, syscalls.Sysname, syscalls.Release, runtime.Version())
	return subcommands.ExitSuccess
}
