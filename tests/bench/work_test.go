package bench

import (
	"os"
	"strings"
	"testing"
)

// work is what people do, with programs of the host: many short processes most
// of all. The time is that of the whole run, start-up of the sandbox included.
var work = []struct {
	name  string
	needs string // a program; without it the work is left out
	args  []string
	says  string // how its output ends
}{
	{"Bash200True", "/bin/bash", []string{"/bin/bash", "-c", `for ((i = 0; i < 200; i++)); do /bin/true; done; echo done`}, "done"},
	{"Perl300Forks", "/usr/bin/perl", []string{"/usr/bin/perl", "-e", `for (1..300) { my $p = fork; exit 0 unless $p; waitpid $p, 0 } print "done"`}, "done"},
	{"Python50Runs", "/usr/bin/python3", []string{"/usr/bin/python3", "-c", `import subprocess
for i in range(50): subprocess.run(["/bin/true"], check=True)
print("done")`}, "done"},
	{"FindUsr", "/usr/bin/find", []string{"/bin/sh", "-c", `/usr/bin/find /usr -xdev | /usr/bin/wc -l`}, ""},
	{"MakeJ2", "/usr/bin/gcc", []string{"/bin/sh", "-c", `d=$(mktemp -d) && cd "$d" || exit 1
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "int f$i(int a) { return a + $i; }" >f$i.c; done
printf 'all: %s\n.c.o:\n\t@gcc -O2 -c $<\n' "$(echo f*.c | sed s/\\.c/.o/g)" >Makefile
make -s -j2 all && ls *.o | wc -l; rm -r "$d"`}, "12"},
}

func BenchmarkWork(b *testing.B) {
	for _, k := range work {
		if _, err := os.Stat(k.needs); err != nil {
			b.Logf("%s: %v", k.name, err)
			continue
		}
		b.Run(k.name, func(b *testing.B) {
			compare(b, "Work/"+k.name, "ns/op", 3, func(w way) (float64, error) {
				out, took, err := w.run(k.args...)
				if err == nil && !strings.HasSuffix(strings.TrimSpace(out), k.says) {
					b.Fatalf("%s on %s printed %q", k.name, w.name, out)
				}
				return float64(took.Nanoseconds()), err
			})
		})
	}
}

// TestWork: all of it can be done natively, so that a benchmark that leaves
// one out says something about the sandbox.
func TestWork(t *testing.T) {
	for _, k := range work {
		t.Run(k.name, func(t *testing.T) {
			if _, err := os.Stat(k.needs); err != nil {
				t.Skip(err)
			}
			out, _, err := ways(t)[0].run(k.args...)
			if err != nil || !strings.HasSuffix(strings.TrimSpace(out), k.says) {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}
