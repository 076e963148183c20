// Command plot draws the output of `make bench` as SVG files:
//
//	make bench | tee bench.txt
//	go run ./tools/plot -o docs/plots bench.txt
//
// It writes
//
//	ratios.svg          each operation as a multiple of what it takes natively
//	startup.svg, …      start-up, memory and work with real programs, as they are
//	scale-X-by-Y.svg    operation X as Y grows
//
// and prints the names. Without a file it reads standard input. The same input
// gives the same files. Figures of several runs (-count) become their median.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	dir := flag.String("o", ".", "directory to write to; it is made if it is not there")
	note := flag.String("note", "", "a line for below each plot: the machine, the date")
	flag.Parse()
	if err := run(*dir, *note, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "plot: %v\n", err)
		os.Exit(1)
	}
}

func run(dir, note string, names []string) error {
	var in io.Reader = os.Stdin
	if len(names) > 0 {
		var all []io.Reader
		for _, name := range names {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			all = append(all, f)
		}
		in = io.MultiReader(all...)
	}
	r, err := parse(in)
	if err != nil {
		return err
	}
	plots := draw(r, note)
	if len(plots) == 0 {
		return fmt.Errorf("no benchmark with a /platform= in its name")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range plots {
		file := filepath.Join(dir, p.name+".svg")
		if err := os.WriteFile(file, []byte(p.svg), 0o644); err != nil {
			return err
		}
		fmt.Println(file)
	}
	return nil
}
