package clock

// rdtsc reads the time stamp counter, after all that precedes and before all
// that follows.
func rdtsc() uint64

// invariantTSC reports whether the counter runs at one rate in all states of
// the processor.
func invariantTSC() bool
