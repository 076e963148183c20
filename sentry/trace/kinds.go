package trace

// Kinds of plain arguments.

func num(l *line, v uint64)  { l.int(int64(int32(v))) }
func unum(l *line, v uint64) { l.uint(uint64(uint32(v))) }
func long(l *line, v uint64) { l.int(int64(v)) }
func size(l *line, v uint64) { l.uint(v) }
func hex(l *line, v uint64)  { l.hex(v) }
func ptr(l *line, v uint64)  { l.addr(v) }
