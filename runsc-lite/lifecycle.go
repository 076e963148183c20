package main

import (
	"flag"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

type startCommand struct{}

func (startCommand) Name() string     { return "start" }
func (startCommand) Synopsis() string { return "run the program of a container that was created" }
func (startCommand) Usage() string {
	return `start CONTAINER-ID

`
}
func (startCommand) SetFlags(*flag.FlagSet) {}
func (startCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	return 0, g.store().Start(id, log)
}

type stateCommand struct{}

func (stateCommand) Name() string     { return "state" }
func (stateCommand) Synopsis() string { return "print the state of a container" }
func (stateCommand) Usage() string {
	return `state CONTAINER-ID

Prints the state of a container as JSON.

`
}
func (stateCommand) SetFlags(*flag.FlagSet) {}
func (stateCommand) do(g *globals, _ *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	c, err := g.store().Get(id)
	if err != nil {
		return 0, err
	}
	return 0, printJSON(stateOf(c))
}

type killCommand struct{ all bool }

func (*killCommand) Name() string     { return "kill" }
func (*killCommand) Synopsis() string { return "send a signal to a container" }
func (*killCommand) Usage() string {
	return `kill [flags] CONTAINER-ID [SIGNAL]

Sends SIGNAL (a name or a number; TERM if there is none) to the first process of
a container.

`
}
func (k *killCommand) SetFlags(f *flag.FlagSet) {
	for _, name := range []string{"all", "a"} {
		f.BoolVar(&k.all, name, false, "send it to all processes of the container")
	}
}
func (k *killCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	args, err := k.after(args)
	if err != nil {
		return 0, err
	}
	if len(args) < 1 || len(args) > 2 {
		return 0, fmt.Errorf("%w: a container id and a signal are wanted", errUsage)
	}
	sig := unix.SIGTERM
	if len(args) == 2 {
		if sig, err = parseSignal(args[1]); err != nil {
			return 0, err
		}
	}
	return 0, g.store().Kill(args[0], sig, k.all, log)
}

// after takes flags from behind the id, where engines put them.
func (k *killCommand) after(args []string) (rest []string, err error) {
	for _, a := range args {
		switch a {
		case "--all", "-a", "-all":
			k.all = true
		default:
			rest = append(rest, a)
		}
	}
	return rest, nil
}

// parseSignal reads a signal: a number, or a name with or without SIG.
func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	// Real-time signals are named by their distance from either end.
	for prefix, base := range map[string]int{"SIGRTMIN": 34, "SIGRTMAX": 64} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		n := 0
		if rest != "" {
			var err error
			if n, err = strconv.Atoi(rest); err != nil {
				continue
			}
		}
		if n += base; n >= 34 && n <= 64 {
			return unix.Signal(n), nil
		}
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}

type deleteCommand struct{ force bool }

func (*deleteCommand) Name() string     { return "delete" }
func (*deleteCommand) Synopsis() string { return "remove a container" }
func (*deleteCommand) Usage() string {
	return `delete [flags] CONTAINER-ID

Removes a container that has ended, and what was made for it.

`
}
func (d *deleteCommand) SetFlags(f *flag.FlagSet) {
	for _, name := range []string{"force", "f"} {
		f.BoolVar(&d.force, name, false, "end the container first if it runs")
	}
}
func (d *deleteCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	return 0, g.store().Delete(id, d.force, log)
}

type waitCommand struct{}

func (waitCommand) Name() string     { return "wait" }
func (waitCommand) Synopsis() string { return "wait for the end of a container" }
func (waitCommand) Usage() string {
	return `wait CONTAINER-ID

Waits until the program of a container has ended, and prints its exit status as
JSON.

`
}
func (waitCommand) SetFlags(*flag.FlagSet) {}
func (waitCommand) do(g *globals, _ *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	status, err := g.store().Wait(id)
	if err != nil {
		return 0, err
	}
	return 0, printJSON(struct {
		ID         string `json:"id"`
		ExitStatus int    `json:"exitStatus"`
	}{id, status})
}
