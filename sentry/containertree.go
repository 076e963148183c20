package sentry

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/dev"
	"runsc-lite/sentry/fs/devpts"
	"runsc-lite/sentry/fs/hostshare"
	"runsc-lite/sentry/fs/pipe"
	"runsc-lite/sentry/fs/proc"
	"runsc-lite/sentry/fs/sys"
	"runsc-lite/sentry/fs/tmpfs"
	"runsc-lite/sentry/vfs"
)

// Mount is something to be mounted in a container.
type Mount struct {
	// Target is where, in the container. It is made if it is not there.
	Target string
	// Type is a file system that mount(2) knows inside, or devpts or cgroup; ""
	// for a bind mount, of Host.
	Type string
	// Host is a descriptor of what of the host is mounted: of a directory, or a regular
	// file that is open as the container is to use it. The container takes it over.
	Host int
	// Source is what /proc/mounts shows, and Options are the file system's own.
	Source, Options string
	// Flags are unix.MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME ….
	Flags uint32
	// CopyUp fills a tmpfs with what is at Target.
	CopyUp bool
}

// Device is a device node.
type Device struct {
	Path     string
	Mode     uint32 // type and permissions
	Rdev     uint64
	UID, GID uint32
}

// Sysctl is a kernel parameter.
type Sysctl struct {
	Name, Path string // Path is below /proc/sys
	Value      string
}

// newRoot makes the file tree with nothing but its root in it.
func (c *Container) newRoot(procs *procmgr.Table, pipes *pipe.Pool) (*vfs.Namespace, error) {
	mem := fileMemory{c.memory}
	root, err := hostshare.New(c.spec.Root, hostshare.Options{Memory: mem, Type: "overlay"})
	if err != nil {
		return nil, fmt.Errorf("the root file system: %w", err)
	}
	c.onClose(root.Close)
	if c.devices, err = dev.New(dev.Config{Memory: mem, Procs: procs, Dev: devDev, ShmDev: devShm, PtsDev: devPts}); err != nil {
		return nil, fmt.Errorf("making the devices: %w", err)
	}
	return vfs.NewNamespace(vfs.Config{
		NewFIFO:    pipes.FIFO,
		OpenDevice: c.devices.Open,
	}, root, vfs.MountOptions{Source: "overlay"})
}

// fillTree makes the mounts and the devices, and closes what is not to be seen.
func (c *Container) fillTree(tree *vfs.Namespace, procs *procmgr.Table) error {
	who, done := c.who(tree)
	defer done()
	c.procConfig = c.newProcConfig(tree, procs, c.vdso)
	c.procConfig.PIDs = c.pids
	c.proc = proc.New(c.procConfig)
	c.sys = sys.New(sys.Config{Dev: devSys, CPUs: processors(), Memory: c.memoryTotal})
	for i := range c.spec.Mounts {
		if err := c.mount(who, &c.spec.Mounts[i]); err != nil {
			return fmt.Errorf("mounting %s (%s): %w", c.spec.Mounts[i].Target, c.spec.Mounts[i].kind(), err)
		}
	}
	if err := c.makeDevices(who); err != nil {
		return err
	}
	for _, s := range c.spec.Sysctls {
		err := c.setSysctl(who, &s)
		if err == errFixedSysctl && strings.HasPrefix(s.Path, "net/") {
			// Engines set some of these by default; the network works without.
			c.spec.Log.Warn("a sysctl of the network is left as it is", "name", s.Name, "wanted", s.Value)
			continue
		}
		if err != nil {
			return fmt.Errorf("setting sysctl %s to %q: %w", s.Name, s.Value, err)
		}
	}
	if c.spec.RootReadonly {
		if err := who.Remount("/", func(old uint32) uint32 { return old | unix.MS_RDONLY }); err != nil {
			return fmt.Errorf("making the root read-only: %w", err)
		}
	}
	for _, path := range c.spec.ReadonlyPaths {
		if err := makeReadonly(who, path); err != nil {
			return fmt.Errorf("making %s read-only: %w", path, err)
		}
	}
	for _, path := range c.spec.MaskedPaths {
		if err := c.mask(who, path); err != nil {
			return fmt.Errorf("masking %s: %w", path, err)
		}
	}
	return nil
}

