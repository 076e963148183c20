package house

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// arrows is who may import whom, in the order of ARCHITECTURE.md: a package
// imports only packages of its row, and these stand below it.
//
// A new import needs a word here. If its package stands above the importer,
// the code that wants it is in the wrong place: move it, or let the lower
// package declare the methods that it wants, as mm.Mapper does.
const arrows = `
runsc-lite            → runsc-lite/unikernel runsc-lite/container runsc-lite/sandbox runsc-lite/bundle runsc-lite/engineconf runsc-lite/cgroup runsc-lite/control sentry sentry/syscalls sentry/trace sentry/task sentry/socket/hostnet sentry/socket procmgr platform/kvm platform/ptrace platform/systrap platform hostcall
runsc-lite/container  → runsc-lite/sandbox runsc-lite/bundle runsc-lite/cgroup sentry/task
runsc-lite/sandbox    → runsc-lite/bundle runsc-lite/cgroup sentry sentry/task sentry/seccomp sentry/socket/hostnet procmgr platform hostcall
runsc-lite/cgroup     → hostcall
runsc-lite/engineconf →
runsc-lite/bundle     → sentry/syscalls sentry/seccomp procmgr
runsc-lite/unikernel  → archive hostcall
runsc-lite/control    → sentry/task procmgr

sentry                → sentry/syscalls sentry/trace sentry/task sentry/namespaces
                        sentry/fs/tty sentry/fs/overlay sentry/fs/hostdir sentry/fs/hostshare sentry/fs/image sentry/fs/proc sentry/fs/sys sentry/fs/synth sentry/fs/dev sentry/fs/devpts sentry/fs/tmpfs sentry/fs/hostfd sentry/fs/pipe sentry/fs/inotify
                        sentry/ipc/mqueue sentry/socket/netns sentry/socket/hostnet sentry/socket sentry/fdtable sentry/vfs sentry/futex sentry/seccomp loader sentry/clock procmgr mm mm/memfile platform archive hostcall
sentry/syscalls       → sentry/task sentry/fs/nsfs sentry/namespaces sentry/ipc/mqueue sentry/ipc/shm sentry/ipc/sem sentry/ipc/msg sentry/ipc
                        sentry/fs/pipe sentry/fs/eventfd sentry/fs/epoll sentry/fs/timerfd sentry/fs/signalfd sentry/fs/inotify sentry/fs/tmpfs
                        sentry/socket sentry/fdtable sentry/vfs sentry/vfs/lock sentry/futex sentry/seccomp loader sentry/timers sentry/clock procmgr mm mm/memfile
sentry/trace          → sentry/task procmgr mm
sentry/task           → sentry/insn sentry/namespaces sentry/ipc/mqueue sentry/ipc/shm sentry/ipc/sem sentry/ipc/msg sentry/ipc sentry/seccomp sentry/fs/pipe sentry/fs/epoll sentry/fs/signalfd sentry/fs/inotify sentry/fs/tmpfs
                        sentry/socket/netns sentry/fdtable sentry/vfs sentry/futex loader sentry/timers sentry/clock procmgr mm mm/memfile platform hostcall
sentry/fs/proc        → sentry/fs/nsfs sentry/namespaces sentry/fs/synth sentry/fdtable sentry/vfs sentry/vfs/lock sentry/cpuid procmgr mm
sentry/fs/nsfs        → sentry/namespaces sentry/vfs procmgr
sentry/namespaces     → sentry/socket/netns sentry/ipc/mqueue sentry/ipc/shm sentry/ipc/sem sentry/ipc/msg procmgr
sentry/timers         → sentry/clock procmgr

sentry/socket/netns   → sentry/socket/hostsock sentry/socket/hostnet sentry/socket/unix sentry/socket/netlink sentry/socket/netstack sentry/socket sentry/vfs hostcall
sentry/socket/hostsock → sentry/socket sentry/vfs hostcall
sentry/socket/hostnet → sentry/socket/link sentry/socket/netstack hostcall
sentry/socket/netlink → sentry/socket/netstack sentry/socket sentry/vfs
sentry/socket/netstack → sentry/socket sentry/vfs
sentry/socket/link    → hostcall
sentry/socket/unix    → sentry/socket sentry/vfs
sentry/socket         → sentry/vfs

sentry/fs/sys         → sentry/fs/synth sentry/vfs sentry/cpuid
sentry/fs/dev         → sentry/fs/devpts sentry/fs/tty sentry/fs/tmpfs sentry/fs/extent sentry/vfs procmgr
sentry/fs/devpts      → sentry/fs/tty sentry/fs/synth sentry/vfs procmgr
sentry/fs/synth       → sentry/vfs
sentry/fs/tty         → sentry/fs/tty/ldisc sentry/fs/hostfd sentry/vfs procmgr hostcall
sentry/fs/tty/ldisc   →
sentry/fs/image       → sentry/fs/pagecache sentry/fs/extent sentry/vfs mm/memfile archive
sentry/fs/overlay     → sentry/vfs
sentry/fs/hostdir     → sentry/fs/hosttree sentry/fs/pagecache sentry/fs/extent sentry/vfs mm/memfile hostcall
sentry/fs/pagecache   → sentry/fs/extent mm/memfile
sentry/fs/tmpfs       → sentry/fs/extent sentry/vfs mm/memfile
sentry/fs/hostshare   → sentry/fs/hosttree sentry/fs/extent sentry/vfs mm/memfile hostcall
sentry/fs/hosttree    → sentry/vfs hostcall
sentry/fs/hostfd      → sentry/vfs hostcall
sentry/fs/pipe        → sentry/vfs
sentry/fs/epoll       → sentry/vfs
sentry/fs/eventfd     → sentry/vfs
sentry/fs/inotify     → sentry/vfs
sentry/fs/timerfd     → sentry/vfs sentry/clock
sentry/fs/signalfd    → sentry/vfs procmgr
sentry/fs/fstest      → sentry/vfs mm/memfile
sentry/fs/extent      → mm/memfile
sentry/ipc/mqueue     → sentry/ipc sentry/vfs
sentry/ipc/shm        → sentry/ipc sentry/vfs mm/memfile
sentry/ipc/sem        → sentry/ipc
sentry/ipc/msg        → sentry/ipc
sentry/ipc            →
sentry/fdtable        → sentry/vfs
sentry/vfs            → sentry/vfs/lock mm/memfile
sentry/vfs/lock       →
sentry/futex          →
sentry/cpuid          →
sentry/insn           →
sentry/seccomp        →

loader                → sentry/clock mm mm/memfile hostcall
sentry/clock          → hostcall
procmgr               →
mm                    → mm/memfile
mm/memfile            → hostcall
platform/systrap      → platform/ptrace platform/channel platform hostcall
platform/kvm          → platform hostcall
platform/ptrace       → platform/channel platform hostcall
platform/channel      → platform hostcall
platform/platformtest → platform
platform              →
archive               →
hostcall              →
`

