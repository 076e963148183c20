package harness

import (
	"fmt"
	"regexp"
	"strings"
)

// Example is a block of a document that a reader can run: a fenced block of the
// language sh, and what it prints, if a block of the language text follows.
//
//	```sh needs=/usr/bin/redis-server
//	bin/runsc-lite do /bin/ls
//	```
type Example struct {
	Line   int // of the document
	Text   string
	Needs  []string // files without which it cannot run
	Output string   // a line … stands for any lines
	Shown  bool     // whether Output is given
}

// Examples finds the examples of a document.
func Examples(document string) (list []Example) {
	lines := strings.Split(document, "\n")
	for i := 0; i < len(lines); i++ {
		info, ok := strings.CutPrefix(lines[i], "```")
		if !ok {
			continue
		}
		begin := i + 1
		for i++; i < len(lines) && lines[i] != "```"; i++ {
		}
		text := strings.Join(lines[begin:min(i, len(lines))], "\n") + "\n"
		language, rest, _ := strings.Cut(info, " ")
		switch {
		case language == "sh":
			e := Example{Line: begin, Text: text}
			if needs, ok := strings.CutPrefix(rest, "needs="); ok {
				e.Needs = strings.Split(needs, ",")
			}
			list = append(list, e)
		case language == "text" && len(list) > 0:
			e := &list[len(list)-1]
			e.Output, e.Shown = text, true
		}
	}
	return list
}

// Prints says whether what an example printed is what the document shows.
func (e Example) Prints(output string) error {
	if !e.Shown {
		return nil
	}
	var pattern strings.Builder
	for line := range strings.Lines(e.Output) {
		if line == "…\n" {
			pattern.WriteString(`(?s:.*)`)
			continue
		}
		parts := strings.Split(line, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		pattern.WriteString(strings.Join(parts, `[^\n]*`))
	}
	if !regexp.MustCompile(`\A` + pattern.String() + `\z`).MatchString(output) {
		return fmt.Errorf("it prints\n%sand not\n%s", output, e.Output)
	}
	return nil
}
