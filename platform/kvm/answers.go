package kvm

import "slices"

// answer is what a call returns, whoever makes it and how often.
type answer struct {
	nr int
	v  uint64
}

// SetAnswer implements platform.CallAnswerer. Where ring 0 is emulated, the kernel
// is asked all the same.
func (c *context) SetAnswer(nr int, v uint64, ok bool) {
	if nr < 0 || nr >= maxAnswers || v == ^uint64(0) {
		ok = false // not in the stub's table
	}
	i := slices.IndexFunc(c.answers, func(a answer) bool { return a.nr == nr })
	switch {
	case !ok && i < 0, ok && i >= 0 && c.answers[i].v == v:
		return
	case !ok:
		c.answers = slices.Delete(c.answers, i, i+1)
	case i < 0:
		c.answers = append(c.answers, answer{nr, v})
	default:
		c.answers[i].v = v
	}
	c.version = c.p.ids.Add(1)
}

// tell gives the stub the answers of c.
func (v *vcpu) tell(c *context) {
	for _, nr := range v.toldOf {
		v.data.answers[nr] = 0
	}
	v.toldOf = v.toldOf[:0]
	if v.answers {
		for _, a := range c.answers {
			v.data.answers[a.nr] = a.v + 1
			v.toldOf = append(v.toldOf, a.nr)
		}
	}
	v.told = c.version
}

// unanswer makes a call that a signal found on its way to an answer one for the
// sentry. Otherwise it would end in user code, and the signal would be for nothing.
func (v *vcpu) unanswer() {
	k, d := &v.run.regs, v.data
	entry := v.base + entryCall
	if k.rip < entry || k.rip >= v.to.ask {
		return
	}
	if k.rip == entry {
		d.rax = k.rax
	}
	if k.rip >= v.to.holds {
		k.rcx = d.rcx
	}
	k.rax, k.rip = d.rax, v.to.ask
	v.run.dirtyRegs = syncRegs
}
