package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// bazelTest builds and tests everything with Bazel. Bazel's own last line is
// not one to parse, and differs between versions; the results are read from its
// build event file.
func bazelTest(p *printer) counts {
	if _, err := exec.LookPath("bazel"); err != nil {
		p.fail("bazel", "no bazel: apt-get install bazel-bootstrap bazel-skylib")
		return counts{failed: 1}
	}
	dir, err := os.MkdirTemp("", "testall")
	if err != nil {
		p.fail("bazel", err.Error())
		return counts{failed: 1}
	}
	defer os.RemoveAll(dir)
	events := filepath.Join(dir, "events.json")

	// `bazel test //...` builds what is no test, too.
	cmd := exec.Command("bazel", "test", "--keep_going", "--color=no", "--curses=no",
		"--noshow_progress", "--show_result=0", "--test_summary=none",
		"--build_event_json_file="+events, "//...")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	stop := p.watch(func() string { return "bazel test //..." })
	err = cmd.Run()
	stop()

	c := countBazel(p, events)
	if err != nil && c.failed == 0 {
		p.fail("bazel", err.Error())
		c.failed++
	}
	return c
}

// countBazel reads a build event file.
func countBazel(p *printer, file string) counts {
	f, err := os.Open(file)
	if err != nil {
		p.fail("bazel", err.Error())
		return counts{failed: 1}
	}
	defer f.Close()
	var c counts
	in := bufio.NewScanner(f)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e struct {
			ID struct {
				TestSummary *struct{ Label string }
			}
			TestSummary struct {
				OverallStatus string
			}
		}
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			p.fail("bazel", "event file: "+err.Error())
			c.failed++
			break
		}
		if e.ID.TestSummary == nil {
			continue
		}
		status, label := e.TestSummary.OverallStatus, e.ID.TestSummary.Label
		if status == "PASSED" {
			p.line("ok   %s", label)
			c.passed++
			continue
		}
		// Bazel has shown the log already.
		c.failed++
		p.fail(label, strings.ToLower(status))
	}
	if err := in.Err(); err != nil {
		p.fail("bazel", err.Error())
		c.failed++
	}
	return c
}
