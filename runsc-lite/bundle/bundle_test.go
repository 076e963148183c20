package bundle

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
)

// good is a configuration that is right; the tests break it.
const good = `{
"ociVersion": "1.2.0",
"root": {"path": "rootfs", "readonly": true},
"process": {
	"terminal": true, "consoleSize": {"height": 25, "width": 80},
	"user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [3, 4]},
	"args": ["sh", "-c", "exit"], "env": ["A=1", "PATH=/bin", "A=2", "E="], "cwd": "/tmp/../var/",
	"capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]},
	"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}, {"type": "RLIMIT_RTTIME", "soft": 18446744073709551615, "hard": 18446744073709551615}],
	"noNewPrivileges": true, "oomScoreAdj": -5
},
"hostname": "box", "domainname": "example",
"mounts": [
	{"destination": "/proc", "type": "proc", "source": "proc"},
	{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
	{"destination": "/data/../data", "source": "data", "options": ["rbind", "ro", "rprivate", "nodev", "dev"]},
	{"destination": "/etc/hosts", "type": "bind", "source": "/h", "options": ["bind", "rw", "rro", "rnosuid"]}
],
"hooks": {"poststop": [{"path": "/bin/true", "timeout": 3, "env": ["A=b"]}]},
"annotations": {"a": "b"},
"linux": {
	"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network", "path": "/proc/1/ns/net"}, {"type": "user"}],
	"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65535}],
	"gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
	"maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys/"],
	"devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}],
	"sysctl": {"net.ipv4.ip_forward": "1", "kernel/msgmax": "100", "net.ipv4.conf.eth0/1.forwarding": "1"},
	"rootfsPropagation": "rprivate",
	"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
	"resources": {"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 1048576}, "pids": {"limit": 5}}
}
}`

