package bundle

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestExample: what is written to begin with is right, to the last field.
func TestExample(t *testing.T) {
	for _, rootless := range []bool{false, true} {
		s := Example()
		if rootless {
			MakeRootless(s, 1000, 100)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(again, "/b")
		if err != nil || len(b.Warnings) != 0 {
			t.Fatalf("%v, %v", err, b)
		}
		if b.Namespaces.User.New != rootless || rootless && (b.UIDs[0].HostID != 1000 || b.GIDs[0].HostID != 100) {
			t.Errorf("rootless %v: %+v", rootless, b.Namespaces)
		}
		if rootless && strings.Contains(string(text), "gid=5") {
			t.Error("it asks for a group that there is not")
		}
	}
}
