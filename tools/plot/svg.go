package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

const (
	grid   = "#e4e4e4"
	strong = "#555555"
	ink    = "#222222"
)

// palette has a colour for each platform that is known, apart also for people
// who do not tell red from green; further ones get those that follow.
var palette = []struct{ platform, colour string }{
	{"native", "#555555"},
	{"ptrace", "#0072b2"},
	{"systrap", "#009e73"},
	{"kvm", "#56b4e9"},
	{"gvisor-systrap", "#d55e00"},
	{"gvisor-ptrace", "#e69f00"},
}

func colour(platform string) string {
	i := slices.IndexFunc(palette, func(p struct{ platform, colour string }) bool { return p.platform == platform })
	if i < 0 {
		return "#cc79a7"
	}
	return palette[i].colour
}

// label is what a platform is called in a legend.
func label(platform string) string {
	switch name, gvisor := strings.CutPrefix(platform, "gvisor-"); {
	case gvisor:
		return "gVisor " + name
	case platform == "native":
		return platform
	default:
		return "runsc-lite " + name
	}
}

// canvas collects the elements of an SVG file.
type canvas struct{ b strings.Builder }

func newCanvas(w, h int, title, note string) *canvas {
	c := &canvas{}
	fmt.Fprintf(&c.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", w, h, w, h)
	fmt.Fprintf(&c.b, `<rect width="%d" height="%d" fill="white"/>`+"\n", w, h)
	fmt.Fprintf(&c.b, `<text x="16" y="24" font-size="15" fill="%s">%s</text>`+"\n", ink, html.EscapeString(title))
	if note != "" {
		fmt.Fprintf(&c.b, `<text x="16" y="%d" font-size="10" fill="%s">%s</text>`+"\n", h-8, strong, html.EscapeString(note))
	}
	return c
}

func (c *canvas) text(x, y float64, anchor, s string) {
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, ink, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(&c.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

func (c *canvas) bar(x, y, w, h float64, platform string) {
	fmt.Fprintf(&c.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, w, h, colour(platform))
}

// dot has its figure as a tool tip.
func (c *canvas) dot(x, y float64, platform, tip string) {
	fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="4.5" fill="%s"><title>%s</title></circle>`+"\n", x, y, colour(platform), html.EscapeString(tip))
}

func (c *canvas) path(points []point, platform string) {
	var s strings.Builder
	for _, p := range points {
		fmt.Fprintf(&s, " %.1f,%.1f", p.x, p.y)
	}
	fmt.Fprintf(&c.b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.TrimSpace(s.String()), colour(platform))
}

func (c *canvas) legend(platforms []string) {
	x := 16.0
	for _, p := range platforms {
		fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="42" r="4.5" fill="%s"/>`+"\n", x+5, colour(p))
		c.text(x+14, 46, "start", label(p))
		x += 40 + 7*float64(len(label(p)))
	}
}

func (c *canvas) end() string {
	c.b.WriteString("</svg>\n")
	return c.b.String()
}
