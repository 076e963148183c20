package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/google/subcommands"

	"runsc-lite/sentry/syscalls"
	"runsc-lite/sentry/task"
)

// syscallsCommand prints the system call table.
type syscallsCommand struct{}

func (syscallsCommand) Name() string { return "syscalls" }
func (syscallsCommand) Synopsis() string {
	return "list the system calls and how far each is supported"
}
func (syscallsCommand) Usage() string            { return "syscalls\n" }
func (syscallsCommand) SetFlags(f *flag.FlagSet) {}

func (syscallsCommand) Execute(context.Context, *flag.FlagSet, ...any) subcommands.ExitStatus {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	counts := map[task.Support]int{}
	for nr, row := range syscalls.Table() {
		if row.Name == "" {
			continue
		}
		counts[row.Support]++
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", nr, row.Name, row.Support, row.Note)
	}
	w.Flush()
	fmt.Printf("\n%d full, %d partial, %d absent\n", counts[task.Full], counts[task.Partial], counts[task.Absent])
	return subcommands.ExitSuccess
}
