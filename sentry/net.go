package sentry

import (
	"bytes"

	"runsc-lite/sentry/fs/synth"
)

// netFiles are the files of /proc/net.
func (s *Sandbox) netFiles() []synth.Leaf {
	var files []synth.Leaf
	for _, f := range s.net.Files() {
		files = append(files, synth.Leaf{Path: f.Name, Open: synth.Text(func(b *bytes.Buffer) error {
			f.Write(b)
			return nil
		}).Open})
	}
	return files
}
