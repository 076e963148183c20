package vfs

import "golang.org/x/sys/unix"

// errStale says that a name was dropped from the cache while a walk was
// using it: the walk is repeated. It never leaves the package.
const errStale = unix.ESTALE
