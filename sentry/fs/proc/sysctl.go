package proc

import (
	"bytes"
	"crypto/rand"
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/mm"
	"runsc-lite/procmgr"
	"runsc-lite/sentry/fdtable"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// newUUID returns a random one (version 4), in the kernel's spelling.
func newUUID() string {
	var u [16]byte
	rand.Read(u[:])
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// sysctl is /proc/sys. Only names can be changed; writing to the rest is EINVAL.
func (fs *FS) sysctl() synth.Entry {
	c := &fs.cfg
	number := func(name string, v any) synth.Entry { return fs.Const(name, fmt.Sprintf("%d\n", v)) }
	line := func(name, s string) synth.Entry { return fs.Const(name, s+"\n") }
	entries := []synth.Entry{
		fs.Sub("fs",
			number("file-max", fdtable.MaxFDs*int64(c.PIDs.MaxID())),
			fs.Text("file-nr", fs.fileNr),
			number("nr_open", fdtable.MaxFDs),
			number("overflowgid", 65534),
			number("overflowuid", 65534),
			number("pipe-max-size", c.PipeMaxSize),
		),
		fs.Sub("kernel",
			number("cap_last_cap", unix.CAP_LAST_CAP),
			line("core_pattern", "core"),
			number("core_uses_pid", 0),
			fs.uts("domainname", func() string { _, d := c.UTS.Names(); return d }, c.UTS.SetDomain),
			fs.uts("hostname", func() string { h, _ := c.UTS.Names(); return h }, c.UTS.SetHost),
			number("ngroups_max", 65536),
			line("osrelease", c.Release),
			line("ostype", c.Sysname),
			number("overflowgid", 65534),
			number("overflowuid", 65534),
			number("pid_max", c.PIDs.MaxID()+1),
			fs.Sub("random",
				line("boot_id", fs.bootID),
				number("entropy_avail", 256),
				number("poolsize", 256),
				fs.Text("uuid", func(b *bytes.Buffer) error {
					b.WriteString(newUUID() + "\n")
					return nil
				}),
			),
			number("randomize_va_space", 2),
			number("tainted", 0),
			number("threads-max", c.PIDs.MaxID()),
			line("version", c.Version),
		),
		fs.Sub("vm",
			number("max_map_count", mm.MaxAreas),
			number("mmap_min_addr", uint64(c.MinAddress)),
			// A single mapping that is larger than all memory is refused (mm.Config).
			number("overcommit_memory", 0),
			number("overcommit_ratio", 50),
			number("swappiness", 60),
		),
	}
	return fs.Sub("sys", append(entries, c.Sysctl...)...)
}

// fileNr is /proc/sys/fs/file-nr: descriptors in all tables, none free, the most.
func (fs *FS) fileNr(b *bytes.Buffer) error {
	seen := map[*fdtable.Table]bool{}
	n := 0
	fs.cfg.Procs.ForEach(func(p *procmgr.Process) {
		s := subject{fs: fs, p: p}
		if t := s.descriptors(); t != nil && !seen[t] {
			seen[t] = true
			n += t.Count()
		}
	})
	fmt.Fprintf(b, "%d\t0\t%d\n", n, fdtable.MaxFDs*int64(fs.cfg.Procs.MaxID()))
	return nil
}

// uts is a name that root may change (proc_do_uts_string): what is longer than 64
// bytes is cut.
func (fs *FS) uts(name string, get func() string, set func(string)) synth.Entry {
	read := synth.Text(func(b *bytes.Buffer) error {
		b.WriteString(get() + "\n")
		return nil
	})
	return synth.Entry{Name: name, Inode: fs.File(synth.Attr{Mode: 0o644}, synth.Writable(read.Open, maxWrite, func(c *vfs.Caller) synth.WriteFunc {
		allowed := c == nil || c.Creds.UID == 0
		return func(p []byte) error {
			if !allowed {
				return unix.EPERM
			}
			if i := bytes.IndexAny(p, "\n\x00"); i >= 0 {
				p = p[:i]
			}
			set(string(p[:min(len(p), 64)]))
			return nil
		}
	}))}
}
