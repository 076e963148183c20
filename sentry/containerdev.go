package sentry

import (
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

const nullPath = "/dev/null"

// defaultDevices are what every container has (the OCI runtime specification, "Default
// Devices").
var defaultDevices = [...]Device{
	{Path: nullPath, Mode: unix.S_IFCHR | 0o666, Rdev: unix.Mkdev(1, 3)},
	{Path: "/dev/zero", Mode: unix.S_IFCHR | 0o666, Rdev: unix.Mkdev(1, 5)},
	{Path: "/dev/full", Mode: unix.S_IFCHR | 0o666, Rdev: unix.Mkdev(1, 7)},
	{Path: "/dev/random", Mode: unix.S_IFCHR | 0o666, Rdev: unix.Mkdev(1, 8)},
	{Path: "/dev/urandom", Mode: unix.S_IFCHR | 0o666, Rdev: unix.Mkdev(1, 9)},
	{Path: "/dev/tty", Mode: unix.S_IFCHR | 0o666, Rdev: unix.Mkdev(5, 0)},
}

// defaultLinks likewise.
var defaultLinks = [...][2]string{
	{"/dev/fd", "/proc/self/fd"},
	{"/dev/stdin", "/proc/self/fd/0"},
	{"/dev/stdout", "/proc/self/fd/1"},
	{"/dev/stderr", "/proc/self/fd/2"},
}

// makeDevices makes the nodes in /dev.
func (c *Container) makeDevices(who *vfs.Caller) error {
	for _, d := range append(defaultDevices[:], c.spec.Devices...) {
		if err := makeDevice(who, &d); err != nil {
			return fmt.Errorf("making the device %s: %w", d.Path, err)
		}
	}
	for _, l := range defaultLinks {
		if err := who.Symlink(l[1], nil, l[0]); err != nil && err != unix.EEXIST {
			return fmt.Errorf("making the link %s: %w", l[0], err)
		}
	}
	if c.pts == nil {
		return nil
	}
	// As runc does it: the terminals are the container's own.
	if err := who.Unlink(nil, "/dev/ptmx"); err != nil && err != unix.ENOENT {
		return fmt.Errorf("replacing /dev/ptmx: %w", err)
	}
	if err := who.Symlink("pts/ptmx", nil, "/dev/ptmx"); err != nil {
		return fmt.Errorf("making the link /dev/ptmx: %w", err)
	}
	return nil
}

func makeDevice(who *vfs.Caller, d *Device) error {
	if err := mkdirAll(who, parentOf(d.Path)); err != nil {
		return err
	}
	if st, err := who.Stat(nil, d.Path, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Rdev == d.Rdev && st.Mode&unix.S_IFMT == d.Mode&unix.S_IFMT {
		return nil
	}
	if err := who.Unlink(nil, d.Path); err != nil && err != unix.ENOENT {
		return err
	}
	if err := who.Mknod(nil, d.Path, d.Mode, d.Rdev); err != nil {
		return err
	}
	if d.UID == 0 && d.GID == 0 {
		return nil
	}
	return who.Chown(nil, d.Path, d.UID, d.GID, unix.AT_SYMLINK_NOFOLLOW)
}
