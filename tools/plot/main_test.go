package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const output = `goos: linux
BenchmarkNull/platform=native-2         	1	       100.0 ns/op
BenchmarkNull/platform=native-2         	1	       300.0 ns/op
BenchmarkNull/platform=ptrace-2         	1	       1000 ns/op
BenchmarkNull/platform=gvisor-systrap-2 	1	       4e+03 ns/op
BenchmarkFork/platform=native-2         	1	       50000 ns/op
BenchmarkFork/areas=10/platform=native-2         	1	       60000 ns/op
BenchmarkFork/areas=1000/platform=native-2       	1	       600000 ns/op
BenchmarkFork/areas=10/platform=ptrace           	1	       120000 ns/op
BenchmarkFork/areas=1000/platform=ptrace         	1	       130000 ns/op
BenchmarkLone/areas=10/platform=ptrace         	1	       130000 ns/op
BenchmarkStartup/program=static/platform=ptrace-2 	1	 9000000 ns/op
BenchmarkResident/sum=Pss/platform=ptrace-2 	1	 20480 KiB
PASS
                operation   unit   native  ptrace
`

func TestParse(t *testing.T) {
	r, err := parse(strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.platforms, " "); got != "native ptrace gvisor-systrap" {
		t.Errorf("platforms: %s", got)
	}
	for _, tc := range []struct {
		op, platform string
		want         float64
	}{
		{"Null", "native", 200}, {"Null", "gvisor-systrap", 4000}, {"Fork", "ptrace", 0},
		{"Fork/areas=1000", "ptrace", 130000}, {"Resident/sum=Pss", "ptrace", 20480},
	} {
		if got := r.value(tc.op, tc.platform); got != tc.want {
			t.Errorf("%s on %s: %v, want %v", tc.op, tc.platform, got, tc.want)
		}
	}
	if _, err := parse(strings.NewReader("BenchmarkX/platform=native-2 1 much ns/op\n")); err == nil {
		t.Error("a figure that is none was taken")
	}
}

func TestAxis(t *testing.T) {
	a := newLogAxis([]float64{3, 250}, 0, 300)
	for v, want := range map[float64]float64{1: 0, 10: 100, 1000: 300} {
		if got := a.at(v); got < want-0.01 || got > want+0.01 {
			t.Errorf("%v is at %v, want %v", v, got, want)
		}
	}
	if n := len(a.ticks()); n != 4 {
		t.Errorf("%d ticks, want 4", n)
	}
	if a := newLogAxis([]float64{10}, 0, 1); a.lo == a.hi {
		t.Error("an axis of no length")
	}
}

// TestFiles runs the whole, and reads what it wrote as XML.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plots")
	in := filepath.Join(t.TempDir(), "bench.txt")
	if err := os.WriteFile(in, []byte(output), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(dir, "a <note>", []string{in}); err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string][]string{
		"ratios.svg":              {"Null", "10×", "Null, ptrace: 5.00× native", "gVisor systrap", "a <note>"},
		"startup.svg":             {"static", "9.00 ms"},
		"resident.svg":            {"20.0 MiB"},
		"scale-fork-by-areas.svg": {"ptrace, 1000 areas: 130 µs", "areas"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		var found strings.Builder
		for dec := xml.NewDecoder(strings.NewReader(string(text))); ; {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if data, ok := token.(xml.CharData); ok {
				found.Write(data)
			}
		}
		for _, s := range says {
			if !strings.Contains(found.String(), s) {
				t.Errorf("%s says no %q", name, s)
			}
		}
		for _, bad := range []string{"NaN", "Inf"} {
			if strings.Contains(string(text), bad) {
				t.Errorf("%s holds %s", name, bad)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	if err := run(dir, "", []string{os.DevNull}); err == nil {
		t.Error("nothing to draw, and no error")
	}
}
