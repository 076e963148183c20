package seccomp

import "golang.org/x/sys/unix"

const (
	// maxPath is MAX_INSNS_PER_PATH: what all filters may have together, in
	// instructions of eBPF; each counts for some more.
	maxPath = (1 << 18) / InstructionSize
	penalty = 4

	// knownCall are the words that are the same for all calls of one number.
	knownCall = 1<<0 | 1<<1
	knownAll  = 1<<(dataSize/4) - 1

	cachedCalls = 512
)

// Filter is a program and the filters before it. It does not change.
type Filter struct {
	before *Filter
	prog   program
	count  int // of filters
	length int // as maxPath counts, but for the newest's penalty
	// allowed has a bit for each call that is allowed whatever its arguments are.
	allowed [cachedCalls / 64]uint64
}

// Compile makes a filter of an array of struct sock_filter: EINVAL if Linux would
// not take it.
func Compile(b []byte) (*Filter, error) {
	prog, err := compile(b)
	if err != nil {
		return nil, err
	}
	f := &Filter{prog: prog, count: 1, length: prog.converted()}
	f.cache()
	return f, nil
}

// After returns f on top of the filters of before (nil: none): ENOMEM if they would
// be too long together.
func (f *Filter) After(before *Filter) (*Filter, error) {
	if before == nil {
		return f, nil
	}
	length := f.length + before.length + penalty
	if length > maxPath {
		return nil, unix.ENOMEM
	}
	n := &Filter{before: before, prog: f.prog, count: before.count + 1, length: length}
	for i := range n.allowed {
		n.allowed[i] = f.allowed[i] & before.allowed[i]
	}
	return n, nil
}

// cache finds the calls that the program allows by their number alone
// (seccomp_cache_prepare).
func (f *Filter) cache() {
	for nr := range uint32(cachedCalls) {
		d := Data{nr, ArchX86_64}
		if ret, ok := f.prog.run(&d, knownCall); ok && ret&actionMask == Allow {
			f.allowed[nr/64] |= 1 << (nr % 64)
		}
	}
}

// Allows reports whether call nr is allowed whatever its arguments are.
func (f *Filter) Allows(nr uint64) bool {
	return nr < cachedCalls && f.allowed[nr/64]>>(nr%64)&1 != 0
}

// Run asks all filters about a call, and returns the action that counts, and the
// number that goes with it (seccomp_run_filters).
func (f *Filter) Run(d *Data) (action uint32, data uint16) {
	best := uint32(Allow)
	for ; f != nil; f = f.before {
		ret, _ := f.prog.run(d, knownAll)
		if int32(ret&actionMask) < int32(best&actionMask) {
			best = ret
		}
	}
	return best & actionMask, uint16(best)
}

// Count returns how many filters there are.
func (f *Filter) Count() int {
	if f == nil {
		return 0
	}
	return f.count
}

// Includes reports whether f is old, or has it among the filters before it
// (is_ancestor). All include nil.
func (f *Filter) Includes(old *Filter) bool {
	for ; f != nil; f = f.before {
		if f == old {
			return true
		}
	}
	return old == nil
}
