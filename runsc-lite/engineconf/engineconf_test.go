package engineconf

import (
	"encoding/json"
	"strings"
	"testing"
)

func engine(t testing.TB, name string) Engine {
	t.Helper()
	for _, e := range Engines() {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("no engine %s", name)
	return Engine{}
}

var lite = Runtime{Name: "runsc-lite", Path: "/usr/local/bin/runsc-lite"}

func TestAddAndRemove(t *testing.T) {
	block := "# runsc-lite: begin of runtime runsc-lite\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.\"runsc-lite\"]\n" +
		"  runtime_type = \"io.containerd.runc.v2\"\n  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.\"runsc-lite\".options]\n" +
		"    BinaryName = \"/usr/local/bin/runsc-lite\"\n# runsc-lite: end of runtime runsc-lite\n"
	podman := "# runsc-lite: begin of runtime runsc-lite\n[engine.runtimes]\n\"runsc-lite\" = [\"/usr/local/bin/runsc-lite\"]\n# runsc-lite: end of runtime runsc-lite\n"
	for _, c := range []struct {
		name, engine, before, after, removed string
	}{
		{"docker, none", "docker", "", "{\n  \"runtimes\": {\n    \"runsc-lite\": {\n      \"path\": \"/usr/local/bin/runsc-lite\"\n    }\n  }\n}\n", "{}\n"},
		{"docker, others", "docker", `{"zebra": [1, 2.50], "runtimes": {"kata": {"path": "/k"}}, "apple": {"b": 1, "a": 2}}`,
			"{\n  \"zebra\": [\n    1,\n    2.50\n  ],\n  \"runtimes\": {\n    \"kata\": {\n      \"path\": \"/k\"\n    },\n    \"runsc-lite\": {\n      \"path\": \"/usr/local/bin/runsc-lite\"\n    }\n  },\n  \"apple\": {\n    \"b\": 1,\n    \"a\": 2\n  }\n}\n",
			"{\n  \"zebra\": [\n    1,\n    2.50\n  ],\n  \"runtimes\": {\n    \"kata\": {\n      \"path\": \"/k\"\n    }\n  },\n  \"apple\": {\n    \"b\": 1,\n    \"a\": 2\n  }\n}\n"},
		{"containerd, none", "containerd", "", "version = 2\n" + block, "version = 2\n"},
		{"containerd, others", "containerd", "# mine\nversion = 2\n[debug]\n  level = 'info'", "# mine\nversion = 2\n[debug]\n  level = 'info'\n" + block, "# mine\nversion = 2\n[debug]\n  level = 'info'\n"},
		{"containerd 3", "containerd", "version = 3\n", "version = 3\n" + strings.ReplaceAll(block, "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"), "version = 3\n"},
		{"podman, none", "podman", "", podman, ""},
		{"podman, others", "podman", "[engine]\nruntime = \"crun\"\n", "[engine]\nruntime = \"crun\"\n" + podman, "[engine]\nruntime = \"crun\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := engine(t, c.engine)
			got, err := e.Add(c.before, lite)
			if err != nil || got != c.after {
				t.Fatalf("%v; want\n%s\ngot\n%s", err, c.after, got)
			}
			again, err := e.Add(got, lite)
			if err != nil || again != got {
				t.Errorf("twice: %v\n%s", err, again)
			}
			moved, err := e.Add(got, Runtime{Name: lite.Name, Path: "/other"})
			if err != nil || !strings.Contains(moved, "/other") || strings.Contains(moved, lite.Path) {
				t.Errorf("another path: %v\n%s", err, moved)
			}
			other, err := e.Remove(got, "runsc")
			if err != nil || other != got {
				t.Errorf("removing another: %v\n%s", err, other)
			}
			gone, err := e.Remove(got, lite.Name)
			if err != nil || gone != c.removed {
				t.Errorf("removed: %v\n%q\nwant\n%q", err, gone, c.removed)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		engine, text string
		r            Runtime
		see          string
	}{
		{"docker", "", Runtime{"a b", "/x", nil}, "no name"},
		{"docker", "", Runtime{"", "/x", nil}, "no name"},
		{"docker", "", Runtime{"a", "x", nil}, "not absolute"},
		{"docker", "[]", lite, "no JSON object"},
		{"docker", "{", lite, "EOF"},
		{"docker", "{} {}", lite, "more behind"},
		{"docker", `{"runtimes": 5}`, lite, "\"runtimes\""},
		{"containerd", "", Runtime{"a", "/x", []string{"--debug"}}, "no arguments"},
		{"containerd", "[plugins]\n", lite, "version 1"},
		{"containerd", "version = 1\n", lite, "version 1"},
		{"containerd", "version = 4\n", lite, "versions 2 and 3"},
		{"containerd", "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runsc-lite]\n", lite, "there is a runtime runsc-lite"},
		{"containerd", "version = 2\n" + begin("runsc-lite"), lite, "missing"},
		{"podman", "", Runtime{"a", "/x", []string{"--debug"}}, "--runtime-flag"},
		{"podman", "[engine.runtimes]\n", lite, "by hand"},
		{"podman", "", Runtime{"a\"]\n[x]", "/x", nil}, "no name"},
	} {
		if got, err := engine(t, c.engine).Add(c.text, c.r); err == nil || !strings.Contains(err.Error(), c.see) {
			t.Errorf("%s %q %+v: want %q, got %v, %q", c.engine, c.text, c.r, c.see, err, got)
		}
	}
}

func TestDockerArgs(t *testing.T) {
	text, err := engine(t, "docker").Add("", Runtime{"x", "/x", []string{"--platform=ptrace", "--debug"}})
	if err != nil || !strings.Contains(strings.Join(strings.Fields(text), ""), `"runtimeArgs":["--platform=ptrace","--debug"]`) {
		t.Errorf("%v: %s", err, text)
	}
}

// FuzzDocker: whatever a file holds, it is refused or stays a JSON object whose other
// members are the same.
func FuzzDocker(f *testing.F) {
	f.Add(`{"a": 1, "runtimes": {"x": {"path": "/x"}}}`)
	f.Add(`{"a": {"b": [1e400, "\u0000"]}, "a": 2}`)
	f.Fuzz(func(t *testing.T, text string) {
		e := engine(t, "docker")
		got, err := e.Add(text, lite)
		if err != nil {
			return
		}
		var before, after map[string]json.RawMessage
		if strings.TrimSpace(text) != "" && json.Unmarshal([]byte(text), &before) != nil {
			t.Fatalf("%q was taken", text)
		}
		if err := json.Unmarshal([]byte(got), &after); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		delete(before, "runtimes")
		delete(after, "runtimes")
		if len(before) != len(after) {
			t.Fatalf("%q became %q", text, got)
		}
		if _, err := e.Remove(got, lite.Name); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzContainerd: what was there stays there, and comes back.
func FuzzContainerd(f *testing.F) {
	f.Add("version = 2\n[a]\n")
	f.Add("version = 2\n" + begin("runsc-lite") + "x\n" + end("runsc-lite"))
	f.Fuzz(func(t *testing.T, text string) {
		e := engine(t, "containerd")
		clean, err := e.Remove(text, lite.Name)
		if err != nil {
			return
		}
		got, err := e.Add(clean, lite)
		if err != nil {
			return
		}
		if strings.TrimSpace(clean) != "" && !strings.HasPrefix(got, clean) && !strings.Contains(clean, begin(lite.Name)) {
			t.Fatalf("%q became %q", clean, got)
		}
	})
}
