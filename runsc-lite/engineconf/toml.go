package engineconf

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// In TOML files a runtime is a block of lines of its own at the end, between two
// comments by which it is found again: nothing else is read or written, so that all
// stays as people wrote it.
func begin(name string) string { return "# runsc-lite: begin of runtime " + name + "\n" }
func end(name string) string   { return "# runsc-lite: end of runtime " + name + "\n" }

// cut takes a block out.
func cut(text, name string) (string, error) {
	i := strings.Index(text, begin(name))
	if i < 0 {
		return text, nil
	}
	j := strings.Index(text[i:], end(name))
	if j < 0 {
		return "", fmt.Errorf("the line %q is missing: take the block of runtime %s out by hand", strings.TrimSpace(end(name)), name)
	}
	return text[:i] + text[i+j+len(end(name)):], nil
}

// paste puts a block at the end.
func paste(text, name, block string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + begin(name) + block + end(name)
}

var containerdVersion = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\s*version\s*=\s*(\d+)`)
})

func addContainerd(text string, r Runtime) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	if len(r.Args) > 0 {
		return "", errors.New("containerd gives a runtime no arguments: install without any, or write a script that adds them and name it with --path")
	}
	text, err := cut(text, r.Name)
	if err != nil {
		return "", err
	}
	plugin := "io.containerd.grpc.v1.cri"
	switch v := containerdVersion().FindStringSubmatch(text); {
	case strings.TrimSpace(text) == "":
		text = "version = 2\n"
	case v == nil || v[1] == "1":
		return "", errors.New("the file is of version 1, which containerd gave up: bring it to version 2 first (\"containerd config migrate\")")
	case v[1] == "3":
		plugin = "io.containerd.cri.v1.runtime"
	case v[1] != "2":
		return "", fmt.Errorf("the file is of version %s, and versions 2 and 3 are known", v[1])
	}
	table := fmt.Sprintf("plugins.%s.containerd.runtimes.%s", tomlString(plugin), tomlString(r.Name))
	if hasTable(text, plugin, r.Name) {
		return "", fmt.Errorf("there is a runtime %s in the file: take it out, or choose another name with --runtime", r.Name)
	}
	// The shim is runc's: it talks to the runtime as it does to runc.
	return paste(text, r.Name, fmt.Sprintf("[%s]\n  runtime_type = \"io.containerd.runc.v2\"\n  [%s.options]\n    BinaryName = %s\n",
		table, table, tomlString(r.Path))), nil
}

// hasTable looks for a runtime's table, in any way to quote its name.
func hasTable(text, plugin, name string) bool {
	either := func(s string) string {
		q := regexp.QuoteMeta(s)
		return `(?:` + q + `|"` + q + `"|'` + q + `')`
	}
	re := regexp.MustCompile(`(?m)^\s*\[\s*plugins\s*\.\s*` + either(plugin) + `\s*\.\s*containerd\s*\.\s*runtimes\s*\.\s*` + either(name) + `\s*\]`)
	return re.MatchString(text)
}

func removeContainerd(text, name string) (string, error) { return cut(text, name) }

func addPodman(text string, r Runtime) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	if len(r.Args) > 0 {
		return "", errors.New("the configuration of Podman has no arguments of runtimes: install without any, and give them with podman --runtime-flag")
	}
	text, err := cut(text, r.Name)
	if err != nil {
		return "", err
	}
	if strings.Contains(text, "[engine.runtimes]") {
		return "", errors.New("the file has a table [engine.runtimes]: put the runtime into it by hand, or name another file with --podman-config")
	}
	return paste(text, r.Name, fmt.Sprintf("[engine.runtimes]\n%s = [%s]\n", tomlString(r.Name), tomlString(r.Path))), nil
}

func removePodman(text, name string) (string, error) { return cut(text, name) }

// tomlString is a basic string of TOML.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
