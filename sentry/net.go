package sentry

import (
	"bytes"

	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/socket/netns"
)

// leaves makes files of proc of what a network namespace tells.
func leaves(files []netns.File) []synth.Leaf {
	list := make([]synth.Leaf, 0, len(files))
	for _, f := range files {
		list = append(list, synth.Leaf{Path: f.Path, Open: synth.Text(func(b *bytes.Buffer) error {
			f.Write(b)
			return nil
		}).Open})
	}
	return list
}
