package unix

// Used returns what all segments are charged with, in bytes.
func (n *Namespace) Used() int64 { return n.used.Load() }

// SetLimit replaces what Used may be at most.
func (n *Namespace) SetLimit(limit int64) { n.limit = limit }

// Collect ends what cannot be reached.
func (n *Namespace) Collect() { n.collect(true) }

// InFlight returns how many files are in flight.
func (n *Namespace) InFlight() int64 { return n.garbage.files.Load() }
