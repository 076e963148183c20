package trace

// flag names a bit or a value.
type flag struct {
	v    uint64
	name string
}

// set names the bits of a word, or its values. What is left is shown in
// hexadecimal; what has no name at all is followed by the set's own name, as
// strace does.
type set struct {
	unknown string
	flags   []flag
}

// bits shows v as names joined by '|'.
func (l *line) bits(v uint64, s *set) {
	if v == 0 {
		for _, f := range s.flags {
			if f.v == 0 {
				l.s(f.name)
				return
			}
		}
		l.c('0')
		return
	}
	some := false
	for _, f := range s.flags {
		if f.v != 0 && v&f.v == f.v {
			if some {
				l.c('|')
			}
			l.s(f.name)
			some = true
			v &^= f.v
		}
	}
	switch {
	case v == 0:
	case some:
		l.c('|')
		l.hex(v)
	default:
		l.hex(v)
		l.s(" /* ")
		l.s(s.unknown)
		l.s(" */")
	}
}

// one shows v as the one name that it has.
func (l *line) one(v uint64, s *set) {
	if name := s.find(v); name != "" {
		l.s(name)
		return
	}
	l.hex(v)
	l.s(" /* ")
	l.s(s.unknown)
	l.s(" */")
}

// find returns the name of a value, "" if it has none.
func (s *set) find(v uint64) string {
	for _, f := range s.flags {
		if f.v == v {
			return f.name
		}
	}
	return ""
}

// someBits shows the bits of v, which is not 0, behind others that are shown
// already.
func (l *line) someBits(v uint64, s *set) {
	some := false
	for _, f := range s.flags {
		if f.v != 0 && v&f.v == f.v {
			if some {
				l.c('|')
			}
			l.s(f.name)
			some = true
			v &^= f.v
		}
	}
	if v != 0 {
		if some {
			l.c('|')
		}
		l.hex(v)
	}
}
