package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc-lite/runsc-lite/cgroup"
	"runsc-lite/runsc-lite/container"
)

type pauseCommand struct{}

func (pauseCommand) Name() string     { return "pause" }
func (pauseCommand) Synopsis() string { return "stop everything in a container until resume" }
func (pauseCommand) Usage() string {
	return `pause CONTAINER-ID

`
}
func (pauseCommand) SetFlags(*flag.FlagSet) {}
func (pauseCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	return 0, g.store().Pause(id, log)
}

type resumeCommand struct{}

func (resumeCommand) Name() string     { return "resume" }
func (resumeCommand) Synopsis() string { return "let a container go on that was paused" }
func (resumeCommand) Usage() string {
	return `resume CONTAINER-ID

`
}
func (resumeCommand) SetFlags(*flag.FlagSet) {}
func (resumeCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	return 0, g.store().Resume(id, log)
}

// updateCommand has runc's flags: numbers are strings, so that what was not said is
// known.
type updateCommand struct {
	resources string
	values    map[string]*string
}

// updateFlags are the flags of update, and where each goes.
var updateFlags = []struct {
	name, usage string
	set         func(r *specs.LinuxResources, s string) error
}{
	{"blkio-weight", "weight of block I/O, 10 to 1000", func(r *specs.LinuxResources, s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		w := uint16(n)
		r.BlockIO = &specs.LinuxBlockIO{Weight: &w}
		return err
	}},
	{"cpu-period", "length of a period, in microseconds", setUint(func(r *specs.LinuxResources) **uint64 { return &r.CPU.Period })},
	{"cpu-quota", "processor time in a period, in microseconds; -1: as much as there is", setInt(func(r *specs.LinuxResources) **int64 { return &r.CPU.Quota })},
	{"cpu-burst", "processor time that may be saved up, in microseconds", setUint(func(r *specs.LinuxResources) **uint64 { return &r.CPU.Burst })},
	{"cpu-share", "share of processor time, relative to others", setUint(func(r *specs.LinuxResources) **uint64 { return &r.CPU.Shares })},
	{"cpu-rt-period", "length of a real-time period, in microseconds", setUint(func(r *specs.LinuxResources) **uint64 { return &r.CPU.RealtimePeriod })},
	{"cpu-rt-runtime", "real-time in a period, in microseconds", setInt(func(r *specs.LinuxResources) **int64 { return &r.CPU.RealtimeRuntime })},
	{"cpuset-cpus", "processors to use", func(r *specs.LinuxResources, s string) error { r.CPU.Cpus = s; return nil }},
	{"cpuset-mems", "memory nodes to use", func(r *specs.LinuxResources, s string) error { r.CPU.Mems = s; return nil }},
	{"memory", "limit of memory, in bytes; -1: none", setSize(func(r *specs.LinuxResources) **int64 { return &r.Memory.Limit })},
	{"memory-reservation", "memory that is left to the container, in bytes", setSize(func(r *specs.LinuxResources) **int64 { return &r.Memory.Reservation })},
	{"memory-swap", "limit of memory and swap, in bytes; -1: none", setSize(func(r *specs.LinuxResources) **int64 { return &r.Memory.Swap })},
	{"pids-limit", "how many tasks there may be; -1: any number", setInt(func(r *specs.LinuxResources) **int64 { return &r.Pids.Limit })},
}

func setUint(at func(*specs.LinuxResources) **uint64) func(*specs.LinuxResources, string) error {
	return func(r *specs.LinuxResources, s string) error {
		n, err := strconv.ParseUint(s, 10, 64)
		*at(r) = &n
		return err
	}
}

func setInt(at func(*specs.LinuxResources) **int64) func(*specs.LinuxResources, string) error {
	return func(r *specs.LinuxResources, s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		*at(r) = &n
		return err
	}
}

// setSize reads bytes, with k, m or g behind them.
func setSize(at func(*specs.LinuxResources) **int64) func(*specs.LinuxResources, string) error {
	return func(r *specs.LinuxResources, s string) error {
		low := strings.TrimSuffix(strings.ToLower(s), "b")
		shift := 0
		if i := strings.IndexByte("kmgt", low[max(len(low)-1, 0)]); low != "" && i >= 0 {
			shift, low = 10*(i+1), low[:len(low)-1]
		}
		n, err := strconv.ParseInt(low, 10, 64)
		if err == nil && n > (1<<62)>>shift {
			err = strconv.ErrRange
		}
		if n > 0 {
			n <<= shift
		}
		*at(r) = &n
		return err
	}
}