func decodeGood(t testing.TB) *specs.Spec {
	t.Helper()
	s, err := Decode([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNew(t *testing.T) {
	s := decodeGood(t)
	b, err := New(s, "/b")
	if err != nil {
		t.Fatal(err)
	}
	adj := -5
	kill := procmgr.CapSet(1 << unix.CAP_KILL)
	want := &Bundle{
		Dir: "/b", Spec: s, Root: "/b/rootfs", RootReadonly: true, RootPropagation: unix.MS_PRIVATE | unix.MS_REC,
		Process: &Process{
			Args: []string{"sh", "-c", "exit"}, Env: []string{"A=2", "PATH=/bin", "E="}, Cwd: "/var",
			UID: 1, GID: 2, Groups: []uint32{3, 4}, Umask: 0o77, Terminal: true, Rows: 25, Columns: 80,
			Capabilities:    Capabilities{Bounding: kill | 1<<unix.CAP_CHOWN, Permitted: kill, Effective: kill, Inheritable: kill, Ambient: kill},
			NoNewPrivileges: true,
			Limits: []Limit{
				{unix.RLIMIT_NOFILE, procmgr.Limit{Cur: 10, Max: 20}},
				{15, procmgr.Limit{Cur: procmgr.Infinity, Max: procmgr.Infinity}},
			},
			OOMScoreAdj: &adj,
		},
		Hostname: "box", Domainname: "example",
		Mounts: []Mount{
			{Type: "proc", Source: "proc", Destination: "/proc"},
			{Type: "tmpfs", Source: "tmpfs", Destination: "/dev", Flags: unix.MS_NOSUID | unix.MS_STRICTATIME, Data: "mode=755,size=65536k"},
			{Type: "bind", Source: "/b/data", Destination: "/data", Flags: unix.MS_REC | unix.MS_RDONLY, Clear: unix.MS_NODEV,
				Propagation: []uintptr{unix.MS_PRIVATE | unix.MS_REC}},
			{Type: "bind", Source: "/h", Destination: "/etc/hosts", Clear: unix.MS_RDONLY, RecursiveSet: unix.MS_RDONLY | unix.MS_NOSUID},
		},
		MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/sys"},
		Devices: []Device{{Path: "/dev/fuse", Kind: unix.S_IFCHR, Major: 10, Minor: 229, Mode: 0o666}},
		Namespaces: Namespaces{
			PID: Namespace{New: true}, Mount: Namespace{New: true}, Network: Namespace{Path: "/proc/1/ns/net"}, User: Namespace{New: true},
		},
		UIDs: s.Linux.UIDMappings, GIDs: s.Linux.GIDMappings,
		Sysctls: []Sysctl{
			{"kernel/msgmax", "kernel/msgmax", "100"},
			{"net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding", "1"},
			{"net.ipv4.ip_forward", "net/ipv4/ip_forward", "1"},
		},
		Seccomp: b.Seccomp,
	}
	if d := cmp.Diff(want, b); d != "" {
		t.Error(d)
	}
	if b.Seccomp == nil {
		t.Error("no seccomp")
	}
}

// with returns the good configuration with the value at a path replaced; a number in
// the path is an index, one past the end appends. A nil value deletes.
func with(t testing.TB, path string, value any) *specs.Spec {
	t.Helper()
	var tree any
	d := json.NewDecoder(strings.NewReader(good))
	d.UseNumber() // some have 64 bits
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	if path != "" {
		tree = put(t, tree, strings.Split(path, "."), value)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Decode(text)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return s
}

func put(t testing.TB, tree any, path []string, value any) any {
	t.Helper()
	if len(path) == 0 {
		return value
	}
	switch v := tree.(type) {
	case map[string]any:
		if value == nil && len(path) == 1 {
			delete(v, path[0])
		} else {
			v[path[0]] = put(t, v[path[0]], path[1:], value)
		}
		return v
	case []any:
		i := int(path[0][0] - '0')
		if i == len(v) {
			v = append(v, map[string]any{})
		}
		v[i] = put(t, v[i], path[1:], value)
		return v
	case nil:
		return put(t, map[string]any{}, path, value)
	}
	t.Fatalf("%v in %v", path, tree)
	return nil
}

type object = map[string]any

// TestHostile: what is wrong is an error that names the field.
func TestHostile(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		path  string
		value any
		see   string
	}{
		{"process", nil, "process: it is missing"},
		{"process.args", []string{}, "process.args: it is empty"},
		{"process.args", []string{""}, "process.args[0]: the program's name is empty"},
		{"process.args", []string{"a", "b\x00c"}, "process.args[1]: \"b\\x00c\" holds a NUL byte"},
		{"process.cwd", "", "process.cwd: it is empty"},
		{"process.cwd", "tmp", "process.cwd: \"tmp\" is not absolute"},
		{"process.env", []string{"A"}, "process.env[0]: \"A\" is not of the form NAME=VALUE"},
		{"process.env", []string{"=A"}, "process.env[0]"},
		{"process.env", []string{"A=\x00"}, "process.env[0]"},
		{"process.env", []string{long}, "process.env[0]"},
		{"process.user.uid", uint32(noID), "process.user.uid: 4294967295 is no user"},
		{"process.user.gid", uint32(noID), "process.user.gid"},
		{"process.user.additionalGids", []uint32{1, noID}, "process.user.additionalGids[1]"},
		{"process.user.additionalGids", make([]uint32, 70000), "at most 65536"},
		{"process.user.umask", 0o1000, "process.user.umask: 01000 is no mask"},
		{"process.consoleSize", object{"height": 1 << 16, "width": 1}, "process.consoleSize"},
		{"process.capabilities.effective", []string{"CAP_SYS_ADMIN"}, "CAP_SYS_ADMIN cannot be effective without being permitted"},
		{"process.rlimits", []object{{"type": "RLIMIT_X", "soft": 1, "hard": 1}}, "there is no limit \"RLIMIT_X\""},
		{"process.rlimits", []object{{"type": "NOFILE", "soft": 1, "hard": 1}}, "RLIMIT_NOFILE"},
		{"process.rlimits", []object{{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}}, "process.rlimits[1].type: RLIMIT_CPU is there twice"},
		{"process.rlimits", []object{{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}}, "above its hard limit"},
		{"process.oomScoreAdj", 1001, "process.oomScoreAdj: 1001 is out of range"},
		{"process.scheduler", object{"policy": "SCHED_FIFO"}, "process.scheduler.priority"},
		{"process.scheduler", object{"policy": "SCHED_DEADLINE"}, "not supported"},
		{"process.scheduler", object{"policy": "SCHED_X"}, "there is no policy"},
		{"process.scheduler", object{"policy": "SCHED_OTHER", "nice": 20}, "process.scheduler.nice"},
		{"process.scheduler", object{"policy": "SCHED_OTHER", "flags": []string{"SCHED_FLAG_RECLAIM"}}, "process.scheduler.flags[0]"},
		{"root", nil, "root: it is missing"},
		{"root.path", "", "root.path: it is empty"},
		{"root.path", "a\x00", "root.path"},
		{"hostname", strings.Repeat("h", 65), "hostname: it has 65 bytes"},
		{"domainname", "a\x00", "domainname"},
		{"mounts.4", object{"destination": "", "type": "tmpfs"}, "mounts[4].destination: it is empty"},
		{"mounts.4", object{"destination": "/x"}, "mounts[4].type: it is empty"},
		{"mounts.4", object{"destination": "/x", "type": "ext4", "source": "/dev/sda"}, "file system \"ext4\" is not supported"},
		{"mounts.4", object{"destination": "/x", "type": "bind"}, "mounts[4].source: it is empty"},
		{"mounts.4", object{"destination": "/x", "source": "/y\x00", "options": []string{"bind"}}, "mounts[4].source"},
		{"mounts.4", object{"destination": "/x\x00", "type": "tmpfs"}, "mounts[4].destination"},
		{"mounts.4", object{"destination": "/x", "type": "proc", "options": []string{"tmpcopyup"}}, "tmpcopyup is for tmpfs"},
		{"mounts.4", object{"destination": "/x", "type": "tmpfs", "options": []string{"a\x00b"}}, "mounts[4].options[0]"},
		{"mounts.4", object{"destination": "/x", "type": "tmpfs", "uidMappings": []object{{"size": 1}}}, "go together"},
		{"mounts.4", object{"destination": "/x", "type": "tmpfs", "uidMappings": []object{{"size": 1}}, "gidMappings": []object{{"size": 1}}}, "only a bind"},
		{"hooks.poststop.0.path", "true", "hooks.poststop[0].path: \"true\" is not absolute"},
		{"hooks.poststop.0.timeout", 0, "hooks.poststop[0].timeout"},
		{"hooks.poststop.0.env", []string{"x"}, "hooks.poststop[0].env[0]"},
		{"hooks.prestart", []object{{"path": ""}}, "hooks.prestart[0].path"},
		{"linux.namespaces.4", object{"type": "pid"}, "linux.namespaces[4].type: pid is there twice"},
		{"linux.namespaces.4", object{"type": "galaxy"}, "there is no namespace \"galaxy\""},
		{"linux.namespaces.4", object{"type": "ipc", "path": "ns"}, "linux.namespaces[4].path"},
		{"linux.uidMappings", nil, "needs both"},
		{"linux.uidMappings.2", object{"containerID": 5, "hostID": 0, "size": 1}, "linux.uidMappings[2]: it overlaps linux.uidMappings[1]"},
		{"linux.uidMappings.2", object{"containerID": 70000, "hostID": 1000, "size": 1}, "linux.uidMappings[2]: it overlaps linux.uidMappings[0]"},
		{"linux.uidMappings.1.size", 0, "linux.uidMappings[1].size: it is 0"},
		{"linux.uidMappings.1.size", uint32(noID), "beyond the largest"},
		{"linux.uidMappings", make([]object, 341), "at most 340"},
		{"linux.maskedPaths", []string{"proc"}, "linux.maskedPaths[0]"},
		{"linux.readonlyPaths", []string{"/a", "/b\x00"}, "linux.readonlyPaths[1]"},
		{"linux.devices.0.type", "x", "linux.devices[0].type"},
		{"linux.devices.0.path", "fuse", "linux.devices[0].path"},
		{"linux.devices.0.path", "/", "linux.devices[0].path"},
		{"linux.devices.0.minor", 1 << 20, "linux.devices[0]: there is no device"},
		{"linux.devices.0.major", -1, "linux.devices[0]: there is no device"},
		{"linux.devices.1", object{"path": "/dev/fuse", "type": "c", "major": 1, "minor": 3}, "is there twice"},
		{"linux.sysctl", object{"": "1"}, "no name of a kernel parameter"},
		{"linux.sysctl", object{"kernel": "1"}, "no name"},
		{"linux.sysctl", object{"kernel/../x": "1"}, "no name"},
		{"linux.sysctl", object{"../../etc/passwd": "1"}, "no name"},
		{"linux.sysctl", object{"kernel.x": "a\x00"}, "NUL"},
		{"linux.sysctl", object{"kernel.x": long}, "at most 4096"},
		{"linux.rootfsPropagation", "open", "there is no propagation \"open\""},
		{"hooks.startContainer", []object{{"path": "/x"}}, "hooks.startContainer: hooks inside the container are not supported"},
		{"mounts.4", object{"destination": "/x", "source": "/y", "options": []string{"bind"}, "uidMappings": []object{{"size": 1}}, "gidMappings": []object{{"size": 1}}}, "cannot be mapped"},
		{"linux.intelRdt", object{"closID": "x"}, "linux.intelRdt"},
		{"linux.netDevices", object{"eth0": object{}}, "linux.netDevices"},
		{"linux.personality", object{"domain": "LINUX32"}, "linux.personality"},
		{"linux.timeOffsets", object{"monotonic": object{"secs": 1}}, "linux.timeOffsets"},
		{"linux.resources.devices", []object{{"type": "z"}}, "linux.resources.devices[0].type"},
		{"linux.resources.devices", []object{{"access": "rx"}}, "linux.resources.devices[0].access"},
		{"linux.resources.memory.limit", -2, "linux.resources.memory.limit"},
		{"linux.resources.memory.swap", 5, "linux.resources.memory.swap"},
		{"linux.resources.memory.swappiness", 101, "swappiness"},
		{"linux.resources.unified", object{"../x": "1"}, "linux.resources.unified"},
		{"linux.seccomp.defaultAction", "", "linux.seccomp.defaultAction: there is no action"},
		{"linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY", "nobody to notify"},
		{"linux.seccomp.defaultErrnoRet", 1, "linux.seccomp.defaultErrnoRet"},
		{"linux.seccomp.listenerPath", "/x", "linux.seccomp.listenerPath"},
		{"linux.seccomp.flags", []string{"SECCOMP_FILTER_FLAG_X"}, "linux.seccomp.flags[0]"},
		{"linux.seccomp.architectures", []string{"SCMP_ARCH_VAX"}, "linux.seccomp.architectures[0]"},
		{"linux.seccomp.syscalls", []object{{"action": "SCMP_ACT_ERRNO"}}, "linux.seccomp.syscalls[0].names: it is empty"},
		{"linux.seccomp.syscalls", []object{{"action": "SCMP_ACT_ERRNO", "names": []string{""}}}, "linux.seccomp.syscalls[0].names[0]"},
		{"linux.seccomp.syscalls", []object{{"action": "SCMP_ACT_ERRNO", "errnoRet": 4096, "names": []string{"read"}}}, "linux.seccomp.syscalls[0].errnoRet"},
		{"linux.seccomp.syscalls", []object{{"action": "SCMP_ACT_ERRNO", "names": []string{"read"}, "args": []object{{"index": 6, "op": "SCMP_CMP_EQ"}}}}, "linux.seccomp.syscalls[0].args[0].index"},
		{"linux.seccomp.syscalls", []object{{"action": "SCMP_ACT_ERRNO", "names": []string{"read"}, "args": []object{{"index": 0, "op": "=="}}}}, "linux.seccomp.syscalls[0].args[0].op"},
		{"linux.seccomp.syscalls", manyRules(), "at most 4096"},
	} {
		t.Run(c.path, func(t *testing.T) {
			b, err := New(with(t, c.path, c.value), "/b")
			if err == nil {
				t.Fatalf("accepted: %+v", b)
			}
			if !strings.Contains(err.Error(), c.see) || !strings.Contains(err.Error(), "config.json: ") {
				t.Errorf("want %q in the error, got %v", c.see, err)
			}
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 {
				t.Errorf("more than one error, or a long one: %v", err)
			}
		})
	}
}

func manyRules() (list []object) {
	for i := range 1000 {
		list = append(list, object{"action": "SCMP_ACT_ERRNO", "names": []string{"read"}, "args": []object{{"index": 0, "op": "SCMP_CMP_EQ", "value": i}}})
	}
	return list
}

// TestWarnings: what is accepted without effect is said.
func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		path  string
		value any
		see   string
	}{
		{"process.apparmorProfile", "docker-default", "process.apparmorProfile: AppArmor does not act"},
		{"process.selinuxLabel", "a:b:c", "process.selinuxLabel: SELinux does not act"},
		{"process.ioPriority", object{"class": "IOPRIO_CLASS_IDLE"}, "process.ioPriority"},
		{"process.execCPUAffinity", object{"initial": "0"}, "process.execCPUAffinity"},
		{"process.user.username", "x", "process.user.username"},
		{"process.commandLine", "x", "process.commandLine"},
		{"process.capabilities.bounding", []string{"CAP_FUTURE"}, "there is no capability \"CAP_FUTURE\""},
		{"process.capabilities.ambient", []string{"CAP_SYS_ADMIN"}, "CAP_SYS_ADMIN cannot be ambient"},
		{"process.scheduler", object{"policy": "SCHED_BATCH"}, "process.scheduler"},
		{"linux.mountLabel", "x", "linux.mountLabel"},
		{"linux.rootfsPropagation", "rslave", "linux.rootfsPropagation: mounts are not propagated"},
		{"mounts.4", object{"destination": "/x", "source": "/y", "options": []string{"bind", "rshared"}}, "mounts are not propagated"},
		{"linux.namespaces", []object{{"type": "pid"}}, "without a user namespace mappings have no effect"},
		{"linux.memoryPolicy", object{"mode": "MPOL_BIND"}, "linux.memoryPolicy"},
		{"linux.resources.memory.kernel", 5000, "linux.resources.memory.kernel"},
		{"windows", object{"layerFolders": []string{}}, "windows"},
		{"vm", object{}, "vm"},
		{"mounts.4", object{"destination": "x", "type": "tmpfs"}, "taken as /x"},
		{"mounts.4", object{"destination": "/x", "source": "/y", "options": []string{"bind", "size=5"}}, "a bind has no option \"size=5\""},
	} {
		t.Run(c.path, func(t *testing.T) {
			b, err := New(with(t, c.path, c.value), "/b")
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Warnings) != 1 || !strings.Contains(b.Warnings[0], c.see) {
				t.Errorf("want %q, got %q", c.see, b.Warnings)
			}
		})
	}
}