// helpers are packages for tests; the tests of any package above them, or of a
// package that they test, may import them.
var helpers = []string{"sentry/fs/fstest", "platform/platformtest"}

// above is what the tests of a package may import although it stands above: a
// file system to walk in, a table to hold what was opened; the table of system
// calls, to see that each is described.
var above = map[string][]string{
	"sentry/trace": {"sentry/syscalls"},
	"sentry/vfs":   {"sentry/fdtable", "sentry/fs/tmpfs"},
}

// never is what a package must not even get by way of others, nor in its tests:
// the separations that the design rests on.
var never = []struct{ from, to []string }{
	{[]string{"procmgr", "mm", "loader", "sentry/vfs", "sentry/fs/"}, []string{"platform", "platform/"}},
	{[]string{"platform", "platform/"}, []string{"procmgr", "mm", "loader", "sentry", "sentry/"}},
	{[]string{"sentry/vfs", "sentry/fdtable"}, []string{"mm", "procmgr", "loader"}},
	{[]string{"procmgr"}, []string{"mm", "mm/", "hostcall", "sentry/"}},
	{[]string{"mm"}, []string{"procmgr", "sentry/"}},
}

// libraries is which package from outside the standard library may be imported
// by whom: "" is everybody, a name that ends in a slash all packages below.
// Those for tests are imported by tests only.
var libraries = []struct {
	path string
	by   []string
	test bool
}{
	{path: "golang.org/x/sys/unix", by: []string{""}},
	{path: "gvisor.dev/gvisor/pkg/abi/linux", by: []string{""}},
	{path: "gvisor.dev/gvisor/pkg/hostarch", by: []string{""}},
	{path: "gvisor.dev/gvisor/pkg/waiter", by: []string{"sentry", "sentry/", "procmgr"}},
	{path: "gvisor.dev/gvisor/pkg/log", by: []string{"sentry/socket/netstack"}},
	{path: "gvisor.dev/gvisor/pkg/buffer", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/checksum", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/header", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/adapters/gonet", by: []string{"sentry/socket/hostnet"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/link/channel", by: []string{"sentry/socket/"}, test: true},
	{path: "gvisor.dev/gvisor/pkg/tcpip/link/loopback", by: []string{"sentry/socket/netstack"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/network/arp", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/network/ipv4", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/network/ipv6", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/stack", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/transport/icmp", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/transport/raw", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/transport/tcp", by: []string{"sentry/socket/"}},
	{path: "gvisor.dev/gvisor/pkg/tcpip/transport/udp", by: []string{"sentry/socket/"}},
	{path: "github.com/vishvananda/netlink", by: []string{"sentry/socket/hostnet"}},
	{path: "github.com/vishvananda/netlink/nl", by: []string{"sentry/socket/hostnet"}},
	{path: "gvisor.dev/gvisor/pkg/seccomp", by: []string{"platform/", "hostcall", "runsc-lite/sandbox"}},
	{path: "gvisor.dev/gvisor/pkg/bpf", by: []string{"platform/", "hostcall", "runsc-lite/sandbox"}},
	{path: "github.com/google/btree", by: []string{"mm", "mm/", "sentry/", "procmgr"}},
	{path: "github.com/google/subcommands", by: []string{"runsc-lite"}},
	{path: "github.com/klauspost/compress/zstd", by: []string{"archive", "runsc-lite/unikernel"}},
	{path: "github.com/opencontainers/runtime-spec/specs-go/features", by: []string{"runsc-lite"}},
	{path: "github.com/opencontainers/runtime-spec/specs-go", by: []string{"runsc-lite", "runsc-lite/"}},
	{path: "github.com/opencontainers/cgroups", by: []string{"runsc-lite/cgroup"}},
	{path: "github.com/opencontainers/cgroups/manager", by: []string{"runsc-lite/cgroup"}},
	{path: "github.com/opencontainers/cgroups/systemd", by: []string{"runsc-lite/cgroup"}},
	{path: "github.com/opencontainers/cgroups/devices", by: []string{"runsc-lite/cgroup"}},
	{path: "github.com/opencontainers/cgroups/devices/config", by: []string{"runsc-lite/cgroup"}},
	{path: "github.com/coreos/go-systemd/v22/dbus", by: []string{"runsc-lite/cgroup"}},
	{path: "github.com/godbus/dbus/v5", by: []string{"runsc-lite/cgroup"}},
	{path: "github.com/google/go-cmp/cmp", by: []string{""}, test: true},
	{path: "go.uber.org/goleak", by: []string{""}, test: true},
	{path: "pgregory.net/rapid", by: []string{""}, test: true},
	{path: "github.com/rogpeppe/go-internal/testscript", by: []string{""}, test: true},
}

// host is which packages of the standard library reach the host, and who may
// import them. Tests may, and so may what is not part of the sandbox.
var host = []struct {
	path string
	by   []string
}{
	{"os", []string{"runsc-lite", "runsc-lite/", "platform/"}},
	{"os/signal", []string{"runsc-lite", "runsc-lite/sandbox"}},
	{"syscall", []string{"runsc-lite", "runsc-lite/", "platform/"}},
	{"os/exec", []string{"runsc-lite/container"}},
	{"os/user", []string{"runsc-lite"}},
	{"net", []string{"runsc-lite", "runsc-lite/control", "runsc-lite/sandbox", "sentry/socket/hostnet"}},
	{"net/http", nil},
	{"plugin", nil},
}

// parseArrows returns the rows, and the packages in their order.
func parseArrows() (rows map[string][]string, order []string, err error) {
	rows = make(map[string][]string)
	var from string
	for line := range strings.Lines(arrows) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if head, rest, ok := strings.Cut(line, "→"); ok {
			from, line = strings.TrimSpace(head), rest
			if _, twice := rows[from]; twice {
				return nil, nil, fmt.Errorf("two rows of %s", from)
			}
			rows[from] = nil
			order = append(order, from)
		}
		rows[from] = append(rows[from], strings.Fields(line)...)
	}
	return rows, order, nil
}

// matches says whether a package is in a list, where "x/" is all below x.
func matches(list []string, pkg string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		return p == pkg || p == "" || strings.HasSuffix(p, "/") && strings.HasPrefix(pkg, p)
	})
}

