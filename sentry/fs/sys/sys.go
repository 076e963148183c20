// Package sys is the sysfs file system, as far as programs look into it to learn of
// processors, memory nodes and huge pages: libnuma, hwloc, lscpu, the JVM, glibc, Go.
// There are no devices, buses or modules, so that the directories of those are empty.
//
// # Mounting
//
//	fs := sys.New(sys.Config{…})
//	ns.Mount(place, fs, vfs.MountOptions{Source: "sysfs", Flags: MS_NOSUID|MS_NODEV|MS_NOEXEC|MS_RELATIME})
//
// /sys/fs/cgroup is an empty directory to mount on.
package sys

import (
	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/synth"
)

// Config is what sysfs needs to know of the rest of the sentry.
type Config struct {
	// Dev is the device number of the file system.
	Dev uint64
	// CPUs is how many processors guests see.
	CPUs int
	// Memory tells how much memory there is and how much is free, in bytes.
	Memory func() (total, free uint64)
	// Class and Kernel are files to show below /sys/class and /sys/kernel besides those
	// that are here, by their paths there: "net/lo/mtu".
	Class, Kernel []synth.Leaf
	// Now is the clock of timestamps; nil for the host's.
	Now func() unix.Timespec
}

// magic is SYSFS_MAGIC.
const magic = 0x62656572

// fileSize is the size that every file claims to have.
const fileSize = 4096

// builder makes the tree, in the way sysfs looks.
type builder struct {
	*synth.FS
	cfg Config
}

// New makes a sysfs file system.
func New(c Config) *synth.FS {
	fs := &builder{synth.New(synth.Options{Type: "sysfs", Magic: magic, Dev: c.Dev, FileSize: fileSize, Now: c.Now}), c}
	fs.SetRoot(fs.Dir(0o555,
		fs.dir("block"),
		fs.dir("bus"),
		fs.dir("class", fs.Tree(0o755, c.Class).Entries()...),
		fs.dir("dev", fs.dir("block"), fs.dir("char")),
		fs.dir("devices",
			synth.Entry{Name: "system", Inode: fs.Lazy(fs.system)},
			fs.dir("virtual"),
		),
		fs.dir("firmware"),
		fs.dir("fs", fs.dir("cgroup")),
		fs.dir("kernel", append([]synth.Entry{
			fs.line("address_bits", "64"),
			fs.line("cpu_byteorder", "little"),
			fs.line("fscaps", "1"),
			fs.dir("mm", fs.hugePages()),
		}, fs.Tree(0o755, c.Kernel).Entries()...)...),
		fs.dir("module"),
		fs.dir("power"),
	))
	return fs.FS
}

func (fs *builder) dir(name string, entries ...synth.Entry) synth.Entry {
	return synth.Entry{Name: name, Inode: fs.Dir(0o755, entries...)}
}

func (fs *builder) text(name string, text synth.Text) synth.Entry {
	return synth.Entry{Name: name, Inode: fs.File(synth.Attr{Mode: 0o444, Size: fileSize}, text.Open)}
}

// line is a file of one line that does not change.
func (fs *builder) line(name, s string) synth.Entry { return fs.text(name, synth.Const(s+"\n")) }

// hugePages is /sys/kernel/mm/transparent_hugepage: guest memory is never made of
// huge pages on request.
func (fs *builder) hugePages() synth.Entry {
	return fs.dir("transparent_hugepage",
		fs.line("defrag", "always defer defer+madvise madvise [never]"),
		fs.line("enabled", "always madvise [never]"),
		fs.line("hpage_pmd_size", "2097152"),
		fs.line("shmem_enabled", "always within_size advise [never] deny force"),
		fs.line("use_zero_page", "0"),
	)
}
