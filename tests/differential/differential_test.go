// Package differential runs every guest program natively and on each platform:
// the output and the exit status have to be the same.
//
// A guest program lists its tests with --list, one a line, and runs the one
// that its argument names. A test prints what differs and exits with 1 if it
// fails; it prints no pid, no address, no time.
package differential

import (
	"testing"

	"runsc-lite/tests/harness"
)

// shortTests is how many tests of each program `go test -short` runs. Programs
// list the plainest ones first.
const shortTests = 2

func TestGuests(t *testing.T) {
	gaps := harness.LoadGaps(t, "known_gaps.txt")
	targets := harness.Platforms(t) // a runner that does not build fails here, once
	harness.Guests(t)
	harness.CompareGuests(t, targets, gaps, func(g harness.GuestTest) bool {
		return !testing.Short() || g.Index < shortTests
	})
}
