package engineconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// dockerRuntime is an entry of "runtimes" in daemon.json.
type dockerRuntime struct {
	Path string   `json:"path"`
	Args []string `json:"runtimeArgs,omitempty"`
}

func addDocker(text string, r Runtime) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	entry, err := json.Marshal(dockerRuntime{r.Path, r.Args})
	if err != nil {
		return "", err
	}
	return editDocker(text, func(runtimes *members) { runtimes.set(r.Name, entry) })
}

func removeDocker(text, name string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return text, nil
	}
	return editDocker(text, func(runtimes *members) { runtimes.remove(name) })
}

// editDocker changes the object "runtimes".
func editDocker(text string, change func(*members)) (string, error) {
	var config members
	if strings.TrimSpace(text) != "" {
		if err := config.parse([]byte(text)); err != nil {
			return "", err
		}
	}
	var runtimes members
	if old := config.get("runtimes"); old != nil {
		if err := runtimes.parse(old); err != nil {
			return "", fmt.Errorf("\"runtimes\": %w", err)
		}
	}
	change(&runtimes)
	if len(runtimes) == 0 {
		config.remove("runtimes")
	} else {
		config.set("runtimes", runtimes.json())
	}
	var out bytes.Buffer
	if err := json.Indent(&out, config.json(), "", "  "); err != nil {
		return "", err
	}
	return out.String() + "\n", nil
}

// members are those of a JSON object, in their order.
type members []struct {
	name  string
	value json.RawMessage
}

func (m *members) parse(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("it is no JSON object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		// Of two members of one name the last counts, as for Docker.
		m.set(t.(string), value)
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more behind the object")
	}
	return nil
}

func (m members) get(name string) json.RawMessage {
	for _, x := range m {
		if x.name == name {
			return x.value
		}
	}
	return nil
}

func (m *members) set(name string, value json.RawMessage) {
	for i := range *m {
		if (*m)[i].name == name {
			(*m)[i].value = value
			return
		}
	}
	*m = append(*m, struct {
		name  string
		value json.RawMessage
	}{name, value})
}

func (m *members) remove(name string) {
	for i := range *m {
		if (*m)[i].name == name {
			*m = append((*m)[:i:i], (*m)[i+1:]...)
			return
		}
	}
}

func (m members) json() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, x := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(x.name)
		if err != nil {
			panic(err) // a string
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(x.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}
