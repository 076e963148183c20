package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, text, see string }{
		{"minimal", `{"ociVersion": "1.2.0"}`, ""},
		{"docker's", `{"ociVersion": "1.0.2-dev"}`, ""},
		{"newest", `{"ociVersion": "` + specs.Version + `"}`, ""},
		{"newer minor", `{"ociVersion": "1.99.0"}`, ""},
		{"build", `{"ociVersion": "1.2.0+x"}`, ""},
		{"unknown field", `{"ociVersion": "1.2.0", "future": {"a": [1]}, "process": {"cwd": "/", "later": 1}}`, ""},
		{"empty", "", "it is empty"},
		{"blank", " \n", "it is empty"},
		{"no JSON", "ociVersion: 1", "line 1, column 1: it is no JSON"},
		{"cut off", "{\n\"ociVersion\": \"1.2.0\",\n", "line 2, column"},
		{"more behind", `{"ociVersion": "1.2.0"} {}`, "it is no JSON"},
		{"a list", "[]", "a JSON array does not fit"},
		{"wrong kind", "{\"ociVersion\": \"1.2.0\",\n \"process\": {\"args\": \"sh\"}}", "line 2, column 26: process.args: a JSON string does not fit; it is a list"},
		{"negative", `{"ociVersion": "1.2.0", "process": {"user": {"uid": -1}}}`, "process.user.uid: a JSON number -1 does not fit; it is a whole number from 0"},
		{"fraction", `{"ociVersion": "1.2.0", "process": {"user": {"uid": 1.5}}}`, "a whole number"},
		{"deep", strings.Repeat("[", 20000), "it is no JSON"},
		{"huge", `{"ociVersion": "` + strings.Repeat("1", MaxConfig) + `"}`, "larger than 4 MiB"},
		{"no version", `{}`, "ociVersion is missing"},
		{"null", `null`, "ociVersion is missing"},
		{"version 2", `{"ociVersion": "2.0.0"}`, "knows versions 1.0.0 to"},
		{"version 0", `{"ociVersion": "0.9.0"}`, "knows versions"},
		{"no number", `{"ociVersion": "1.2"}`, "three numbers"},
		{"sign", `{"ociVersion": "1.+2.0"}`, "three numbers"},
		{"leading zero", `{"ociVersion": "1.02.0"}`, "three numbers"},
		{"empty suffix", `{"ociVersion": "1.2.0-"}`, "three numbers"},
		{"words", `{"ociVersion": "latest"}`, "three numbers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(c.text)
			spec, err := Load(dir)
			switch {
			case c.see == "" && (err != nil || spec == nil):
				t.Error(err)
			case c.see != "" && (err == nil || !strings.Contains(err.Error(), c.see) || !strings.Contains(err.Error(), dir)):
				t.Errorf("want %q in the error, got %v", c.see, err)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestLoadMissing(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "there is no config.json in "+dir) {
		t.Error(err)
	}
	if _, err := Load(filepath.Join(dir, "x")); err == nil || !strings.Contains(err.Error(), "opening the bundle") {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(dir, ConfigFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory was read")
	}
}

func TestLoadProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "process.json")
	if err := os.WriteFile(file, []byte(`{"args": ["sh", "-c", "x"], "cwd": "/tmp"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := LoadProcess(file)
	if err != nil || p.Args[0] != "sh" || p.Cwd != "/tmp" {
		t.Errorf("%+v, %v", p, err)
	}
	if err := os.WriteFile(file, []byte(`{"args": `), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadProcess(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
}
