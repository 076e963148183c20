package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

const module = "runsc-lite"

// packages lists the import paths of the module that keep approves of.
func packages(p *printer, keep func(path string) bool) []string {
	cmd := exec.Command("go", "list", "-e", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		p.line("go list: %v", err)
		return nil
	}
	var list []string
	for path := range strings.FieldsSeq(string(out)) {
		if keep(path) {
			list = append(list, path)
		}
	}
	return list
}

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build-output or build-fail event
	Test       string
	Output     string
	Elapsed    float64
}

// goTest runs the tests of packages, as many packages at a time as said (0: one
// for each processor). Nothing is taken from the cache: the guest tests depend
// on programs that the go command does not know of.
func goTest(p *printer, atATime int, pkgs ...string) counts {
	if len(pkgs) == 0 {
		p.fail("go test", "no packages")
		return counts{failed: 1}
	}
	args := []string{"test", "-json", "-count=1", "-timeout=30m"}
	if atATime > 0 {
		args = append(args, fmt.Sprintf("-p=%d", atATime))
	}
	cmd := exec.Command("go", append(args, pkgs...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.fail("go test", err.Error())
		return counts{failed: 1}
	}
	c := countEvents(p, out)
	if err := cmd.Wait(); err != nil && c.failed == 0 {
		p.fail("go test", err.Error())
		c.failed++
	}
	return c
}

// pkgState is what is known of a package whose tests run.
type pkgState struct {
	results map[string]string // action by test that ended
	output  map[string]*strings.Builder
	running string
}

// countEvents reads the events of one `go test -json`, reports, and counts.
func countEvents(p *printer, r io.Reader) counts {
	var mu sync.Mutex // guards what watch's function reads
	state := map[string]*pkgState{}
	builds := map[string]string{} // compiler output by package
	var total counts
	var done int

	stop := p.watch(func() string {
		mu.Lock()
		defer mu.Unlock()
		var at []string
		for path, s := range state {
			if s.running != "" {
				at = append(at, fmt.Sprintf("%s: %d tests done, at %s", path, len(s.results), s.running))
			}
		}
		if len(at) == 0 {
			return "building"
		}
		return strings.Join(at, "; ")
	})
	defer stop()

	in := bufio.NewScanner(r)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			p.line("%s", in.Text())
			continue
		}
		if e.Package == "" {
			if e.Action == "build-output" {
				builds[e.ImportPath] += e.Output
			}
			continue
		}
		mu.Lock()
		s := state[e.Package]
		if s == nil {
			s = &pkgState{results: map[string]string{}, output: map[string]*strings.Builder{}}
			state[e.Package] = s
		}
		switch e.Action {
		case "run":
			s.running = e.Test
		case "output":
			if s.output[e.Test] == nil {
				s.output[e.Test] = &strings.Builder{}
			}
			s.output[e.Test].WriteString(e.Output)
		case "pass", "fail", "skip":
			if e.Test != "" {
				s.results[e.Test] = e.Action
				if e.Action == "pass" {
					delete(s.output, e.Test)
				}
				break
			}
			s.running = ""
			c := s.finish(p, e, builds)
			total.add(c)
			done++
		}
		mu.Unlock()
	}
	if err := in.Err(); err != nil {
		p.fail("go test -json", err.Error())
		total.failed++
	}
	return total
}

// finish counts and reports a package that ended with e.
func (s *pkgState) finish(p *printer, e event, builds map[string]string) counts {
	// A test with subtests counts as these; it counts itself only if it failed
	// although they did not.
	parent, childFailed := map[string]bool{}, map[string]bool{}
	for name, action := range s.results {
		for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
			parent[name[:i]] = true
			if action == "fail" {
				childFailed[name[:i]] = true
			}
		}
	}
	var c counts
	for _, name := range slices.Sorted(maps.Keys(s.results)) {
		action := s.results[name]
		if parent[name] && (action != "fail" || childFailed[name]) {
			continue
		}
		switch action {
		case "pass":
			c.passed++
		case "skip":
			c.skipped++
			if b := s.output[name]; b != nil {
				p.omit(strings.TrimPrefix(e.Package, module+"/")+" "+name, b.String())
			}
		case "fail":
			c.failed++
			out := ""
			if b := s.output[name]; b != nil {
				out = b.String()
			}
			p.fail(strings.TrimPrefix(e.Package, module+"/")+" "+name, out)
		}
	}
	if e.Action == "fail" && c.failed == 0 { // did not build, or died outside any test
		out := ""
		if b := s.output[""]; b != nil {
			out = b.String()
		}
		for path, text := range builds {
			if strings.Contains(path, e.Package) {
				out = text + out
			}
		}
		for name, b := range s.output {
			if _, ended := s.results[name]; !ended && name != "" {
				out += b.String()
			}
		}
		c.failed++
		p.fail(e.Package, out)
	}
	word := "ok  "
	switch {
	case c.failed > 0:
		word = "FAIL"
	case c.passed+c.skipped == 0:
		return c // no tests: nothing to tell
	}
	p.line("%s %s: %d passed, %d failed, %d skipped in %.1f s", word, e.Package, c.passed, c.failed, c.skipped, e.Elapsed)
	return c
}
