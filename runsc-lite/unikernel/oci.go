package unikernel

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"runsc-lite/archive"
)

// The parts of the OCI image format that are needed here; see its image-spec.

type ociIndex struct {
	Manifests []ociDescriptor `json:"manifests"`
}

type ociDescriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
	Platform    *struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

type ociManifest struct {
	Config ociDescriptor   `json:"config"`
	Layers []ociDescriptor `json:"layers"`
}

type ociConfig struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Config       struct {
		User       string
		Env        []string
		Entrypoint []string
		Cmd        []string
		WorkingDir string
	} `json:"config"`
}

const (
	ociIndexType   = "application/vnd.oci.image.index.v1+json"
	dockerListType = "application/vnd.docker.distribution.manifest.list.v2+json"
	refAnnotation  = "org.opencontainers.image.ref.name"

	maxJSON   = 4 << 20 // bytes of an index, manifest or configuration
	maxLayers = 1000
)

// isLayout says whether a directory is an OCI layout.
func isLayout(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "oci-layout"))
	return err == nil
}

// fromLayout is the tree of an image in an OCI layout, and its configuration. tag
// names the image if there are several.
func fromLayout(dir, tag string, s *spool) (*archive.Node, *ociConfig, error) {
	o := layout(dir)
	var index ociIndex
	b, err := readBounded(filepath.Join(dir, "index.json"))
	if err == nil {
		err = json.Unmarshal(b, &index)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the index of the OCI layout: %w", err)
	}
	d, err := o.choose(index.Manifests, tag, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("the OCI layout %s: %w", dir, err)
	}
	var m ociManifest
	if err := o.json(d, &m); err != nil {
		return nil, nil, fmt.Errorf("the image's manifest: %w", err)
	}
	var c ociConfig
	if err := o.json(m.Config, &c); err != nil {
		return nil, nil, fmt.Errorf("the image's configuration: %w", err)
	}
	if c.OS != "" && c.OS != "linux" || c.Architecture != "" && c.Architecture != "amd64" {
		return nil, nil, fmt.Errorf("the image is for %s/%s, not linux/amd64", c.OS, c.Architecture)
	}
	if len(m.Layers) > maxLayers {
		return nil, nil, fmt.Errorf("the image has %d layers; at most %d", len(m.Layers), maxLayers)
	}
	l := newLayers(s, true)
	for i, d := range m.Layers {
		if err := o.layer(d, l); err != nil {
			return nil, nil, fmt.Errorf("layer %d of the image: %w", i+1, err)
		}
	}
	return l.root, &c, nil
}

// layout is the directory of an OCI layout.
type layout string

// choose picks the manifest of an image for this machine.
func (o layout) choose(list []ociDescriptor, tag string, depth int) (none ociDescriptor, err error) {
	var found []ociDescriptor
	var tags []string
	for _, d := range list {
		name := d.Annotations[refAnnotation]
		if name != "" {
			tags = append(tags, name)
		}
		if tag != "" && depth == 0 && name != tag {
			continue
		}
		if p := d.Platform; p != nil && (p.OS != "linux" || p.Architecture != "amd64") {
			continue
		}
		found = append(found, d)
	}
	switch {
	case len(found) == 0 && tag != "" && depth == 0:
		return none, fmt.Errorf("no image for linux/amd64 is called %q; there are: %s", tag, strings.Join(tags, ", "))
	case len(found) == 0:
		return none, errors.New("no image for linux/amd64 in it")
	case len(found) > 1 && depth == 0:
		return none, fmt.Errorf("%d images in it: say which with --tag (%s)", len(found), strings.Join(tags, ", "))
	}
	d := found[0]
	if d.MediaType != ociIndexType && d.MediaType != dockerListType {
		return d, nil
	}
	if depth > 3 {
		return none, errors.New("an index of an index of an index")
	}
	var index ociIndex
	if err := o.json(d, &index); err != nil {
		return none, err
	}
	return o.choose(index.Manifests, tag, depth+1)
}

// open opens a blob. What is read is to be compared with its digest.
func (o layout) open(d ociDescriptor) (*blob, error) {
	algorithm, sum, _ := strings.Cut(d.Digest, ":")
	want, err := hex.DecodeString(sum)
	if algorithm != "sha256" || err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("%q is no SHA-256 digest", d.Digest)
	}
	f, err := os.Open(filepath.Join(string(o), "blobs", "sha256", hex.EncodeToString(want)))
	if err != nil {
		return nil, err
	}
	return &blob{file: f, left: d.Size, sum: sha256.New(), want: want}, nil
}

// blob is content that is named by its digest.
type blob struct {
	file *os.File
	left int64 // bytes to come, as its descriptor says
	sum  hash.Hash
	want []byte
}

// Read implements io.Reader. It gives no byte more than was announced.
func (b *blob) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.EOF
	}
	n, err := b.file.Read(p[:min(int64(len(p)), b.left)])
	b.sum.Write(p[:n])
	b.left -= int64(n)
	return n, err
}

// finish reads what is left, and says whether all of it was what its digest names.
func (b *blob) finish() error {
	if _, err := io.Copy(io.Discard, b); err != nil {
		return err
	}
	if b.left != 0 || string(b.sum.Sum(nil)) != string(b.want) {
		return fmt.Errorf("sha256:%x has other content than its digest says", b.want)
	}
	return nil
}

func (o layout) json(d ociDescriptor, into any) error {
	if d.Size > maxJSON {
		return fmt.Errorf("%s is of %d bytes; at most %d", d.Digest, d.Size, maxJSON)
	}
	b, err := o.open(d)
	if err != nil {
		return err
	}
	defer b.file.Close()
	text, err := io.ReadAll(b)
	if err != nil {
		return err
	}
	if err := b.finish(); err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func (o layout) layer(d ociDescriptor, l *layers) error {
	b, err := o.open(d)
	if err != nil {
		return err
	}
	defer b.file.Close()
	if err := l.add(b); err != nil {
		return err
	}
	return b.finish()
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err == nil && len(b) > maxJSON {
		err = fmt.Errorf("more than %d bytes", maxJSON)
	}
	return b, err
}
