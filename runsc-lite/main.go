// Command runsc-lite runs Linux programs on a kernel of their own.
package main

import (
	"context"
	"flag"
	"os"

	"github.com/google/subcommands"

	"runsc-lite/runsc-lite/sandbox"
	"runsc-lite/runsc-lite/unikernel"
)

func main() {
	if image, err := unikernel.Self(); image != nil || err != nil {
		os.Exit(runImage(image, err))
	}
	if len(os.Args) > 1 && os.Args[1] == sandbox.BootVerb {
		os.Exit(sandbox.Boot(newPlatform))
	}
	if len(os.Args) > 1 && os.Args[1] == stayVerb {
		os.Exit(stayMain())
	}
	os.Exit(run())
}

// exitFailure is the status for what goes wrong before the program runs, as
// chroot(1) and env(1) have it.
const exitFailure = 125

func run() int {
	flags := flag.NewFlagSet("runsc-lite", flag.ExitOnError)
	var g globals
	g.set(flags)
	c := subcommands.NewCommander(flags, "runsc-lite")
	c.Register(c.HelpCommand(), "")
	c.Register(c.FlagsCommand(), "")
	do := &doCommand{}
	c.Register(do, "")
	c.Register(&packCommand{}, "")
	c.Register(&unpackCommand{}, "")
	c.Register(&psCommand{g: &g}, "")
	c.Register(&topCommand{}, "")
	c.Register(platformsCommand{}, "")
	c.Register(&syscallsCommand{}, "")
	c.Register(versionCommand{}, "")
	status := -1 // of a verb of the OCI runtime; -1: another one ran
	for _, v := range []runtimeVerb{
		&createCommand{}, startCommand{}, stateCommand{}, &killCommand{}, &deleteCommand{}, &runCommand{},
		waitCommand{}, &listCommand{}, pauseCommand{}, resumeCommand{}, &updateCommand{}, &eventsCommand{},
		&specCommand{}, featuresCommand{}, &installCommand{}, &installCommand{uninstall: true},
	} {
		c.Register(runtimeCommand{v, &g, 1, &status}, "of an OCI runtime")
	}
	c.Register(runtimeCommand{&execCommand{}, &g, 255, &status}, "of an OCI runtime")
	flags.Parse(os.Args[1:])
	executed := c.Execute(context.Background())
	if status >= 0 {
		return status
	}
	if do.ran {
		do.boot.endAsInterrupted(do.status)
		return do.status
	}
	return int(executed)
}
