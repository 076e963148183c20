// Command testall runs every check of the repository and counts them:
//
//	go run ./tools/testall [-stages lint,unit,guest,bazel]
//
// It tells as it goes which package or target is done, shows the output of what
// failed, names what this machine cannot test (no KVM, for example), and ends with the one line that a machine may look for, with nothing
// after it:
//
//	412 passed, 0 failed
//
// The exit status is 0 only if nothing failed and something passed.
//
// The stages are run one after the other, because the guest tests measure
// time-outs, and a linter beside them takes the processors away. For the same
// reason their packages are run one at a time.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// counts of one stage or of all. A Go test with subtests counts as its
// subtests; a Bazel test target counts as one.
type counts struct{ passed, failed, skipped int }

func (c *counts) add(d counts) {
	c.passed += d.passed
	c.failed += d.failed
	c.skipped += d.skipped
}

type stage struct {
	name, about string
	run         func(out *printer) counts
}

func main() {
	stages := []stage{
		{"lint", "vet, staticcheck, gofmt, BUILD files, import rules", func(p *printer) counts {
			return goTest(p, 0, ".")
		}},
		{"unit", "tests of the packages", func(p *printer) counts {
			return goTest(p, 0, packages(p, func(path string) bool {
				return path != module && !strings.HasPrefix(path, module+"/tests/")
			})...)
		}},
		{"guest", "guest programs, natively and on each platform", func(p *printer) counts {
			// Each of them keeps all processors busy.
			return goTest(p, 1, packages(p, func(path string) bool {
				return strings.HasPrefix(path, module+"/tests/")
			})...)
		}},
		{"bazel", "bazel build and bazel test of everything", bazelTest},
	}
	var names []string
	for _, s := range stages {
		names = append(names, s.name)
	}
	chosen := flag.String("stages", strings.Join(names, ","), "what to run, comma-separated")
	flag.Parse()
	for name := range strings.SplitSeq(*chosen, ",") {
		if !slices.Contains(names, name) {
			fmt.Fprintf(os.Stderr, "testall: no stage %q; there are: %s\n", name, strings.Join(names, ", "))
			os.Exit(2)
		}
	}

	p := &printer{w: os.Stdout, start: time.Now()}
	var total counts
	for _, s := range stages {
		if !slices.Contains(strings.Split(*chosen, ","), s.name) {
			continue
		}
		p.line("== %s: %s", s.name, s.about)
		c := s.run(p)
		p.line("== %s: %d passed, %d failed, %d skipped\n", s.name, c.passed, c.failed, c.skipped)
		total.add(c)
	}
	for _, o := range p.omitted {
		fmt.Println(notTested, o)
	}
	for _, f := range p.failures {
		fmt.Println("FAILED", f)
	}
	fmt.Printf("%d passed, %d failed\n", total.passed, total.failed)
	if total.failed > 0 || total.passed == 0 {
		os.Exit(1)
	}
}
