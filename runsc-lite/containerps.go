package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/subcommands"
)

// has reports whether there is a container.
func (g *globals) has(id string) bool {
	_, err := g.store().Get(id)
	return err == nil
}

// container shows the processes of a container. As JSON they are those of the host, as
// engines want them.
func (p *psCommand) container(id string) subcommands.ExitStatus {
	err := p.show(id)
	if err != nil {
		fmt.Fprintf(os.Stderr, "runsc-lite: %v\n", err)
		return subcommands.ExitFailure
	}
	return subcommands.ExitSuccess
}

func (p *psCommand) show(id string) error {
	if p.format == "json" {
		c, err := p.g.store().Get(id)
		if err != nil {
			return err
		}
		pids := []int{}
		if c.Alive() {
			pids = append(pids, c.Pid)
		}
		return json.NewEncoder(os.Stdout).Encode(pids)
	}
	if p.format != "table" {
		return fmt.Errorf("invalid format option: %q is neither table nor json", p.format)
	}
	list, err := p.g.store().Processes(id)
	if err != nil {
		return err
	}
	if p.json {
		return printJSON(list)
	}
	w := tabwriter.NewWriter(os.Stdout, 4, 1, 2, ' ', 0)
	fmt.Fprint(w, "UID\tPID\tPPID\tSTATE\tTIME\tCMD\n")
	for _, i := range list {
		command := strings.Join(i.Command, " ")
		if command == "" {
			command = "[" + i.Name + "]"
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%s\t%s\t%s\n", i.UID, i.PID, i.Parent, i.State, (i.User + i.System).Round(time.Millisecond), clean(command))
	}
	return w.Flush()
}
