package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCountEvents(t *testing.T) {
	for _, tc := range []struct {
		name, events string
		want         counts
		failures     string
	}{
		{"subtests count, their parent does not", `
{"Action":"run","Package":"runsc-lite/a","Test":"T"}
{"Action":"pass","Package":"runsc-lite/a","Test":"T/x/1"}
{"Action":"skip","Package":"runsc-lite/a","Test":"T/x/2"}
{"Action":"pass","Package":"runsc-lite/a","Test":"T/x"}
{"Action":"pass","Package":"runsc-lite/a","Test":"T"}
{"Action":"pass","Package":"runsc-lite/a"}`, counts{1, 0, 1}, ""},
		{"a failed subtest fails once", `
{"Action":"fail","Package":"runsc-lite/a","Test":"T/x"}
{"Action":"fail","Package":"runsc-lite/a","Test":"T"}
{"Action":"fail","Package":"runsc-lite/a"}`, counts{0, 1, 0}, "a T/x"},
		{"a parent that fails by itself", `
{"Action":"pass","Package":"runsc-lite/a","Test":"T/x"}
{"Action":"fail","Package":"runsc-lite/a","Test":"T"}
{"Action":"fail","Package":"runsc-lite/a"}`, counts{1, 1, 0}, "a T"},
		{"a package that does not build", `
{"ImportPath":"runsc-lite/a","Action":"build-output","Output":"a.go:1: oops\n"}
{"ImportPath":"runsc-lite/a","Action":"build-fail"}
{"Action":"fail","Package":"runsc-lite/a","FailedBuild":"runsc-lite/a"}`, counts{0, 1, 0}, "runsc-lite/a"},
		{"a test that takes the process down", `
{"Action":"run","Package":"runsc-lite/a","Test":"T"}
{"Action":"output","Package":"runsc-lite/a","Test":"T","Output":"fatal error\n"}
{"Action":"fail","Package":"runsc-lite/a"}`, counts{0, 1, 0}, "runsc-lite/a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			p := &printer{w: &out, start: time.Now()}
			got := countEvents(p, strings.NewReader(strings.TrimSpace(tc.events)))
			if got != tc.want {
				t.Errorf("got %+v, want %+v\n%s", got, tc.want, &out)
			}
			if f := strings.Join(p.failures, ","); f != tc.failures {
				t.Errorf("failures %q, want %q", f, tc.failures)
			}
		})
	}
}

// TestNotTested: what a machine cannot test is said, and what is skipped for other
// reasons is not.
func TestNotTested(t *testing.T) {
	var out bytes.Buffer
	p := &printer{w: &out, start: time.Now()}
	countEvents(p, strings.NewReader(`{"Action":"run","Package":"runsc-lite/a","Test":"T"}
{"Action":"output","Package":"runsc-lite/a","Test":"T","Output":"=== RUN T\n"}
{"Action":"output","Package":"runsc-lite/a","Test":"T","Output":"    a_test.go:7: NOT TESTED: no device\n"}
{"Action":"skip","Package":"runsc-lite/a","Test":"T"}
{"Action":"output","Package":"runsc-lite/a","Test":"U","Output":"    a_test.go:9: it is slow\n"}
{"Action":"skip","Package":"runsc-lite/a","Test":"U"}
{"Action":"pass","Package":"runsc-lite/a"}`))
	if got := strings.Join(p.omitted, ","); got != "a T: no device" {
		t.Errorf("not tested: %q", got)
	}
	if !strings.Contains(out.String(), "NOT TESTED a T: no device") {
		t.Errorf("it is not said:\n%s", &out)
	}
}

func TestCountBazel(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events.json")
	events := `{"id":{"started":{}},"started":{"uuid":"1"}}
{"id":{"testSummary":{"label":"//a:a_test"}},"testSummary":{"overallStatus":"PASSED"}}
{"id":{"testSummary":{"label":"//b:b_test"}},"testSummary":{"overallStatus":"FAILED"}}
{"id":{"testSummary":{"label":"//c:c_test"}},"testSummary":{"overallStatus":"NO_STATUS"}}
`
	if err := os.WriteFile(file, []byte(events), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &printer{w: &bytes.Buffer{}, start: time.Now()}
	if got, want := countBazel(p, file), (counts{passed: 1, failed: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := countBazel(p, file+".none"); got.failed != 1 {
		t.Errorf("a missing file counts as %+v", got)
	}
}
