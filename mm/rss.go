package mm

import "time"

// What counting costs, about, on the host: asking for an extent, and a page that was
// never touched.
const (
	countExtent = 700 * time.Nanosecond
	countPage   = 30 * time.Nanosecond
)

// ResidentWithin is Resident, unless that may take longer than budget: then it is the
// most that Resident could be, everything that faults ever put there (exact is false).
// That costs the time of a walk over the extents.
func (s *Space) ResidentWithin(budget time.Duration) (n uint64, exact bool) {
	s.mu.RLock()
	s.extents.all(func(e *extent) bool {
		n += uint64(e.end - e.start)
		return true
	})
	cost := time.Duration(s.extents.len())*countExtent + time.Duration(n/pageSize)*countPage
	s.mu.RUnlock()
	if cost > budget {
		return n, false
	}
	return s.Resident(), true
}
