package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"runsc-lite/sentry/syscalls"
	"runsc-lite/sentry/task"
	"runsc-lite/sentry/trace"
)

// traceFlags are the flags that show what the program does.
type traceFlags struct {
	strace  outputFlag
	filter  trace.Filter
	summary outputFlag
	events  string
	missed  outputFlag
}

// maxEvents is how many events --trace keeps: some 20 MiB.
const maxEvents = 1 << 18

func (t *traceFlags) set(f *flag.FlagSet) {
	f.Var(&t.strace, "strace", "print each system call to standard error, or to `FILE` (--strace=FILE)")
	f.Var(&t.filter, "strace-filter", "of calls and signals show those that `EXPR` says, as strace -e does:\n"+
		"trace=open,read or trace=%file, signal=none; may be repeated")
	f.Var(&t.summary, "strace-summary", "count calls and the time in them, to standard error or `FILE`, as strace -c -w does")
	f.Var(&t.missed, "missed", "tell at the end which system calls the program made that are not supported,\non standard error or in `FILE`")
	f.StringVar(&t.events, "trace", "", "write the last events to `FILE` as a Chrome trace, for ui.perfetto.dev")
}

// start makes the tracer that the flags ask for, nil for none, and what finishes its
// output once the sandbox is gone.
func (t *traceFlags) start() (task.Tracer, func() error, error) {
	var tracers []task.Tracer
	var finishers []func() error
	finish := func() (err error) {
		for _, fn := range finishers {
			err = errors.Join(err, fn())
		}
		return err
	}
	fail := func(err error) (task.Tracer, func() error, error) {
		return nil, nil, errors.Join(err, finish())
	}
	if t.filter.String() != "" && !t.strace.on && !t.summary.on {
		return fail(errors.New("--strace-filter needs --strace or --strace-summary"))
	}
	// later writes a report to a file that is made now, so that it is known to be
	// possible.
	later := func(o outputFlag, report func(io.Writer) error) error {
		w, err := o.open()
		if err != nil {
			return err
		}
		finishers = append(finishers, func() error { return errors.Join(report(w), o.close(w)) })
		return nil
	}
	if t.strace.on {
		w, err := t.strace.open()
		if err != nil {
			return fail(err)
		}
		s := trace.NewStrace(w, syscalls.Table())
		s.Filter, s.File = &t.filter, t.strace.path != ""
		tracers = append(tracers, s)
		finishers = append(finishers, func() error { return errors.Join(s.Close(), t.strace.close(w)) })
	}
	if t.events != "" {
		e := trace.NewEvents(maxEvents, syscalls.Table())
		if err := later(outputFlag{true, t.events}, e.Report); err != nil {
			return fail(err)
		}
		tracers = append(tracers, e)
	}
	if t.summary.on {
		s := trace.NewSummary(syscalls.Table())
		s.Filter = &t.filter
		if err := later(t.summary, s.Report); err != nil {
			return fail(err)
		}
		tracers = append(tracers, s)
	}
	return trace.Join(tracers...), finish, nil
}

// report tells of the calls that were not served, when the program has ended.
func (t *traceFlags) report(k *task.Kernel) error {
	if !t.missed.on {
		return nil
	}
	w, err := t.missed.open()
	if err != nil {
		return err
	}
	k.Missed(func(name string, count uint64) { fmt.Fprintf(w, "not supported: %s (%d)\n", name, count) })
	return t.missed.close(w)
}

// outputFlag is a flag that stands alone for standard error, or names a file.
type outputFlag struct {
	on   bool
	path string
}

// IsBoolFlag tells package flag that a value is not needed.
func (*outputFlag) IsBoolFlag() bool { return true }

// Set implements flag.Value.
func (o *outputFlag) Set(s string) error {
	switch s {
	case "":
		return errors.New("the name of the file is missing")
	case "true", "false":
		*o = outputFlag{on: s == "true"}
	default:
		*o = outputFlag{true, s}
	}
	return nil
}

func (o *outputFlag) String() string {
	if o.path == "" && o.on {
		return "true"
	}
	return o.path
}

func (o *outputFlag) open() (*os.File, error) {
	if o.path == "" {
		return os.Stderr, nil
	}
	f, err := os.Create(o.path)
	if err != nil {
		return nil, fmt.Errorf("making the file for the trace: %w", err)
	}
	return f, nil
}

func (o *outputFlag) close(f *os.File) error {
	if f == os.Stderr {
		return nil
	}
	return f.Close()
}
