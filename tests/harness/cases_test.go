package harness

import (
	"slices"
	"testing"
)

func TestParseCases(t *testing.T) {
	got, err := ParseCases("g", "# comment\n=== a\none\ntwo\n=== b slow x=1\nx\n")
	if err != nil || len(got) != 2 || got[0].Name != "g/a" || len(got[0].Words) != 0 || got[0].Text != "one\ntwo\n" ||
		got[1].Name != "g/b" || !slices.Equal(got[1].Words, []string{"slow", "x=1"}) || got[1].Text != "x\n" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"=== \nx\n", "=== a\n", "=== a\n\n=== b\nx\n"} {
		if got, err := ParseCases("g", bad); err == nil {
			t.Errorf("%q was accepted: %+v", bad, got)
		}
	}
}
