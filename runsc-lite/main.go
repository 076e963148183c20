// Command runsc-lite runs Linux programs on a kernel of their own.
package main

import (
	"context"
	"flag"
	"os"

	"github.com/google/subcommands"
)

func main() {
	os.Exit(run())
}

// exitFailure is the status for what goes wrong before the program runs, as
// chroot(1) and env(1) have it.
const exitFailure = 125

func run() int {
	flags := flag.NewFlagSet("runsc-lite", flag.ExitOnError)
	c := subcommands.NewCommander(flags, "runsc-lite")
	c.Register(c.HelpCommand(), "")
	c.Register(c.FlagsCommand(), "")
	do := &doCommand{}
	c.Register(do, "")
	c.Register(&psCommand{}, "")
	c.Register(&topCommand{}, "")
	c.Register(platformsCommand{}, "")
	c.Register(syscallsCommand{}, "")
	c.Register(versionCommand{}, "")
	flags.Parse(os.Args[1:])
	status := c.Execute(context.Background())
	if do.ran {
		do.endAsInterrupted()
		return do.status
	}
	return int(status)
}
