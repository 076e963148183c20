package kvm

import "golang.org/x/sys/unix"

// Unlikely says why KVM cannot be worth starting here, "" if it may be. It takes
// microseconds: two questions to the processor, one to the host.
func Unlikely() string {
	_, _, c, _ := cpuid(1, 0)
	vmx := c&(1<<5) != 0
	hypervisor := c&(1<<31) != 0
	svm := false
	if highest, _, _, _ := cpuid(0x80000000, 0); highest >= 0x80000001 {
		_, _, c, _ = cpuid(0x80000001, 0)
		svm = c&(1<<2) != 0
	}
	switch {
	case !vmx && !svm:
		return "the processor has neither VMX nor SVM"
	case hypervisor:
		return "this is a virtual machine, where each exit of a guest is one of several"
	}
	if err := unix.Access(device, unix.R_OK|unix.W_OK); err != nil {
		return device + ": " + err.Error()
	}
	return ""
}
