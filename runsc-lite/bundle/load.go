package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ConfigFile is the name of the configuration in a bundle.
const ConfigFile = "config.json"

// MaxConfig is how large a config.json or process.json may be, in bytes. Docker's are
// some 20 KiB, most of it the seccomp profile.
const MaxConfig = 4 << 20

// Load reads the configuration of the bundle in dir. It checks its form and version
// only.
func Load(dir string) (*specs.Spec, error) {
	path := filepath.Join(dir, ConfigFile)
	text, err := read(path)
	if errors.Is(err, os.ErrNotExist) {
		if _, statErr := os.Stat(dir); statErr != nil {
			return nil, fmt.Errorf("opening the bundle: %w; --bundle names the directory that holds %s", statErr, ConfigFile)
		}
		return nil, fmt.Errorf("there is no %s in %s: \"runsc-lite spec\" writes one to begin with, and --bundle names another directory", ConfigFile, dir)
	}
	if err != nil {
		return nil, err
	}
	spec, err := Decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return spec, nil
}

// LoadProcess reads a process as exec's --process takes it.
func LoadProcess(path string) (*specs.Process, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	p := new(specs.Process)
	if err := decode(text, p); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// read returns the contents of a file of bounded size. It may be a pipe (/dev/stdin).
func read(path string) ([]byte, error) {
	// A pipe without a writer must not stop the runtime.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxConfig {
		return nil, fmt.Errorf("%s is larger than %d MiB, which no container's configuration is", path, MaxConfig>>20)
	}
	return text, nil
}

// Decode reads a configuration of at most MaxConfig bytes.
func Decode(text []byte) (*specs.Spec, error) {
	spec := new(specs.Spec)
	if err := decode(text, spec); err != nil {
		return nil, err
	}
	if err := checkVersion(spec.Version); err != nil {
		return nil, err
	}
	return spec, nil
}

// decode reads one JSON value, and says where it goes wrong.
func decode(text []byte, to any) error {
	if len(text) > MaxConfig {
		return fmt.Errorf("it is larger than %d MiB", MaxConfig>>20)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return errors.New("it is empty")
	}
	err := json.Unmarshal(text, to)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		line, column := position(text, syntax.Offset-1)
		return fmt.Errorf("line %d, column %d: it is no JSON: %w", line, column, err)
	case errors.As(err, &kind):
		line, column := position(text, kind.Offset)
		return fmt.Errorf("line %d, column %d: %s: a JSON %s does not fit; it is %s", line, column, kind.Field, kind.Value, describe(kind.Type.String()))
	}
	return err
}

// describe names a Go type as a person who writes JSON knows it.
func describe(kind string) string {
	switch {
	case strings.HasPrefix(kind, "uint"):
		return "a whole number from 0 (" + kind + ")"
	case strings.HasPrefix(kind, "int"):
		return "a whole number (" + kind + ")"
	case strings.HasPrefix(kind, "[]"):
		return "a list"
	case kind == "bool":
		return "true or false"
	case kind == "string":
		return "a string"
	}
	return "an object"
}

// position tells where an offset is, from 1.
func position(text []byte, offset int64) (line, column int) {
	before := text[:min(max(offset, 0), int64(len(text)))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

// checkVersion accepts what a runtime of version 1 has to: any 1.x.y, since minor
// versions only add. Versions that are in development carry a suffix ("1.0.2-dev").
func checkVersion(version string) error {
	if version == "" {
		return fmt.Errorf("ociVersion is missing: it is the version of the runtime specification, %q for one", specs.Version)
	}
	core, _, _ := strings.Cut(version, "+")
	core, suffix, dev := strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	ok := len(parts) == 3 && !(dev && suffix == "")
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 31); err != nil || len(p) > 1 && p[0] == '0' || p[0] == '+' {
			ok = false
		}
	}
	if !ok {
		return fmt.Errorf("ociVersion is %q, which is no version: three numbers with dots between, %q for one", version, specs.Version)
	}
	if parts[0] != "1" {
		return fmt.Errorf("ociVersion is %q, and this runtime knows versions 1.0.0 to %s", version, specs.Version)
	}
	return nil
}
