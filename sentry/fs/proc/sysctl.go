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
	"runsc-lite/sentry/namespaces"
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
	number := func(path string, v any) synth.Leaf { return leaf(path, synth.Const(fmt.Sprintf("%d\n", v))) }
	line := func(path, s string) synth.Leaf { return leaf(path, synth.Const(s+"\n")) }
	maxFiles := fdtable.MaxFDs * int64(c.PIDs.MaxID())
	leaves := []synth.Leaf{
		number("fs/file-max", maxFiles),
		leaf("fs/file-nr", fs.fileNr),
		number("fs/nr_open", fdtable.MaxFDs),
		number("fs/overflowgid", 65534),
		number("fs/overflowuid", 65534),
		number("fs/pipe-max-size", c.PipeMaxSize),
		number("kernel/cap_last_cap", unix.CAP_LAST_CAP),
		line("kernel/core_pattern", "core"),
		number("kernel/core_uses_pid", 0),
		fs.name("kernel/domainname", func(u *namespaces.UTS) string { _, d := u.Names(); return d }, (*namespaces.UTS).SetDomain),
		fs.name("kernel/hostname", func(u *namespaces.UTS) string { h, _ := u.Names(); return h }, (*namespaces.UTS).SetHost),
		number("kernel/ngroups_max", 65536),
		line("kernel/osrelease", c.Release),
		line("kernel/ostype", c.Sysname),
		number("kernel/overflowgid", 65534),
		number("kernel/overflowuid", 65534),
		number("kernel/pid_max", c.PIDs.MaxID()+1),
		line("kernel/random/boot_id", fs.bootID),
		number("kernel/random/entropy_avail", 256),
		number("kernel/random/poolsize", 256),
		leaf("kernel/random/uuid", func(b *bytes.Buffer) error {
			b.WriteString(newUUID() + "\n")
			return nil
		}),
		number("kernel/randomize_va_space", 2),
		number("kernel/tainted", 0),
		number("kernel/threads-max", c.PIDs.MaxID()),
		line("kernel/version", c.Version),
		number("vm/max_map_count", mm.MaxAreas),
		number("vm/mmap_min_addr", uint64(c.MinAddress)),
		// A single mapping that is larger than all memory is refused (mm.Config).
		number("vm/overcommit_memory", 0),
		number("vm/overcommit_ratio", 50),
		number("vm/swappiness", 60),
	}
	return synth.Entry{Name: "sys", Inode: fs.Tree(0o555, append(leaves, c.Sysctl...))}
}

// leaf is a file that anybody may read.
func leaf(path string, text synth.Text) synth.Leaf { return synth.Leaf{Path: path, Open: text.Open} }

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

// name is a name in the reader's uts namespace, which root may change
// (proc_do_uts_string): what is longer than 64 bytes is cut.
func (fs *FS) name(path string, get func(*namespaces.UTS) string, set func(*namespaces.UTS, string)) synth.Leaf {
	return synth.Leaf{Path: path, Mode: 0o644, Open: func(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
		uts := fs.uts(c)
		read := synth.Text(func(b *bytes.Buffer) error {
			b.WriteString(get(uts) + "\n")
			return nil
		})
		return synth.Writable(read.Open, maxWrite, func(c *vfs.Caller) synth.WriteFunc {
			allowed := c == nil || c.Creds.UID == 0
			return func(p []byte) error {
				if !allowed {
					return unix.EPERM
				}
				if i := bytes.IndexAny(p, "\n\x00"); i >= 0 {
					p = p[:i]
				}
				set(uts, string(p[:min(len(p), 64)]))
				return nil
			}
		})(c, flags)
	}}
}
