package bundle

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Mount is a mount of a container, its options translated.
type Mount struct {
	// Type is "bind", or a file system: one of Types.
	Type string
	// Source is the absolute path on the host of a bind, otherwise a mere name.
	Source string
	// Destination is the path in the container, clean and absolute. It may lead
	// through symbolic links of the container's, which must not lead out of it.
	Destination string
	// Flags are those of mount(2): MS_RDONLY, MS_NOSUID …, and MS_REC for a bind with
	// all that is mounted below.
	Flags uintptr
	// Clear are the flags that an option takes away ("rw", "exec"), which a bind
	// would otherwise have of its source.
	Clear uintptr
	// RecursiveSet and RecursiveClear are as Flags and Clear, for the mount and all
	// below ("rro", "rrw"; mount_setattr(2) with AT_RECURSIVE).
	RecursiveSet, RecursiveClear uintptr
	// Propagation are changes of how mounts are propagated, in their order, each
	// MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, with MS_REC for all below.
	Propagation []uintptr
	// Data is the file system's own options, separated by commas.
	Data string
	// CopyUp fills a tmpfs with what it covers (tmpcopyup).
	CopyUp bool
	// UIDs and GIDs map the owners of a bind's files; none if they stay.
	UIDs, GIDs []specs.LinuxIDMapping
	// RecursiveIDs extends that to all that is mounted below (ridmap).
	RecursiveIDs bool
}

// Types are the file systems that may be mounted, beside binds.
var Types = []string{"tmpfs", "ramfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"}

