package table

import (
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	var tb Table
	for _, c := range []struct {
		row, column string
		v           float64
	}{
		{"Fork", "native", 100}, {"Fork", "ptrace", 300}, {"Fork", "fast", 200},
		{"Fork", "gvisor-a", 1234567}, {"Fork", "gvisor-b", 800},
		{"Null", "native", 2}, {"Null", "ptrace", 0},
	} {
		tb.Add(c.row, c.column, "ns/op", c.v)
	}
	var b strings.Builder
	tb.Write(&b)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 3 || tb.Len() != 2 {
		t.Fatalf("want a head and two rows:\n%s", b.String())
	}
	for _, want := range []string{"1,234,567", "2.00x", "4.00x"} {
		if !strings.Contains(lines[1], want) {
			t.Errorf("want %s in %q", want, lines[1])
		}
	}
	if f := strings.Fields(lines[2]); f[len(f)-1] != "-" || f[len(f)-2] != "-" {
		t.Errorf("ratios of a missing figure: %q", lines[2])
	}
}
