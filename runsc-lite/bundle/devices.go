package bundle

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Device is a device node to make in a container.
type Device struct {
	Path         string // clean and absolute
	Kind         uint32 // unix.S_IFCHR, S_IFBLK or S_IFIFO
	Major, Minor uint32
	Mode         uint32 // permissions
	UID, GID     uint32
}

// deviceKinds are as mknod(1) has them.
var deviceKinds = map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}

// newDevices translates devices. Those that each container has (/dev/null and its like)
// are not among them unless they are said.
func newDevices(c *checker, list []specs.LinuxDevice) []Device {
	const (
		maxMajor, maxMinor = 1<<12 - 1, 1<<20 - 1 // MKDEV
		defaultMode        = 0o666
	)
	var devices []Device
	for i, s := range list {
		field := at("linux.devices", i)
		d := Device{Path: path.Clean(s.Path), Mode: defaultMode}
		var ok bool
		if d.Kind, ok = deviceKinds[s.Type]; !ok {
			c.fail(field+".type", "%s is no kind of device: c, b, u or p is", quote(s.Type))
		}
		if !path.IsAbs(s.Path) || d.Path == "/" {
			c.fail(field+".path", "%s is no path in the container: /dev/fuse, say", quote(s.Path))
		}
		c.text(field+".path", s.Path)
		if d.Kind != unix.S_IFIFO {
			if s.Major < 0 || s.Major > maxMajor || s.Minor < 0 || s.Minor > maxMinor {
				c.fail(field, "there is no device %d:%d: numbers go from 0:0 to %d:%d", s.Major, s.Minor, maxMajor, maxMinor)
			}
			d.Major, d.Minor = uint32(s.Major), uint32(s.Minor)
		}
		if s.FileMode != nil {
			// What is there beside the permissions is the type once more.
			d.Mode = uint32(s.FileMode.Perm())
		}
		if s.UID != nil {
			d.UID = *s.UID
		}
		if s.GID != nil {
			d.GID = *s.GID
		}
		if d.UID == noID || d.GID == noID {
			c.fail(field, "the owner %d:%d is nobody", d.UID, d.GID)
		}
		for _, o := range devices {
			if o.Path == d.Path && o != d {
				c.fail(field+".path", "%s is there twice, with different contents", quote(d.Path))
			}
		}
		devices = append(devices, d)
	}
	return devices
}

// Sysctl is a kernel parameter of the container's.
type Sysctl struct {
	Name  string // "net.ipv4.ip_forward"
	Path  string // below /proc/sys: "net/ipv4/ip_forward"
	Value string
}

// sysctlName is what sysctl(8) takes, with dots or slashes between.
var sysctlName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9_-]+([./][A-Za-z0-9_@:*-]+)+$`)
})

// newSysctls translates kernel parameters. All of them are the container's own, since
// its kernel is; which there are is known there.
func newSysctls(c *checker, m map[string]string) []Sysctl {
	const longest = 4096 // what a file of /proc/sys takes in one write
	var list []Sysctl
	for _, name := range slices.Sorted(maps.Keys(m)) {
		value := m[name]
		field := "linux.sysctl[" + quote(name) + "]"
		if len(name) > 256 || !sysctlName().MatchString(name) {
			c.fail(field, "it is no name of a kernel parameter: net.ipv4.ip_forward, say")
			continue
		}
		if len(value) > longest {
			c.fail(field, "the value has %d bytes, and a parameter takes at most %d", len(value), longest)
			continue
		}
		if !c.text(field, value) {
			continue
		}
		// As sysctl(8): whichever of "." and "/" comes first separates, and the other
		// stands for it in a name (net.ipv4.conf.eth0/1.forwarding).
		file := name
		if i := strings.IndexAny(name, "./"); name[i] == '.' {
			file = strings.Map(func(r rune) rune {
				switch r {
				case '.':
					return '/'
				case '/':
					return '.'
				}
				return r
			}, name)
		}
		list = append(list, Sysctl{Name: name, Path: file, Value: value})
	}
	return list
}