func (m *Mount) kind() string {
	if m.Type == "" {
		return "bind"
	}
	return m.Type
}

func (c *Container) mount(who *vfs.Caller, m *Mount) error {
	fs, options, err := c.fileSystem(m)
	if err != nil {
		return err
	}
	st, err := fs.Root().Stat()
	if err != nil {
		return err
	}
	if err := makeTarget(who, m.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return err
	}
	at, err := who.Walk(nil, m.Target, 0)
	if err != nil {
		return err
	}
	if m.CopyUp {
		if err := copyUp(who, m.Target, fs); err != nil {
			return fmt.Errorf("copying what is there: %w", err)
		}
	}
	source := m.Source
	if source == "" {
		source = m.Type
	}
	_, err = who.Namespace().Mount(at, fs, vfs.MountOptions{Flags: m.Flags, Source: source, Options: options})
	return err
}

// fileSystem makes what a mount mounts, and spells its options.
func (c *Container) fileSystem(m *Mount) (vfs.FileSystem, string, error) {
	switch m.Type {
	case "":
		fs, err := hostshare.New(m.Host, hostshare.Options{Memory: fileMemory{c.memory}})
		if err != nil {
			return nil, "", err
		}
		c.onClose(fs.Close)
		return fs, m.Options, nil
	case "proc":
		return c.proc, "", nil
	case "devpts":
		o := devpts.Options{Procs: c.keeper.process.Table(), Dev: c.nextDev(), UID: -1, GID: -1}
		if err := devpts.ParseOptions(&o, m.Options); err != nil {
			return nil, "", err
		}
		fs := devpts.New(o)
		if c.pts == nil {
			c.pts, c.ptsAt = fs, m.Target
		}
		return fs, m.Options, nil
	case "cgroup", "cgroup2":
		// What there is of the host's controllers is not the guest's to see: an empty
		// directory, as in a kernel without any.
		o := tmpfs.Options{Memory: fileMemory{c.memory}, Dev: c.nextDev(), Mode: 0o555}
		return tmpfs.New(o), "mode=555", nil
	}
	fs, options, err := c.mountable(m.Type, m.Options, c.pids, c.kernel.First.IPC)
	if err == unix.ENODEV {
		err = fmt.Errorf("there is no such file system in a sandbox: %w", err)
	}
	return fs, options, err
}

func (c *Container) nextDev() uint64 { return unix.Mkdev(0, firstDev+c.mounted.Add(1)-1) }

// makeTarget makes a mount point, with the directories above it.
func makeTarget(who *vfs.Caller, path string, isDir bool) error {
	path, err := resolve(who, path)
	if err != nil {
		return err
	}
	if st, err := who.Stat(nil, path, 0); err == nil {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR != isDir {
			return fmt.Errorf("it is %s in the container, and not what is mounted there: %w", kindOf(st.Mode), unix.ENOTDIR)
		}
		return nil
	}
	dir := path
	if !isDir {
		dir = parentOf(path)
	}
	if err := mkdirAll(who, dir); err != nil {
		return err
	}
	if isDir {
		return nil
	}
	err = who.Mknod(nil, path, unix.S_IFREG|0o644, 0)
	if err == unix.EEXIST {
		err = nil
	}
	return err
}

// maxLinks is how many symbolic links a path may lead through (MAXSYMLINKS).
const maxLinks = 40

// resolve returns path without symbolic links, whether there is something by that name
// or not: what they lead to is made then.
func resolve(who *vfs.Caller, path string) (string, error) {
	at, links := "", 0
	for rest := path; rest != ""; {
		name, after, _ := strings.Cut(rest, "/")
		rest = after
		switch name {
		case "", ".":
			continue
		case "..":
			at = at[:max(strings.LastIndexByte(at, '/'), 0)]
			continue
		}
		target, err := who.Readlink(nil, at+"/"+name)
		if err != nil { // no link, or nothing there
			at += "/" + name
			continue
		}
		if links++; links > maxLinks {
			return "", unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			at = ""
		}
		rest = target + "/" + rest
	}
	if at == "" {
		at = "/"
	}
	return at, nil
}