func TestArrowsPointDown(t *testing.T) {
	rows, order, err := parseArrows()
	if err != nil {
		t.Fatal(err)
	}
	for i, from := range order {
		for _, to := range rows[from] {
			switch j := slices.Index(order, to); {
			case j < 0:
				t.Errorf("%s → %s: there is no row of %s", from, to, to)
			case j <= i:
				t.Errorf("%s → %s points up", from, to)
			}
		}
	}
}

func TestImports(t *testing.T) {
	rows, order, err := parseArrows()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages(t) {
		from := p.dir()
		if from == "." || strings.HasPrefix(from, "tools/") || strings.HasPrefix(from, "tests/guest/") {
			for _, to := range own(p.Imports) {
				t.Errorf("%s imports %s: tools and guest programs stand alone", from, to)
			}
			continue
		}
		if strings.HasPrefix(from, "tests/") {
			for _, to := range own(slices.Concat(p.Imports, p.TestImports, p.XTestImports)) {
				if to != "tests/harness" && to != from && !strings.HasPrefix(to, from+"/") {
					t.Errorf("%s imports %s: it sees the sandbox from outside, through tests/harness", from, to)
				}
			}
			continue
		}
		row, ok := rows[from]
		if !ok {
			t.Errorf("%s: no row in deps_test.go says what it may import", from)
			continue
		}
		for _, to := range own(p.Imports) {
			if !slices.Contains(row, to) {
				t.Errorf("%s imports %s, which is not in its row", from, to)
			}
		}
		for _, to := range own(slices.Concat(p.TestImports, p.XTestImports)) {
			if to != from && !slices.Contains(row, to) && !slices.Contains(helpers, to) && !slices.Contains(above[from], to) &&
				slices.Index(order, to) < slices.Index(order, from) {
				t.Errorf("a test of %s imports %s, which stands above it", from, to)
			}
		}
	}
}

