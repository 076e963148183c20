package memfile

// Refs splits r's head by its count: it returns how many bytes from r.Start on
// have the same number of references, at most r's length, and the number. 0 bytes:
// the page is not allocated.
func (f *File) Refs(r Range) (length uint64, refs int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var x run
	f.runs.DescendLessOrEqual(run{start: r.Start}, func(y run) bool { x = y; return false })
	if x.end <= r.Start {
		return 0, 0
	}
	return min(x.end, r.End) - r.Start, int(x.refs)
}
