package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/subcommands"

	"runsc-lite/runsc-lite/control"
	"runsc-lite/sentry/task"
)

// psCommand prints the process trees of running sandboxes.
type psCommand struct {
	g      *globals
	json   bool
	format string
}

func (*psCommand) Name() string     { return "ps" }
func (*psCommand) Synopsis() string { return "show the processes of running sandboxes" }
func (*psCommand) Usage() string {
	return `ps [flags] [SANDBOX…]
ps [flags] CONTAINER-ID

Shows the process trees of the user's sandboxes, or of those named: a sandbox is
named by the host pid of its runner. Of a container, it shows the processes in it. TIME is processor time, CALLS are the system
calls that the sandbox's kernel was asked.

`
}

func (p *psCommand) SetFlags(f *flag.FlagSet) {
	f.BoolVar(&p.json, "json", false, "print JSON: an array of sandboxes")
	for _, name := range []string{"format", "f"} {
		f.StringVar(&p.format, name, "table", "of a container: table, or json for the ids of its processes on the host")
	}
}

func (p *psCommand) Execute(_ context.Context, f *flag.FlagSet, _ ...any) subcommands.ExitStatus {
	if f.NArg() > 0 && p.g.has(f.Arg(0)) {
		return p.container(f.Arg(0))
	}
	reports, err := ask(f.Args())
	if err == nil && p.json {
		if reports == nil {
			reports = []*control.Report{}
		}
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(reports)
	} else if err == nil {
		for _, r := range reports {
			printTree(os.Stdout, r, nil)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "runsc-lite: %v\n", err)
		return subcommands.ExitFailure
	}
	return subcommands.ExitSuccess
}

// ask returns the reports of the named sandboxes, or of all.
func ask(ids []string) ([]*control.Report, error) {
	if len(ids) == 0 {
		return control.All()
	}
	var all []*control.Report
	for _, id := range ids {
		r, err := control.Ask(id)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// row is a process in its tree.
type row struct {
	task.ProcessInfo
	tree string // the lines that lead to it
}

// tree orders processes depth first, as pstree(1) does.
func tree(all []task.ProcessInfo) []row {
	known := map[int]bool{}
	children := map[int][]task.ProcessInfo{}
	for _, p := range all {
		known[p.PID] = true
	}
	var tops []task.ProcessInfo
	for _, p := range all {
		if known[p.Parent] && p.Parent != p.PID {
			children[p.Parent] = append(children[p.Parent], p)
		} else {
			tops = append(tops, p)
		}
	}
	var rows []row
	var add func(p task.ProcessInfo, lead, own string)
	add = func(p task.ProcessInfo, lead, own string) {
		rows = append(rows, row{p, lead + own})
		if own == "├─ " {
			lead += "│  "
		} else if own != "" {
			lead += "   "
		}
		for i, c := range children[p.PID] {
			if i == len(children[p.PID])-1 {
				add(c, lead, "└─ ")
			} else {
				add(c, lead, "├─ ")
			}
		}
	}
	for _, p := range tops {
		add(p, "", "")
	}
	return rows
}

// rates are what a process did in the time between two reports.
type rates struct{ cpu, calls, faults float64 } // a second's share; per second

// printTree prints a sandbox. With rates, it is a picture of top.
func printTree(w io.Writer, r *control.Report, per map[int]rates) {
	fmt.Fprintf(w, "sandbox %s  %s  up %s  %s\n", r.ID, r.Platform,
		r.Time.Sub(r.Started).Round(time.Second), clean(strings.Join(r.Command, " ")))
	if per != nil {
		fmt.Fprintf(w, "%6s %-8s %3s %3s %6s %9s %9s %9s %9s  %s\n", "PID", "STATE", "THR", "NI", "%CPU", "TIME", "RSS", "FAULTS/s", "CALLS/s", "COMMAND")
	} else {
		fmt.Fprintf(w, "%6s %-8s %3s %3s %9s %9s %9s %9s %9s  %s\n", "PID", "STATE", "THR", "NI", "TIME", "RSS", "VSZ", "FAULTS", "CALLS", "COMMAND")
	}
	for _, p := range tree(r.Processes) {
		time := cpuTime(p.User + p.System)
		if per != nil {
			x := per[p.PID]
			fmt.Fprintf(w, "%6d %-8s %3d %3d %6.1f %9s %9s %9.0f %9.0f  %s%s\n", p.PID, p.State, p.Threads, p.Nice,
				100*x.cpu, time, size(p.Resident), x.faults, x.calls, p.tree, command(&p))
			continue
		}
		fmt.Fprintf(w, "%6d %-8s %3d %3d %9s %9s %9s %9d %9d  %s%s\n", p.PID, p.State, p.Threads, p.Nice,
			time, size(p.Resident), size(p.Virtual), p.Faults, p.Calls, p.tree, command(&p))
	}
}

// command is a process's arguments, or its name in brackets if it has none.
func command(p *row) string {
	if len(p.Command) == 0 {
		return "[" + clean(p.Name) + "]"
	}
	return clean(strings.Join(p.Command, " "))
}

// clean makes what a guest chose harmless for the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func cpuTime(d time.Duration) string {
	d = d.Round(10 * time.Millisecond)
	return fmt.Sprintf("%d:%05.2f", int(d.Minutes()), (d % time.Minute).Seconds())
}

// size spells bytes with a unit of 1,024.
func size(n uint64) string {
	units := []string{"B", "K", "M", "G", "T"}
	x, i := float64(n), 0
	for x >= 1024 && i < len(units)-1 {
		x, i = x/1024, i+1
	}
	if i == 0 || x >= 100 {
		return fmt.Sprintf("%.0f%s", x, units[i])
	}
	return fmt.Sprintf("%.1f%s", x, units[i])
}