// TestManyProblems: they are reported together, but not without end.
func TestManyProblems(t *testing.T) {
	var list []object
	for range 100 {
		list = append(list, object{"type": "RLIMIT_X"})
	}
	_, err := New(with(t, "process.rlimits", list), "/b")
	if err == nil || strings.Count(err.Error(), "\n") != maxProblems || !strings.HasSuffix(err.Error(), "and 92 more") {
		t.Error(err)
	}
}

func TestNewProcess(t *testing.T) {
	s := decodeGood(t)
	p, warnings, err := NewProcess(s.Process, "process.json")
	if err != nil || len(warnings) != 0 || p.Cwd != "/var" {
		t.Errorf("%+v, %v, %v", p, warnings, err)
	}
	s.Process.Args = nil
	if _, _, err := NewProcess(s.Process, "process.json"); err == nil || err.Error() != "process.json: args: it is empty: it is the program and its arguments" {
		t.Error(err)
	}
}

func TestCheckHost(t *testing.T) {
	dir := t.TempDir()
	b := &Bundle{Root: dir}
	if err := b.CheckHost(); err != nil {
		t.Error(err)
	}
	b.Root += "/none"
	if err := b.CheckHost(); err == nil || !strings.Contains(err.Error(), "root.path") {
		t.Error(err)
	}
	b.Root = "/dev/null"
	if err := b.CheckHost(); err == nil || !strings.Contains(err.Error(), "no directory") {
		t.Error(err)
	}
}

