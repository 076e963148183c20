package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/subcommands"

	"runsc-lite/runsc-lite/control"
)

// topCommand shows the process trees of running sandboxes again and again.
type topCommand struct {
	json  bool
	delay time.Duration
	count int
}

func (*topCommand) Name() string     { return "top" }
func (*topCommand) Synopsis() string { return "watch the processes of running sandboxes" }
func (*topCommand) Usage() string {
	return `top [flags] [SANDBOX…]

Shows the process trees of the user's sandboxes, or of those named, with what each
process did since the last picture: processor time, page faults and system calls a
second. Ends with Ctrl-C.

`
}

func (c *topCommand) SetFlags(f *flag.FlagSet) {
	f.BoolVar(&c.json, "json", false, "print one JSON array of sandboxes a line for each picture")
	f.DurationVar(&c.delay, "delay", 2*time.Second, "time between two pictures")
	f.IntVar(&c.count, "count", 0, "how many pictures (0: no end)")
}

func (c *topCommand) Execute(_ context.Context, f *flag.FlagSet, _ ...any) subcommands.ExitStatus {
	if c.delay < 10*time.Millisecond {
		fmt.Fprintln(os.Stderr, "runsc-lite: --delay: at least 10ms")
		return subcommands.ExitUsageError
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	last := map[string]*control.Report{}
	for n := 0; ; n++ {
		reports, err := ask(f.Args())
		if err == nil {
			err = c.show(reports, last, n)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "runsc-lite: %v\n", err)
			return subcommands.ExitFailure
		}
		clear(last)
		for _, r := range reports {
			last[r.ID] = r
		}
		if c.count > 0 && n+1 >= c.count {
			return subcommands.ExitSuccess
		}
		select {
		case <-stop:
			return subcommands.ExitSuccess
		case <-time.After(c.delay):
		}
	}
}

// show prints one picture.
func (c *topCommand) show(reports []*control.Report, last map[string]*control.Report, n int) error {
	if c.json {
		if reports == nil {
			reports = []*control.Report{}
		}
		return json.NewEncoder(os.Stdout).Encode(reports)
	}
	var b bytes.Buffer
	if fi, err := os.Stdout.Stat(); err == nil && fi.Mode()&os.ModeCharDevice != 0 {
		b.WriteString("\x1b[H\x1b[J") // home, and clear what was there
	} else if n > 0 {
		b.WriteByte('\n')
	}
	for _, r := range reports {
		printTree(&b, r, ratesSince(last[r.ID], r))
	}
	if len(reports) == 0 {
		fmt.Fprintln(&b, "no sandbox of this user's is running")
	}
	_, err := os.Stdout.Write(b.Bytes())
	return err
}

// ratesSince works out what each process did between two reports. A process that is
// new counts from its beginning.
func ratesSince(before, now *control.Report) map[int]rates {
	per := map[int]rates{}
	if before == nil {
		return per
	}
	seconds := now.Time.Sub(before.Time).Seconds()
	if seconds <= 0 {
		return per
	}
	old := map[int]int{}
	for i, p := range before.Processes {
		old[p.PID] = i
	}
	for _, p := range now.Processes {
		cpu, calls, faults := p.User+p.System, p.Calls, p.Faults
		if i, ok := old[p.PID]; ok && before.Processes[i].Start == p.Start {
			o := &before.Processes[i]
			cpu -= o.User + o.System
			calls -= min(calls, o.Calls)
			faults -= min(faults, o.Faults)
		}
		per[p.PID] = rates{max(0, cpu.Seconds()) / seconds, float64(calls) / seconds, float64(faults) / seconds}
	}
	return per
}