func kindOf(mode uint32) string {
	if mode&unix.S_IFMT == unix.S_IFDIR {
		return "a directory"
	}
	return "no directory"
}

func parentOf(path string) string {
	path = strings.TrimRight(path, "/")
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

func mkdirAll(who *vfs.Caller, path string) error {
	path, err := resolve(who, path)
	if err != nil {
		return err
	}
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if err := who.Mkdir(nil, path[:i], 0o755); err != nil && err != unix.EEXIST {
			return fmt.Errorf("making the directory %s: %w", path[:i], err)
		}
	}
	return nil
}

// makeReadonly mounts what is at path over itself, read-only.
func makeReadonly(who *vfs.Caller, path string) error {
	err := who.BindMount(path, path, true)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil
	}
	if err == nil {
		err = who.Remount(path, func(old uint32) uint32 { return old | unix.MS_RDONLY })
	}
	return err
}

// mask hides what is at path.
func (c *Container) mask(who *vfs.Caller, path string) error {
	st, err := who.Stat(nil, path, 0)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return who.BindMount(nullPath, path, false)
	}
	fs := tmpfs.New(tmpfs.Options{Memory: fileMemory{c.memory}, Dev: c.nextDev(), Mode: 0o755, Size: 4096})
	return who.Mount(path, func() (vfs.FileSystem, vfs.MountOptions, error) {
		return fs, vfs.MountOptions{Flags: unix.MS_RDONLY, Source: "tmpfs", Options: "size=0k"}, nil
	})
}

// setSysctl writes a file below /proc/sys, by the file system itself: the container may
// have none of it mounted, or not writable. What has the value already is left alone.
func (c *Container) setSysctl(who *vfs.Caller, s *Sysctl) error {
	var at vfs.Inode = c.proc.Root()
	for part := range strings.SplitSeq("sys/"+s.Path, "/") {
		d, ok := at.(vfs.Dir)
		if !ok {
			return errNoSysctl
		}
		var err error
		if at, err = d.Lookup(part); err != nil {
			return errNoSysctl
		}
	}
	if now, err := readInode(who, at); err == nil && slices.Equal(strings.Fields(now), strings.Fields(s.Value)) {
		return nil
	}
	st, err := at.Stat()
	if err != nil {
		return err
	}
	if st.Mode&0o200 == 0 {
		return errFixedSysctl
	}
	f, err := openInode(who, at, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Release()
	switch w := f.(type) {
	case vfs.WriterAt:
		_, _, err = w.WriteAt([][]byte{[]byte(s.Value + "\n")}, 0, false)
	case vfs.Writer:
		_, err = w.Write([][]byte{[]byte(s.Value + "\n")})
	default:
		err = errFixedSysctl
	}
	return err
}

var (
	errNoSysctl    = errors.New("there is no such sysctl in a sandbox")
	errFixedSysctl = errors.New("it cannot be changed in a sandbox")
)

func openInode(who *vfs.Caller, i vfs.Inode, flags uint32) (vfs.FileOps, error) {
	if o, ok := i.(vfs.CallerOpener); ok {
		return o.OpenFor(who, flags)
	}
	return i.Open(flags)
}

// readInode returns the beginning of a small file.
func readInode(who *vfs.Caller, i vfs.Inode) (string, error) {
	f, err := openInode(who, i, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Release()
	r, ok := f.(vfs.ReaderAt)
	if !ok {
		return "", unix.EINVAL
	}
	b := make([]byte, 4096)
	n, err := r.ReadAt([][]byte{b}, 0)
	return string(b[:n]), err
}

// copyUp fills a new file system with what is at path (runc's tmpcopyup).
func copyUp(who *vfs.Caller, path string, fs vfs.FileSystem) error {
	return unix.ENOSYS
}