// propagations are as mount(8) names them.
var propagations = map[string]uintptr{
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// option is a mount option that is a flag, or the absence of one.
type option struct {
	flag  uintptr
	clear bool
}

// flagOptions are as mount(8) and runc name them.
var flagOptions = map[string]option{
	"acl":           {unix.MS_POSIXACL, false},
	"async":         {unix.MS_SYNCHRONOUS, true},
	"atime":         {unix.MS_NOATIME, true},
	"defaults":      {0, false},
	"dev":           {unix.MS_NODEV, true},
	"diratime":      {unix.MS_NODIRATIME, true},
	"dirsync":       {unix.MS_DIRSYNC, false},
	"exec":          {unix.MS_NOEXEC, true},
	"iversion":      {unix.MS_I_VERSION, false},
	"lazytime":      {unix.MS_LAZYTIME, false},
	"loud":          {unix.MS_SILENT, true},
	"mand":          {unix.MS_MANDLOCK, false},
	"noacl":         {unix.MS_POSIXACL, true},
	"noatime":       {unix.MS_NOATIME, false},
	"nodev":         {unix.MS_NODEV, false},
	"nodiratime":    {unix.MS_NODIRATIME, false},
	"noexec":        {unix.MS_NOEXEC, false},
	"noiversion":    {unix.MS_I_VERSION, true},
	"nolazytime":    {unix.MS_LAZYTIME, true},
	"nomand":        {unix.MS_MANDLOCK, true},
	"norelatime":    {unix.MS_RELATIME, true},
	"nostrictatime": {unix.MS_STRICTATIME, true},
	"nosuid":        {unix.MS_NOSUID, false},
	"nosymfollow":   {unix.MS_NOSYMFOLLOW, false},
	"relatime":      {unix.MS_RELATIME, false},
	"remount":       {unix.MS_REMOUNT, false},
	"ro":            {unix.MS_RDONLY, false},
	"rw":            {unix.MS_RDONLY, true},
	"silent":        {unix.MS_SILENT, false},
	"strictatime":   {unix.MS_STRICTATIME, false},
	"suid":          {unix.MS_NOSUID, true},
	"symfollow":     {unix.MS_NOSYMFOLLOW, true},
	"sync":          {unix.MS_SYNCHRONOUS, false},
}

// recursiveFlags may be said with an "r" before, for all mounts below.
const recursiveFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NODIRATIME |
	unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_STRICTATIME | unix.MS_NOSYMFOLLOW

// MountOptions are all options that are known, sorted.
func MountOptions() []string {
	list := []string{"bind", "rbind", "tmpcopyup", "idmap", "ridmap"}
	for name := range propagations {
		list = append(list, name)
	}
	for name, o := range flagOptions {
		list = append(list, name)
		if o.flag&recursiveFlags != 0 {
			list = append(list, "r"+name)
		}
	}
	slices.Sort(list)
	return list
}

func newMounts(c *checker, list []specs.Mount, dir string) []Mount {
	mounts := make([]Mount, 0, len(list))
	for i := range list {
		mounts = append(mounts, newMount(c, at("mounts", i), &list[i], dir))
	}
	return mounts
}

func newMount(c *checker, field string, s *specs.Mount, dir string) Mount {
	m := Mount{Type: s.Type, Source: s.Source}
	c.text(field+".source", s.Source)
	bind := false
	var data []string
	for i, o := range s.Options {
		switch {
		case !c.text(at(field+".options", i), o):
		case o == "bind":
			bind = true
		case o == "rbind":
			bind = true
			m.Flags |= unix.MS_REC
		case o == "idmap":
		case o == "ridmap":
			m.RecursiveIDs = true
		case o == "tmpcopyup":
			m.CopyUp = true
		default:
			if !m.flag(o) {
				data = append(data, o)
			}
		}
	}
	m.Data = strings.Join(data, ",")
	m.destination(c, field+".destination", s.Destination)
	if bind || s.Type == "bind" {
		m.bind(c, field, dir, data)
	} else {
		m.kind(c, field)
	}
	m.idMappings(c, field, s)
	for _, p := range m.Propagation {
		warnPropagation(c, field+".options", p)
	}
	return m
}

// warnPropagation says so if mounts of the host are to appear in the container, or the
// other way round.
func warnPropagation(c *checker, field string, flags uintptr) {
	if flags&(unix.MS_SHARED|unix.MS_SLAVE) != 0 {
		c.warn(field, "mounts are not propagated between the host and the container: those that are made later stay where they are made")
	}
}

// flag takes over an option that is a flag, and says whether it is one. Of options that
// contradict each other the last counts.
func (m *Mount) flag(name string) bool {
	if p, ok := propagations[name]; ok {
		m.Propagation = append(m.Propagation, p)
		return true
	}
	set, clear := &m.Flags, &m.Clear
	o, ok := flagOptions[name]
	if !ok {
		base, recursive := strings.CutPrefix(name, "r")
		if o, ok = flagOptions[base]; !recursive || !ok || o.flag&recursiveFlags == 0 {
			return false
		}
		set, clear = &m.RecursiveSet, &m.RecursiveClear
	}
	if o.clear {
		set, clear = clear, set
	}
	*set |= o.flag
	*clear &^= o.flag
	return true
}

func (m *Mount) destination(c *checker, field, dest string) {
	switch {
	case dest == "":
		c.fail(field, "it is empty: it is a path in the container")
		return
	case !c.text(field, dest):
		return
	case !path.IsAbs(dest):
		c.warn(field, "%s is not absolute: taken as /%s", quote(dest), dest)
	}
	m.Destination = path.Join("/", dest)
}

// bind finishes a bind. Whatever type it has is a dummy.
func (m *Mount) bind(c *checker, field, dir string, data []string) {
	m.Type = "bind"
	if m.Source == "" {
		c.fail(field+".source", "it is empty: it is the path on the host that appears at %s", quote(m.Destination))
		return
	}
	if !filepath.IsAbs(m.Source) {
		m.Source = filepath.Join(dir, m.Source)
	}
	m.Source = filepath.Clean(m.Source)
	if m.CopyUp {
		c.fail(field+".options", "tmpcopyup is for tmpfs")
	}
	if len(data) > 0 {
		c.warn(field+".options", "a bind has no option %s: it has no effect", quote(m.Data))
		m.Data = ""
	}
}

// kind finishes the mount of a file system.
func (m *Mount) kind(c *checker, field string) {
	switch {
	case m.Type == "":
		c.fail(field+".type", "it is empty, and there is neither bind nor rbind in the options")
	case !slices.Contains(Types, m.Type):
		c.fail(field+".type", "file system %s is not supported in the container; these are: bind, %s", quote(m.Type), strings.Join(Types, ", "))
	case m.CopyUp && m.Type != "tmpfs":
		c.fail(field+".options", "tmpcopyup is for tmpfs")
	}
}

func (m *Mount) idMappings(c *checker, field string, s *specs.Mount) {
	m.UIDs = idMappings(c, field+".uidMappings", s.UIDMappings)
	m.GIDs = idMappings(c, field+".gidMappings", s.GIDMappings)
	switch {
	case (len(m.UIDs) == 0) != (len(m.GIDs) == 0):
		c.fail(field, "uidMappings and gidMappings go together")
	case len(m.UIDs) > 0 && m.Type != "bind":
		c.fail(field+".uidMappings", "only a bind has mappings of its own")
	case len(m.UIDs) > 0:
		c.fail(field+".uidMappings", "the owners of a bind's files cannot be mapped: leave uidMappings and gidMappings out")
	}
}
