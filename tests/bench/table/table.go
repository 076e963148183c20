// Package table prints figures of several platforms side by side, with the
// ratios that matter: how much slower than native, and how much faster than
// the best of the others.
package table

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Table collects figures; the zero value is empty and ready.
type Table struct {
	rows, columns []string
	units         map[string]string
	cells         map[[2]string]float64
}

// Add sets the figure of a row (an operation) and a column (a platform). Zero
// means that it could not be measured.
func (t *Table) Add(row, column, unit string, v float64) {
	if t.cells == nil {
		t.cells = make(map[[2]string]float64)
		t.units = make(map[string]string)
	}
	if !slices.Contains(t.rows, row) {
		t.rows = append(t.rows, row)
	}
	if !slices.Contains(t.columns, column) {
		t.columns = append(t.columns, column)
	}
	t.units[row] = unit
	t.cells[[2]string{row, column}] = v
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Ratio is the figure of a column divided by that of another, or 0 if one of
// them is missing.
func (t *Table) Ratio(row, column, base string) float64 {
	v, b := t.cells[[2]string{row, column}], t.cells[[2]string{row, base}]
	if v == 0 || b == 0 {
		return 0
	}
	return v / b
}

// Best is the column with the smallest figure of a row among those that match.
func (t *Table) Best(row string, match func(column string) bool) string {
	best := ""
	for _, c := range t.columns {
		v := t.cells[[2]string{row, c}]
		if v != 0 && match(c) && (best == "" || v < t.cells[[2]string{row, best}]) {
			best = c
		}
	}
	return best
}

func isGvisor(c string) bool { return strings.HasPrefix(c, "gvisor-") }
func isOurs(c string) bool   { return c != "native" && !isGvisor(c) }

// Write prints the table. The last two columns are our best platform against
// native (smaller is better) and against gVisor's best (larger is better).
func (t *Table) Write(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "operation\tunit\t%s\tours/native\tgvisor/ours\t\n", strings.Join(t.columns, "\t"))
	for _, row := range t.rows {
		fmt.Fprintf(tw, "%s\t%s\t", row, t.units[row])
		for _, c := range t.columns {
			fmt.Fprintf(tw, "%s\t", number(t.cells[[2]string{row, c}]))
		}
		ours, theirs := t.Best(row, isOurs), t.Best(row, isGvisor)
		fmt.Fprintf(tw, "%s\t%s\t\n", ratio(t.Ratio(row, ours, "native")), ratio(t.Ratio(row, theirs, ours)))
	}
	_ = tw.Flush() // a table that cannot be printed cannot be reported either
}

func number(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func ratio(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", v)
}
