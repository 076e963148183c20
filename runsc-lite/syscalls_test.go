package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"runsc-lite/sentry/syscalls"
)

// TestSyscallFormats: all formats say the same of the same calls.
func TestSyscallFormats(t *testing.T) {
	rows := syscallRows()
	// 0 to 334 and 424 to 462, less what x86-64 never had.
	if len(rows) < 360 {
		t.Fatalf("%d calls", len(rows))
	}
	print := func(fn func(*bytes.Buffer) error) *bytes.Buffer {
		var b bytes.Buffer
		if err := fn(&b); err != nil {
			t.Fatal(err)
		}
		return &b
	}
	var fromJSON []syscallRow
	b := print(func(b *bytes.Buffer) error { return printSyscallJSON(b, rows) })
	if err := json.Unmarshal(b.Bytes(), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(fromJSON, rows) {
		t.Error("JSON says something else")
	}
	records, err := csv.NewReader(print(func(b *bytes.Buffer) error { return printSyscallCSV(b, rows) })).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var fromCSV []syscallRow
	for _, r := range records[1:] {
		nr, err := strconv.Atoi(r[0])
		if err != nil {
			t.Fatal(err)
		}
		fromCSV = append(fromCSV, syscallRow{nr, r[1], r[2], r[3]})
	}
	if !slices.Equal(fromCSV, rows) {
		t.Error("CSV says something else")
	}
	table := print(func(b *bytes.Buffer) error { return printSyscallTable(b, rows) }).String()
	if n := strings.Count(table, "\n"); n != len(rows)+2 {
		t.Errorf("the table has %d lines for %d calls", n, len(rows))
	}
}

// TestSupportNotes: who reads "partial" is told what that means.
func TestSupportNotes(t *testing.T) {
	for nr, row := range syscalls.Table() {
		switch {
		case row.Support.String() == "partial" && row.Note == "":
			t.Errorf("%d %s is partial, and no note says in what", nr, row.Name)
		case row.Support.String() != "absent" && row.Fn == nil:
			t.Errorf("%d %s is %s without a handler", nr, row.Name, row.Support)
		}
	}
}
