package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/subcommands"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/hostcall"
	"runsc-lite/platform"
	"runsc-lite/platform/kvm"
)

// platformsCommand tries each platform.
type platformsCommand struct{}

func (platformsCommand) Name() string { return "platforms" }
func (platformsCommand) Synopsis() string {
	return "say which ways to run guest code work here, and what they cost"
}
func (platformsCommand) Usage() string {
	return `platforms

Starts each platform, runs a few system calls on it, and prints whether that
works, how long a call takes from the program to the kernel and back, what the
platform can do here, and where this machine is in its way. Then it says which of
them --platform=auto takes.

`
}
func (platformsCommand) SetFlags(f *flag.FlagSet) {}

func (platformsCommand) Execute(context.Context, *flag.FlagSet, ...any) subcommands.ExitStatus {
	works := 0
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "PLATFORM\tWORKS\tSYSTEM CALL\tFEATURES")
	var notes []string
	for _, name := range []string{"systrap", "kvm", "ptrace"} {
		t, err := tryPlatform(name)
		if err != nil {
			fmt.Fprintf(w, "%s\tno\t\t\n", name)
			notes = append(notes, fmt.Sprintf("%s does not work: %v", name, err))
			continue
		}
		works++
		for _, q := range t.quirks {
			notes = append(notes, name+": "+q)
		}
		fmt.Fprintf(w, "%s\tyes\t%v\t%s\n", name, t.call, strings.Join(t.features, ", "))
	}
	w.Flush()
	for _, n := range notes {
		fmt.Println(n)
	}
	fmt.Println(auto())
	if works == 0 {
		return subcommands.ExitFailure
	}
	return subcommands.ExitSuccess
}

// trial is what trying a platform came to.
type trial struct {
	call     time.Duration // from guest code to the kernel and back
	features []string
	quirks   []string // of this machine
}

const (
	trialFile   = 1 << 20 // bytes
	trialCode   = 0x400000
	trialRounds = 500
	trialTime   = 100 * time.Millisecond
)

// tryPlatform starts a platform and makes system calls on it.
func tryPlatform(name string) (t trial, err error) {
	start, err := newPlatform(name, slog.New(slog.DiscardHandler))
	if err != nil {
		return t, err
	}
	fd, err := hostcall.MemfdCreate("runsc-lite-trial")
	if err != nil {
		return t, fmt.Errorf("making a memory file: %w", err)
	}
	defer hostcall.Close(fd)
	if err := hostcall.Ftruncate(fd, trialFile); err != nil {
		return t, fmt.Errorf("sizing a memory file: %w", err)
	}
	file, err := hostcall.MapShared(fd, trialFile)
	if err != nil {
		return t, fmt.Errorf("mapping a memory file: %w", err)
	}
	defer hostcall.Unmap(file)
	copy(file, []byte{0x0f, 0x05, 0xeb, 0xfc}) // syscall, and back
	p, err := start(fd)
	if err != nil {
		return t, err
	}
	defer p.Close()
	space, err := p.NewAddressSpace()
	if err != nil {
		return t, err
	}
	space.Map(trialCode, hostarch.PageSize, 0, hostarch.ReadExecute)
	done := make(chan error, 1)
	if err := p.Spawn(nil, space, func(c platform.Context) { done <- t.measure(c, space) }); err != nil {
		return t, err
	}
	if err := <-done; err != nil {
		return t, err
	}
	space.Release()
	t.describe(p)
	return t, nil
}

// measure times system calls: the median counts.
func (t *trial) measure(c platform.Context, space platform.AddressSpace) error {
	_, meter := c.(platform.CPUMeter)
	if meter {
		t.features = append(t.features, "meters processor time")
	}
	c.Registers().Rip = trialCode
	var took []time.Duration
	for end := time.Now().Add(trialTime); len(took) < trialRounds && (len(took) < 10 || time.Now().Before(end)); {
		began := time.Now()
		x, err := c.Run(space)
		switch {
		case err != nil:
			return err
		case x.Kind == platform.ExitSyscall:
			took = append(took, time.Since(began))
		case x.Kind != platform.ExitInterrupted:
			return fmt.Errorf("a system call arrives as signal %d (code %#x, address %#x)", x.Signo, x.Code, uint64(x.Addr))
		}
	}
	slices.Sort(took)
	t.call = took[len(took)/2]
	return nil
}

// describe collects what a platform can do besides.
func (t *trial) describe(p platform.Platform) {
	if _, ok := p.(platform.CallPatcher); ok {
		t.features = append(t.features, "makes call sites that are used often faster than that", "answers some calls in the guest there")
	}
	if l, ok := p.(platform.SlotLimiter); ok {
		t.features = append(t.features, fmt.Sprintf("%d run slots", l.RunSlots()))
	}
	if k, ok := p.(*kvm.KVM); ok {
		t.features = append(t.features, k.Report().Features()...)
		t.quirks = k.Report().Quirks()
	}
}

// auto says what --platform=auto comes to.
func auto() string {
	fd, err := hostcall.MemfdCreate("runsc-lite-trial")
	if err != nil {
		return fmt.Sprintf("auto: making a memory file: %v", err)
	}
	defer hostcall.Close(fd)
	if err := hostcall.Ftruncate(fd, trialFile); err != nil {
		return fmt.Sprintf("auto: sizing a memory file: %v", err)
	}
	p, why, err := fastest(fd, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Sprintf("auto: %v", err)
	}
	defer p.Close()
	return fmt.Sprintf("auto takes %s (%s)", p.Name(), why)
}
