package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// results are figures by operation and platform.
type results struct {
	ops, platforms []string // in the order in which they came
	units          map[string]string
	samples        map[key][]float64
}

type key struct{ op, platform string }

// line is a line of Go's benchmark format, with one figure:
//
//	BenchmarkFork/areas=10/platform=native-2   1   71180 ns/op
var line = regexp.MustCompile(`^Benchmark(\S+?)/platform=(\S+?)(?:-\d+)?\s+\d+\s+(\S+) (ns/op|KiB)\s*$`)

func parse(in io.Reader) (*results, error) {
	r := &results{units: map[string]string{}, samples: map[key][]float64{}}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		m := line.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("not a figure: %q", lines.Text())
		}
		k := key{m[1], m[2]}
		if !slices.Contains(r.ops, k.op) {
			r.ops = append(r.ops, k.op)
		}
		if !slices.Contains(r.platforms, k.platform) {
			r.platforms = append(r.platforms, k.platform)
		}
		r.units[k.op] = m[4]
		r.samples[k] = append(r.samples[k], v)
	}
	return r, lines.Err()
}

// value is the median, 0 if there is none.
func (r *results) value(op, platform string) float64 {
	s := slices.Sorted(slices.Values(r.samples[key{op, platform}]))
	switch n := len(s); {
	case n == 0:
		return 0
	case n%2 == 0:
		return (s[n/2-1] + s[n/2]) / 2
	default:
		return s[n/2]
	}
}

// parameter splits Fork/areas=10 into Fork, areas and 10.
func parameter(op string) (head, name string, value float64, ok bool) {
	head, rest, ok := strings.Cut(op, "/")
	if !ok {
		return op, "", 0, false
	}
	name, text, ok := strings.Cut(rest, "=")
	if !ok {
		return op, "", 0, false
	}
	value, err := strconv.ParseFloat(text, 64)
	return head, name, value, err == nil && value > 0
}
