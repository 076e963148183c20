package main

import (
	"fmt"
	"math"
	"slices"
)

// row is a line of a chart: a figure for each platform, 0 where there is none.
type row struct {
	label  string
	values []float64
}

type point struct{ x, y float64 }

type curve struct {
	name   string
	points []point
}

// Sizes in pixels.
const (
	width   = 860
	left    = 170 // labels
	right   = 60
	top     = 64 // title and legend
	bottom  = 46 // axis and note
	rowHigh = 22
	barHigh = 13
)

// logAxis maps positive values to pixels, between powers of ten.
type logAxis struct {
	lo, hi   float64 // exponents
	from, to float64 // pixels
}

// newLogAxis makes an axis that has room for all values. There is one at least.
func newLogAxis(values []float64, from, to float64) logAxis {
	lo, hi := math.Floor(math.Log10(slices.Min(values))), math.Ceil(math.Log10(slices.Max(values)))
	if lo == hi {
		hi++
	}
	return logAxis{lo, hi, from, to}
}

func (a logAxis) at(v float64) float64 {
	return a.from + (math.Log10(v)-a.lo)/(a.hi-a.lo)*(a.to-a.from)
}

// ticks are the powers of ten.
func (a logAxis) ticks() []float64 {
	var list []float64
	for e := a.lo; e <= a.hi; e++ {
		list = append(list, math.Pow(10, e))
	}
	return list
}

func positive(rows []row) []float64 {
	var list []float64
	for _, r := range rows {
		for _, v := range r.values {
			if v > 0 {
				list = append(list, v)
			}
		}
	}
	return list
}

// dots draws a row of dots for each row, on a logarithmic axis with a mark at 1.
func dots(title, note string, platforms []string, rows []row) string {
	values := positive(rows)
	if len(values) == 0 {
		return ""
	}
	height := top + len(rows)*rowHigh + bottom
	c := newCanvas(width, height, title, note)
	c.legend(platforms)
	axis := newLogAxis(append(values, 1), left, width-right)
	foot := float64(height - bottom)
	for _, v := range axis.ticks() {
		colour := grid
		if v == 1 {
			colour = strong
		}
		c.line(axis.at(v), top, axis.at(v), foot, colour)
		c.text(axis.at(v), foot+16, "middle", fmt.Sprintf("%g×", v))
	}
	for i, r := range rows {
		y := float64(top + i*rowHigh + rowHigh/2)
		c.text(left-10, y+4, "end", r.label)
		c.line(left, y, width-right, y, grid)
		for j, v := range r.values {
			if v > 0 {
				c.dot(axis.at(v), y, platforms[j], fmt.Sprintf("%s, %s: %.2f× native", r.label, platforms[j], v))
			}
		}
	}
	return c.end()
}

// bars draws a bar for each figure, from 0, with the figure beside it.
func bars(title, note, unit string, platforms []string, rows []row) string {
	values := positive(rows)
	if len(values) == 0 {
		return ""
	}
	high := len(platforms)*barHigh + 12
	height := top + len(rows)*high + bottom
	c := newCanvas(width, height, title, note)
	c.legend(platforms)
	most := slices.Max(values)
	for i, r := range rows {
		y := float64(top + i*high)
		c.text(left-10, y+float64(high)/2, "end", r.label)
		for j, v := range r.values {
			end := left + v/most*(width-left-right-20)
			at := y + float64(j*barHigh)
			if v == 0 {
				c.text(left+4, at+barHigh-3, "start", "not measured")
				continue
			}
			c.bar(left, at, end-left, barHigh-2, platforms[j])
			c.text(end+4, at+barHigh-3, "start", figure(v)+" "+unit)
		}
	}
	c.line(left, top-4, left, float64(height-bottom), strong)
	return c.end()
}

// lines draws a curve for each platform, both axes logarithmic.
func lines(title, note, by string, at []float64, curves []curve) string {
	var ys []float64
	for _, cv := range curves {
		for _, p := range cv.points {
			ys = append(ys, p.y)
		}
	}
	if len(ys) == 0 {
		return ""
	}
	const height, foot = 420, 420 - bottom - 14
	c := newCanvas(width, height, title, note)
	var names []string
	for _, cv := range curves {
		names = append(names, cv.name)
	}
	c.legend(names)
	lo, hi := math.Log10(slices.Min(at)), math.Log10(slices.Max(at))
	x := logAxis{lo, hi, left, width - right - 20}
	y := newLogAxis(ys, foot, top)
	for _, v := range y.ticks() {
		c.line(left-10, y.at(v), width-right, y.at(v), grid)
		c.text(left-16, y.at(v)+4, "end", fmt.Sprintf("%g µs", v))
	}
	for _, v := range at {
		c.line(x.at(v), top, x.at(v), foot, grid)
		c.text(x.at(v), foot+16, "middle", fmt.Sprintf("%g", v))
	}
	c.text((left+width-right)/2, foot+32, "middle", by)
	for _, cv := range curves {
		var path []point
		for _, p := range cv.points {
			path = append(path, point{x.at(p.x), y.at(p.y)})
		}
		c.path(path, cv.name)
		for i, p := range path {
			c.dot(p.x, p.y, cv.name, fmt.Sprintf("%s, %g %s: %s µs", cv.name, cv.points[i].x, by, figure(cv.points[i].y)))
		}
	}
	return c.end()
}

// figure prints three digits that count.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
