package proc

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// devices is /proc/devices. There are no block devices.
func (fs *FS) devices(b *bytes.Buffer) error {
	b.WriteString("Character devices:\n")
	for _, major := range slices.Sorted(maps.Keys(fs.cfg.CharDevices)) {
		for _, name := range fs.cfg.CharDevices[major] {
			fmt.Fprintf(b, "%3d %s\n", major, name)
		}
	}
	b.WriteString("\nBlock devices:\n")
	return nil
}

// filesystems is /proc/filesystems.
func (fs *FS) filesystems(b *bytes.Buffer) error {
	for _, t := range fs.cfg.FileSystems {
		fmt.Fprintf(b, "nodev\t%s\n", t)
	}
	return nil
}

// interrupts is /proc/interrupts: there are none, for so many processors.
func (fs *FS) interrupts(b *bytes.Buffer) error {
	b.WriteString("           ")
	for i := range fs.cfg.CPUs {
		fmt.Fprintf(b, "CPU%-8d", i)
	}
	b.WriteByte('\n')
	return nil
}

// loadavg is /proc/loadavg.
func (fs *FS) loadavg(b *bytes.Buffer) error {
	running, total := fs.cfg.Procs.Loads()
	avg := fs.cfg.Procs.LoadAverage()
	fmt.Fprintf(b, "%.2f %.2f %.2f %d/%d %d\n", avg[0], avg[1], avg[2], running, total, fs.cfg.Procs.LastPID())
	return nil
}

// meminfo is /proc/meminfo. The memory file does not tell caches from the rest, so
// that all that is used counts as active memory, and is not available.
func (fs *FS) meminfo(b *bytes.Buffer) error {
	total, free := fs.cfg.Memory()
	used := total - free
	for _, f := range [...]struct {
		name  string
		bytes uint64
	}{
		{"MemTotal", total}, {"MemFree", free}, {"MemAvailable", free}, {"Buffers", 0}, {"Cached", 0}, {"SwapCached", 0},
		{"Active", used}, {"Inactive", 0}, {"Unevictable", 0}, {"Mlocked", 0}, {"SwapTotal", 0}, {"SwapFree", 0},
		{"Dirty", 0}, {"Writeback", 0}, {"Shmem", 0}, {"Slab", 0}, {"SReclaimable", 0}, {"SUnreclaim", 0},
		{"CommitLimit", total}, {"Committed_AS", used}, {"VmallocTotal", 1<<45 - 1024}, {"VmallocUsed", 0}, {"VmallocChunk", 0},
	} {
		fmt.Fprintf(b, "%-16s%8d kB\n", f.name+":", f.bytes>>10)
	}
	b.WriteString("HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       2048 kB\n")
	return nil
}

// idle is the processor time that nobody used since the sandbox began.
func (fs *FS) idle(u *procmgr.Rusage) time.Duration {
	began := time.Duration(0)
	if init := fs.cfg.Procs.Init(); init != nil {
		began = init.StartTime()
	}
	return max((fs.now()-began)*time.Duration(fs.cfg.CPUs)-u.UserTime-u.SystemTime, 0)
}

// stat is /proc/stat. Threads are not bound to processors, so that each has an equal
// part in what was used.
func (fs *FS) stat(b *bytes.Buffer) error {
	u := fs.cfg.Procs.Usage()
	idle := fs.idle(&u)
	line := func(name string, share time.Duration) {
		fmt.Fprintf(b, "%s %d 0 %d %d 0 0 0 0 0 0\n", name, u.UserTime/share/tick, u.SystemTime/share/tick, idle/share/tick)
	}
	line("cpu ", 1)
	for i := range fs.cfg.CPUs {
		line(fmt.Sprintf("cpu%d", i), time.Duration(fs.cfg.CPUs))
	}
	real, err := fs.cfg.Clock.Read(unix.CLOCK_REALTIME)
	if err != nil {
		return err
	}
	running, _ := fs.cfg.Procs.Loads()
	fmt.Fprintf(b, "intr 0\nctxt %d\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
		u.VoluntarySwitches+u.InvoluntarySwitches, (time.Duration(real)-fs.now())/time.Second, fs.cfg.Procs.Forks(), running)
	return nil
}

// uptime is /proc/uptime.
func (fs *FS) uptime(b *bytes.Buffer) error {
	u := fs.cfg.Procs.Usage()
	up, idle := fs.now(), fs.idle(&u)
	const hundredth = time.Second / 100
	fmt.Fprintf(b, "%d.%02d %d.%02d\n", up/time.Second, up%time.Second/hundredth, idle/time.Second, idle%time.Second/hundredth)
	return nil
}

// version is /proc/version.
func (fs *FS) version(b *bytes.Buffer) error {
	fmt.Fprintf(b, "%s version %s (runsc-lite@sentry) (go) %s\n", fs.cfg.Sysname, fs.cfg.Release, fs.cfg.Version)
	return nil
}

// vmstat is /proc/vmstat: what is known of it, in pages and events.
func (fs *FS) vmstat(b *bytes.Buffer) error {
	_, free := fs.cfg.Memory()
	u := fs.cfg.Procs.Usage()
	fmt.Fprintf(b, "nr_free_pages %d\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault %d\npgmajfault %d\n",
		free>>12, u.MinorFaults+u.MajorFaults, u.MajorFaults)
	return nil
}
