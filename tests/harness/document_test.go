package harness

import "testing"

func TestExamples(t *testing.T) {
	list := Examples("text\n```sh\necho a\necho b\n```\nprints\n```text\na\n…\n```\n```c\nint x;\n```\n```sh needs=/a,/b\ntrue\n```\n")
	if len(list) != 2 || list[0].Text != "echo a\necho b\n" || list[0].Line != 2 || !list[0].Shown ||
		len(list[1].Needs) != 2 || list[1].Shown {
		t.Fatalf("%+v", list)
	}
	for output, good := range map[string]bool{"a\nb\n": true, "a\n": true, "b\n": false, "": false, "c\na\n": false} {
		if err := list[0].Prints(output); (err == nil) != good {
			t.Errorf("%q: %v", output, err)
		}
	}
	x := Example{Output: "digest: …f\n", Shown: true}
	if x.Prints("digest: 123f\n") != nil || x.Prints("digest: 1\n23f\n") == nil {
		t.Error("an ellipsis within a line")
	}
}
