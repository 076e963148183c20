package cpuid

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// hostInfo reads the first processor of the host's /proc/cpuinfo.
func hostInfo(t *testing.T) map[string]string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Skip(err)
	}
	info := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			break
		}
		info[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	return info
}

func TestAgainstHost(t *testing.T) {
	host := hostInfo(t)
	p := Read()
	for _, tt := range []struct {
		name string
		got  any
	}{
		{"vendor_id", p.Vendor}, {"cpu family", p.Family}, {"model", p.Model}, {"model name", p.Brand},
		{"stepping", p.Stepping}, {"cpuid level", p.Level}, {"clflush size", p.LineSize},
	} {
		if want, ok := host[tt.name]; ok && want != sprint(tt.got) {
			t.Errorf("%s: %v, the host says %s", tt.name, tt.got, want)
		}
	}
	// The host's kernel hides some features, and makes some up. But what it says of
	// those that are named here is true.
	known := map[string]bool{}
	for _, w := range words {
		for _, n := range strings.Fields(w.names) {
			known[n] = true
		}
	}
	have := map[string]bool{}
	for _, n := range strings.Fields(p.Flags) {
		have[n] = true
	}
	for _, n := range strings.Fields(host["flags"]) {
		if known[n] && !have[n] {
			t.Errorf("the host has %s", n)
		}
	}
	if !have["fpu"] || !have["sse2"] || !have["lm"] {
		t.Errorf("no x86-64 processor lacks fpu, sse2 and lm: %s", p.Flags)
	}
}

func TestCaches(t *testing.T) {
	for _, c := range Read().Caches {
		if c.Level < 1 || c.Level > 4 || c.Type == "" || c.Size == 0 || c.LineSize < 16 || c.Size%c.LineSize != 0 {
			t.Errorf("no such cache: %+v", c)
		}
	}
}

func sprint(v any) string { return fmt.Sprint(v) }
