// Package bundle reads what a container is to be: the config.json of an OCI bundle
// (runtime-spec 1.0 to 1.3), and the process.json of an exec.
//
//	Load        reads and decodes, with a bound on the size: *specs.Spec
//	New         checks all of it and translates: *Bundle, a pure function
//	CheckHost   looks whether what it names is there
//	NewProcess  New for the process of an exec
//
// The types of the specification stay the types of the runtime. What New adds is what
// they only spell: mount options become flags, names of capabilities become sets,
// limits and ids are checked, a seccomp profile becomes a program that
// [runsc-lite/sentry/seccomp] runs.
//
// Nothing is passed over in silence. What is wrong, or asks for what cannot be had, is
// an error that names the field, says what is wrong with it and what to do; all such
// errors are reported together. What is accepted and has no effect (the labels of
// AppArmor and SELinux, say) is a line in Warnings. Fields that the specification does
// not have are ignored, as it demands.
package bundle