func TestSeparations(t *testing.T) {
	for _, p := range packages(t) {
		for _, rule := range never {
			if !matches(rule.from, p.dir()) {
				continue
			}
			for _, to := range own(slices.Concat(p.Deps, p.TestImports, p.XTestImports)) {
				if matches(rule.to, to) && !matches(rule.from, to) {
					t.Errorf("%s depends on %s: it must know nothing of it", p.dir(), to)
				}
			}
		}
	}
}

func TestLibraries(t *testing.T) {
	for _, p := range packages(t) {
		from := p.dir()
		check := func(imports []string, test bool) {
			for _, path := range imports {
				if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
					continue // the standard library, or our own
				}
				i := slices.IndexFunc(libraries, func(l struct {
					path string
					by   []string
					test bool
				}) bool {
					return l.path == path
				})
				switch {
				case i < 0:
					t.Errorf("%s imports %s, which deps_test.go does not list", from, path)
				case !matches(libraries[i].by, from) || libraries[i].test && !test:
					t.Errorf("%s may not import %s", from, path)
				}
			}
		}
		check(p.Imports, from == "sentry/fs/fstest" || from == "platform/platformtest")
		check(slices.Concat(p.TestImports, p.XTestImports), true)
	}
}

func TestHostPackages(t *testing.T) {
	for _, p := range packages(t) {
		from := p.dir()
		if from == "." || strings.HasPrefix(from, "tests/") || strings.HasPrefix(from, "tools/") || from == "hostcall" || slices.Contains(helpers, from) {
			continue
		}
		for _, h := range host {
			if slices.Contains(p.Imports, h.path) && !matches(h.by, from) {
				t.Errorf("%s imports %s: what it wants of the host is a function of hostcall", from, h.path)
			}
		}
	}
}

// own keeps the packages of this module, named by their directories.
func own(imports []string) []string {
	var list []string
	for _, path := range imports {
		if dir, ok := strings.CutPrefix(path, module+"/"); ok {
			list = append(list, dir)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
