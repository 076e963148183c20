// Package unikernel makes one-file images and takes them apart. An image is one
// executable: the runner itself, and behind it an archive with the program, its
// files and how it is to be started.
//
//	roots   a directory, a tar archive or an OCI layout becomes a tree of nodes
//	Build   puts the runner and the tree into a file
//	Open    finds the archive in an image
//	Unpack  writes the files of an image into a directory, or as a tar archive
package unikernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"runsc-lite/archive"
)

// Config is how an image starts its program.
type Config struct {
	// Version is that of the runner that made the image.
	Version string `json:"version"`
	// Entry is the program, as it is in the image, and its first arguments.
	Entry []string `json:"entry"`
	// Args follow if the caller gives none.
	Args []string `json:"args,omitempty"`
	// Env is the environment: NAME=VALUE, or NAME for what the caller has.
	Env []string `json:"env,omitempty"`
	Cwd string   `json:"cwd,omitempty"`
	// UID, GID and Groups are who the program runs as.
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	// Memory is how much the sandbox may hold, in bytes; 0: what the host has.
	Memory uint64 `json:"memory,omitempty"`
	// Platform is how guest code is run; empty: the fastest that works.
	Platform string `json:"platform,omitempty"`
}

// Image is an image that is open.
type Image struct {
	Config  Config
	Archive *archive.Reader
	file    *os.File
}

// Close closes the file. What was read of the archive is lost.
func (i *Image) Close() error { return i.file.Close() }

// Open opens an image: archive.ErrNone if path is a file without one.
func Open(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	i, err := open(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return i, nil
}

func open(f *os.File) (*Image, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	i := &Image{file: f}
	if i.Archive, err = archive.Open(f, size); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(i.Archive.Config(), &i.Config); err != nil {
		return nil, fmt.Errorf("the image's configuration: %w", err)
	}
	if len(i.Config.Entry) == 0 {
		return nil, errors.New("the image's configuration names no program")
	}
	return i, nil
}