func TestMountOptions(t *testing.T) {
	options := MountOptions()
	for _, o := range []string{"bind", "rbind", "ro", "rro", "rrw", "rnosuid", "rslave", "tmpcopyup", "relatime", "rrelatime"} {
		found := false
		for _, p := range options {
			found = found || p == o
		}
		if !found {
			t.Errorf("no %s among %v", o, options)
		}
	}
	for _, o := range options {
		m := newMount(&checker{}, "m", &specs.Mount{Destination: "/x", Type: "tmpfs", Source: "x", Options: []string{o}}, "/")
		if m.Data != "" {
			t.Errorf("%s became data", o)
		}
	}
}

// FuzzNew: whatever a configuration says, it is an error or a Bundle.
func FuzzNew(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"ociVersion": "1.2.0"}`))
	f.Add([]byte(`{"ociVersion": "1.2.0", "process": {"args": ["a"], "cwd": "/"}, "root": {"path": "/"}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 5, "op": "SCMP_CMP_LT"}]}]}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		spec, err := Decode(text)
		if err != nil {
			return
		}
		b, err := New(spec, "/b")
		if (b == nil) != (err != nil) {
			t.Fatalf("%+v, %v", b, err)
		}
		if err != nil {
			return
		}
		if len(b.Process.Args) == 0 || b.Process.Cwd[0] != '/' || b.Root[0] != '/' {
			t.Fatalf("%+v", b.Process)
		}
		for _, m := range b.Mounts {
			if m.Destination[0] != '/' || strings.Contains(m.Destination+m.Source+m.Data, "\x00") || strings.Contains(m.Destination+"/", "/../") {
				t.Fatalf("%+v", m)
			}
		}
		for _, s := range b.Sysctls {
			if strings.Contains("/"+s.Path+"/", "/../") || strings.HasPrefix(s.Path, "/") {
				t.Fatalf("%+v", s)
			}
		}
	})
}
