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
	source []byte    // struct sock_filter, as it was given
	logs   bool      // SECCOMP_FILTER_FLAG_LOG
	notify *Listener // of this filter; nil: it has none
	count  int       // of filters
	length int       // as maxPath counts, but for the newest's penalty
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
	f := &Filter{prog: prog, source: b, count: 1, length: prog.converted()}
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
	n := &Filter{
		before: before, prog: f.prog, source: f.source, logs: f.logs, notify: f.notify, count: before.count + 1, length: length,
	}
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

// Listen gives f a listener, before it is over anybody.
func (f *Filter) Listen(l *Listener) { f.notify = l }

// Log says that what f does is to be logged, which PTRACE_SECCOMP_GET_METADATA tells.
func (f *Filter) Log() { f.logs = true }

// Listener returns the listener of f or one before it, of which there is at most one;
// nil if there is none.
func (f *Filter) Listener() *Listener {
	for ; f != nil; f = f.before {
		if f.notify != nil {
			return f.notify
		}
	}
	return nil
}

// At returns the program of the filter that was put on as number i, the first of all
// being 0, as struct sock_filter, and whether it logs (get_nth_filter): ENOENT.
func (f *Filter) At(i uint64) (source []byte, logs bool, err error) {
	if i >= uint64(f.Count()) {
		return nil, false, unix.ENOENT
	}
	for uint64(f.count-1) > i {
		f = f.before
	}
	return f.source, f.logs, nil
}

// Run asks all filters about a call, and returns the action that counts, the number
// that goes with it, and the listener of the filter that said so
// (seccomp_run_filters).
func (f *Filter) Run(d *Data) (action uint32, data uint16, l *Listener) {
	best := uint32(Allow)
	for ; f != nil; f = f.before {
		ret, _ := f.prog.run(d, knownAll)
		if int32(ret&actionMask) < int32(best&actionMask) {
			best, l = ret, f.notify
		}
	}
	return best & actionMask, uint16(best), l
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
