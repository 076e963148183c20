// Package oci uses the runner as Docker, containerd and people use an OCI runtime, and
// compares it with runc, command by command: output and exit status have to be the same.
//
// The engine is the real one, of Debian's package docker.io. The tests start it as their
// own, with all its files in a temporary directory, in mount, pid and network namespaces
// of its own, so that nothing of it meets another engine of the host's, and nothing is
// left when it ends. The image is built of busybox-static.
//
// The cases are data, in testdata/*.txt:
//
//	# text before the first case is a comment
//	=== name [slow]
//	shell text
//
// Those in docker-*.txt are run by the host's sh, with $RUNTIME the runtime's name,
// $NAME a name of the case's own to call containers by, $IMAGE the image, and functions
// of prelude.sh. Those in bundle-*.txt drive the runtime itself: $RT is its command with
// a state directory of its own, and the working directory is a bundle.
//
// RUNSC_LITE_OCI=path takes another runtime instead of the runner: runc itself, for one,
// to see whether the cases are right.
package oci
