package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// plot is a file to be.
type plot struct{ name, svg string }

// absolute are the benchmarks that mean something as they are, with the unit
// that people think in.
var absolute = []struct {
	head, file, title, unit string
	scale                   float64 // of what was measured
}{
	{"Startup", "startup", "Start-up of a program that does nothing, milliseconds", "ms", 1e6},
	{"Resident", "resident", "Memory of a sandbox that sleeps, MiB", "MiB", 1024},
	{"Work", "work", "Work with real programs, start-up included, seconds", "s", 1e9},
}

// draw makes all plots that the results have something for.
func draw(r *results, note string) []plot {
	var plots []plot
	add := func(name, svg string) {
		if svg != "" {
			plots = append(plots, plot{name, svg})
		}
	}
	add("ratios", ratios(r, note))
	for _, a := range absolute {
		var rows []row
		for _, op := range r.ops {
			head, rest, _ := strings.Cut(op, "/")
			if head != a.head {
				continue
			}
			_, value, ok := strings.Cut(rest, "=")
			if !ok {
				value = rest
			}
			line := row{label: value}
			for _, p := range r.platforms {
				line.values = append(line.values, r.value(op, p)/a.scale)
			}
			rows = append(rows, line)
		}
		add(a.file, bars(a.title, note, a.unit, r.platforms, rows))
	}
	for _, s := range scales(r) {
		add("scale-"+strings.ToLower(s.head)+"-by-"+s.by, s.draw(r, note))
	}
	return plots
}

// ratios is a row of dots for each operation, on a logarithmic axis where 1 is
// native.
func ratios(r *results, note string) string {
	var platforms []string
	for _, p := range r.platforms {
		if p != "native" {
			platforms = append(platforms, p)
		}
	}
	var rows []row
	for _, op := range r.ops {
		native := r.value(op, "native")
		if strings.Contains(op, "/") || native == 0 {
			continue
		}
		line := row{label: op}
		found := false
		for _, p := range platforms {
			v := r.value(op, p) / native
			line.values = append(line.values, v)
			found = found || v > 0
		}
		if found {
			rows = append(rows, line)
		}
	}
	return dots("Time of an operation, as a multiple of native", note, platforms, rows)
}

// scale is an operation measured with a growing parameter.
type scale struct {
	head, by string
	at       []float64
}

func scales(r *results) []scale {
	var list []scale
	for _, op := range r.ops {
		head, by, at, ok := parameter(op)
		if !ok {
			continue
		}
		i := slices.IndexFunc(list, func(s scale) bool { return s.head == head && s.by == by })
		if i < 0 {
			i = len(list)
			list = append(list, scale{head: head, by: by})
		}
		list[i].at = append(list[i].at, at)
	}
	return slices.DeleteFunc(list, func(s scale) bool { return len(s.at) < 2 })
}

func (s scale) draw(r *results, note string) string {
	slices.SortFunc(s.at, cmp.Compare[float64])
	var curves []curve
	for _, p := range r.platforms {
		c := curve{name: p}
		for _, x := range s.at {
			if y := r.value(fmt.Sprintf("%s/%s=%g", s.head, s.by, x), p); y > 0 {
				c.points = append(c.points, point{x, y / 1e3})
			}
		}
		curves = append(curves, c)
	}
	return lines(s.head+" as the number of "+s.by+" grows, microseconds", note, s.by, s.at, curves)
}
