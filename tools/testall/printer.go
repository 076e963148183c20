package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// quiet is after how long without a line a reader is told that it still runs.
const quiet = 20 * time.Second

// printer writes lines with the time since the start, from any goroutine.
type printer struct {
	w     io.Writer
	start time.Time

	mu       sync.Mutex
	last     time.Time // of the last line
	failures []string  // what failed, for the end
	omitted  []string  // what was not tested although it should be, likewise
}

func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	fmt.Fprintf(p.w, "[%4.0fs] "+format+"\n", append([]any{time.Since(p.start).Seconds()}, args...)...)
}

// fail prints a failure with its output and remembers it.
func (p *printer) fail(name, output string) {
	p.line("FAIL %s\n%s", name, output)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = append(p.failures, name)
}

// notTested begins what a skipped test says if this machine is to blame: it is no
// failure, and must not pass unnoticed.
const notTested = "NOT TESTED"

// omit looks for that in the output of a test that was skipped, and remembers it.
func (p *printer) omit(name, output string) {
	for line := range strings.Lines(output) {
		if _, why, found := strings.Cut(line, notTested); found {
			why = name + strings.TrimRight(why, "\n")
			p.line("%s %s", notTested, why)
			p.mu.Lock()
			p.omitted = append(p.omitted, why)
			p.mu.Unlock()
			return
		}
	}
}

// watch says every so often what is being done, if nothing else was said. It
// ends when the returned function is called.
func (p *printer) watch(doing func() string) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(quiet / 4)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				p.mu.Lock()
				silent := time.Since(p.last) >= quiet
				p.mu.Unlock()
				if silent {
					p.line("     … %s", doing())
				}
			}
		}
	}()
	return func() { close(done) }
}
