// Package vfs is what all file systems share: open files, names, path walks,
// mounts, permissions and file locks. It knows neither processes nor address
// spaces: a Caller is who asks, where that is in the tree, and with which
// credentials.
//
//	Namespace   a tree of Mounts; a Mount shows a file system from one of its Dentries down
//	Dentry      a name, cached: positive, or negative for one that is known to be absent
//	Inode       what a file system has behind the name
//	File        an open file description, over the FileOps that Inode.Open made
//
// File systems are written against Inode and FileOps. Both are small; what else
// an inode or an open file can do are optional interfaces, as in package io,
// and one that is missing answers as Linux does for such files. A file system
// checks no permissions and resolves no paths: that was done before it is
// called, and calls that change a directory come one at a time. Nothing blocks:
// EAGAIN, and the caller waits (waiter.Waitable).
//
// The cache of names is bounded for each file system. A walk pins nothing on
// its way. If the cache drops a name under it, it sees that (errStale), and
// begins anew; only what a File, an FSContext or a Mount holds is pinned.
//
// Lock order:
//
//	File.posMu
//	  superblock.renameMu        written by renames, read by who asks for a path
//	    Dentry.dirMu             of a directory before that of one below; two that are not: only under renameMu
//	      locks of the file system
//	      superblock.ringMu
//	        Dentry.mu            of a parent before a child's; tried only, under ringMu
//	Namespace.mu                 a new file system's root is looked at under it
//	FSContext.mu
//	fifoTable.mu, watches.mu
//
// Differences from Linux: a lookup holds its directory alone, where Linux lets
// several look in it at once; a mount namespace is not copied (CLONE_NEWNS is
// refused), and mounts do not propagate.
package vfs
