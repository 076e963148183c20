// Package vfs is the virtual file system: open files, path walks, mounts.
package vfs

// Mount is a mounted file system.
type Mount struct{}

// Dentry is a name in a mounted file system's tree.
type Dentry struct{}

// Path is a place in the file tree of a mount namespace.
type Path struct {
	Mount  *Mount
	Dentry *Dentry
}
