package kvm

// quirks are where hosts differ.
type quirks struct {
	// bases: ring 0 is the processor's: the stub may use all that it has.
	bases bool
	// sysret: SYSRETQ works.
	sysret bool
	// callFaults: SYSCALL stays in ring 3, and arrives as a fetch from LSTAR.
	callFaults bool
	// intIsInvalid: INT of a vector without a gate is #UD.
	intIsInvalid bool
}

// probe finds out what the host takes and what it does.
func (m *machine) probe() error {
	m.cr4 = cr4Wanted
	m.quirks = quirks{callFaults: true, intIsInvalid: true}
	m.shadows = true
	v, err := m.newVCPU(0)
	if err != nil {
		return err
	}
	defer v.close()
	m.nextVCPU.Store(1)
	m.fresh = make([]byte, m.xsaveSize)
	if err := v.getXSave(m.fresh); err != nil {
		return err
	}
	return nil
}
