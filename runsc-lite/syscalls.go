package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/google/subcommands"

	"runsc-lite/sentry/syscalls"
	"runsc-lite/sentry/task"
)

// syscallsCommand prints the system call table.
type syscallsCommand struct{ format string }

func (*syscallsCommand) Name() string { return "syscalls" }
func (*syscallsCommand) Synopsis() string {
	return "list the system calls and how far each is supported"
}
func (*syscallsCommand) Usage() string {
	return `syscalls [flags]

Lists the system calls of Linux on x86-64: full, partial, with a note on what is
missing or different, or absent. A program that makes an absent call is answered as
by a Linux that was built without it.

`
}

func (c *syscallsCommand) SetFlags(f *flag.FlagSet) {
	f.StringVar(&c.format, "format", "table", "table, json or csv")
}

func (c *syscallsCommand) Execute(_ context.Context, f *flag.FlagSet, _ ...any) subcommands.ExitStatus {
	print, ok := map[string]func(io.Writer, []syscallRow) error{
		"table": printSyscallTable, "json": printSyscallJSON, "csv": printSyscallCSV,
	}[c.format]
	if !ok || f.NArg() > 0 {
		fmt.Fprint(os.Stderr, c.Usage())
		f.PrintDefaults()
		return subcommands.ExitUsageError
	}
	if err := print(os.Stdout, syscallRows()); err != nil {
		fmt.Fprintf(os.Stderr, "runsc-lite: printing the system calls: %v\n", err)
		return subcommands.ExitFailure
	}
	return subcommands.ExitSuccess
}

// syscallRow is a system call as the formats show it.
type syscallRow struct {
	Number  int    `json:"number"`
	Name    string `json:"name"`
	Support string `json:"support"`
	Note    string `json:"note,omitempty"`
}

func syscallRows() (rows []syscallRow) {
	for nr, row := range syscalls.Table() {
		if row.Name != "" {
			rows = append(rows, syscallRow{nr, row.Name, row.Support.String(), row.Note})
		}
	}
	return rows
}

func printSyscallTable(out io.Writer, rows []syscallRow) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	counts := map[string]int{}
	for _, r := range rows {
		counts[r.Support]++
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", r.Number, r.Name, r.Support, r.Note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d full, %d partial, %d absent\n",
		counts[task.Full.String()], counts[task.Partial.String()], counts[task.Absent.String()])
	return err
}

func printSyscallJSON(out io.Writer, rows []syscallRow) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}

func printSyscallCSV(out io.Writer, rows []syscallRow) error {
	w := csv.NewWriter(out)
	records := [][]string{{"number", "name", "support", "note"}}
	for _, r := range rows {
		records = append(records, []string{strconv.Itoa(r.Number), r.Name, r.Support, r.Note})
	}
	return w.WriteAll(records)
}