func (*updateCommand) Name() string     { return "update" }
func (*updateCommand) Synopsis() string { return "change the limits of a container" }
func (*updateCommand) Usage() string {
	return `update [flags] CONTAINER-ID

Changes the limits of a container. What is not named stays as it is.

`
}

func (u *updateCommand) SetFlags(f *flag.FlagSet) {
	for _, name := range []string{"resources", "r"} {
		f.StringVar(&u.resources, name, "", "file with the resources as JSON (linux.resources of config.json); - for standard input")
	}
	u.values = map[string]*string{}
	for _, v := range updateFlags {
		u.values[v.name] = f.String(v.name, "", v.usage)
	}
}

func (u *updateCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	r, err := u.read()
	if err != nil {
		return 0, err
	}
	return 0, g.store().Update(id, r, log)
}

// maxResources bounds the file of resources, in bytes.
const maxResources = 1 << 20

func (u *updateCommand) read() (*specs.LinuxResources, error) {
	r := &specs.LinuxResources{}
	if u.resources != "" {
		in := io.Reader(os.Stdin)
		if u.resources != "-" {
			f, err := os.Open(u.resources)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			in = f
		}
		if err := json.NewDecoder(io.LimitReader(in, maxResources)).Decode(r); err != nil {
			return nil, fmt.Errorf("reading the resources: %w", err)
		}
		return r, nil
	}
	r.CPU, r.Memory, r.Pids = &specs.LinuxCPU{}, &specs.LinuxMemory{}, &specs.LinuxPids{}
	said := 0
	for _, v := range updateFlags {
		s := *u.values[v.name]
		if s == "" {
			continue
		}
		if err := v.set(r, s); err != nil {
			return nil, fmt.Errorf("--%s %q: %w", v.name, s, err)
		}
		said++
	}
	if said == 0 {
		return nil, errors.New("nothing is to be changed: name a limit, or --resources")
	}
	if r.Pids.Limit == nil {
		r.Pids = nil
	}
	return r, nil
}

type eventsCommand struct {
	stats    bool
	interval time.Duration
}

func (*eventsCommand) Name() string { return "events" }
func (*eventsCommand) Synopsis() string {
	return "tell of a container: its figures, and when memory runs out"
}
func (*eventsCommand) Usage() string {
	return `events [flags] CONTAINER-ID

Prints a line of JSON with the container's figures each interval, until it has
ended, and one each time that its memory has run out.

`
}

func (e *eventsCommand) SetFlags(f *flag.FlagSet) {
	f.BoolVar(&e.stats, "stats", false, "print the figures once")
	f.DurationVar(&e.interval, "interval", 5*time.Second, "how often the figures are printed")
}

// event is a line, as runc's.
type event struct {
	Type string `json:"type"` // stats, oom
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

func (e *eventsCommand) do(g *globals, log *slog.Logger, args []string) (int, error) {
	id, err := oneID(args)
	if err != nil {
		return 0, err
	}
	if e.interval <= 0 {
		return 0, errors.New("duration interval must be greater than 0")
	}
	c, err := g.store().Get(id)
	if err != nil {
		return 0, err
	}
	if c.Now() == container.Stopped {
		return 0, fmt.Errorf("container with id %s is not running", id)
	}
	out := json.NewEncoder(os.Stdout)
	kills := uint64(0)
	for c.Now() != container.Stopped {
		var stats *cgroup.Stats
		if stats, err = c.Stats(log); err != nil {
			if c.Now() == container.Stopped && !e.stats {
				return 0, nil
			}
			return 0, err
		}
		if err := out.Encode(event{"stats", id, stats}); err != nil || e.stats {
			return 0, err
		}
		group, err := c.Group(log)
		if err != nil {
			return 0, err
		}
		if n, err := group.OOMKills(); err == nil && n > kills {
			if err := out.Encode(event{Type: "oom", ID: id}); err != nil {
				return 0, err
			}
			kills = n
		}
		time.Sleep(e.interval)
	}
	return 0, nil
}
