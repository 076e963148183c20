package task

// Bits of personality(2) that make a difference here. The others are about programs of
// 32 bits and other systems, or hints.
const (
	PersonaUname26        = 0x0020000 // UNAME26
	PersonaNoRandomize    = 0x0040000 // ADDR_NO_RANDOMIZE
	PersonaReadExecutes   = 0x0400000 // READ_IMPLIES_EXEC
	PersonaStickyTimeouts = 0x4000000 // STICKY_TIMEOUTS
	PersonaLinux32        = 0x8       // PER_LINUX32, of the low byte

	// clearedOnSetID are those that a program with more privileges does not inherit
	// (PER_CLEAR_ON_SETID).
	clearedOnSetID = PersonaReadExecutes | PersonaNoRandomize | 0x0200000 | 0x0100000
)

// Personality returns what personality(2) set.
func (t *Task) Personality() uint32 { return t.persona.Load() }

// SetPersonality sets it.
func (t *Task) SetPersonality(p uint32) { t.persona.Store(p) }

// HasPersona reports whether a bit of it is set.
func (t *Task) HasPersona(bit uint32) bool { return t.persona.Load()&bit != 0 }

// execPersona is the personality that a new program begins with.
func (t *Task) execPersona(secure bool) uint32 {
	p := t.persona.Load() &^ PersonaReadExecutes
	if secure {
		p &^= clearedOnSetID
	}
	return p
}
